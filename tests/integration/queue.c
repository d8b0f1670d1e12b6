/* The queue against a real server: what each call does, and what the books say after it. Load,
 * threads and crashes are in queue_storm.c. */
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

static cloak_error error;

/* One server for all tests; each test has a queue of its own. NULL: not installed. */
static server *shared(void) {
    static server *s;
    if (!s)
        s = server_start(NULL);
    return s;
}

static cloak_queue *open_queue(const char *name) {
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

static album_id make_album(cloak_queue *queue, const char *tenant, const char *job_class) {
    album_id album;
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, album.id);
    cloak_album_spec spec = {album.id, tenant, job_class, "/src", "/dst", "{}"};
    CHECK_OK(cloak_queue_create(queue, &spec, &error));
    return album;
}

/* Submits photos first, first + 1, ... of 100 ms each. Returns how many were accepted. */
static size_t submit(cloak_queue *queue, const album_id *album, uint32_t first, uint32_t count) {
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

static batch claim(cloak_queue *queue, size_t max_jobs, double lease) {
    batch b;
    CHECK_OK(cloak_queue_claim(queue, "w1", max_jobs, 1000000, lease, &b.jobs, &b.count, &error));
    return b;
}

/* Claims again and again until photos come, for at most 5 s. */
static batch claim_wait(cloak_queue *queue, size_t max_jobs, double lease) {
    double deadline = cloak_now() + 5;
    for (;;) {
        batch b = claim(queue, max_jobs, lease);
        if (b.count > 0 || cloak_now() > deadline)
            return b;
        cloak_jobs_free(b.jobs, b.count);
        cloak_clock_system.sleep(0.02);
    }
}

static void drop(batch b) {
    cloak_jobs_free(b.jobs, b.count);
}

static void finish(cloak_queue *queue, const cloak_job *job) {
    cloak_stat stats[] = {{"photos", 1}, {"index", job->index}};
    CHECK_OK(cloak_queue_finish(queue, job, stats, 2, "{\"ok\":true}", &error));
}

static bool fail_as(cloak_queue *queue, const cloak_job *job, cloak_status code, double delay) {
    cloak_error why = {.code = code, .text = "why it\nfailed"};
    bool dead;
    CHECK_OK(cloak_queue_fail(queue, job, &why, delay, &dead, &error));
    return dead;
}

static cloak_books read_books(cloak_queue *queue, const album_id *album) {
    cloak_books books;
    CHECK_OK(cloak_queue_books(queue, album->id, &books, &error));
    if (!books.balanced)
        check_failed(__FILE__, __LINE__, "books do not balance: %d = %d+%d+%d+%d+%d+%d, %d, %d",
            (int)books.total, (int)books.waiting, (int)books.leased, (int)books.delayed,
            (int)books.done, (int)books.dead, (int)books.cancelled, (int)books.seen_bits,
            (int)books.done_bits);
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

static int64_t read_sum(cloak_queue *queue, const album_id *album, const char *name) {
    cloak_sums sums;
    CHECK_OK(cloak_queue_sums(queue, album->id, &sums, &error));
    int64_t value = cloak_sums_get(&sums, name);
    cloak_sums_free(&sums);
    return value;
}

/* The integer reply of a bare command on the queue's server. */
static long long ask(cloak_queue *queue, const char *command, const char *key, const char *arg) {
    redisReply *reply;
    char *full = cloak_format("%s%s", queue->prefix, key);
    const char *argv[] = {command, full, arg};
    CHECK_OK(cloak_redis_call(queue->redis, arg ? 3 : 2, argv, NULL, &reply, &error));
    long long n = reply->integer;
    freeReplyObject(reply);
    free(full);
    return n;
}

static uint64_t backlog(cloak_queue *queue, const album_id *album) {
    size_t accepted;
    uint64_t waiting;
    CHECK_OK(cloak_queue_submit(queue, album->id, NULL, 0, &accepted, &waiting, &error));
    return waiting;
}

/* --- albums and submission --- */

TEST(album_create_and_read) {
    WITH_QUEUE(q);
    const char *id = "01234567-89ab-4cde-8f01-23456789abcd";
    cloak_album_spec spec = {id, "ann", "bulk", "s3://a/b c", "/dst", "{\"eps\":\"5/255\"}"}, got;
    CHECK_OK(cloak_queue_create(q, &spec, &error));
    CHECK_OK(cloak_queue_create(q, &spec, &error));
    CHECK_OK(cloak_queue_album(q, id, &got, &error));
    CHECK_TEXT(got.id, id);
    CHECK_TEXT(got.tenant, "ann");
    CHECK_TEXT(got.job_class, "bulk");
    CHECK_TEXT(got.source, "s3://a/b c");
    CHECK_TEXT(got.destination, "/dst");
    CHECK_TEXT(got.settings, "{\"eps\":\"5/255\"}");
    cloak_album_spec_free(&got);
    spec.settings = "{}";
    CHECK(cloak_queue_create(q, &spec, &error) == CLOAK_E_USAGE);
    CHECK(strstr(error.text, "settings"));
    cloak_album_spec bad[] = {{"nonsense", "t", "bulk", "", "", ""}, {id, "a b", "bulk", "", "", ""},
        {id, "", "bulk", "", "", ""}, {id, "t", "slow", "", "", ""}, {id, "t", "bulk", "", "", NULL}};
    for (int i = 0; i < 5; i++)
        CHECK(cloak_queue_create(q, &bad[i], &error) == CLOAK_E_USAGE);
    cloak_queue_close(q);
}

static void note_id(void *context, const char *id) {
    char *ids = context;
    strcat(strcat(ids, id), " ");
}

TEST(album_list_newest_first) {
    WITH_QUEUE(q);
    album_id albums[3];
    for (int i = 0; i < 3; i++) {
        albums[i] = make_album(q, "t", "bulk");
        cloak_clock_system.sleep(0.003);
    }
    char got[200] = "", want[200];
    CHECK_OK(cloak_queue_albums(q, 2, note_id, got, &error));
    snprintf(want, sizeof want, "%s %s ", albums[2].id, albums[1].id);
    CHECK_TEXT(got, want);
    cloak_queue_close(q);
}

TEST(unknown_album) {
    WITH_QUEUE(q);
    const char *id = "00000000-0000-4000-8000-000000000000";
    cloak_books books;
    cloak_album_spec spec;
    size_t n;
    uint64_t waiting;
    CHECK(cloak_queue_books(q, id, &books, &error) == CLOAK_E_USAGE);
    CHECK(strstr(error.text, id) && strstr(error.text, "unknown"));
    CHECK(cloak_queue_album(q, id, &spec, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_submit(q, id, NULL, 0, &n, &waiting, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_seal(q, id, 1, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_cancel(q, id, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_retry(q, id, NULL, &n, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_books(q, "../etc", &books, &error) == CLOAK_E_USAGE);
    cloak_queue_close(q);
}

TEST(submit_once_ever) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    CHECK_INT(submit(q, &a, 0, 10), 10);
    CHECK_INT(submit(q, &a, 5, 10), 5);
    CHECK_INT(submit(q, &a, 0, 15), 0);
    CHECK_BOOKS(q, &a, 15, 0, 0, 0, 0, 0);
    CHECK_INT(backlog(q, &a), 15);
    batch b = claim(q, 256, 30);
    CHECK_INT(b.count, 15);
    finish(q, &b.jobs[0]);
    CHECK(fail_as(q, &b.jobs[1], CLOAK_E_PERMANENT, 0));
    CHECK(!fail_as(q, &b.jobs[2], CLOAK_E_TRANSIENT, 60));
    CHECK_INT(submit(q, &a, 0, 15), 0); /* done, dead, delayed and leased photos too */
    CHECK_BOOKS(q, &a, 0, 12, 1, 1, 1, 0);
    CHECK_INT(backlog(q, &a), 0);
    drop(b);
    cloak_queue_close(q);
}

TEST(submit_limits) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    CHECK_INT(submit(q, &a, 0, 1000), 1000);
    static cloak_job_spec many[1001];
    size_t n;
    uint64_t waiting;
    CHECK(cloak_queue_submit(q, a.id, many, 1001, &n, &waiting, &error) == CLOAK_E_USAGE);
    cloak_job_spec bad[] = {{1u << 31, 1, "k"}, {1, 0, "k"}, {1, 1, ""}, {1, 1, NULL}};
    for (int i = 0; i < 4; i++)
        CHECK(cloak_queue_submit(q, a.id, &bad[i], 1, &n, &waiting, &error) == CLOAK_E_USAGE);
    CHECK_BOOKS(q, &a, 1000, 0, 0, 0, 0, 0);
    cloak_queue_close(q);
}

TEST(submit_strange_keys) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    char longest[256], all[256];
    memset(longest, 'x', 255);
    longest[255] = 0;
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = 0;
    const char *keys[] = {"a\nb\r\n", "\"quoted\" 'and' \\back", "\xff\xfe\x80", " lead and trail ",
        longest, all, "7 0 0 1 1 k", "%s%n", "]]--[[", "-"};
    enum { COUNT = sizeof keys / sizeof keys[0] };
    cloak_job_spec specs[COUNT];
    size_t n;
    uint64_t waiting;
    for (uint32_t i = 0; i < COUNT; i++)
        specs[i] = (cloak_job_spec){i, 5, keys[i]};
    CHECK_OK(cloak_queue_submit(q, a.id, specs, COUNT, &n, &waiting, &error));
    batch b = claim(q, 100, 30);
    CHECK_INT(b.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_TEXT(b.jobs[i].key, keys[i]);
        fail_as(q, &b.jobs[i], CLOAK_E_TRANSIENT, 0);
    }
    drop(b);
    b = claim(q, 100, 30);
    CHECK_INT(b.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_TEXT(b.jobs[i].key, keys[b.jobs[i].index]);
        CHECK(fail_as(q, &b.jobs[i], CLOAK_E_PERMANENT, 0));
    }
    drop(b);
    CHECK_OK(cloak_queue_retry(q, a.id, NULL, &n, &error));
    CHECK_INT(n, COUNT);
    b = claim(q, 100, 30);
    for (int i = 0; i < COUNT; i++) {
        CHECK_TEXT(b.jobs[i].key, keys[b.jobs[i].index]);
        finish(q, &b.jobs[i]);
    }
    drop(b);
    CHECK_BOOKS(q, &a, 0, 0, 0, COUNT, 0, 0);
    cloak_queue_close(q);
}

TEST(seal_grows_only) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    CHECK(!read_books(q, &a).sealed);
    CHECK_INT(read_books(q, &a).expected, 0);
    CHECK_OK(cloak_queue_seal(q, a.id, 7, &error));
    CHECK_OK(cloak_queue_seal(q, a.id, 5, &error));
    CHECK(read_books(q, &a).sealed);
    CHECK_INT(read_books(q, &a).expected, 7);
    CHECK_OK(cloak_queue_seal(q, a.id, 9, &error));
    CHECK_INT(read_books(q, &a).expected, 9);
    cloak_queue_close(q);
}

TEST(memory_per_waiting_photo) {
    if (!shared())
        return;
    server *s = server_start(NULL); /* its own, so that nothing else moves its memory */
    cloak_queue *q;
    CHECK_OK(cloak_queue_open(server_url(s), "memory", 5, &q, &error));
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 1);
    long long before = ask(q, "STRLEN", "nothing", NULL), after = 0;
    for (int pass = 0; pass < 2; pass++) {
        redisReply *reply;
        CHECK_OK(cloak_redis_call(
            q->redis, 2, (const char *[]){"INFO", "memory"}, NULL, &reply, &error));
        *(pass ? &after : &before) = atoll(strstr(reply->str, "used_memory_dataset:") + 20);
        freeReplyObject(reply);
        static cloak_job_spec specs[1000];
        static char keys[1000][64];
        for (uint32_t i = 1; pass == 0 && i <= 50000; i++) {
            snprintf(keys[i % 1000], 64, "2024/07/holidays in Brittany/IMG_20240714_%06u.jpg", i);
            specs[i % 1000] = (cloak_job_spec){i, 2000, keys[i % 1000]};
            size_t n;
            uint64_t waiting;
            if (i % 1000 == 0)
                CHECK_OK(cloak_queue_submit(q, a.id, specs, 1000, &n, &waiting, &error));
        }
    }
    double each = (double)(after - before) / 50000;
    printf("  %.0f bytes per waiting photo\n", each);
    CHECK(each > 50 && each <= 200);
    cloak_queue_close(q);
    server_stop(s);
}

/* --- claims --- */

TEST(claim_order_and_fields) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    batch b = claim(q, 10, 30);
    CHECK_INT(b.count, 0);
    drop(b);
    submit(q, &a, 0, 20);
    cloak_clock_system.sleep(0.03);
    b = claim(q, 8, 30);
    CHECK_INT(b.count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        char key[32];
        snprintf(key, sizeof key, "photo %u.jpg", i);
        CHECK_TEXT(b.jobs[i].album, a.id);
        CHECK_TEXT(b.jobs[i].key, key);
        CHECK_INT(b.jobs[i].index, i);
        CHECK_INT(b.jobs[i].cost_ms, 100);
        CHECK_INT(b.jobs[i].failures, 0);
        CHECK_INT(b.jobs[i].losses, 0);
        CHECK(b.jobs[i].waited_ms >= 25 && b.jobs[i].waited_ms < 5000);
        CHECK(strncmp(b.jobs[i].token, "w1.", 3) == 0 && strchr(b.jobs[i].token, '-'));
        CHECK(i == 0 || strcmp(b.jobs[i].token, b.jobs[i - 1].token) != 0);
    }
    CHECK_BOOKS(q, &a, 12, 8, 0, 0, 0, 0);
    drop(b);
    cloak_queue_close(q);
}

TEST(claim_cost_bound) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    cloak_job_spec specs[] = {{0, 5000, "big"}, {1, 300, "b"}, {2, 300, "c"}, {3, 500, "d"}};
    size_t n;
    uint64_t waiting;
    CHECK_OK(cloak_queue_submit(q, a.id, specs, 4, &n, &waiting, &error));
    cloak_job *jobs;
    CHECK_OK(cloak_queue_claim(q, "w", 10, 1000, 30, &jobs, &n, &error));
    CHECK_INT(n, 1); /* the first always fits */
    CHECK_INT(jobs[0].index, 0);
    cloak_jobs_free(jobs, n);
    CHECK_OK(cloak_queue_claim(q, "w", 10, 1000, 30, &jobs, &n, &error));
    CHECK_INT(n, 2); /* 300 + 300; 500 more do not fit */
    cloak_jobs_free(jobs, n);
    CHECK_OK(cloak_queue_claim(q, "w", 10, 0, 30, &jobs, &n, &error));
    CHECK_INT(n, 1);
    CHECK_INT(jobs[0].index, 3);
    cloak_jobs_free(jobs, n);
    CHECK_BOOKS(q, &a, 0, 4, 0, 0, 0, 0);
    CHECK(cloak_queue_claim(q, "w", 0, 1, 30, &jobs, &n, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_claim(q, "w", 1, 1, 0, &jobs, &n, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_claim(q, "w w", 1, 1, 30, &jobs, &n, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_claim(q, "w23456789012345678901", 1, 1, 30, &jobs, &n, &error) ==
        CLOAK_E_USAGE);
    cloak_queue_close(q);
}

/* Counts how many of a batch belong to `album`. */
static int count_of(batch b, const album_id *album) {
    int n = 0;
    for (size_t i = 0; i < b.count; i++)
        n += strcmp(b.jobs[i].album, album->id) == 0;
    return n;
}

TEST(fair_share_equal) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk");
    submit(q, &a, 0, 500);
    drop(claim(q, 100, 30)); /* ann alone: her time runs ahead */
    submit(q, &b, 0, 500);
    int of_b = 0;
    for (int i = 0; i < 10; i++) {
        batch got = claim(q, 10, 30);
        CHECK_INT(got.count, 10);
        of_b += count_of(got, &b);
        CHECK_NEAR(count_of(got, &b), 5, 1); /* bob gets no credit for coming late */
        drop(got);
    }
    CHECK_NEAR(of_b, 50, 1);
    cloak_queue_close(q);
}

TEST(fair_share_weights_and_costs) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk");
    const char *weights = q->keys[CLOAK_KEY_WEIGHTS];
    redisReply *reply;
    CHECK_OK(cloak_redis_call(
        q->redis, 4, (const char *[]){"HSET", weights, "ann", "3"}, NULL, &reply, &error));
    freeReplyObject(reply);
    submit(q, &a, 0, 400);
    submit(q, &b, 0, 400);
    batch got = claim(q, 200, 30);
    CHECK_NEAR(count_of(got, &a), 150, 2);
    drop(got);

    /* The share is of device time: a tenant of photos twice as long gets half as many. */
    album_id c = make_album(q, "carl", "interactive"), d = make_album(q, "dora", "interactive");
    for (uint32_t i = 0; i < 200; i++) {
        cloak_job_spec spec = {i, 200, "long"};
        size_t n;
        uint64_t waiting;
        CHECK_OK(cloak_queue_submit(q, c.id, &spec, 1, &n, &waiting, &error));
    }
    submit(q, &d, 0, 200);
    got = claim(q, 150, 30);
    CHECK_NEAR(count_of(got, &c), 50, 2);
    CHECK_NEAR(count_of(got, &d), 100, 2);
    drop(got);
    cloak_queue_close(q);
}

TEST(fair_share_after_idling) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk");
    submit(q, &a, 0, 300);
    submit(q, &b, 0, 10);
    drop(claim(q, 120, 30)); /* bob runs dry, ann goes on */
    submit(q, &b, 100, 200);
    batch got = claim(q, 100, 30);
    CHECK_NEAR(count_of(got, &b), 50, 1);
    drop(got);
    cloak_queue_close(q);
}

TEST(fair_share_many_tenants) {
    WITH_QUEUE(q);
    album_id albums[40];
    char tenant[16];
    for (int i = 0; i < 40; i++) {
        snprintf(tenant, sizeof tenant, "t%d", i);
        albums[i] = make_album(q, tenant, "bulk");
        submit(q, &albums[i], 0, 3);
    }
    batch got = claim(q, 40, 30);
    CHECK_INT(got.count, 40);
    for (int i = 0; i < 40; i++)
        CHECK_INT(count_of(got, &albums[i]), 1);
    drop(got);
    got = claim(q, 256, 30); /* more than the first round of tenants holds */
    CHECK_INT(got.count, 80);
    drop(got);
    CHECK_INT(ask(q, "ZCARD", "active:bulk", NULL), 0);
    CHECK_INT(ask(q, "EXISTS", "vtime:bulk", NULL), 0);
    cloak_queue_close(q);
}

TEST(class_order) {
    WITH_QUEUE(q);
    album_id bulk = make_album(q, "t", "bulk"), quick = make_album(q, "t", "interactive");
    submit(q, &bulk, 0, 10);
    submit(q, &quick, 0, 3);
    batch b = claim(q, 5, 30);
    CHECK_INT(count_of(b, &quick), 3);
    CHECK_INT(count_of(b, &bulk), 2);
    CHECK_TEXT(b.jobs[0].album, quick.id);
    drop(b);
    cloak_queue_close(q);
}

/* --- leases --- */

TEST(finish_books_sums_and_log) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 3, 2);
    batch b = claim(q, 2, 30);
    bool done;
    CHECK_OK(cloak_queue_is_done(q, a.id, 3, &done, &error));
    CHECK(!done);
    finish(q, &b.jobs[0]);
    CHECK_OK(cloak_queue_is_done(q, a.id, 3, &done, &error));
    CHECK(done);
    CHECK_BOOKS(q, &a, 0, 1, 0, 1, 0, 0);
    finish(q, &b.jobs[0]); /* the reply was lost, the call repeated */
    finish(q, &b.jobs[0]);
    CHECK_BOOKS(q, &a, 0, 1, 0, 1, 0, 0);
    CHECK_INT(read_sum(q, &a, "photos"), 1);
    CHECK_INT(read_sum(q, &a, "index"), 3);
    CHECK_INT(read_sum(q, &a, "missing"), 0);
    CHECK_INT(ask(q, "XLEN", "log", NULL), 1);
    CHECK_OK(cloak_queue_finish(q, &b.jobs[1], NULL, 0, NULL, &error));
    CHECK_INT(ask(q, "XLEN", "log", NULL), 1);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 0, 0);
    drop(b);
    cloak_queue_close(q);
}

TEST(finish_sum_extremes) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 2);
    batch b = claim(q, 2, 30);
    cloak_stat stats[] = {{"big", INT64_MAX}, {"small", INT64_MIN}, {"x.y:0_9", -5}};
    CHECK_OK(cloak_queue_finish(q, &b.jobs[0], stats, 3, "r", &error));
    CHECK_OK(cloak_queue_finish(q, &b.jobs[1], stats, 3, "r", &error)); /* would overflow */
    CHECK(read_sum(q, &a, "big") == INT64_MAX && read_sum(q, &a, "small") == INT64_MIN);
    CHECK_INT(read_sum(q, &a, "x.y:0_9"), -10);
    submit(q, &a, 10, 2);
    batch more = claim(q, 2, 30); /* at the edge of what a double holds, and one name twice */
    cloak_stat edge[] = {{"edge", (1LL << 53) - 1}, {"edge", 2}, {"edge", 1}, {"x.y:0_9", 0}};
    CHECK_OK(cloak_queue_finish(q, &more.jobs[0], edge, 4, NULL, &error));
    CHECK(read_sum(q, &a, "edge") == (1LL << 53) + 2);
    CHECK_OK(cloak_queue_finish(q, &more.jobs[1], edge + 1, 2, NULL, &error));
    CHECK(read_sum(q, &a, "edge") == (1LL << 53) + 5);
    drop(more);
    CHECK_BOOKS(q, &a, 0, 0, 0, 4, 0, 0);
    cloak_stat bad = {"Not a name", 1};
    CHECK(cloak_queue_finish(q, &b.jobs[1], &bad, 1, "r", &error) == CLOAK_E_USAGE);
    drop(b);
    cloak_queue_close(q);
}

TEST(finish_many_sums) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 2);
    batch b = claim(q, 2, 30);
    static char names[3000][16];
    static cloak_stat stats[3000];
    for (int i = 0; i < 3000; i++) {
        snprintf(names[i], sizeof names[i], "bin.%d", i);
        stats[i] = (cloak_stat){names[i], i - 1500};
    }
    CHECK_OK(cloak_queue_finish(q, &b.jobs[0], stats, 3000, NULL, &error));
    CHECK_OK(cloak_queue_finish(q, &b.jobs[1], stats, 3000, NULL, &error));
    cloak_sums sums;
    CHECK_OK(cloak_queue_sums(q, a.id, &sums, &error));
    CHECK_INT(sums.count, 3000);
    for (int i = 0; i < 3000; i++)
        CHECK_INT(cloak_sums_get(&sums, names[i]), 2 * (i - 1500));
    cloak_sums_free(&sums);
    drop(b);
    cloak_queue_close(q);
}

TEST(wrong_token) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 1);
    batch b = claim(q, 1, 30);
    cloak_error why = {.code = CLOAK_E_TRANSIENT, .text = "x"};
    cloak_stat stat = {"photos", 1};
    bool held = true, dead;
    size_t length = strlen(b.jobs[0].token);
    for (int i = 0; i < 3; i++) { /* another's, a prefix of ours, one that ours is a prefix of */
        cloak_job forged = b.jobs[0];
        if (i == 0)
            snprintf(forged.token, sizeof forged.token, "w1.0123456789abcdef-0");
        else
            forged.token[i == 1 ? length - 1 : length] = i == 1 ? 0 : '0';
        CHECK(cloak_queue_finish(q, &forged, &stat, 1, "r", &error) == CLOAK_E_FENCED);
        CHECK(strstr(error.text, a.id) && !error.retryable);
        CHECK(cloak_queue_fail(q, &forged, &why, 0, &dead, &error) == CLOAK_E_FENCED);
        CHECK_OK(cloak_queue_renew(q, &forged, 1, 30, &held, &error));
        CHECK(!held);
        CHECK_OK(cloak_queue_release(q, &forged, 1, &error));
        CHECK_BOOKS(q, &a, 0, 1, 0, 0, 0, 0);
    }
    CHECK_INT(read_sum(q, &a, "photos"), 0);
    finish(q, &b.jobs[0]);
    drop(b);
    cloak_queue_close(q);
}

TEST(renew_keeps_a_lease) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 300);
    batch first = claim(q, 256, 0.3), second = claim(q, 44, 0.3);
    cloak_job jobs[300];
    memcpy(jobs, first.jobs, 256 * sizeof *jobs);
    memcpy(jobs + 256, second.jobs, 44 * sizeof *jobs);
    for (int i = 0; i < 4; i++) {
        bool held[300] = {false};
        cloak_clock_system.sleep(0.15);
        CHECK_OK(cloak_queue_renew(q, jobs, 300, 0.3, held, &error));
        for (int k = 0; k < 300; k++)
            CHECK(held[k]);
        batch none = claim(q, 10, 30);
        CHECK_INT(none.count, 0);
        drop(none);
    }
    CHECK_BOOKS(q, &a, 0, 300, 0, 0, 0, 0);
    CHECK_OK(cloak_queue_release(q, jobs, 300, &error));
    CHECK_BOOKS(q, &a, 300, 0, 0, 0, 0, 0);
    batch again = claim(q, 256, 30);
    for (uint32_t i = 0; i < 256; i++)
        CHECK_INT(again.jobs[i].index, i); /* in the old order */
    drop(again);
    drop(first);
    drop(second);
    cloak_queue_close(q);
}

TEST(release_goes_ahead_untouched) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 6);
    batch b = claim(q, 3, 30);
    CHECK_OK(cloak_queue_release(q, b.jobs, 3, &error));
    CHECK_OK(cloak_queue_release(q, b.jobs, 3, &error));
    CHECK_BOOKS(q, &a, 6, 0, 0, 0, 0, 0);
    CHECK(cloak_queue_finish(q, &b.jobs[0], NULL, 0, NULL, &error) == CLOAK_E_FENCED);
    drop(b);
    b = claim(q, 6, 30);
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_INT(b.jobs[i].index, i);
        CHECK_INT(b.jobs[i].failures + b.jobs[i].losses, 0);
    }
    drop(b);
    cloak_queue_close(q);
}

TEST(fencing_after_expiry) {
    WITH_QUEUE(q);
    cloak_queue *other = open_queue(__func__);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 1);
    batch b = claim(q, 1, 0.2);
    cloak_clock_system.sleep(0.25);
    bool held;
    CHECK_OK(cloak_queue_renew(q, b.jobs, 1, 0.2, &held, &error));
    CHECK(held); /* late, but nobody took it back yet */
    cloak_clock_system.sleep(0.25);
    drop(claim(other, 1, 30)); /* takes it back */
    CHECK_BOOKS(q, &a, 0, 0, 1, 0, 0, 0);
    CHECK_OK(cloak_queue_renew(q, b.jobs, 1, 30, &held, &error));
    CHECK(!held);
    CHECK(cloak_queue_finish(q, b.jobs, NULL, 0, "r", &error) == CLOAK_E_FENCED);
    batch again = claim_wait(other, 1, 30);
    CHECK_INT(again.count, 1);
    CHECK_INT(again.jobs[0].losses, 1);
    cloak_stat stat = {"photos", 1};
    CHECK(cloak_queue_finish(q, b.jobs, &stat, 1, "r", &error) == CLOAK_E_FENCED);
    finish(other, &again.jobs[0]);
    CHECK(cloak_queue_finish(q, b.jobs, &stat, 1, "r", &error) == CLOAK_E_FENCED);
    CHECK_INT(read_sum(q, &a, "photos"), 1);
    CHECK_BOOKS(q, &a, 0, 0, 0, 1, 0, 0);
    drop(again);
    drop(b);
    cloak_queue_close(other);
    cloak_queue_close(q);
}

/* --- failures and losses --- */

static void check_retries(cloak_queue *queue, cloak_status code, int retries) {
    album_id a = make_album(queue, "t", "bulk");
    submit(queue, &a, 0, 1);
    for (int i = 0; i <= retries; i++) {
        batch b = claim_wait(queue, 1, 30);
        CHECK_INT(b.count, 1);
        CHECK_INT(b.jobs[0].failures, i);
        CHECK_INT(fail_as(queue, &b.jobs[0], code, 0), i == retries);
        CHECK_INT(fail_as(queue, &b.jobs[0], code, 0), i == retries); /* repeated: same answer */
        drop(b);
    }
    CHECK_BOOKS(queue, &a, 0, 0, 0, 0, 1, 0);
}

TEST(retries_by_class) {
    WITH_QUEUE(q);
    check_retries(q, CLOAK_E_PERMANENT, 0);
    check_retries(q, CLOAK_E_INTERNAL, 1);
    check_retries(q, CLOAK_E_DEVICE, 2);
    check_retries(q, CLOAK_E_TRANSIENT, 5);
    cloak_queue_close(q);
}

TEST(fail_delay_and_bad_arguments) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 2);
    batch b = claim(q, 1, 30);
    CHECK(!fail_as(q, b.jobs, CLOAK_E_TRANSIENT, 0.3));
    CHECK_BOOKS(q, &a, 1, 0, 1, 0, 0, 0);
    CHECK(cloak_queue_finish(q, b.jobs, NULL, 0, NULL, &error) == CLOAK_E_FENCED);
    drop(b);
    b = claim(q, 5, 30);
    CHECK_INT(b.count, 1);
    CHECK_INT(b.jobs[0].index, 1);
    cloak_error fine = {.code = CLOAK_OK}, why = {.code = CLOAK_E_TRANSIENT};
    bool dead;
    CHECK(cloak_queue_fail(q, b.jobs, &fine, 0, &dead, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_fail(q, b.jobs, &why, -1, &dead, &error) == CLOAK_E_USAGE);
    finish(q, b.jobs);
    CHECK(cloak_queue_fail(q, b.jobs, &why, 0, &dead, &error) == CLOAK_E_FENCED);
    drop(b);
    double start = cloak_now();
    b = claim_wait(q, 5, 30);
    CHECK_INT(b.jobs[0].index, 0);
    CHECK(cloak_now() - start > 0.15);
    drop(b);
    cloak_queue_close(q);
}

typedef struct {
    int count, losses;
    char key[64], word[16], text[256];
} dead_notes;

static void note_dead(void *context, const cloak_dead *dead) {
    dead_notes *notes = context;
    notes->count++;
    notes->losses = dead->losses;
    snprintf(notes->key, sizeof notes->key, "%s", dead->key);
    snprintf(notes->word, sizeof notes->word, "%s", dead->class_word);
    snprintf(notes->text, sizeof notes->text, "%s", dead->text);
}

TEST(lost_three_times) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 3);
    batch b = claim(q, 3, 0.1);
    CHECK_INT(b.count, 3);
    drop(b);
    cloak_clock_system.sleep(0.15);
    b = claim(q, 3, 30);
    CHECK_INT(b.count, 0); /* not at once */
    drop(b);
    CHECK_BOOKS(q, &a, 0, 0, 3, 0, 0, 0);
    double start = cloak_now();
    for (int i = 0; i < 3; i++) { /* alone, each of them */
        b = claim_wait(q, 3, 30);
        CHECK_INT(b.count, 1);
        CHECK_INT(b.jobs[0].losses, 1);
        CHECK(cloak_now() - start < 2);
        if (i < 2) {
            finish(q, b.jobs);
        } else { /* this one kills its workers */
            bool held;
            CHECK_OK(cloak_queue_renew(q, b.jobs, 1, 0.05, &held, &error));
        }
        drop(b);
    }
    b = claim_wait(q, 3, 0.05);
    CHECK_INT(b.jobs[0].losses, 2);
    CHECK_INT(b.jobs[0].failures, 0);
    drop(b);
    cloak_clock_system.sleep(0.1);
    b = claim(q, 3, 30);
    CHECK_INT(b.count, 0);
    drop(b);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 1, 0);
    dead_notes notes = {0};
    CHECK_OK(cloak_queue_dead(q, a.id, note_dead, &notes, &error));
    CHECK_INT(notes.count, 1);
    CHECK_INT(notes.losses, 3);
    CHECK_TEXT(notes.word, "lost");
    CHECK(strstr(notes.text, "last w1"));
    cloak_queue_close(q);
}

TEST(single_beside_others) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 2);
    batch b = claim(q, 2, 30);
    drop(b);
    size_t moved;
    CHECK_OK(cloak_queue_recover(q, "w1", true, &moved, &error));
    CHECK_INT(moved, 2);
    submit(q, &a, 10, 5);
    cloak_clock_system.sleep(1.1);
    b = claim(q, 7, 30);
    CHECK_INT(b.count, 1);
    CHECK_INT(b.jobs[0].losses, 1);
    CHECK_OK(cloak_queue_release(q, b.jobs, 1, &error)); /* stays one of those */
    CHECK_BOOKS(q, &a, 7, 0, 0, 0, 0, 0);
    drop(b);
    for (int i = 0; i < 4; i++) { /* and stays so after a failure */
        b = claim(q, 7, 30);
        CHECK_INT(b.count, 1);
        CHECK_INT(b.jobs[0].losses, 1);
        CHECK_INT(b.jobs[0].failures, i / 2);
        if (i < 2)
            CHECK(!fail_as(q, b.jobs, CLOAK_E_TRANSIENT, 0));
        else
            finish(q, b.jobs);
        drop(b);
    }
    b = claim(q, 7, 30);
    CHECK_INT(b.count, 5);
    drop(b);
    cloak_queue_close(q);
}

TEST(retry_of_dead) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 600);
    for (int i = 0; i < 600;) {
        batch b = claim(q, 256, 30);
        for (size_t k = 0; k < b.count; k++, i++) {
            cloak_status code = b.jobs[k].index % 3 ? CLOAK_E_PERMANENT : CLOAK_E_USAGE;
            CHECK(fail_as(q, &b.jobs[k], code, 0));
        }
        drop(b);
    }
    dead_notes notes = {0};
    CHECK_OK(cloak_queue_dead(q, a.id, note_dead, &notes, &error));
    CHECK_INT(notes.count, 600);
    CHECK_TEXT(notes.text, "why it\nfailed");
    size_t moved;
    CHECK_OK(cloak_queue_retry(q, a.id, "lost", &moved, &error));
    CHECK_INT(moved, 0);
    CHECK_OK(cloak_queue_retry(q, a.id, "usage", &moved, &error));
    CHECK_INT(moved, 200);
    CHECK_BOOKS(q, &a, 200, 0, 0, 0, 400, 0);
    CHECK_OK(cloak_queue_retry(q, a.id, NULL, &moved, &error));
    CHECK_INT(moved, 400);
    CHECK_BOOKS(q, &a, 600, 0, 0, 0, 0, 0);
    CHECK_INT(backlog(q, &a), 600);
    batch b = claim(q, 1, 30);
    CHECK_INT(b.jobs[0].failures, 0);
    finish(q, b.jobs);
    drop(b);
    CHECK_BOOKS(q, &a, 599, 0, 0, 1, 0, 0);
    cloak_queue_close(q);
}

TEST(recover_by_worker) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 500);
    size_t moved;
    batch mine = claim(q, 200, 30);
    batch theirs;
    CHECK_OK(cloak_queue_claim(q, "w1.2", 200, 1000000, 30, &theirs.jobs, &theirs.count, &error));
    CHECK_OK(cloak_queue_recover(q, "w9", true, &moved, &error));
    CHECK_INT(moved, 0);
    CHECK_OK(cloak_queue_recover(q, "w1", false, &moved, &error)); /* not w1.2's */
    CHECK_INT(moved, 200);
    CHECK_BOOKS(q, &a, 300, 200, 0, 0, 0, 0);
    CHECK(cloak_queue_finish(q, mine.jobs, NULL, 0, NULL, &error) == CLOAK_E_FENCED);
    finish(q, theirs.jobs);
    CHECK_OK(cloak_queue_recover(q, NULL, true, &moved, &error));
    CHECK_INT(moved, 199);
    CHECK_BOOKS(q, &a, 300, 0, 199, 1, 0, 0);
    drop(mine);
    drop(theirs);
    mine = claim(q, 256, 30);
    CHECK_INT(mine.count, 256); /* recovered without a loss: not single */
    CHECK_INT(mine.jobs[0].losses, 0);
    drop(mine);
    cloak_queue_close(q);
}

/* --- cancel --- */

TEST(cancel_in_every_state) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk"), other = make_album(q, "t", "bulk");
    submit(q, &a, 0, 20);
    batch b = claim(q, 8, 30);
    fail_as(q, &b.jobs[0], CLOAK_E_TRANSIENT, 0.2); /* delayed */
    fail_as(q, &b.jobs[1], CLOAK_E_PERMANENT, 0);   /* dead */
    finish(q, &b.jobs[2]);
    CHECK_BOOKS(q, &a, 12, 5, 1, 1, 1, 0);
    submit(q, &other, 0, 4); /* behind the cancelled ones in the same list */
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    CHECK_BOOKS(q, &a, 0, 5, 0, 1, 1, 13);
    CHECK(read_books(q, &a).cancel_requested);
    CHECK_INT(backlog(q, &other), 4);

    finish(q, &b.jobs[3]); /* in hand: done all the same */
    CHECK(!fail_as(q, &b.jobs[4], CLOAK_E_PERMANENT, 0)); /* not dead: cancelled */
    CHECK(!fail_as(q, &b.jobs[4], CLOAK_E_PERMANENT, 0));
    CHECK_OK(cloak_queue_release(q, &b.jobs[5], 1, &error));
    CHECK_BOOKS(q, &a, 0, 2, 0, 2, 1, 15);
    size_t n;
    CHECK_OK(cloak_queue_recover(q, NULL, true, &n, &error)); /* two lost */
    CHECK_INT(n, 2);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 1, 17);
    drop(b);

    cloak_clock_system.sleep(0.25); /* the delayed one is due and dropped */
    b = claim(q, 30, 30);
    CHECK_INT(b.count, 4);
    for (size_t i = 0; i < b.count; i++)
        CHECK_TEXT(b.jobs[i].album, other.id);
    drop(b);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 1, 17);
    CHECK_INT(ask(q, "ZCARD", "delayed", NULL), 0);
    CHECK_INT(ask(q, "ZCARD", "active:bulk", NULL), 0);

    uint64_t waiting; /* nothing brings it back */
    cloak_job_spec spec = {100, 1, "late"};
    CHECK(cloak_queue_submit(q, a.id, &spec, 1, &n, &waiting, &error) == CLOAK_E_USAGE);
    CHECK(strstr(error.text, "cancelled"));
    CHECK(cloak_queue_retry(q, a.id, NULL, &n, &error) == CLOAK_E_USAGE);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 1, 17);
    cloak_queue_close(q);
}

TEST(cancel_single_and_expired) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk"), other = make_album(q, "t", "bulk");
    submit(q, &a, 0, 3);
    drop(claim(q, 2, 0.05));
    cloak_clock_system.sleep(0.1);
    drop(claim(q, 1, 1.5)); /* 0 and 1 are lost, 2 is leased */
    cloak_clock_system.sleep(1.1);
    batch b = claim(q, 1, 1.5); /* promotes both, takes one */
    CHECK_INT(b.jobs[0].losses, 1);
    drop(b);
    CHECK_BOOKS(q, &a, 1, 2, 0, 0, 0, 0);
    submit(q, &other, 0, 1);
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    b = claim(q, 5, 30); /* past the stale single */
    CHECK_INT(b.count, 1);
    CHECK_TEXT(b.jobs[0].album, other.id);
    drop(b);
    cloak_clock_system.sleep(1.6);
    b = claim(q, 5, 30); /* the leases run out into `cancelled` */
    CHECK_INT(b.count, 0);
    drop(b);
    CHECK_BOOKS(q, &a, 0, 0, 0, 0, 0, 3);
    cloak_queue_close(q);
}

TEST(cancel_heap_of_stale_entries) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk"), other = make_album(q, "u", "bulk");
    for (uint32_t i = 0; i < 9; i++)
        submit(q, &a, i * 1000, 1000);
    submit(q, &other, 0, 2);
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    batch b = claim(q, 4, 30); /* one call is enough, however many scripts it takes */
    CHECK(b.count > 0);
    for (size_t i = 0; i < b.count; i++)
        CHECK_TEXT(b.jobs[i].album, other.id);
    drop(b);
    for (int i = 0; i < 6; i++)
        drop(claim(q, 4, 30));
    CHECK_INT(ask(q, "EXISTS", "wait:bulk:t", NULL), 0);
    CHECK_BOOKS(q, &a, 0, 0, 0, 0, 0, 9000);
    CHECK_BOOKS(q, &other, 0, 2, 0, 0, 0, 0);
    cloak_queue_close(q);
}

/* --- the fleet, and opening --- */

TEST(workers_beat) {
    WITH_QUEUE(q);
    size_t alive;
    CHECK_OK(cloak_queue_beat(q, "w1", "{}", &error));
    CHECK_OK(cloak_queue_beat(q, "w2", "{}", &error));
    CHECK_OK(cloak_queue_beat(q, "w1", "{\"device\":\"cpu\"}", &error));
    CHECK_OK(cloak_queue_workers(q, &alive, &error));
    CHECK_INT(alive, 2);
    redisReply *reply; /* w2 was last heard of in 1970 */
    CHECK_OK(cloak_redis_call(q->redis, 4,
        (const char *[]){"ZADD", q->keys[CLOAK_KEY_WORKERS], "1", "w2"}, NULL, &reply, &error));
    freeReplyObject(reply);
    CHECK_OK(cloak_queue_workers(q, &alive, &error));
    CHECK_INT(alive, 1);
    CHECK_INT(ask(q, "HLEN", "workers:about", NULL), 2);
    CHECK_OK(cloak_queue_beat(q, "w1", "{}", &error));
    CHECK_INT(ask(q, "HLEN", "workers:about", NULL), 1);
    CHECK_INT(ask(q, "ZCARD", "workers", NULL), 1);
    cloak_queue_close(q);
}

TEST(open_refuses) {
    if (!shared())
        return;
    cloak_queue *q = NULL;
    CHECK(cloak_queue_open("redis://", "q", 1, &q, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_open(server_url(shared()), "a{b", 1, &q, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_open(server_url(shared()), "", 1, &q, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_open("unix:///nowhere/at/all", "q", 1, &q, &error) == CLOAK_E_QUEUE);
    CHECK(strstr(error.text, "/nowhere/at/all") && error.retryable);
    server *s = server_start(&(server_setup){.options = {"--maxmemory-policy", "volatile-lru"}});
    CHECK(cloak_queue_open(server_url(s), "q", 5, &q, &error) == CLOAK_E_QUEUE);
    CHECK(strstr(error.text, "noeviction"));
    CHECK(!q);
    server_stop(s);
}

TEST(settled_memory_is_bounded) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    cloak_job first = {0};
    for (uint32_t i = 0; i < 20; i++) {
        submit(q, &a, i * 1000, 1000);
        for (int k = 0; k < 4; k++) {
            batch b = claim(q, 250, 60);
            CHECK_INT(b.count, 250);
            if (i == 0 && k == 0)
                first = b.jobs[0];
            for (size_t n = 0; n < b.count; n++)
                CHECK_OK(cloak_queue_finish(q, &b.jobs[n], NULL, 0, NULL, &error));
            CHECK_OK(cloak_queue_finish(q, &b.jobs[0], NULL, 0, NULL, &error));
            drop(b);
        }
    }
    long long kept = ask(q, "HLEN", "settled", NULL) + ask(q, "HLEN", "settled:old", NULL);
    CHECK(kept > 8192 && kept <= 2 * 8192);
    /* Forgotten: fenced, and the books do not mind. */
    CHECK(cloak_queue_finish(q, &first, NULL, 0, NULL, &error) == CLOAK_E_FENCED);
    CHECK_BOOKS(q, &a, 0, 0, 0, 20000, 0, 0);
    cloak_queue_close(q);
}
