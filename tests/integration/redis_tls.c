/* The Redis connection through TLS, against a real server with certificates made here. */
#include <unistd.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

static cloak_error error;

/* An authority, and certificates that it signed: the server's for "localhost" alone, and ours. */
static const char make_certificates[] =
    "set -e; cd '%s'; exec 2>openssl.log; "
    "pair() { openssl req -newkey rsa:2048 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr; "
    "openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 "
    "-extfile $1.ext -out $1.crt; }; "
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=cloakfleet-test -keyout ca.key -out ca.crt; "
    "echo subjectAltName=DNS:localhost > server.ext; echo basicConstraints=CA:FALSE > client.ext; "
    "pair server; pair client";

typedef struct {
    server *server;
    int port;
    char *folder;
} Secure;

/* One server for all tests, which wants a certificate of its clients. NULL: not installed. */
static const Secure *secure(void) {
    static Secure s;
    if (s.server || s.folder)
        return s.server ? &s : NULL;
    s.folder = cloak_strdup(check_folder());
    char *command = cloak_format(make_certificates, s.folder);
    if (system(command) != 0)
        check_failed(__FILE__, __LINE__, "openssl could not make certificates");
    free(command);
    s.port = server_free_port();
    char port[16];
    snprintf(port, sizeof port, "%d", s.port);
    char *crt = cloak_format("%s/server.crt", s.folder), *key = cloak_format("%s/server.key", s.folder),
         *ca = cloak_format("%s/ca.crt", s.folder);
    const server_setup setup = {.every_write = true, .options = {"--tls-port", port, "--tls-cert-file", crt,
                                    "--tls-key-file", key, "--tls-ca-cert-file", ca}};
    s.server = server_start(&setup);
    free(crt);
    free(key);
    free(ca);
    return s.server ? &s : NULL;
}

/* The server's URL; `files`: C the authority, O our certificate and key. Free it. */
static char *url_of(const Secure *s, const char *host, const char *files) {
    char *ca = strchr(files, 'C') ? cloak_format("cacert=%s/ca.crt", s->folder) : cloak_strdup("");
    char *own = strchr(files, 'O')
                    ? cloak_format("cert=%s/client.crt&key=%s/client.key", s->folder, s->folder)
                    : cloak_strdup("");
    char *url = cloak_format("rediss://%s:%d%s%s%s%s", host, s->port, *files ? "?" : "", ca,
        *ca && *own ? "&" : "", own);
    free(ca);
    free(own);
    return url;
}

/* PING over a new connection. */
static cloak_status ping(const char *url, double timeout) {
    cloak_redis *redis;
    redisReply *reply;
    memset(&error, 0, sizeof error);
    CHECK_OK(cloak_redis_open(url, timeout, &redis, &error));
    cloak_status status =
        cloak_redis_call(redis, 1, (const char *[]){"PING"}, NULL, &reply, &error);
    if (!status) {
        CHECK_TEXT(reply->str, "PONG");
        freeReplyObject(reply);
    }
    cloak_redis_close(redis);
    return status;
}

static void check_refused(char *url, cloak_status status, const char *because) {
    CHECK_INT(ping(url, 5), status);
    if (!strstr(error.text, because))
        check_failed(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", error.text, because);
    free(url);
}

TEST(large_values_go_both_ways) {
    enum { SIZE = 5000000 };
    const Secure *s = secure();
    if (!s)
        return;
    cloak_redis *redis;
    redisReply *reply;
    char *url = url_of(s, "localhost", "CO"), *value = cloak_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        value[i] = (char)(i * 7919 >> 5);
    CHECK_OK(cloak_redis_open(url, 10, &redis, &error));
    CHECK(strncmp(cloak_redis_place(redis), "rediss://localhost:", 19) == 0);
    CHECK(!strchr(cloak_redis_place(redis), '?'));
    for (int round = 0; round < 3; round++) {
        const char *set[] = {"SET", "large", value};
        const size_t lengths[] = {3, 5, SIZE};
        CHECK_OK(cloak_redis_call(redis, 3, set, lengths, &reply, &error));
        freeReplyObject(reply);
        CHECK_OK(cloak_redis_call(redis, 2, (const char *[]){"GET", "large"}, NULL, &reply, &error));
        CHECK(reply->len == SIZE && memcmp(reply->str, value, SIZE) == 0);
        freeReplyObject(reply);
    }
    cloak_redis_close(redis);
    free(value);
    free(url);
}

TEST(a_queue_works_through_it_and_over_a_restart) {
    const Secure *s = secure();
    if (!s)
        return;
    cloak_queue *queue;
    char *url = url_of(s, "localhost", "CO"), id[CLOAK_ALBUM_ID_SIZE];
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, id);
    const cloak_album_spec spec = {id, "t", "bulk", "/src", "/dst", "{}", NULL};
    const cloak_job_spec photo = {0, 100, "a.jpg"};
    size_t count;
    uint64_t backlog;
    cloak_job *jobs;
    CHECK_OK(cloak_queue_open(url, "tls", 5, &queue, &error));
    CHECK_OK(cloak_queue_create(queue, &spec, &error));
    CHECK_OK(cloak_queue_submit(queue, id, &photo, 1, &count, &backlog, &error));
    CHECK_OK(cloak_queue_claim(queue, "w", 1, 1000, 30, &jobs, &count, &error));
    CHECK_INT(count, 1);
    server_restart(s->server); /* the connection is made anew, handshake and all */
    CHECK_OK(cloak_queue_finish(queue, &jobs[0], NULL, 0, NULL, &error));
    cloak_jobs_free(jobs, count);
    cloak_queue_close(queue);
    free(url);
}

TEST(who_is_not_trusted_is_refused) {
    const Secure *s = secure();
    if (!s)
        return;
    check_refused(url_of(s, "localhost", "O"), CLOAK_E_QUEUE, "cacert"); /* not the system's authority */
    check_refused(url_of(s, "127.0.0.1", "CO"), CLOAK_E_QUEUE, "mismatch"); /* not for this host */
    check_refused(url_of(s, "localhost", "C"), CLOAK_E_QUEUE, "certificate"); /* the server wants ours */
}

TEST(plain_and_tls_do_not_mix) {
    const Secure *s = secure();
    if (!s)
        return;
    check_refused(cloak_format("redis://localhost:%d", s->port), CLOAK_E_QUEUE, "broke");
    server *plain = server_start(&(server_setup){.tcp = true});
    char *url = cloak_format("rediss://localhost:%d", server_port(plain));
    CHECK_INT(ping(url, 0.5), CLOAK_E_QUEUE); /* a plain Redis waits for the end of a line */
    CHECK(strstr(error.text, "speak TLS"));
    free(url);
    server_stop(plain);
}

TEST(files_that_are_none_are_named) {
    const Secure *s = secure();
    if (!s)
        return;
    check_refused(cloak_format("rediss://localhost:%d?cacert=/no/such.pem", s->port), CLOAK_E_USAGE,
        "/no/such.pem");
    check_refused(cloak_format("rediss://localhost:%d?cert=%s/client.key&key=%s/client.key", s->port,
                      s->folder, s->folder),
        CLOAK_E_USAGE, "client.key");
}

/* Files are replaced one after the other: who was connected tries again later. */
TEST(files_that_go_bad_later_are_no_usage_error) {
    const Secure *s = secure();
    if (!s)
        return;
    cloak_redis *redis;
    redisReply *reply;
    char *copy = cloak_format("cp %s/client.crt %s/mine.crt", s->folder, s->folder);
    char *spoil = cloak_format("echo nothing > %s/mine.crt", s->folder);
    char *url = cloak_format("rediss://localhost:%d?cacert=%s/ca.crt&cert=%s/mine.crt&key=%s/client.key",
        s->port, s->folder, s->folder, s->folder);
    const char *ping_command[] = {"PING"};
    CHECK(system(copy) == 0);
    CHECK_OK(cloak_redis_open(url, 5, &redis, &error));
    CHECK_OK(cloak_redis_call(redis, 1, ping_command, NULL, &reply, &error));
    freeReplyObject(reply);
    CHECK(system(spoil) == 0);
    server_restart(s->server);
    CHECK_INT(cloak_redis_call(redis, 1, ping_command, NULL, &reply, &error), CLOAK_E_QUEUE);
    CHECK(error.retryable && strstr(error.text, "mine.crt"));
    CHECK(system(copy) == 0);
    CHECK_OK(cloak_redis_call(redis, 1, ping_command, NULL, &reply, &error));
    freeReplyObject(reply);
    cloak_redis_close(redis);
    free(copy);
    free(spoil);
    free(url);
}

TEST(a_frozen_server_is_late) {
    const Secure *s = secure();
    if (!s)
        return;
    char *url = url_of(s, "localhost", "CO");
    server_freeze(s->server);
    CHECK_INT(ping(url, 0.3), CLOAK_E_QUEUE); /* the kernel accepts; nobody shakes hands */
    CHECK(strstr(error.text, "in time"));
    server_thaw(s->server);
    CHECK_INT(ping(url, 5), CLOAK_OK);
    free(url);
}
