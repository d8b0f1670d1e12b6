/* What goes wrong with photos in a worker's hands, against a real server: failures, losses, recovery, retry, and what a
 * cancelled album does to each. */
#include "tests/integration/queue_kit.h"

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
    for (int i = 0; i < 3; i++) { /* alone, each of them */
        b = claim_wait(q, 3, 30);
        CHECK_INT(b.count, 1);
        CHECK_INT(b.jobs[0].losses, 1);
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
    cloak_load load;
    CHECK_OK(cloak_queue_load(q, &load, &error));
    CHECK(load.lost == 5 && load.dead == 1 && load.retried == 0); /* three, and one of them twice more */
    cloak_queue_close(q);
}

/* The second copy of a call that takes a doubtful claim back may arrive late: it takes that claim's leases and no
 * others. */
TEST(late_recover_spares_newer_claims) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 4);
    batch old = claim(q, 2, 30), new = claim(q, 2, 30);
    CHECK_INT(old.count + new.count, 4);
    char prefix[CLOAK_TOKEN_SIZE];
    snprintf(prefix, sizeof prefix, "%s", old.jobs[0].token);
    *(strrchr(prefix, '-') + 1) = 0;
    strcpy(q->doubt, prefix);
    q->doubt_first = (uint32_t)atoi(strrchr(old.jobs[0].token, '-') + 1);
    q->doubt_last = q->doubt_first + 1;
    batch again = claim(q, 4, 30); /* which takes the doubtful ones back first */
    CHECK_INT(again.count, 2);
    bool held[2];
    CHECK_OK(cloak_queue_renew(q, new.jobs, 2, 30, held, &error));
    CHECK(held[0] && held[1]);
    CHECK_OK(cloak_queue_renew(q, old.jobs, 2, 30, held, &error));
    CHECK(!held[0] && !held[1]);
    drop(old);
    drop(new);
    drop(again);
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
    CHECK(b.jobs[0].waited_ms < 60000);
    finish(q, b.jobs);
    drop(b);
    CHECK_BOOKS(q, &a, 599, 0, 0, 1, 0, 0);
    cloak_queue_close(q);
}

typedef struct {
    cloak_queue *other;
    const char *album;
    unsigned char seen[2000];
} shrinking;

static void shrink(void *context, const cloak_dead *dead) {
    shrinking *s = context;
    CHECK(!s->seen[dead->index]++);
    if (s->other) { /* nineteen of twenty leave: the server makes the hash smaller */
        size_t moved;
        CHECK_OK(cloak_queue_retry(s->other, s->album, "permanent", &moved, &error));
        CHECK(moved > 1500);
        s->other = NULL;
    }
}

TEST(dead_are_shown_once) {
    WITH_QUEUE(q);
    cloak_queue *other = open_queue(__func__);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 1000);
    submit(q, &a, 1000, 1000);
    for (int step = 0; step < 8; step++) {
        batch b = claim(q, 250, 30);
        for (size_t i = 0; i < b.count; i++)
            fail_as(q, &b.jobs[i], b.jobs[i].index % 20 ? CLOAK_E_PERMANENT : CLOAK_E_USAGE, 0);
        drop(b);
    }
    shrinking s = {.other = other, .album = a.id};
    CHECK_OK(cloak_queue_dead(q, a.id, shrink, &s, &error));
    for (int i = 0; i < 2000; i += 20)
        CHECK_INT(s.seen[i], 1);
    cloak_queue_close(other);
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

    finish(q, &b.jobs[3]);                                /* in hand: done all the same */
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

TEST(finished_tokens_are_remembered_in_few_fields) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 250);
    batch b = claim(q, 250, 60);
    CHECK_INT(b.count, 250);
    for (int again = 0; again < 2; again++)
        for (size_t n = 0; n < b.count; n += 1 + n % 3) /* one after the other, with gaps */
            CHECK_OK(cloak_queue_finish(q, &b.jobs[n], NULL, 0, NULL, &error));
    CHECK(ask(q, "HLEN", "settled", NULL) <= 9); /* sequences in blocks of 32 */
    /* What lies in the gaps is not taken for finished: 0, 1, 3, 4, 6, 7 ... are, 167 of them. */
    CHECK_BOOKS(q, &a, 0, 83, 0, 167, 0, 0);
    CHECK(fail_as(q, &b.jobs[2], CLOAK_E_PERMANENT, 0));
    CHECK(cloak_queue_finish(q, &b.jobs[2], NULL, 0, NULL, &error) == CLOAK_E_FENCED);
    CHECK_OK(cloak_queue_finish(q, &b.jobs[5], NULL, 0, NULL, &error));
    CHECK_BOOKS(q, &a, 0, 81, 0, 168, 1, 0);
    drop(b);
    cloak_queue_close(q);
}

TEST(settled_memory_is_bounded) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "t", "bulk");
    submit(q, &a, 0, 2);
    batch first = claim(q, 2, 600);
    CHECK_OK(cloak_queue_finish(q, &first.jobs[0], NULL, 0, NULL, &error));
    for (uint32_t i = 1; i <= 20; i++) {
        submit(q, &a, i * 1000, 1000);
        for (int k = 0; k < 4; k++) {
            batch b = claim(q, 250, 60);
            CHECK_INT(b.count, 250);
            for (size_t n = 0; n < b.count; n++)
                CHECK(fail_as(q, &b.jobs[n], CLOAK_E_PERMANENT, 0));
            drop(b);
        }
        /* The first token is of the young generation, and then of the old one, where it is known without that of its
         * neighbour, which has the same field; then the old one is gone. */
        const cloak_status known = i <= 16 ? CLOAK_OK : CLOAK_E_FENCED;
        CHECK(cloak_queue_finish(q, &first.jobs[0], NULL, 0, NULL, &error) == known);
        if (i >= 9)
            CHECK_OK(cloak_queue_finish(q, &first.jobs[1], NULL, 0, NULL, &error));
    }
    long long kept = ask(q, "HLEN", "settled", NULL) + ask(q, "HLEN", "settled:old", NULL);
    CHECK(kept > 8192 && kept <= 2 * 8192);
    CHECK_BOOKS(q, &a, 0, 0, 0, 2, 20000, 0); /* what is forgotten is fenced, and the books do not mind */
    drop(first);
    cloak_queue_close(q);
}
