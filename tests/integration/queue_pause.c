/* What is paused and what waits, against a real server: albums, tenants, the whole queue. */
#include "tests/integration/queue_kit.h"

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
