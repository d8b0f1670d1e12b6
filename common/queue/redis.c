/* One connection to one Redis: connect, log in, send, wait for the reply, all against a deadline.
 *
 * DESIGN
 *
 * hiredis 0.14 formats commands and parses replies; the bytes go over its socket by our own loops,
 * which also know TLS (wire.c).
 * Its own are not used because they (a) apply the timeout to each read, so that a reply that
 * trickles in has no bound, (b) write without MSG_NOSIGNAL, so that a server that goes away kills
 * the process with SIGPIPE, and (c) report a timeout as any other I/O error. redisReconnect
 * forgets the timeouts, so a connection is always made anew.
 *
 * A reply that is late is worse than none: it would be taken for the reply to the next command. So
 * after a timeout, as after any failure of the connection, the connection is closed.
 *
 * Sending again. When a connection that worked before breaks under a command, it has most likely
 * been dead for a while (the server restarted, or closed an idle client), and the command is sent
 * once more over a new connection. It may thereby run twice: the first run may have happened and
 * its reply been lost. That is safe for everything the queue sends except a claim, since its
 * scripts are idempotent: create, submit, seal, cancel and renew by their nature; finish and fail
 * because they remember the token; release, recover and retry because what they moved is not there
 * a second time (only their count is then too small). A claim would lease a second batch beside
 * the one whose reply was lost, so it switches repeating off and clears up itself (lease.c).
 * Whoever sends other commands through cloak_redis_call must send such that may run twice.
 * After a timeout nothing is sent again: the server is slow, and more work does not make it
 * faster; the caller decides.
 *
 * Checks. Another server may have taken over, or the same one come back with other settings: who cannot do with any server
 * says so (cloak_redis_demand), and each new connection then begins with a look at its version and eviction policy.
 *
 * A cluster. All keys of a queue are in one slot, so that one node holds it. Another one says which (MOVED) before
 * anything has run; the connection then goes there, until that node is gone: then the URL's node is asked again.
 *
 * What is not bounded: the resolver. getaddrinfo has its own timeouts (resolv.conf).
 */
#include "common/queue/redis.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "common/queue/wire.h"

/* A Sentinel that is not there must not use up the time for one that is. */
#define SENTINEL_SECONDS 1.0

struct cloak_redis {
    cloak_address address;
    double timeout;
    redisContext *context; /* NULL while not connected */
    cloak_wire *wire;      /* over its socket */
    bool met;              /* a connection has worked before */
    char why[256];         /* what TLS said when the connection broke last, or "" */
    bool repeat;           /* send again over a new connection when the old one broke */
    bool broke;            /* see cloak_redis_broke */
    char *demanded;        /* a key: every server that holds it is checked, see cloak_redis_demand; NULL: none is */
    size_t sentinel;       /* the one that knew the primary last */
    char *moved_host;      /* the node of a cluster that holds the queue, as another said; NULL: nobody has */
    int moved_port;
};

cloak_redis *cloak_redis_open_address(cloak_address *address, double timeout) {
    cloak_redis *redis = cloak_alloc(sizeof *redis);
    redis->address = *address;
    redis->timeout = timeout;
    redis->repeat = true;
    *address = (cloak_address){0};
    return redis;
}

cloak_status cloak_redis_open(
    const char *url, double timeout, cloak_redis **redis, cloak_error *error) {
    cloak_address address;
    if (!(timeout > 0 && timeout <= 86400))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the Redis timeout must be above 0 and at most 86400 seconds, not %g", timeout);
    cloak_status status = cloak_address_parse(url, &address, error);
    if (status)
        return status;
    *redis = cloak_redis_open_address(&address, timeout);
    return CLOAK_OK;
}

static void disconnect(cloak_redis *redis) {
    cloak_wire_close(redis->wire);
    if (redis->context)
        redisFree(redis->context);
    redis->wire = NULL;
    redis->context = NULL;
}

void cloak_redis_close(cloak_redis *redis) {
    if (!redis)
        return;
    disconnect(redis);
    free(redis->moved_host);
    free(redis->demanded);
    cloak_address_clear(&redis->address);
    free(redis);
}

const char *cloak_redis_place(const cloak_redis *redis) {
    return redis->address.place;
}

void cloak_redis_set_repeat(cloak_redis *redis, bool repeat) {
    redis->repeat = repeat;
}

bool cloak_redis_broke(const cloak_redis *redis) {
    return redis->broke;
}

void cloak_redis_demand(cloak_redis *redis, const char *key) {
    redis->demanded = cloak_strdup(key);
}

static cloak_wire_outcome receive(cloak_redis *redis, redisReply **reply, double deadline) {
    char bytes[16 * 1024];
    for (;;) {
        void *got = NULL;
        size_t length;
        redisReader *reader = redis->context->reader;
        if (redisReaderGetReply(reader, &got) != REDIS_OK)
            return CLOAK_WIRE_BROKEN; /* not the protocol: what we talk to is no Redis */
        if (got) {
            *reply = got;
            return CLOAK_WIRE_OK;
        }
        cloak_wire_outcome result =
            cloak_wire_receive(redis->wire, bytes, sizeof bytes, &length, deadline);
        if (result != CLOAK_WIRE_OK)
            return result;
        if (redisReaderFeed(reader, bytes, length) != REDIS_OK)
            return CLOAK_WIRE_BROKEN;
    }
}

/* Sends one command over the open connection and waits for its reply, an error reply included.
 * The connection is closed unless that went well. */
static cloak_wire_outcome exchange(
    cloak_redis *redis, int argc, const char **argv, const size_t *lengths, redisReply **reply) {
    char *command = NULL;
    int length = redisFormatCommandArgv(&command, argc, argv, lengths);
    if (length < 0)
        abort(); /* out of memory, small allocation: see alloc.h */
    double deadline = cloak_now() + redis->timeout;
    cloak_wire_outcome result = cloak_wire_send(redis->wire, command, (size_t)length, deadline);
    redisFreeCommand(command);
    if (result == CLOAK_WIRE_OK)
        result = receive(redis, reply, deadline);
    if (result != CLOAK_WIRE_OK) {
        snprintf(redis->why, sizeof redis->why, "%s", cloak_wire_reason(redis->wire));
        disconnect(redis);
    }
    return result;
}

static cloak_status fail_exchange(
    const cloak_redis *redis, cloak_wire_outcome result, cloak_error *error) {
    if (result == CLOAK_WIRE_LATE)
        return cloak_fail(error, CLOAK_E_QUEUE,
            "%s: no reply within %g s; the server is overloaded or stuck, or the network drops "
            "packets (see SLOWLOG and redis-cli --latency)",
            redis->address.place, redis->timeout);
    if (*redis->why)
        return cloak_fail(error, CLOAK_E_QUEUE,
            "%s: TLS ended: %s; does the server want a certificate of ours (?cert=FILE&key=FILE)?",
            redis->address.place, redis->why);
    return cloak_fail(error, CLOAK_E_QUEUE,
        "%s: the connection broke; the server went away, or this is not a Redis server",
        redis->address.place);
}

/* A command of the login: anything but an OK reply ends the connection. */
static cloak_status greet(cloak_redis *redis, int argc, const char **argv, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_wire_outcome result = exchange(redis, argc, argv, NULL, &reply);
    if (result != CLOAK_WIRE_OK)
        return fail_exchange(redis, result, error);
    cloak_status status = CLOAK_OK;
    if (reply->type == REDIS_REPLY_ERROR) {
        status = cloak_advice_fail(redis->address.place, reply->str, error);
        disconnect(redis);
    }
    freeReplyObject(reply);
    return status;
}

static cloak_status log_in(cloak_redis *redis, cloak_error *error) {
    const cloak_address *a = &redis->address;
    cloak_status status = CLOAK_OK;
    if (a->password && a->user)
        status = greet(redis, 3, (const char *[]){"AUTH", a->user, a->password}, error);
    else if (a->password)
        status = greet(redis, 2, (const char *[]){"AUTH", a->password}, error);
    if (!status && a->db) {
        char db[16];
        snprintf(db, sizeof db, "%d", a->db);
        status = greet(redis, 2, (const char *[]){"SELECT", db}, error);
    }
    return status;
}

/* What a Sentinel knows may be a few seconds old: the server is asked itself. One that may not say (ACL) is
 * believed; a write would tell. */
static cloak_status confirm_primary(cloak_redis *redis, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_wire_outcome result = exchange(redis, 1, (const char *[]){"ROLE"}, NULL, &reply);
    if (result != CLOAK_WIRE_OK)
        return fail_exchange(redis, result, error);
    cloak_status status = CLOAK_OK;
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOPERM", 6) != 0)
        status = cloak_advice_fail(redis->address.place, reply->str, error);
    else if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
             reply->element[0]->type == REDIS_REPLY_STRING && strcmp(reply->element[0]->str, "slave") == 0)
        status = cloak_fail(error, CLOAK_E_QUEUE,
            "%s: the server that the Sentinels name is a replica: a failover is under way",
            redis->address.place);
    if (status)
        disconnect(redis);
    freeReplyObject(reply);
    return status;
}

/* Opens the connection, plain or through TLS. */
static cloak_status open_wire(cloak_redis *redis, const char *host, int port, cloak_error *error) {
    const cloak_address *a = &redis->address;
    struct timeval limit = {(time_t)redis->timeout,
        (suseconds_t)((redis->timeout - (double)(time_t)redis->timeout) * 1e6)};
    redisContext *context = a->path ? redisConnectUnixWithTimeout(a->path, limit)
                                    : redisConnectWithTimeout(host, port, limit);
    const bool named = host && (!a->host || strcmp(host, a->host) != 0); /* by Sentinels, or a cluster's node */
    if (!context)
        abort(); /* out of memory, small allocation: see alloc.h */
    if (context->err) {
        cloak_fail(error, CLOAK_E_QUEUE,
            "%s: cannot connect%s%s: %s; is the server running, and is this its address?", a->place,
            named ? " to " : "", named ? host : "", context->errstr);
        redisFree(context);
        return CLOAK_E_QUEUE;
    }
    /* Programs we start must not hold the connection open. */
    fcntl(context->fd, F_SETFD, FD_CLOEXEC);
    if (host)
        redisEnableKeepAlive(context); /* a courtesy to idle connections; timeouts do without */
    const cloak_tls_settings tls = {host, a->cacert, a->cert, a->key};
    cloak_status status = cloak_wire_open(context->fd, a->tls ? &tls : NULL, a->place,
        cloak_now() + redis->timeout, &redis->wire, error);
    if (status) {
        redisFree(context);
        if (status != CLOAK_E_USAGE || !redis->met)
            return status;
        const cloak_error bad = *error; /* files that are being replaced are no mistake of the user's */
        return cloak_fail(error, CLOAK_E_QUEUE, "%s", bad.text);
    }
    redis->met = true;
    redis->context = context;
    return CLOAK_OK;
}

static void forget_node(cloak_redis *redis) {
    free(redis->moved_host);
    redis->moved_host = NULL;
}

/* `moved`: a node has just named another, and that is the one to talk to or nobody. */
static cloak_status connect_somewhere(cloak_redis *redis, bool moved, cloak_error *error) {
    const cloak_address *a = &redis->address;
    if (redis->moved_host) {
        cloak_status status = open_wire(redis, redis->moved_host, redis->moved_port, error);
        const bool open = status == CLOAK_OK;
        if (open)
            status = log_in(redis, error);
        if (status == CLOAK_OK)
            return status;
        forget_node(redis);
        if (moved || open)
            return status;
    }
    char *host = cloak_strdup(a->host);
    int port = a->port;
    cloak_status status = CLOAK_OK;
    if (a->sentinel_count)
        status = cloak_sentinel_find(a, redis->timeout < SENTINEL_SECONDS ? redis->timeout : SENTINEL_SECONDS,
            &redis->sentinel, &host, &port, error);
    if (status == CLOAK_E_USAGE && redis->met) { /* TLS files that are being replaced, see open_wire */
        const cloak_error bad = *error;
        status = cloak_fail(error, CLOAK_E_QUEUE, "%s", bad.text);
    }
    if (!status)
        status = open_wire(redis, host, port, error);
    free(host);
    if (!status)
        status = log_in(redis, error);
    if (!status && a->sentinel_count)
        status = confirm_primary(redis, error);
    return status;
}

/* Goes to the node of a cluster that holds the key, and checks that. */
static cloak_status check_holder(cloak_redis *redis, const char *key, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_status status = cloak_redis_call(redis, 2, (const char *[]){"EXISTS", key}, NULL, &reply, error);
    if (status)
        return status;
    freeReplyObject(reply);
    return cloak_redis_check(redis, error);
}

static cloak_status connect_now(cloak_redis *redis, bool moved, cloak_error *error) {
    cloak_status status = connect_somewhere(redis, moved, error);
    if (status || !redis->demanded)
        return status;
    char *key = redis->demanded;
    const bool repeat = redis->repeat;
    redis->demanded = NULL; /* the check may have to connect to another node */
    redis->repeat = false;
    status = check_holder(redis, key, error);
    redis->demanded = key;
    redis->repeat = repeat;
    redis->broke = false;
    if (status) {
        disconnect(redis);
        forget_node(redis);
    }
    return status;
}

static _Atomic uint64_t round_trips;

uint64_t cloak_redis_round_trips(void) {
    return round_trips;
}

/* Notes where to go when a node of a cluster names another for these keys ("MOVED slot host:port", Redis Cluster
 * specification); false when it does not. An empty host, or "?", is this one's. */
static bool follow_move(cloak_redis *redis, const redisReply *reply) {
    const cloak_address *a = &redis->address;
    if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "MOVED ", 6) != 0 || !a->host || a->sentinel_count)
        return false;
    const char *place = strchr(reply->str + 6, ' '), *colon = place ? strrchr(place, ':') : NULL;
    const int port = colon ? atoi(colon + 1) : 0;
    if (port < 1 || port > 65535)
        return false;
    const size_t length = (size_t)(colon - place) - 1;
    char *host = length == 0 || (length == 1 && place[1] == '?') ? cloak_strdup(redis->moved_host ? redis->moved_host : a->host)
                                                                 : strndup(place + 1, length);
    if (!host)
        abort(); /* out of memory, small allocation: see alloc.h */
    free(redis->moved_host);
    redis->moved_host = host;
    redis->moved_port = port;
    return true;
}

/* Sends a command, connecting first and once again as the essay says, and to where the nodes of a cluster send it. On
 * CLOAK_OK there is a reply, perhaps an error reply. */
static cloak_status converse(cloak_redis *redis, int argc, const char **argv, const size_t *lengths,
    redisReply **reply, cloak_error *error) {
    enum { MOST_MOVES = 3 };
    int moves = 0;
    redis->broke = false;
    for (bool repeated = false;;) {
        bool used = redis->context != NULL;
        cloak_status status = used ? CLOAK_OK : connect_now(redis, moves > 0, error);
        if (status)
            return status;
        cloak_wire_outcome result = exchange(redis, argc, argv, lengths, reply);
        if (result == CLOAK_WIRE_OK) {
            round_trips++;
            if (moves == MOST_MOVES || !follow_move(redis, *reply))
                return CLOAK_OK;
            freeReplyObject(*reply); /* nothing has run */
            *reply = NULL;
            disconnect(redis);
            moves++;
            continue;
        }
        if (result == CLOAK_WIRE_LATE)
            forget_node(redis); /* it may stand still while another has taken over */
        redis->broke = result == CLOAK_WIRE_BROKEN && used;
        if (!redis->broke || !redis->repeat || repeated)
            return fail_exchange(redis, result, error);
        repeated = true;
    }
}

/* Hands a reply out, or turns an error reply into an error. */
static cloak_status deliver(
    cloak_redis *redis, redisReply *got, redisReply **reply, cloak_error *error) {
    if (got->type != REDIS_REPLY_ERROR) {
        *reply = got;
        return CLOAK_OK;
    }
    cloak_advice_fail(redis->address.place, got->str, error);
    if (cloak_advice_reconnect(got->str)) {
        disconnect(redis);
        forget_node(redis);
    }
    freeReplyObject(got);
    return CLOAK_E_QUEUE;
}

cloak_status cloak_redis_call(cloak_redis *redis, int argc, const char **argv,
    const size_t *lengths, redisReply **reply, cloak_error *error) {
    redisReply *got = NULL;
    cloak_status status = converse(redis, argc, argv, lengths, &got, error);
    return status ? status : deliver(redis, got, reply, error);
}

/* The SHA-1 by which Redis knows a script. The script is shared by all threads. */
static void digest(cloak_script *script, char sha[41]) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!script->sha[0]) {
        unsigned char sum[EVP_MAX_MD_SIZE];
        if (!EVP_Digest(script->source, strlen(script->source), sum, NULL, EVP_sha1(), NULL))
            abort(); /* libcrypto without SHA-1: nothing can work */
        for (int i = 0; i < 20; i++)
            snprintf(script->sha + 2 * i, 3, "%02x", sum[i]);
    }
    memcpy(sha, script->sha, 41);
    pthread_mutex_unlock(&lock);
}

cloak_status cloak_redis_script(cloak_redis *redis, cloak_script *script, int key_count, int argc,
    const char **argv, const size_t *lengths, redisReply **reply, cloak_error *error) {
    char sha[41], keys[16];
    digest(script, sha);
    snprintf(keys, sizeof keys, "%d", key_count);
    const char **all = cloak_alloc(sizeof *all * (size_t)(argc + 3));
    size_t *sizes = cloak_alloc(sizeof *sizes * (size_t)(argc + 3));
    all[0] = "EVALSHA";
    all[1] = sha;
    all[2] = keys;
    for (int i = 0; i < argc; i++)
        all[i + 3] = argv[i];
    for (int i = 0; i < argc + 3; i++)
        sizes[i] = i >= 3 && lengths ? lengths[i - 3] : strlen(all[i]);

    redisReply *got = NULL;
    cloak_status status = converse(redis, argc + 3, all, sizes, &got, error);
    if (!status && got->type == REDIS_REPLY_ERROR && strncmp(got->str, "NOSCRIPT", 8) == 0) {
        /* The server restarted, failed over or was flushed: it learns the script again. */
        freeReplyObject(got);
        all[0] = "EVAL";
        all[1] = script->source;
        sizes[0] = 4;
        sizes[1] = strlen(script->source);
        status = converse(redis, argc + 3, all, sizes, &got, error);
    }
    free(all);
    free(sizes);
    return status ? status : deliver(redis, got, reply, error);
}
