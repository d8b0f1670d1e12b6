/* Photos in a worker's hands, against a real server: finish, renewal, release, fencing. What goes wrong is in
 * queue_loss.c. */
#include "tests/integration/queue_kit.h"

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

/* Three albums' photos in one array, more than one script takes, with a stranger's among them and one twice. */
TEST(finish_many_at_once) {
    enum { EACH = 100, COUNT = 3 * EACH };
    WITH_QUEUE(q);
    album_id a[3];
    for (int i = 0; i < 3; i++) {
        a[i] = make_album(q, "t", "bulk");
        submit(q, &a[i], 0, EACH);
    }
    cloak_job jobs[COUNT];
    batch got[2] = {claim(q, 256, 30), claim(q, 256, 30)};
    CHECK_INT(got[0].count + got[1].count, COUNT);
    for (size_t i = 0; i < COUNT; i++) /* albums take turns */
        jobs[i * 101 % COUNT] = i < got[0].count ? got[0].jobs[i] : got[1].jobs[i - got[0].count];
    const cloak_stat stats[] = {{"photos", 1}, {"large", (1LL << 53) - 1}, {"minus", -2}};
    cloak_finished finished[COUNT + 1];
    bool held[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++)
        finished[i] = (cloak_finished){&jobs[i], stats, 3, "{}"};
    finished[COUNT] = finished[COUNT - 1];
    cloak_job stranger = jobs[7];
    snprintf(stranger.token, sizeof stranger.token, "w9.0123456789abcdef-0");
    finished[7].job = &stranger;
    for (int again = 0; again < 2; again++) { /* the second time it changes nothing */
        CHECK_OK(cloak_queue_finish_many(q, finished, COUNT + 1, held, &error));
        for (size_t i = 0; i <= COUNT; i++)
            CHECK_INT(held[i], i != 7);
        for (int i = 0; i < 3; i++) {
            const int left = strcmp(jobs[7].album, a[i].id) == 0, done = EACH - left;
            CHECK_BOOKS(q, &a[i], 0, left, 0, done, 0, 0);
            CHECK_INT(read_sum(q, &a[i], "photos"), done);
            CHECK(read_sum(q, &a[i], "large") == done * ((1LL << 53) - 1));
            CHECK_INT(read_sum(q, &a[i], "minus"), -2 * done);
        }
        CHECK_INT(ask(q, "XLEN", "log", NULL), COUNT - 1);
    }
    finished[7].job = &jobs[7];
    CHECK_OK(cloak_queue_finish_many(q, &finished[7], 1, held, &error));
    CHECK(held[0]);
    drop(got[0]);
    drop(got[1]);
    cloak_queue_close(q);
}

/* Jobs of one album that follow each other, with gaps, under two token prefixes. */
TEST(finish_runs) {
    enum { FIRST = 5, LEFT = 25, SECOND = 200 };
    WITH_QUEUE(q);
    cloak_queue *other = open_queue(__func__);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, FIRST, 100);
    submit(q, &a, SECOND, 40);
    batch got[2] = {claim(q, 70, 30), claim(other, 200, 30)};
    CHECK_INT(got[0].count + got[1].count, 140);
    cloak_finished finished[139];
    bool held[139];
    const cloak_stat stat = {"photos", 1};
    const cloak_job *left = NULL;
    size_t count = 0;
    for (size_t i = 0; i < 140; i++) {
        const cloak_job *job = i < 70 ? &got[0].jobs[i] : &got[1].jobs[i - 70];
        if (job->index == LEFT)
            left = job;
        else
            finished[count++] = (cloak_finished){job, &stat, 1, NULL};
    }
    CHECK(left && strcmp(got[0].jobs[0].token, got[1].jobs[0].token) != 0);
    for (int again = 0; again < 2; again++) { /* the second time it changes nothing */
        CHECK_OK(cloak_queue_finish_many(q, finished, count, held, &error));
        for (size_t i = 0; i < count; i++)
            CHECK(held[i]);
        CHECK_BOOKS(q, &a, 0, 1, 0, 139, 0, 0);
        CHECK_INT(read_sum(q, &a, "photos"), 139);
        for (uint32_t i = 0; i < 250; i++) {
            bool done;
            CHECK_OK(cloak_queue_is_done(q, a.id, i, &done, &error));
            CHECK_INT(done, i != LEFT && ((i >= FIRST && i < FIRST + 100) || (i >= SECOND && i < SECOND + 40)));
        }
    }
    drop(got[0]);
    drop(got[1]);
    cloak_queue_close(other);
    cloak_queue_close(q);
}

/* Bits that someone set by hand: such photos count as done before, and only they. */
TEST(finish_what_is_marked_done) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 40);
    batch b = claim(q, 40, 30);
    cloak_finished finished[40];
    bool held[40];
    const cloak_stat stats[] = {{"photos", 1}};
    char *key = cloak_format("%sdone:%s", q->prefix, a.id);
    for (size_t i = 0; i < 40; i++)
        finished[i] = (cloak_finished){&b.jobs[i], stats, 1, i % 13 ? "{}" : NULL};
    for (const char *const *bit = (const char *const[]){"2", "31", "32", NULL}; *bit; bit++) {
        redisReply *reply;
        const char *argv[] = {"SETBIT", key, *bit, "1"};
        CHECK_OK(cloak_redis_call(q->redis, 4, argv, NULL, &reply, &error));
        freeReplyObject(reply);
    }
    CHECK_OK(cloak_queue_finish_many(q, finished, 40, held, &error));
    cloak_books books;
    CHECK_OK(cloak_queue_books(q, a.id, &books, &error));
    CHECK(books.leased == 0 && books.done == 37 && books.done_bits == 40);
    CHECK_INT(read_sum(q, &a, "photos"), 37);
    CHECK_INT(ask(q, "XLEN", "log", NULL), 40 - 4 - 3); /* not of 0, 13, 26 and 39, and not of those three */
    for (size_t i = 0; i < 40; i++)
        CHECK(held[i]);
    free(key);
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
