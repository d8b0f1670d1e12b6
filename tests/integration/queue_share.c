/* Whose photos come next, against a real server: fair share between tenants, and classes. */
#include "tests/integration/queue_kit.h"

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
    CHECK_OK(cloak_queue_set_share(q, "bob", 5, &error));
    CHECK_OK(cloak_queue_set_share(q, "bob", 1, &error));
    CHECK_OK(cloak_queue_set_share(q, "ann", 3, &error));
    CHECK(cloak_queue_set_share(q, "ann", 0, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_set_share(q, "ann", NAN, &error) == CLOAK_E_USAGE);
    CHECK(cloak_queue_set_share(q, "a b", 1, &error) == CLOAK_E_USAGE);
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

/* A feeder holds back for all that waits, but not for others where its own tenant has little. */
TEST(backlog_of_others_keeps_nobody_out) {
    WITH_QUEUE(q);
    album_id a = make_album(q, "ann", "bulk"), b = make_album(q, "bob", "bulk"), c = make_album(q, "ann", "interactive");
    submit(q, &a, 0, 500);
    CHECK_INT(backlog(q, &a), 500);
    CHECK_INT(backlog(q, &b), 0);
    CHECK_INT(backlog(q, &c), 0);
    submit(q, &b, 0, 3);
    CHECK_INT(backlog(q, &b), 30);
    submit(q, &b, 3, 100);
    CHECK_INT(backlog(q, &b), 603);
    CHECK_INT(backlog(q, &a), 603);
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

TEST(bulk_photos_do_not_starve) {
    WITH_QUEUE(q);
    album_id bulk = make_album(q, "t", "bulk"), quick = make_album(q, "u", "interactive");
    submit(q, &quick, 0, 50);
    for (int i = 0; i < 12; i++)
        drop(claim(q, 1, 30)); /* counts for nothing: no bulk photo waits */
    submit(q, &bulk, 0, 50);
    for (int i = 0; i < 20; i++) {
        batch b = claim(q, 1, 30);
        CHECK_INT(count_of(b, &bulk), i % 10 == 9);
        CHECK_INT(b.count, 1);
        drop(b);
    }
    for (int i = 0; i < 5; i++)
        drop(claim(q, 1, 30));
    batch b = claim(q, 30, 30); /* interactive photos no longer fill a claim */
    CHECK_INT(count_of(b, &quick), 15);
    drop(b);
    submit(q, &quick, 100, 20);
    for (int i = 0; i < 10; i++) { /* and it begins anew */
        b = claim(q, 1, 30);
        CHECK_INT(count_of(b, &bulk), i == 9);
        drop(b);
    }
    cloak_queue_close(q);
}

/* A turn is not used up by what was cancelled, and a paused tenant has none. */
TEST(bulk_has_its_turn_behind_stale_photos) {
    WITH_QUEUE(q);
    album_id gone = make_album(q, "t", "bulk"), bulk = make_album(q, "t", "bulk"), quick = make_album(q, "u", "interactive");
    for (uint32_t i = 0; i < 5; i++)
        submit(q, &gone, i * 1000, 1000);
    submit(q, &bulk, 0, 10);
    submit(q, &quick, 0, 60);
    CHECK_OK(cloak_queue_cancel(q, gone.id, &error));
    CHECK_OK(cloak_queue_pause_tenant(q, "t", &error));
    for (int i = 0; i < 12; i++) {
        batch b = claim(q, 1, 30);
        CHECK_INT(count_of(b, &quick), 1);
        drop(b);
    }
    CHECK_OK(cloak_queue_resume_tenant(q, "t", &error));
    for (int i = 0; i < 10; i++) {
        batch b = claim(q, 1, 30);
        CHECK_INT(count_of(b, &bulk), i == 9);
        drop(b);
    }
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
