/* The Redis connection against real servers, and against a fake one that misbehaves on purpose. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

static cloak_error error;

/* The server most tests share; NULL when redis-server is not installed. */
static server *shared(void) {
    static server *s;
    if (!s)
        s = server_start(NULL);
    return s;
}

static cloak_redis *open_redis(const char *url, double timeout) {
    cloak_redis *redis;
    CHECK_OK(cloak_redis_open(url, timeout, &redis, &error));
    return redis;
}

/* Runs a command of C strings and returns the status; the reply is dropped. */
#define RUN(redis, ...)                                                                            \
    run(redis, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *),                             \
        (const char *[]){__VA_ARGS__})

static cloak_status run(cloak_redis *redis, size_t argc, const char **argv) {
    redisReply *reply;
    memset(&error, 0, sizeof error);
    cloak_status status = cloak_redis_call(redis, (int)argc, argv, NULL, &reply, &error);
    if (!status)
        freeReplyObject(reply);
    return status;
}

static void check_error_names(const char *what) {
    if (!strstr(error.text, what))
        check_failed(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", error.text, what);
}

TEST(call_is_binary_safe) {
    if (!shared())
        return;
    cloak_redis *redis = open_redis(server_url(shared()), 5);
    const char value[] = "a\0b\r\nc\xff";
    const char *argv[] = {"SET", "binary", value};
    const size_t lengths[] = {3, 6, sizeof value};
    redisReply *reply;
    CHECK_OK(cloak_redis_call(redis, 3, argv, lengths, &reply, &error));
    freeReplyObject(reply);
    CHECK_OK(cloak_redis_call(redis, 2, (const char *[]){"GET", "binary"}, NULL, &reply, &error));
    CHECK_INT(reply->len, sizeof value);
    CHECK(memcmp(reply->str, value, sizeof value) == 0);
    freeReplyObject(reply);
    cloak_redis_close(redis);
}

TEST(call_large_both_ways) {
    if (!shared())
        return;
    cloak_redis *redis = open_redis(server_url(shared()), 10);
    size_t size = 20 << 20; /* more than any socket buffer */
    char *value = cloak_alloc(size + 1);
    memset(value, 'x', size);
    redisReply *reply;
    CHECK_OK(cloak_redis_call(redis, 2, (const char *[]){"ECHO", value}, NULL, &reply, &error));
    CHECK_INT(reply->len, size);
    freeReplyObject(reply);
    free(value);
    cloak_redis_close(redis);
}

TEST(call_over_tcp_and_database) {
    server *s = server_start(&(server_setup){.tcp = true});
    if (!s)
        return;
    char *url = cloak_format("%s/3", server_url(s));
    cloak_redis *redis = open_redis(url, 5);
    CHECK_OK(RUN(redis, "SET", "where", "three"));
    cloak_redis_close(redis);
    redis = open_redis(server_url(s), 5);
    redisReply *reply;
    CHECK_OK(cloak_redis_call(redis, 2, (const char *[]){"GET", "where"}, NULL, &reply, &error));
    CHECK_INT(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
    cloak_redis_close(redis);
    free(url);
    url = cloak_format("%s/999", server_url(s));
    redis = open_redis(url, 5);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("no database of that number");
    cloak_redis_close(redis);
    free(url);
    server_stop(s);
}

TEST(error_reply_keeps_the_connection) {
    if (!shared())
        return;
    cloak_redis *redis = open_redis(server_url(shared()), 5);
    CHECK_OK(RUN(redis, "SET", "text", "x"));
    CHECK(RUN(redis, "INCR", "text") == CLOAK_E_QUEUE);
    check_error_names("not an integer");
    check_error_names(server_socket(shared()));
    CHECK_OK(RUN(redis, "PING"));
    cloak_redis_close(redis);
}

TEST(password) {
    server *s = server_start(&(server_setup){.password = "open sesame/@:%"});
    if (!s)
        return;
    char *bare = cloak_format("unix://%s", server_socket(s));
    cloak_redis *redis = open_redis(bare, 5);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("put it into the URL");
    CHECK(!error.retryable);
    cloak_redis_close(redis);

    char *wrong = cloak_format("unix://:hunter2@%s", server_socket(s));
    redis = open_redis(wrong, 5);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("refuses this user and password");
    CHECK(!strstr(error.text, "hunter2"));
    CHECK(!strstr(cloak_redis_place(redis), "hunter2"));
    cloak_redis_close(redis);

    char *right = cloak_format("unix://:open%%20sesame%%2F%%40%%3A%%25@%s", server_socket(s));
    redis = open_redis(right, 5);
    CHECK_OK(RUN(redis, "ACL", "SETUSER", "ann", "on", ">pw", "~*", "+ping"));
    cloak_redis_close(redis);
    char *user = cloak_format("unix://ann:pw@%s", server_socket(s));
    redis = open_redis(user, 5);
    CHECK_OK(RUN(redis, "PING"));
    CHECK(RUN(redis, "GET", "k") == CLOAK_E_QUEUE);
    check_error_names("ACL");
    cloak_redis_close(redis);
    free(bare);
    free(wrong);
    free(right);
    free(user);
    server_stop(s);
}

TEST(password_that_the_server_lacks) {
    if (!shared())
        return;
    char *url = cloak_format("unix://:hunter2@%s", server_socket(shared()));
    cloak_redis *redis = open_redis(url, 5);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("the server has none");
    CHECK(!strstr(error.text, "hunter2"));
    cloak_redis_close(redis);
    free(url);
}

TEST(timeout_then_fresh_reply) {
    server *s = server_start(NULL);
    if (!s)
        return;
    cloak_redis *redis = open_redis(server_url(s), 0.3);
    CHECK_OK(RUN(redis, "PING"));
    server_freeze(s);
    double start = cloak_now();
    CHECK(RUN(redis, "ECHO", "late") == CLOAK_E_QUEUE);
    CHECK_NEAR(cloak_now() - start, 0.3, 0.2);
    check_error_names("no reply within");
    CHECK(error.retryable);
    server_thaw(s);
    redisReply *reply;
    CHECK_OK(cloak_redis_call(redis, 2, (const char *[]){"ECHO", "new"}, NULL, &reply, &error));
    CHECK_TEXT(reply->str, "new");
    freeReplyObject(reply);
    cloak_redis_close(redis);
    server_stop(s);
}

TEST(server_away_and_back) {
    server *s = server_start(NULL);
    if (!s)
        return;
    cloak_redis *redis = open_redis(server_url(s), 5);
    CHECK_OK(RUN(redis, "PING"));
    server_restart(s); /* the connection is dead and does not know it */
    CHECK_OK(RUN(redis, "PING"));
    server_kill(s);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("cannot connect");
    check_error_names(server_socket(s));
    server_restart(s);
    CHECK_OK(RUN(redis, "PING"));
    cloak_redis_close(redis);
    server_stop(s);
}

TEST(script_digest_and_reload) {
    if (!shared())
        return;
    cloak_redis *redis = open_redis(server_url(shared()), 5);
    cloak_script script = {"sum", "return KEYS[1] .. ARGV[1] .. '\\n' .. ARGV[2]", ""};
    const char *argv[] = {"key", "a\nb", "c"};
    for (int i = 0; i < 3; i++) {
        redisReply *reply;
        CHECK_OK(cloak_redis_script(redis, &script, 1, 3, argv, NULL, &reply, &error));
        CHECK_TEXT(reply->str, "keya\nb\nc");
        freeReplyObject(reply);
        if (i == 1)
            CHECK_OK(RUN(redis, "SCRIPT", "FLUSH"));
    }
    redisReply *reply;
    const char *load[] = {"SCRIPT", "LOAD", script.source};
    CHECK_OK(cloak_redis_call(redis, 3, load, NULL, &reply, &error));
    CHECK_TEXT(reply->str, script.sha);
    freeReplyObject(reply);
    cloak_redis_close(redis);
}

TEST(check_policy) {
    server *s = server_start(&(server_setup){.options = {"--maxmemory-policy", "allkeys-lru"}});
    if (!s)
        return;
    cloak_redis *redis = open_redis(server_url(s), 5);
    CHECK(cloak_redis_check(redis, &error) == CLOAK_E_QUEUE);
    check_error_names("maxmemory-policy is allkeys-lru");
    check_error_names("noeviction");
    CHECK(!error.retryable);
    CHECK_OK(RUN(redis, "CONFIG", "SET", "maxmemory-policy", "noeviction"));
    CHECK_OK(cloak_redis_check(redis, &error));
    cloak_redis_close(redis);
    server_stop(s);
}

/* Who takes over, or comes back from a restart, may be set up differently. */
TEST(every_new_connection_is_checked) {
    server *s = server_start(NULL);
    if (!s)
        return;
    cloak_queue *queue;
    cloak_redis *other = open_redis(server_url(s), 5);
    CHECK_OK(cloak_queue_open(server_url(s), "q", 5, &queue, &error));
    cloak_redis *redis = queue->redis;
    CHECK_OK(RUN(redis, "CONFIG", "SET", "maxmemory-policy", "allkeys-random"));
    CHECK_OK(RUN(redis, "SET", "k", "1")); /* the same connection */
    CHECK_OK(RUN(other, "CLIENT", "KILL", "TYPE", "normal"));
    for (int i = 0; i < 2; i++) {
        CHECK(RUN(redis, "SET", "k", "2") == CLOAK_E_QUEUE);
        check_error_names("maxmemory-policy is allkeys-random");
        CHECK(!error.retryable && !cloak_redis_broke(redis));
    }
    CHECK_OK(RUN(other, "CONFIG", "SET", "maxmemory-policy", "noeviction"));
    CHECK_OK(RUN(redis, "SET", "k", "3"));
    cloak_redis_close(other);
    cloak_queue_close(queue);
    server_stop(s);
}

TEST(check_hidden_config) {
    server *s = server_start(&(server_setup){.options = {"--rename-command", "CONFIG", ""}});
    if (!s)
        return;
    cloak_redis *redis = open_redis(server_url(s), 5);
    CHECK(RUN(redis, "CONFIG", "GET", "maxmemory-policy") == CLOAK_E_QUEUE);
    CHECK_OK(cloak_redis_check(redis, &error));
    cloak_redis_close(redis);
    server_stop(s);
}

TEST(replica_and_memory) {
    server *s = server_start(NULL);
    if (!s)
        return;
    cloak_redis *redis = open_redis(server_url(s), 5);
    CHECK_OK(RUN(redis, "CONFIG", "SET", "maxmemory", "1"));
    CHECK(RUN(redis, "SET", "k", "v") == CLOAK_E_QUEUE);
    check_error_names("used up its maxmemory");
    CHECK_OK(RUN(redis, "CONFIG", "SET", "maxmemory", "0"));
    CHECK_OK(RUN(redis, "REPLICAOF", "127.0.0.1", "1"));
    CHECK(RUN(redis, "SET", "k", "v") == CLOAK_E_QUEUE);
    check_error_names("read-only replica");
    CHECK(cloak_redis_check(redis, &error) == CLOAK_E_QUEUE);
    check_error_names("this is a replica");
    CHECK_OK(RUN(redis, "CONFIG", "SET", "replica-serve-stale-data", "no"));
    CHECK(RUN(redis, "GET", "k") == CLOAK_E_QUEUE);
    check_error_names("lost its primary");
    cloak_redis_close(redis);
    server_stop(s);
}

/* --- a server that says what the test wants --- */

typedef struct {
    char path[200];
    const char *const *says; /* reply to the n-th command, NULL ends the connection */
    int says_count;
    bool trickle; /* a byte every 0.1 s */
    int listener;
    atomic_int commands, connections;
    pthread_t thread;
} fake;

static void fake_serve(fake *f, int fd) {
    char command[4096];
    while (recv(fd, command, sizeof command, 0) > 0) {
        int at = atomic_fetch_add(&f->commands, 1);
        const char *text = at < f->says_count ? f->says[at] : NULL;
        if (!text)
            break;
        size_t length = strlen(text);
        for (size_t i = 0; f->trickle && i < length; i++) {
            if (send(fd, text + i, 1, MSG_NOSIGNAL) != 1)
                break;
            cloak_clock_system.sleep(0.1);
        }
        if (!f->trickle && send(fd, text, length, MSG_NOSIGNAL) < 0)
            break;
        if (strstr(text, "half"))
            break;
    }
    close(fd);
}

static void *fake_main(void *context) {
    fake *f = context;
    for (int fd; (fd = accept(f->listener, NULL, NULL)) >= 0;) {
        atomic_fetch_add(&f->connections, 1);
        fake_serve(f, fd);
    }
    return NULL;
}

static fake *fake_start(const char *const *says, int count, bool trickle) {
    static int number;
    fake *f = cloak_alloc(sizeof *f);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/fake-%d", check_folder(), number++);
    snprintf(f->path, sizeof f->path, "unix://%s", at.sun_path);
    f->says = says;
    f->says_count = count;
    f->trickle = trickle;
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(f->listener, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(listen(f->listener, 8) == 0);
    CHECK(pthread_create(&f->thread, NULL, fake_main, f) == 0);
    return f;
}

static void fake_stop(fake *f) {
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    free(f);
}

TEST(fake_break_is_repeated_once) {
    static const char *const says[] = {
        "+OK\r\n", "$9\r\nhalf", "+SECOND\r\n", NULL, NULL, "+NO\r\n"};
    fake *f = fake_start(says, 6, false);
    cloak_redis *redis = open_redis(f->path, 5);
    CHECK_OK(RUN(redis, "PING"));
    redisReply *reply;
    CHECK_OK(cloak_redis_call(redis, 1, (const char *[]){"PING"}, NULL, &reply, &error));
    CHECK_TEXT(reply->str, "SECOND");
    freeReplyObject(reply);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE); /* breaks, is sent again, breaks again */
    check_error_names("the connection broke");
    CHECK_INT(atomic_load(&f->commands), 5);
    CHECK_INT(atomic_load(&f->connections), 3);
    cloak_redis_close(redis);
    fake_stop(f);
}

TEST(fake_break_is_not_repeated_when_told) {
    static const char *const says[] = {"+OK\r\n", NULL, "+NO\r\n"};
    fake *f = fake_start(says, 3, false);
    cloak_redis *redis = open_redis(f->path, 5);
    cloak_redis_set_repeat(redis, false);
    CHECK_OK(RUN(redis, "PING"));
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    CHECK(cloak_redis_broke(redis));
    CHECK_INT(atomic_load(&f->commands), 2);
    cloak_redis_close(redis);
    fake_stop(f);
}

TEST(fake_trickle_is_bounded) {
    static const char *const says[] = {"$40\r\n0123456789012345678901234567890123456789\r\n"};
    fake *f = fake_start(says, 1, true);
    cloak_redis *redis = open_redis(f->path, 0.5);
    double start = cloak_now();
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    CHECK_NEAR(cloak_now() - start, 0.5, 0.25);
    check_error_names("no reply within");
    cloak_redis_close(redis);
    fake_stop(f);
}

TEST(fake_not_redis) {
    static const char *const says[] = {"HTTP/1.1 400 Bad Request\r\n\r\n"};
    fake *f = fake_start(says, 1, false);
    cloak_redis *redis = open_redis(f->path, 5);
    CHECK(RUN(redis, "PING") == CLOAK_E_QUEUE);
    check_error_names("not a Redis server");
    cloak_redis_close(redis);
    fake_stop(f);
}

TEST(fake_loading_reconnects) {
    static const char *const says[] = {"-LOADING Redis is loading\r\n", "+OK\r\n"};
    fake *f = fake_start(says, 2, false);
    cloak_redis *redis = open_redis(f->path, 5);
    CHECK(RUN(redis, "GET", "k") == CLOAK_E_QUEUE);
    check_error_names("try again shortly");
    CHECK_OK(RUN(redis, "GET", "k"));
    CHECK_INT(atomic_load(&f->connections), 2);
    cloak_redis_close(redis);
    fake_stop(f);
}

static void check_info(const char *info, const char *complaint) {
    char *text = cloak_format("$%zu\r\n%s\r\n", strlen(info), info);
    const char *says[] = {text, "-ERR unknown command 'CONFIG'\r\n"};
    fake *f = fake_start(says, 2, false);
    cloak_redis *redis = open_redis(f->path, 5);
    if (complaint) {
        CHECK(cloak_redis_check(redis, &error) == CLOAK_E_QUEUE);
        check_error_names(complaint);
        CHECK(!error.retryable);
    } else {
        CHECK_OK(cloak_redis_check(redis, &error));
    }
    cloak_redis_close(redis);
    fake_stop(f);
    free(text);
}

TEST(fake_versions) {
    check_info("redis_version:6.2.0\r\nmaxmemory_policy:noeviction\r\n", NULL);
    check_info(
        "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\nmaxmemory_policy:noeviction\r\n", NULL);
    check_info("redis_version:10.0.0\r\nmaxmemory_policy:noeviction\r\n", NULL);
    check_info("redis_version:6.0.16\r\nmaxmemory_policy:noeviction\r\n", "version is 6.0.16");
    check_info("maxmemory_policy:noeviction\r\n", "version is unknown");
    check_info("redis_version:7.0.0\r\nxmaxmemory_policy:noeviction\r\n", "neither by INFO nor");
}
