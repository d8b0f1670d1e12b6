/* The queue against a real server: albums, submission, claims, workers that beat. Fair share is in queue_share.c,
 * pauses and load in queue_pause.c, leases in queue_lease.c; load, threads and crashes in queue_storm.c. */
#include "tests/integration/queue_kit.h"

/* --- albums and submission --- */

TEST(album_create_and_read) {
    WITH_QUEUE(q);
    const char *id = "01234567-89ab-4cde-8f01-23456789abcd";
    cloak_album_spec spec = {id, "ann", "bulk", "s3://a/b c", "/dst", "{\"eps\":\"5/255\"}", NULL}, got;
    CHECK_OK(cloak_queue_create(q, &spec, &error));
    CHECK_OK(cloak_queue_create(q, &spec, &error));
    CHECK_OK(cloak_queue_album(q, id, &got, &error));
    CHECK_TEXT(got.id, id);
    CHECK_TEXT(got.tenant, "ann");
    CHECK_TEXT(got.job_class, "bulk");
    CHECK_TEXT(got.source, "s3://a/b c");
    CHECK_TEXT(got.destination, "/dst");
    CHECK_TEXT(got.settings, "{\"eps\":\"5/255\"}");
    CHECK_TEXT(got.trace, "00-0123456789ab4cde8f0123456789abcd-0123456789ab4cde-01");
    cloak_album_spec_free(&got);
    char *key = cloak_format("album:%s", id);
    CHECK_INT(ask(q, "HDEL", key, "trace"), 1); /* of an older version */
    free(key);
    CHECK_OK(cloak_queue_album(q, id, &got, &error));
    CHECK_TEXT(got.trace, "00-0123456789ab4cde8f0123456789abcd-0123456789ab4cde-01");
    cloak_album_spec_free(&got);
    spec.settings = "{}";
    CHECK(cloak_queue_create(q, &spec, &error) == CLOAK_E_USAGE);
    CHECK(strstr(error.text, "settings"));
    cloak_album_spec bad[] = {{"nonsense", "t", "bulk", "", "", "", NULL},
        {id, "a b", "bulk", "", "", "", NULL}, {id, "", "bulk", "", "", "", NULL},
        {id, "t", "slow", "", "", "", NULL}, {id, "t", "bulk", "", "", NULL, NULL}};
    for (int i = 0; i < 5; i++)
        CHECK(cloak_queue_create(q, &bad[i], &error) == CLOAK_E_USAGE);
    cloak_queue_close(q);
}

TEST(album_list_newest_first) {
    WITH_QUEUE(q);
    album_id albums[3];
    for (int i = 0; i < 3; i++) {
        albums[i] = make_album(q, "t", "bulk");
        cloak_clock_system.sleep(0.003);
    }
    cloak_album_id got[2];
    size_t count = 0;
    CHECK_OK(cloak_queue_albums(q, 0, got, 2, &count, &error));
    CHECK_INT(count, 2);
    CHECK_TEXT(got[0], albums[2].id);
    CHECK_TEXT(got[1], albums[1].id);
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

/* What a server of its own, so that nothing else moves its memory, has in use for data. */
static long long data_bytes(cloak_queue *queue) {
    redisReply *reply;
    CHECK_OK(cloak_redis_call(queue->redis, 2, (const char *[]){"INFO", "memory"}, NULL, &reply, &error));
    const long long bytes = atoll(strstr(reply->str, "used_memory_dataset:") + 20);
    freeReplyObject(reply);
    return bytes;
}

TEST(memory_per_waiting_photo) {
    if (!shared())
        return;
    server *s = server_start(NULL);
    cloak_queue *q;
    CHECK_OK(cloak_queue_open(server_url(s), "memory", 5, &q, &error));
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 1);
    const long long before = data_bytes(q);
    static cloak_job_spec specs[1000];
    static char keys[1000][64];
    for (uint32_t i = 1; i <= 50000; i++) {
        snprintf(keys[i % 1000], 64, "2024/07/holidays in Brittany/IMG_20240714_%06u.jpg", i);
        specs[i % 1000] = (cloak_job_spec){i, 2000, keys[i % 1000]};
        size_t n;
        uint64_t waiting;
        if (i % 1000 == 0)
            CHECK_OK(cloak_queue_submit(q, a.id, specs, 1000, &n, &waiting, &error));
    }
    const double each = (double)(data_bytes(q) - before) / 50000;
    printf("  %.0f bytes per waiting photo\n", each);
    CHECK(each > 50 && each <= 200);
    cloak_queue_close(q);
    server_stop(s);
}

/* Of what is done there are two bits, whatever the album's size; Redis keeps up to a MiB of room beside each bitmap. */
TEST(memory_of_ten_million_photos) {
    enum { ALL = 10000000, STEP = 250000, BITMAP = ALL / 8, ROOM = 1 << 20 };
    if (!shared())
        return;
    server *s = server_start(NULL);
    cloak_queue *q;
    CHECK_OK(cloak_queue_open(server_url(s), "memory", 5, &q, &error));
    album_id a = make_album(q, "t", "bulk");
    const long long before = data_bytes(q);
    uint64_t done = 0;
    for (uint32_t at = 0; at < ALL; at += STEP) { /* some from everywhere stand for all */
        submit(q, &a, at + STEP - 256, 256);
        batch b = claim(q, 256, 60);
        cloak_finished finished[256];
        bool held[256];
        for (size_t i = 0; i < b.count; i++)
            finished[i] = (cloak_finished){&b.jobs[i], NULL, 0, NULL};
        CHECK_OK(cloak_queue_finish_many(q, finished, b.count, held, &error));
        done += b.count;
        drop(b);
    }
    CHECK_BOOKS(q, &a, 0, 0, 0, done, 0, 0);
    CHECK_INT(done, 256 * (ALL / STEP));
    const long long more = data_bytes(q) - before;
    printf("  %lld bytes for %d photos that are done\n", more, ALL);
    CHECK(more > 2 * BITMAP && more < 2 * (BITMAP + ROOM) + 300000);
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

/* --- the fleet, and opening --- */

TEST(workers_beat) {
    WITH_QUEUE(q);
    cloak_load load;
    CHECK_OK(cloak_queue_beat(q, "w1", "{}", &error));
    CHECK_OK(cloak_queue_beat(q, "w2", "{}", &error));
    CHECK_OK(cloak_queue_beat(q, "w1", "{\"device\":\"cpu\"}", &error));
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK_INT(load.workers, 2);
    redisReply *reply; /* w2 was last heard of in 1970 */
    CHECK_OK(cloak_redis_call(q->redis, 4,
        (const char *[]){"ZADD", q->keys[CLOAK_KEY_WORKERS], "1", "w2"}, NULL, &reply, &error));
    freeReplyObject(reply);
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK_INT(load.workers, 1);
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
