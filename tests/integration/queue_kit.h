/* What the tests of the queue share: one server, a queue per test, photos in bulk, and the books
 * checked whenever they are read. */
#ifndef CLOAK_TESTS_QUEUE_KIT_H
#define CLOAK_TESTS_QUEUE_KIT_H

#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

static cloak_error error;

/* One server for all tests; each test has a queue of its own. NULL: not installed. */
static inline server *shared(void) {
    static server *s;
    if (!s)
        s = server_start(NULL);
    return s;
}

static inline cloak_queue *open_queue(const char *name) {
    cloak_queue *queue;
    CHECK_OK(cloak_queue_open(server_url(shared()), name, 5, &queue, &error));
    return queue;
}

/* Skips the test without a server; otherwise `queue` is a new queue named after the test. */
#define WITH_QUEUE(queue)                                                                          \
    if (!shared())                                                                                 \
        return;                                                                                    \
    cloak_queue *queue = open_queue(__func__)

typedef struct {
    char id[CLOAK_ALBUM_ID_SIZE];
} album_id;

static inline album_id make_album(cloak_queue *queue, const char *tenant, const char *job_class) {
    album_id album;
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, album.id);
    cloak_album_spec spec = {album.id, tenant, job_class, "/src", "/dst", "{}", NULL};
    CHECK_OK(cloak_queue_create(queue, &spec, &error));
    return album;
}

/* Submits photos first, first + 1, ... of 100 ms each. Returns how many were accepted. */
static inline size_t submit(
    cloak_queue *queue, const album_id *album, uint32_t first, uint32_t count) {
    cloak_job_spec specs[1000];
    char keys[1000][32];
    size_t accepted;
    uint64_t backlog;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(keys[i], sizeof keys[i], "photo %u.jpg", (unsigned)(first + i));
        specs[i] = (cloak_job_spec){first + i, 100, keys[i]};
    }
    CHECK_OK(cloak_queue_submit(queue, album->id, specs, count, &accepted, &backlog, &error));
    return accepted;
}

typedef struct {
    cloak_job *jobs;
    size_t count;
} batch;

static inline batch claim(cloak_queue *queue, size_t max_jobs, double lease) {
    batch b;
    CHECK_OK(cloak_queue_claim(queue, "w1", max_jobs, 1000000, lease, &b.jobs, &b.count, &error));
    return b;
}

/* Claims again and again until photos come, for at most 5 s. */
static inline batch claim_wait(cloak_queue *queue, size_t max_jobs, double lease) {
    double deadline = cloak_now() + 5;
    for (;;) {
        batch b = claim(queue, max_jobs, lease);
        if (b.count > 0 || cloak_now() > deadline)
            return b;
        cloak_jobs_free(b.jobs, b.count);
        cloak_clock_system.sleep(0.02);
    }
}

static inline void drop(batch b) {
    cloak_jobs_free(b.jobs, b.count);
}

static inline void finish(cloak_queue *queue, const cloak_job *job) {
    cloak_stat stats[] = {{"photos", 1}, {"index", job->index}};
    CHECK_OK(cloak_queue_finish(queue, job, stats, 2, "{\"ok\":true}", &error));
}

static inline bool fail_as(
    cloak_queue *queue, const cloak_job *job, cloak_status code, double delay) {
    cloak_error why = {.code = code, .text = "why it\nfailed"};
    bool dead;
    CHECK_OK(cloak_queue_fail(queue, job, &why, delay, &dead, &error));
    return dead;
}

/* The integer reply of a bare command on the queue's server. */
static inline long long ask(
    cloak_queue *queue, const char *command, const char *key, const char *arg) {
    redisReply *reply;
    char *full = cloak_format("%s%s", queue->prefix, key);
    const char *argv[] = {command, full, arg};
    CHECK_OK(cloak_redis_call(queue->redis, arg ? 3 : 2, argv, NULL, &reply, &error));
    long long n = reply->integer;
    freeReplyObject(reply);
    free(full);
    return n;
}

static inline cloak_books read_books(cloak_queue *queue, const album_id *album) {
    cloak_books books;
    CHECK_OK(cloak_queue_books(queue, album->id, &books, &error));
    if (!books.balanced)
        check_failed(__FILE__, __LINE__, "books do not balance: %d = %d+%d+%d+%d+%d+%d, %d, %d",
            (int)books.total, (int)books.waiting, (int)books.leased, (int)books.delayed,
            (int)books.done, (int)books.dead, (int)books.cancelled, (int)books.seen_bits,
            (int)books.done_bits);
    /* A lease has two halves; the tests have one thread, so this is the same instant. */
    CHECK_INT(ask(queue, "ZCARD", "leases", NULL), ask(queue, "HLEN", "leased", NULL));
    return books;
}

#define CHECK_BOOKS(queue, album, w, l, d, n, x, c)                                                \
    do {                                                                                           \
        cloak_books books_ = read_books(queue, album);                                             \
        CHECK_INT(books_.waiting, w);                                                              \
        CHECK_INT(books_.leased, l);                                                               \
        CHECK_INT(books_.delayed, d);                                                              \
        CHECK_INT(books_.done, n);                                                                 \
        CHECK_INT(books_.dead, x);                                                                 \
        CHECK_INT(books_.cancelled, c);                                                            \
    } while (0)

static inline int64_t read_sum(cloak_queue *queue, const album_id *album, const char *name) {
    cloak_sums sums;
    CHECK_OK(cloak_queue_sums(queue, album->id, &sums, &error));
    int64_t value = cloak_sums_get(&sums, name);
    cloak_sums_free(&sums);
    return value;
}

static inline uint64_t backlog(cloak_queue *queue, const album_id *album) {
    size_t accepted;
    uint64_t waiting;
    CHECK_OK(cloak_queue_submit(queue, album->id, NULL, 0, &accepted, &waiting, &error));
    return waiting;
}

/* Counts how many of a batch belong to `album`. */
static inline int count_of(batch b, const album_id *album) {
    int n = 0;
    for (size_t i = 0; i < b.count; i++)
        n += strcmp(b.jobs[i].album, album->id) == 0;
    return n;
}

#endif
