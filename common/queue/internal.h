/* What the files of this folder share; nobody else includes it. */
#ifndef CLOAK_QUEUE_INTERNAL_H
#define CLOAK_QUEUE_INTERNAL_H

#include "common/queue/queue.h"
#include "common/queue/redis.h"

/* --- address.c: a Redis URL taken apart --- */

enum { CLOAK_SENTINELS_MAX = 16 };

typedef struct {
    char *host;
    int port;
} cloak_sentinel;

typedef struct {
    char *host; /* NULL for a unix socket and for Sentinels */
    int port;
    cloak_sentinel sentinels[CLOAK_SENTINELS_MAX]; /* who know where the primary is */
    size_t sentinel_count;                         /* 0: none are asked */
    char *sentinel_user, *sentinel_password;       /* theirs, decoded; NULL when the URL has none */
    char *service;                                 /* what they call it, else NULL */
    char *path; /* of the unix socket, else NULL */
    int db;
    char *user, *password; /* decoded; NULL when the URL has none */
    bool tls;
    char *cacert, *cert, *key; /* of TLS, paths; NULL when the URL has none */
    char *place;           /* the URL as people may read it, without user and password */
} cloak_address;

/* Parses `url`. CLOAK_E_USAGE names what is wrong but repeats no part of the URL, since any part
 * may turn out to be a piece of a password. Free with cloak_address_clear. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_address_parse(
    const char *url, cloak_address *address, cloak_error *error);
void cloak_address_clear(cloak_address *address);

/* The address of the i-th Sentinel itself, with the TLS files and the Sentinels' own user and password, as
 * new strings. */
void cloak_address_sentinel(const cloak_address *address, size_t i, cloak_address *out);

/* --- advice.c: what an error reply means and what to do --- */

/* Fills `error` from the error reply `text` of the server `place`. Returns CLOAK_E_QUEUE. */
cloak_status cloak_advice_fail(const char *place, const char *text, cloak_error *error);

/* True when the reply says that this connection leads to the wrong server or to one that is not
 * ready, so that opening a new one may help. */
bool cloak_advice_reconnect(const char *text);

/* --- redis.c, beyond redis.h --- */

/* As cloak_redis_open with an address, which is taken over. */
cloak_redis *cloak_redis_open_address(cloak_address *address, double timeout);

/* Whether a command is sent once more when its connection breaks; see the essay in redis.c. */
void cloak_redis_set_repeat(cloak_redis *redis, bool repeat);

/* Whether the last call failed because a connection that had worked broke. */
bool cloak_redis_broke(const cloak_redis *redis);

/* From now on every new connection begins with cloak_redis_check, of that node of a cluster that holds the key: another
 * server may have taken over, or the same one may have come back with other settings. Once for a connection. */
void cloak_redis_demand(cloak_redis *redis, const char *key);

/* --- sentinel.c --- */

/* Asks the Sentinels of the address, from the `*first`-th on, where the primary is; `*first` becomes the one
 * that knew. `*host` is a new string. CLOAK_E_QUEUE when none knows; each has `timeout` seconds at most. */
CLOAK_MUST_CHECK cloak_status cloak_sentinel_find(const cloak_address *address, double timeout,
    size_t *first, char **host, int *port, cloak_error *error);

/* --- queue.c --- */

/* The queue's fixed keys. The first nine are what every script that moves jobs declares, in this
 * order (scripts/place.lua).   X(enumerator, name) */
#define CLOAK_KEY_TABLE(X)                                                                         \
    X(CLOAK_KEY_LEASED, "leased")                                                                  \
    X(CLOAK_KEY_LEASES, "leases")                                                                  \
    X(CLOAK_KEY_DELAYED, "delayed")                                                                \
    X(CLOAK_KEY_SINGLE, "single")                                                                  \
    X(CLOAK_KEY_BACKLOG, "backlog")                                                                \
    X(CLOAK_KEY_ACTIVE_INTERACTIVE, "active:interactive")                                          \
    X(CLOAK_KEY_ACTIVE_BULK, "active:bulk")                                                        \
    X(CLOAK_KEY_VTIME_INTERACTIVE, "vtime:interactive")                                            \
    X(CLOAK_KEY_VTIME_BULK, "vtime:bulk")                                                          \
    X(CLOAK_KEY_WEIGHTS, "weights")                                                                \
    X(CLOAK_KEY_PAUSED, "paused")                                                                  \
    X(CLOAK_KEY_PAUSED_ALBUMS, "paused:albums")                                                    \
    X(CLOAK_KEY_RESUMING, "resuming")                                                              \
    X(CLOAK_KEY_PASSED, "passed")                                                                  \
    X(CLOAK_KEY_SETTLED, "settled")                                                                \
    X(CLOAK_KEY_SETTLED_OLD, "settled:old")                                                        \
    X(CLOAK_KEY_LOG, "log")                                                                        \
    X(CLOAK_KEY_ALBUMS, "albums")                                                                  \
    X(CLOAK_KEY_WORKERS, "workers")                                                                \
    X(CLOAK_KEY_WORKERS_ABOUT, "workers:about")

typedef enum {
#define X(name, word) name,
    CLOAK_KEY_TABLE(X)
#undef X
        CLOAK_KEY_COUNT
} cloak_key;

enum { CLOAK_QUEUE_KEYS = CLOAK_KEY_VTIME_BULK + 1 };

struct cloak_queue {
    cloak_redis *redis;
    char *prefix; /* "cloak:{NAME}:" */
    char *keys[CLOAK_KEY_COUNT];
    char boot[17];     /* random, in hex: whose tokens these are */
    uint32_t sequence; /* of the next token */
    /* A claim whose reply was lost: its tokens' prefix ("" when there is none), first and last
     * sequence. */
    char doubt[CLOAK_TOKEN_SIZE];
    uint32_t doubt_first, doubt_last;
};

/* CLOAK_OK when `word` is 1 to `most` characters of [A-Za-z0-9_.-]; otherwise CLOAK_E_USAGE that
 * calls it `what`. */
CLOAK_MUST_CHECK cloak_status cloak_word_check(
    const char *what, const char *word, size_t most, cloak_error *error);

/* CLOAK_OK when `id` is a UUID in text. */
CLOAK_MUST_CHECK cloak_status cloak_album_check(const char *id, cloak_error *error);

/* Returns CLOAK_E_USAGE: the album is not in this queue. */
cloak_status cloak_album_unknown(const cloak_queue *queue, const char *id, cloak_error *error);

/* Returns CLOAK_E_QUEUE: a script answered what it never should. */
cloak_status cloak_reply_unexpected(
    const cloak_queue *queue, const char *script, cloak_error *error);

/* --- call.c: one script call being put together --- */

typedef struct {
    cloak_queue *queue;
    cloak_script *script; /* borrowed */
    const char **argv;    /* the keys first */
    size_t *lengths;
    char **owned; /* owned[i] is freed with the call; NULL for a borrowed argument */
    int count, room, keys;
} cloak_call;

void cloak_call_begin(cloak_call *call, cloak_queue *queue, cloak_script *script);

/* Keys come before arguments. */
void cloak_call_key(cloak_call *call, cloak_key key);
void cloak_call_queue_keys(cloak_call *call); /* the nine of scripts/place.lua */
void cloak_call_album_key(cloak_call *call, const char *kind, const char *album);

void cloak_call_text(cloak_call *call, const char *text); /* borrowed until the run */
void cloak_call_bytes(cloak_call *call, const char *bytes, size_t length); /* the same */
void cloak_call_number(cloak_call *call, int64_t number);
void cloak_call_job(cloak_call *call, const cloak_job *job); /* job id and token */

/* Runs the script and frees the call, whatever happens. The reply is the caller's. */
CLOAK_MUST_CHECK cloak_status cloak_call_run(
    cloak_call *call, redisReply **reply, cloak_error *error);

/* The same for a script that returns an integer. */
CLOAK_MUST_CHECK cloak_status cloak_call_integer(
    cloak_call *call, long long *number, cloak_error *error);

/* The same for one that returns {text, integer}, `text` being a cursor of at most 31 characters. */
CLOAK_MUST_CHECK cloak_status cloak_call_step(
    cloak_call *call, char cursor[32], long long *number, cloak_error *error);

/* --- entry.c: jobs as the queue stores them --- */

/* Fills `job` from a waiting entry (scripts/place.lua), all but `token`. `now` is server time in
 * ms. Returns false, with `job` unaltered, for bytes that are no entry. On success the caller owns
 * job->key. Any thread. */
CLOAK_MUST_CHECK bool cloak_entry_parse(
    const char *bytes, size_t length, int64_t now, cloak_job *job);

/* Takes a dead letter apart: `*job` as above with the failures and losses it died with (the caller
 * frees job->key); `*word` and `*text` are new strings. False for bytes that are none. */
CLOAK_MUST_CHECK bool cloak_entry_parse_dead(
    const char *bytes, size_t length, cloak_job *job, char **word, char **text);

/* --- generated from scripts/ --- */

extern cloak_script cloak_script_beat, cloak_script_books, cloak_script_cancel, cloak_script_claim,
    cloak_script_create, cloak_script_fail, cloak_script_finish, cloak_script_load, cloak_script_pause,
    cloak_script_pause_tenant, cloak_script_recover,
    cloak_script_release, cloak_script_renew, cloak_script_retry, cloak_script_seal,
    cloak_script_submit, cloak_script_tenants, cloak_script_workers;

#endif
