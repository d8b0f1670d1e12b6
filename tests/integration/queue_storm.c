/* The queue under load and under fire: threads that claim, fail, vanish and finish while another
 * reads the books; a server that is killed and comes back; replies that are lost. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

enum { MOST_PHOTOS = 10000, THREADS = 4 };

typedef struct {
    server *server;
    char album[CLOAK_ALBUM_ID_SIZE];
    uint32_t photos;
    double lease;
    bool misbehave; /* fail, release and vanish now and then */
    atomic_int finished, samples;
    atomic_bool all_done;
    atomic_char confirmed[MOST_PHOTOS]; /* how often finish said OK */
} storm;

static cloak_queue *open_queue(const server *s, double timeout) {
    cloak_error error;
    cloak_queue *queue;
    CHECK_OK(cloak_queue_open(server_url(s), "storm", timeout, &queue, &error));
    return queue;
}

static storm *make_storm(server *s, uint32_t photos, double lease, bool misbehave) {
    storm *st = cloak_alloc(sizeof *st);
    *st = (storm){.server = s, .photos = photos, .lease = lease, .misbehave = misbehave};
    cloak_error error;
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, st->album);
    cloak_queue *queue = open_queue(s, 10);
    cloak_album_spec spec = {st->album, "t", "bulk", "/src", "/dst", "{}", NULL};
    CHECK_OK(cloak_queue_create(queue, &spec, &error));
    cloak_queue_close(queue);
    return st;
}

/* A call that must go through in the end, whatever happens to the server: at most 20 s. */
#define UNTIL_ANSWERED(status, call)                                                               \
    for (double give_up_ = cloak_now() + 20; (status = (call)) == CLOAK_E_QUEUE;) {                \
        if (cloak_now() > give_up_)                                                                \
            check_failed(__FILE__, __LINE__, "%s: %s", #call, error.text);                         \
        cloak_clock_system.sleep(0.02);                                                            \
    }

static void *feed(void *context) {
    storm *st = context;
    cloak_error error;
    cloak_status status;
    cloak_queue *queue = open_queue(st->server, 10);
    for (uint32_t at = 0; at < st->photos; at += 250) {
        cloak_job_spec specs[250];
        char keys[250][32];
        size_t accepted;
        uint64_t backlog;
        for (uint32_t i = 0; i < 250; i++) {
            snprintf(keys[i], sizeof keys[i], "%u.jpg", (unsigned)(at + i));
            specs[i] = (cloak_job_spec){at + i, 10, keys[i]};
        }
        UNTIL_ANSWERED(
            status, cloak_queue_submit(queue, st->album, specs, 250, &accepted, &backlog, &error));
        CHECK(!status);
    }
    UNTIL_ANSWERED(status, cloak_queue_seal(queue, st->album, st->photos, &error));
    cloak_queue_close(queue);
    return NULL;
}

/* One photo in the hands of a worker that may misbehave. */
static void work(storm *st, cloak_queue *queue, const cloak_job *job, unsigned *seed) {
    cloak_error error, why = {.code = CLOAK_E_TRANSIENT, .text = "storm"};
    cloak_status status;
    bool dead;
    int dice = st->misbehave ? rand_r(seed) % 100 : 99;
    char key[32];
    snprintf(key, sizeof key, "%u.jpg", (unsigned)job->index);
    CHECK_TEXT(job->key, key);
    if (dice < 5 && job->failures < 3) {
        UNTIL_ANSWERED(status, cloak_queue_fail(queue, job, &why, 0.01, &dead, &error));
    } else if (dice < 8) {
        UNTIL_ANSWERED(status, cloak_queue_release(queue, job, 1, &error));
    } else if (dice < 9 && job->losses == 0) {
        return; /* vanishes with it */
    } else {
        cloak_stat stats[] = {{"photos", 1}, {"index", job->index}};
        UNTIL_ANSWERED(status, cloak_queue_finish(queue, job, stats, 2, "{}", &error));
        if (!status) {
            atomic_fetch_add(&st->confirmed[job->index], 1);
            atomic_fetch_add(&st->finished, 1);
        }
    }
    CHECK(status == CLOAK_OK || status == CLOAK_E_FENCED);
}

static void *work_all(void *context) {
    static atomic_uint number;
    storm *st = context;
    cloak_error error;
    cloak_status status;
    unsigned seed = atomic_fetch_add(&number, 1);
    char name[16];
    snprintf(name, sizeof name, "w%u", seed);
    cloak_queue *queue = open_queue(st->server, 10);
    while (!atomic_load(&st->all_done)) {
        cloak_job *jobs;
        size_t count;
        UNTIL_ANSWERED(
            status, cloak_queue_claim(queue, name, 32, 100000, st->lease, &jobs, &count, &error));
        CHECK(!status);
        for (size_t i = 0; i < count; i++)
            work(st, queue, &jobs[i], &seed);
        cloak_jobs_free(jobs, count);
        if (count == 0)
            cloak_clock_system.sleep(0.01);
    }
    cloak_queue_close(queue);
    return NULL;
}

/* Pauses the album now and then, and lets it go on a little later. */
static void interrupt(storm *st, cloak_queue *queue, int sample) {
    cloak_error error;
    cloak_status status = CLOAK_OK;
    if (st->misbehave && sample % 20 == 8)
        UNTIL_ANSWERED(status, cloak_queue_pause(queue, st->album, &error));
    if (st->misbehave && sample % 20 == 10)
        UNTIL_ANSWERED(status, cloak_queue_resume(queue, st->album, &error));
    CHECK(!status);
}

/* Reads the books all the time; ends the storm when everything is done. */
static void *audit(void *context) {
    storm *st = context;
    cloak_error error;
    cloak_status status;
    double deadline = cloak_now() + 60;
    cloak_queue *queue = open_queue(st->server, 10);
    for (;;) {
        cloak_books b;
        int confirmed = atomic_load(&st->finished);
        UNTIL_ANSWERED(status, cloak_queue_books(queue, st->album, &b, &error));
        CHECK(!status);
        CHECK(b.balanced);
        CHECK(b.done >= (uint64_t)confirmed); /* what was confirmed stays done */
        interrupt(st, queue, atomic_fetch_add(&st->samples, 1));
        if (b.sealed && b.done == b.expected)
            break;
        if (cloak_now() > deadline)
            check_failed(__FILE__, __LINE__,
                "stuck: waiting %d leased %d delayed %d done %d dead %d", (int)b.waiting,
                (int)b.leased, (int)b.delayed, (int)b.done, (int)b.dead);
        cloak_clock_system.sleep(0.002);
    }
    atomic_store(&st->all_done, true);
    cloak_queue_close(queue);
    return NULL;
}

/* Every photo was finished and counted once. Confirmations may be fewer where a finish ran, its
 * reply was lost and its memory with it; never more. */
static void check_aftermath(storm *st, int least_confirmed) {
    cloak_error error;
    cloak_queue *queue = open_queue(st->server, 10);
    cloak_books b;
    cloak_sums sums;
    CHECK_OK(cloak_queue_books(queue, st->album, &b, &error));
    CHECK(b.balanced);
    CHECK_INT(b.done, st->photos);
    CHECK_INT(b.total, st->photos);
    CHECK_OK(cloak_queue_sums(queue, st->album, &sums, &error));
    CHECK_INT(cloak_sums_get(&sums, "photos"), st->photos);
    CHECK_INT(cloak_sums_get(&sums, "index"), (int64_t)st->photos * (st->photos - 1) / 2);
    cloak_sums_free(&sums);
    for (uint32_t i = 0; i < st->photos; i++)
        CHECK(atomic_load(&st->confirmed[i]) <= 1);
    CHECK(atomic_load(&st->finished) >= least_confirmed);
    cloak_queue_close(queue);
}

static void start(pthread_t *threads, storm *st) {
    CHECK(pthread_create(&threads[0], NULL, feed, st) == 0);
    CHECK(pthread_create(&threads[1], NULL, audit, st) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[2 + i], NULL, work_all, st) == 0);
}

static void join(pthread_t *threads) {
    for (int i = 0; i < THREADS + 2; i++)
        pthread_join(threads[i], NULL);
}

TEST(ten_thousand_in_four_threads) {
    server *s = server_start(NULL);
    if (!s)
        return;
    storm *st = make_storm(s, 10000, 1, true);
    pthread_t threads[THREADS + 2];
    double begun = cloak_now();
    start(threads, st);
    join(threads);
    printf("  %.1f s, books read %d times\n", cloak_now() - begun, atomic_load(&st->samples));
    CHECK(atomic_load(&st->samples) > 50);
    check_aftermath(st, 10000);
    free(st);
    server_stop(s);
}

TEST(killed_server_loses_nothing) {
    server *s = server_start(&(server_setup){.every_write = true});
    if (!s)
        return;
    storm *st = make_storm(s, 4000, 5, false);
    pthread_t threads[THREADS + 2];
    start(threads, st);
    for (int i = 1; i <= 3; i++) {
        double deadline = cloak_now() + 30;
        while (atomic_load(&st->finished) < 800 * i && cloak_now() < deadline)
            cloak_clock_system.sleep(0.001);
        server_kill(s);
        server_restart(s);
    }
    join(threads);
    /* Replies may be lost at each kill, one per thread; the repeated finish is recognised. */
    check_aftermath(st, 4000);
    cloak_error error;
    cloak_queue *queue = open_queue(s, 10);
    for (uint32_t i = 0; i < st->photos; i++) {
        bool done;
        CHECK_OK(cloak_queue_is_done(queue, st->album, i, &done, &error));
        CHECK(done);
    }
    cloak_queue_close(queue);
    free(st);
    server_stop(s);
}

static cloak_books books_of(cloak_queue *queue, const char *album) {
    cloak_error error;
    cloak_books b;
    CHECK_OK(cloak_queue_books(queue, album, &b, &error));
    CHECK(b.balanced);
    return b;
}

static void submit_some(cloak_queue *queue, const char *album, uint32_t count) {
    cloak_error error;
    size_t accepted;
    uint64_t backlog;
    for (uint32_t i = 0; i < count; i++) {
        cloak_job_spec spec = {i, 10, "k"};
        CHECK_OK(cloak_queue_submit(queue, album, &spec, 1, &accepted, &backlog, &error));
    }
}

/* A claim that the server carries out although its reply never arrives is undone by the next one:
 * no photo waits for a lease nobody knows of, and none gets a loss. */
TEST(lost_claim_reply) {
    server *s = server_start(NULL);
    if (!s)
        return;
    storm *st = make_storm(s, 0, 30, false);
    cloak_error error;
    cloak_queue *slow = open_queue(s, 0.2), *other = open_queue(s, 5);
    submit_some(other, st->album, 20);
    cloak_job *jobs, *theirs;
    size_t count, their_count;
    CHECK_OK(cloak_queue_claim(slow, "w1", 2, 1000, 30, &jobs, &count, &error));
    CHECK_OK(cloak_queue_claim(other, "w1", 3, 1000, 30, &theirs, &their_count, &error));
    server_freeze(s);
    cloak_job *lost;
    size_t lost_count;
    CHECK(cloak_queue_claim(slow, "w1", 8, 1000, 30, &lost, &lost_count, &error) == CLOAK_E_QUEUE);
    server_thaw(s);
    while (books_of(other, st->album).leased < 13) /* it is carried out now */
        cloak_clock_system.sleep(0.005);
    CHECK_OK(cloak_queue_claim(slow, "w1", 4, 1000, 30, &lost, &lost_count, &error));
    CHECK_INT(lost_count, 4);
    for (size_t i = 0; i < lost_count; i++)
        CHECK_INT(lost[i].losses, 0);
    cloak_books b = books_of(other, st->album);
    CHECK_INT(b.leased, 2 + 3 + 4); /* what others hold, and what we held before, stays */
    CHECK_INT(b.waiting, 11);
    bool held[3];
    CHECK_OK(cloak_queue_renew(slow, jobs, count, 30, held, &error));
    CHECK(held[0] && held[1]);
    CHECK_OK(cloak_queue_renew(other, theirs, their_count, 30, held, &error));
    CHECK(held[0] && held[1] && held[2]);
    cloak_jobs_free(jobs, count);
    cloak_jobs_free(theirs, their_count);
    cloak_jobs_free(lost, lost_count);
    cloak_queue_close(slow);
    cloak_queue_close(other);
    free(st);
    server_stop(s);
}

/* A wire between client and server that is cut, when armed, as soon as the server has answered: the
 * command was carried out and the client does not know. */
typedef struct {
    struct sockaddr_un here, there;
    char url[128];
    int listener;
    atomic_bool armed;
    pthread_t thread;
} wire;

/* Passes what has arrived at `from` on to `to`; false at the end. */
static bool pass(int from, int to) {
    char bytes[65536];
    ssize_t n = recv(from, bytes, sizeof bytes, 0);
    return n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n;
}

static void *wire_main(void *context) {
    wire *w = context;
    for (int client; (client = accept(w->listener, NULL, NULL)) >= 0;) {
        int server_end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(server_end, (struct sockaddr *)&w->there, sizeof w->there) == 0);
        for (bool open = true; open;) {
            struct pollfd at[] = {{client, POLLIN, 0}, {server_end, POLLIN, 0}};
            poll(at, 2, -1);
            if (at[0].revents)
                open = pass(client, server_end);
            if (open && at[1].revents)
                open = !atomic_exchange(&w->armed, false) && pass(server_end, client);
        }
        close(client);
        close(server_end);
    }
    return NULL;
}

static wire *wire_start(const server *s) {
    wire *w = cloak_alloc(sizeof *w);
    w->here.sun_family = w->there.sun_family = AF_UNIX;
    snprintf(w->here.sun_path, sizeof w->here.sun_path, "%s/wire", check_folder());
    snprintf(w->there.sun_path, sizeof w->there.sun_path, "%s", server_socket(s));
    snprintf(w->url, sizeof w->url, "unix://%s", w->here.sun_path);
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(w->listener, (struct sockaddr *)&w->here, sizeof w->here) == 0);
    CHECK(listen(w->listener, 8) == 0);
    CHECK(pthread_create(&w->thread, NULL, wire_main, w) == 0);
    return w;
}

static void wire_stop(wire *w) {
    shutdown(w->listener, SHUT_RDWR);
    pthread_join(w->thread, NULL);
    close(w->listener);
    free(w);
}

/* Teaches the server all scripts, so that the reply that is cut off is not "no such script". */
static void load_scripts(cloak_queue *queue) {
    cloak_script *const scripts[] = {&cloak_script_submit, &cloak_script_claim,
        &cloak_script_finish, &cloak_script_fail, &cloak_script_renew, &cloak_script_release,
        &cloak_script_recover, &cloak_script_cancel};
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        cloak_error error;
        redisReply *reply;
        const char *argv[] = {"SCRIPT", "LOAD", scripts[i]->source};
        CHECK_OK(cloak_redis_call(queue->redis, 3, argv, NULL, &reply, &error));
        freeReplyObject(reply);
    }
}

/* Makes a call of which the reply is cut off; it must succeed all the same. */
#define CHECK_CUT(w, call)                                                                         \
    do {                                                                                           \
        atomic_store(&(w)->armed, true);                                                           \
        CHECK_OK(call);                                                                            \
        CHECK(!atomic_load(&(w)->armed));                                                          \
    } while (0)

TEST(lost_replies) {
    server *s = server_start(NULL);
    if (!s)
        return;
    storm *st = make_storm(s, 0, 30, false);
    wire *w = wire_start(s);
    cloak_error error, why = {.code = CLOAK_E_TRANSIENT, .text = "x"};
    cloak_queue *queue, *other = open_queue(s, 5);
    CHECK_OK(cloak_queue_open(w->url, "storm", 5, &queue, &error));
    load_scripts(other);
    cloak_job_spec specs[20];
    for (uint32_t i = 0; i < 20; i++)
        specs[i] = (cloak_job_spec){i, 10, "k"};
    size_t count, moved;
    uint64_t backlog;
    CHECK_CUT(w, cloak_queue_submit(queue, st->album, specs, 20, &count, &backlog, &error));
    CHECK_INT(backlog, 20);
    CHECK_INT(books_of(other, st->album).total, 20);

    cloak_job *jobs;
    CHECK_CUT(w, cloak_queue_claim(queue, "w1", 8, 1000, 30, &jobs, &count, &error));
    CHECK_INT(count, 8);
    CHECK_INT(books_of(other, st->album).leased, 8); /* the first batch went back */
    for (uint32_t i = 0; i < 8; i++)
        CHECK(jobs[i].losses == 0 && jobs[i].index < 20);

    cloak_stat stat = {"photos", 1};
    bool dead = true, held[8];
    const cloak_finished finished[] = {{&jobs[0], &stat, 1, "{}"}, {&jobs[6], &stat, 1, NULL}, {&jobs[7], &stat, 1, NULL}};
    CHECK_CUT(w, cloak_queue_finish_many(queue, finished, 3, held, &error));
    CHECK(held[0] && held[1] && held[2]);
    CHECK_CUT(w, cloak_queue_fail(queue, &jobs[1], &why, 60, &dead, &error));
    CHECK(!dead);
    CHECK_CUT(w, cloak_queue_renew(queue, jobs, 8, 30, held, &error));
    CHECK(!held[0] && !held[1] && held[2] && held[5] && !held[6] && !held[7]);
    CHECK_CUT(w, cloak_queue_release(queue, &jobs[2], 2, &error));
    cloak_books b = books_of(other, st->album);
    CHECK(b.done == 3 && b.delayed == 1 && b.leased == 2 && b.waiting == 14);
    CHECK_CUT(w, cloak_queue_recover(queue, "w1", false, &moved, &error));
    CHECK_INT(books_of(other, st->album).waiting, 16);
    CHECK_CUT(w, cloak_queue_cancel(queue, st->album, &error));
    b = books_of(other, st->album);
    CHECK(b.done == 3 && b.cancelled == 17);
    cloak_sums sums;
    CHECK_OK(cloak_queue_sums(queue, st->album, &sums, &error));
    CHECK_INT(cloak_sums_get(&sums, "photos"), 3);
    cloak_sums_free(&sums);
    cloak_jobs_free(jobs, count);
    cloak_queue_close(queue);
    cloak_queue_close(other);
    wire_stop(w);
    free(st);
    server_stop(s);
}

/* With its memory used up the server takes no more photos, but workers hand theirs in. */
TEST(full_server_drains) {
    server *s = server_start(NULL);
    if (!s)
        return;
    storm *st = make_storm(s, 0, 30, false);
    cloak_error error;
    cloak_queue *queue = open_queue(s, 5);
    submit_some(queue, st->album, 10);
    cloak_job *jobs;
    size_t count, moved;
    CHECK_OK(cloak_queue_claim(queue, "w1", 4, 1000, 30, &jobs, &count, &error));
    redisReply *reply;
    const char *limit[] = {"CONFIG", "SET", "maxmemory", "1"};
    CHECK_OK(cloak_redis_call(queue->redis, 4, limit, NULL, &reply, &error));
    freeReplyObject(reply);

    cloak_job_spec spec = {100, 10, "k"};
    uint64_t backlog;
    CHECK(
        cloak_queue_submit(queue, st->album, &spec, 1, &moved, &backlog, &error) == CLOAK_E_QUEUE);
    CHECK(strstr(error.text, "maxmemory") && error.retryable);
    cloak_stat stats[] = {{"photos", 1}};
    cloak_error why = {.code = CLOAK_E_TRANSIENT, .text = "x"};
    bool dead;
    CHECK_OK(cloak_queue_finish(queue, &jobs[0], stats, 1, "{}", &error));
    bool held = false;
    CHECK_OK(cloak_queue_renew(queue, &jobs[1], 1, 30, &held, &error));
    CHECK(held);
    CHECK_OK(cloak_queue_beat(queue, "w1", "{}", &error));
    cloak_load load;
    CHECK_OK(cloak_queue_load(queue, &load, &error));
    CHECK_INT(load.workers, 1);
    CHECK_OK(cloak_queue_fail(queue, &jobs[1], &why, 9, &dead, &error));
    CHECK_OK(cloak_queue_release(queue, &jobs[2], 1, &error));
    CHECK_OK(cloak_queue_recover(queue, NULL, true, &moved, &error));
    cloak_jobs_free(jobs, count);
    cloak_books b = books_of(queue, st->album);
    CHECK_INT(b.total, 10);
    CHECK_INT(b.waiting, 7);
    CHECK_INT(b.delayed, 2);
    CHECK_INT(b.done, 1);
    CHECK_OK(cloak_queue_claim(queue, "w1", 4, 1000, 30, &jobs, &count, &error));
    CHECK_INT(count, 4);
    CHECK_INT(books_of(queue, st->album).leased, 4);
    CHECK_OK(cloak_queue_cancel(queue, st->album, &error));
    CHECK_INT(books_of(queue, st->album).cancelled, 5);
    cloak_jobs_free(jobs, count);
    cloak_queue_close(queue);
    free(st);
    server_stop(s);
}
