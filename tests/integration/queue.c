/* The queue against a real server: albums, submission, claims, fair share, the fleet. Leases are in
 * queue_lease.c; load, threads and crashes in queue_storm.c. */
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

TEST(fair_share_remembers_debt) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk");
    cloak_job_spec dear = {0, 10000, "dear"};
    size_t n;
    uint64_t waiting;
    CHECK_OK(cloak_queue_submit(q, a.id, &dear, 1, &n, &waiting, &error));
    submit(q, &b, 0, 300);
    batch got = claim(q, 2, 30);
    CHECK_INT(count_of(got, &a), 1);
    drop(got);
    submit(q, &a, 1, 50); /* ann was away for a moment only: bob catches up first */
    got = claim(q, 50, 30);
    CHECK_INT(count_of(got, &b), 50);
    drop(got);
    cloak_queue_close(q);
}

/* What is given back was not had: a worker that claims too much and returns it costs its tenant nothing. */
TEST(fair_share_after_release) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk");
    submit(q, &a, 0, 200);
    submit(q, &b, 0, 10);
    for (int i = 0; i < 5; i++) {
        batch got = claim(q, 100, 30);
        CHECK_OK(cloak_queue_release(q, got.jobs, got.count, &error));
        drop(got);
    }
    submit(q, &b, 10, 200);
    batch got = claim(q, 100, 30);
    CHECK_NEAR(count_of(got, &a), 50, 1);
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

TEST(tenants_of_cancelled_albums_do_not_hide_others) {
    WITH_QUEUE(q);
    char tenant[16];
    for (int i = 0; i < 5; i++) {
        snprintf(tenant, sizeof tenant, "a%d", i);
        album_id gone = make_album(q, tenant, "bulk");
        submit(q, &gone, 0, 1);
        CHECK_OK(cloak_queue_cancel(q, gone.id, &error));
    }
    album_id stays = make_album(q, "b", "bulk");
    submit(q, &stays, 0, 1);
    batch b = claim(q, 1, 30);
    CHECK_INT(count_of(b, &stays), 1);
    drop(b);
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

TEST(pause_and_resume) {
    enum { COUNT = 700 }; /* more than come back with one claim */
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk"), b = make_album(q, "t", "bulk");
    cloak_load load;
    submit(q, &a, 0, COUNT);
    submit(q, &b, 0, 2); /* the same tenant's, behind the paused ones */
    CHECK_OK(cloak_queue_pause(q, a.id, &error));
    CHECK_OK(cloak_queue_pause(q, a.id, &error));
    batch other = claim(q, 10, 30);
    CHECK_INT(other.count, 2);
    for (size_t i = 0; i < other.count; i++) {
        CHECK_TEXT(other.jobs[i].album, b.id);
        finish(q, &other.jobs[i]);
    }
    drop(other);
    CHECK_BOOKS(q, &a, COUNT, 0, 0, 0, 0, 0);
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK(load.waiting == COUNT && load.backlog_seconds == 0 && load.oldest_seconds == 0);
    size_t accepted;
    uint64_t backlog; /* what is paused does not keep others from submitting */
    const cloak_job_spec one = {2, 100, "two.jpg"}, more = {COUNT, 100, "more.jpg"};
    CHECK_OK(cloak_queue_submit(q, b.id, &one, 1, &accepted, &backlog, &error));
    CHECK_INT(backlog, 1);
    CHECK_OK(cloak_queue_submit(q, a.id, &more, 1, &accepted, &backlog, &error));
    CHECK_INT(backlog, COUNT + 2);
    other = claim(q, 10, 30);
    CHECK_INT(other.count, 1);
    finish(q, &other.jobs[0]);
    drop(other);
    submit(q, &a, COUNT, 10); /* a paused album takes photos */
    batch none = claim(q, 10, 30);
    CHECK_INT(none.count, 0);
    drop(none);
    none = claim(q, 256, 30);
    CHECK_INT(none.count, 0);
    drop(none);
    CHECK_OK(cloak_queue_resume(q, a.id, &error));
    CHECK_OK(cloak_queue_load(q, &load, &error)); /* all of it still aside: a fleet of none must see it */
    CHECK_NEAR(load.backlog_seconds, (COUNT + 10) * 0.1, 1e-6);
    CHECK(load.oldest_seconds > 0);
    CHECK_OK(cloak_queue_pause(q, NULL, &error));
    none = claim(q, 10, 30);
    CHECK_INT(none.count, 0);
    drop(none);
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK(load.paused && load.waiting == COUNT + 10 && load.backlog_seconds == 0);
    CHECK_OK(cloak_queue_resume(q, NULL, &error));
    bool seen[COUNT + 10] = {false};
    size_t count = 0;
    for (int i = 0; i < 1000 && count < COUNT + 10; i++) {
        batch some = claim(q, 100, 30);
        for (size_t j = 0; j < some.count; j++) {
            CHECK(!seen[some.jobs[j].index]);
            seen[some.jobs[j].index] = true;
            finish(q, &some.jobs[j]);
        }
        count += some.count;
        drop(some);
    }
    CHECK_BOOKS(q, &a, 0, 0, 0, COUNT + 10, 0, 0);
    CHECK_INT(ask(q, "EXISTS", "resuming", NULL), 0);
    CHECK(cloak_queue_pause(q, "00000000-0000-0000-0000-000000000000", &error) == CLOAK_E_USAGE);
    cloak_queue_close(q);
}

TEST(pause_a_tenant) {
    WITH_QUEUE(q);
    album_id ann = make_album(q, "ann", "bulk"), quick = make_album(q, "ann", "interactive"), bob = make_album(q, "bob", "bulk");
    cloak_load load;
    submit(q, &ann, 0, 5);
    submit(q, &quick, 0, 2);
    submit(q, &bob, 0, 3);
    batch hand = claim(q, 1, 30); /* ann's, and it comes back while she is paused */
    CHECK_OK(cloak_queue_pause_tenant(q, "ann", &error));
    CHECK_OK(cloak_queue_pause_tenant(q, "ann", &error));
    CHECK_OK(cloak_queue_release(q, hand.jobs, 1, &error));
    drop(hand);
    album_id later = make_album(q, "ann", "bulk");
    submit(q, &later, 0, 4); /* albums to come wait, too */
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK_INT(load.waiting, 14);
    CHECK_NEAR(load.backlog_seconds, 0.3, 1e-9);
    size_t accepted;
    uint64_t backlog; /* what is paused does not keep others from submitting */
    const cloak_job_spec one = {3, 100, "three.jpg"};
    CHECK_OK(cloak_queue_submit(q, bob.id, &one, 1, &accepted, &backlog, &error));
    CHECK_INT(backlog, 4);
    batch b = claim(q, 20, 30);
    CHECK_INT(b.count, 4);
    CHECK_INT(count_of(b, &bob), 4);
    for (size_t i = 0; i < b.count; i++)
        finish(q, &b.jobs[i]);
    drop(b);
    CHECK_OK(cloak_queue_resume_tenant(q, "bob", &error)); /* who is not paused */
    CHECK_OK(cloak_queue_resume_tenant(q, "ann", &error));
    size_t count = 0;
    for (int i = 0; i < 20 && count < 11; i++) {
        b = claim(q, 20, 30);
        count += b.count;
        for (size_t j = 0; j < b.count; j++)
            finish(q, &b.jobs[j]);
        drop(b);
    }
    CHECK_BOOKS(q, &ann, 0, 0, 0, 5, 0, 0);
    CHECK_BOOKS(q, &quick, 0, 0, 0, 2, 0, 0);
    CHECK_BOOKS(q, &later, 0, 0, 0, 4, 0, 0);
    CHECK_INT(ask(q, "EXISTS", "paused:tenants", NULL), 0);
    CHECK(cloak_queue_pause_tenant(q, "a b", &error) == CLOAK_E_USAGE);
    cloak_queue_close(q);
}

TEST(pause_then_cancel) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 20);
    CHECK_OK(cloak_queue_pause(q, a.id, &error));
    batch none = claim(q, 10, 30); /* sets them aside */
    CHECK_INT(none.count, 0);
    drop(none);
    char *aside = cloak_format("aside:%s", a.id);
    CHECK_INT(ask(q, "LLEN", aside, NULL), 20);
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    CHECK_BOOKS(q, &a, 0, 0, 0, 0, 0, 20);
    none = claim(q, 10, 30);
    CHECK_INT(none.count, 0);
    drop(none);
    CHECK_OK(cloak_queue_pause(q, a.id, &error)); /* nothing to pause any more */
    CHECK_INT(ask(q, "EXISTS", aside, NULL), 0); /* nothing is left about */
    CHECK_INT(ask(q, "EXISTS", "paused:albums", NULL), 0);
    CHECK_INT(ask(q, "EXISTS", "resuming", NULL), 0);
    free(aside);
    cloak_queue_close(q);
}

TEST(load_says_what_waits) {
    WITH_QUEUE(q);
    cloak_load load;
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK(load.waiting == 0 && load.backlog_seconds == 0 && load.oldest_seconds == 0);
    album_id a = make_album(q, "many", "bulk"), b = make_album(q, "few", "interactive");
    submit(q, &a, 0, 500);
    cloak_clock_system.sleep(0.05);
    submit(q, &b, 0, 3); /* 100 ms each */
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK_INT(load.waiting, 503);
    CHECK_NEAR(load.backlog_seconds, 50.3, 1e-9);
    CHECK(load.oldest_seconds >= 0.05 && load.oldest_seconds < 60);
    batch hand = claim(q, 2, 30); /* the interactive ones go first */
    bool dead;
    cloak_error why = {.code = CLOAK_E_TRANSIENT, .text = "x"};
    CHECK_OK(cloak_queue_fail(q, &hand.jobs[0], &why, 60, &dead, &error));
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK(load.waiting == 501 && load.delayed == 1 && load.leased == 1);
    CHECK_NEAR(load.backlog_seconds, 50.2, 1e-9);
    CHECK(load.retried == 1 && load.lost == 0 && load.dead == 0 && load.memory_used > 100000 && load.memory_most == 0);
    CHECK_OK(cloak_queue_cancel(q, a.id, &error));
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK_INT(load.waiting, 1);
    CHECK_NEAR(load.backlog_seconds, 0.2, 1e-9); /* what is cancelled costs nothing */
    drop(hand);
    cloak_queue_close(q);
}

typedef struct {
    uint64_t few, many;
    double weight;
    int count;
} tenants_seen;

static void see_tenant(void *context, const cloak_tenant *tenant) {
    tenants_seen *seen = context;
    seen->count++;
    if (strcmp(tenant->name, "few") == 0 && strcmp(tenant->class_word, "interactive") == 0)
        seen->few = tenant->waiting;
    if (strcmp(tenant->name, "many") == 0 && strcmp(tenant->class_word, "bulk") == 0) {
        seen->many = tenant->waiting;
        seen->weight = tenant->weight;
    }
}

TEST(tenants_say_what_waits) {
    WITH_QUEUE(q);
    tenants_seen seen = {0};
    CHECK_OK(cloak_queue_tenants(q, 10, see_tenant, &seen, &error));
    CHECK_INT(seen.count, 0);
    album_id a = make_album(q, "many", "bulk"), b = make_album(q, "few", "interactive"), c = make_album(q, "more", "bulk");
    submit(q, &a, 0, 50);
    submit(q, &b, 0, 3);
    submit(q, &c, 0, 1);
    redisReply *reply;
    CHECK_OK(cloak_redis_call(
        q->redis, 4, (const char *[]){"HSET", q->keys[CLOAK_KEY_WEIGHTS], "many", "2.5"}, NULL, &reply, &error));
    freeReplyObject(reply);
    CHECK_OK(cloak_queue_tenants(q, 10, see_tenant, &seen, &error));
    CHECK_INT(seen.count, 3);
    CHECK(seen.few == 3 && seen.many == 50 && seen.weight == 2.5);
    seen.count = 0;
    CHECK_OK(cloak_queue_tenants(q, 1, see_tenant, &seen, &error)); /* of each class */
    CHECK_INT(seen.count, 2);
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
