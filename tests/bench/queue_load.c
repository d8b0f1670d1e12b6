/* The load of tests/bench/queue: clients that claim and finish as fast as they can, or at a given
 * rate, against our queue or against beanstalkd. Prints one line of JSON.
 *
 *   bench_queue cloak URL JOBS CLIENTS BATCH SUMS RATE
 *   bench_queue beanstalk PORT JOBS CLIENTS BATCH
 *
 * Puts JOBS jobs in, then lets CLIENTS threads take BATCH at a time, and finish all of a batch at once,
 * each with SUMS numbers for its album, until none is left. RATE: jobs per second of all clients
 * together, 0 for as many as go; a client that is late does not make up for it. beanstalkd has no
 * batches: its clients send BATCH reserves in one write, and then BATCH deletes. Without clients the
 * jobs stay.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/queue.h"

enum { MOST_CLIENTS = 64, MOST_BATCH = 256, MOST_SUMS = 64, CHUNK = 1000, MOST_CLAIMS = 1000000 };

typedef struct {
    const char *url;
    int port;
    size_t jobs, clients, batch, sums;
    double rate;
    double *claims; /* seconds of every claim */
    atomic_size_t finished, claim_count;
} Load;

typedef struct {
    Load *load;
    size_t number;
} Client;

static _Noreturn void stop(const char *what) {
    fprintf(stderr, "bench_queue: %s\n", what);
    exit(1);
}

static void must(cloak_status status, const cloak_error *error) {
    if (status)
        stop(error->text);
}

static void note_claim(Load *load, double seconds) {
    size_t at = atomic_fetch_add(&load->claim_count, 1);
    if (at < MOST_CLAIMS)
        load->claims[at] = seconds;
}

/* Waits until a batch of this rate is due. Returns when the next one is. */
static double pace(const Load *load, double due, size_t taken) {
    if (load->rate <= 0)
        return 0;
    const double now = cloak_now();
    if (now < due)
        cloak_clock_system.sleep(due - now);
    return (now < due ? due : now) + (double)(taken * load->clients) / load->rate;
}

/* --- our queue --- */

static void submit_all(const Load *load) {
    cloak_error error;
    cloak_queue *queue;
    char id[CLOAK_ALBUM_ID_SIZE], keys[CHUNK][32];
    cloak_job_spec specs[CHUNK];
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, id);
    must(cloak_queue_open(load->url, "bench", 10, &queue, &error), &error);
    cloak_album_spec spec = {id, "tenant", "bulk", "/src", "/dst", "{}", NULL};
    must(cloak_queue_create(queue, &spec, &error), &error);
    for (size_t at = 0; at < load->jobs; at += CHUNK) {
        size_t count = load->jobs - at < CHUNK ? load->jobs - at : CHUNK, accepted;
        uint64_t backlog;
        for (size_t i = 0; i < count; i++) {
            snprintf(keys[i], sizeof keys[i], "2026/photo %zu.jpg", at + i);
            specs[i] = (cloak_job_spec){(uint32_t)(at + i), 100, keys[i]};
        }
        must(cloak_queue_submit(queue, id, specs, count, &accepted, &backlog, &error), &error);
    }
    cloak_queue_close(queue);
}

static void *work_cloak(void *context) {
    const Client *client = context;
    Load *load = client->load;
    cloak_error error;
    cloak_queue *queue;
    cloak_stat stats[MOST_SUMS];
    char names[MOST_SUMS][32], worker[32];
    double due = cloak_now();
    for (size_t i = 0; i < load->sums; i++) {
        snprintf(names[i], sizeof names[i], "sum_%zu", i);
        stats[i] = (cloak_stat){names[i], (int64_t)i + 1};
    }
    snprintf(worker, sizeof worker, "w%zu", client->number);
    must(cloak_queue_open(load->url, "bench", 10, &queue, &error), &error);
    for (;;) {
        cloak_job *jobs;
        size_t count;
        cloak_finished finished[MOST_BATCH];
        bool held[MOST_BATCH];
        due = pace(load, due, load->batch);
        const double start = cloak_now();
        must(cloak_queue_claim(queue, worker, load->batch, UINT32_MAX, 60, &jobs, &count, &error), &error);
        note_claim(load, cloak_now() - start);
        for (size_t i = 0; i < count; i++)
            finished[i] = (cloak_finished){&jobs[i], stats, load->sums, NULL};
        must(cloak_queue_finish_many(queue, finished, count, held, &error), &error);
        for (size_t i = 0; i < count; i++)
            if (!held[i])
                stop("a job was lost");
        cloak_jobs_free(jobs, count);
        atomic_fetch_add(&load->finished, count);
        if (count == 0)
            break;
    }
    cloak_queue_close(queue);
    return NULL;
}

/* --- beanstalkd --- */

/* A connection that reads by lines. */
typedef struct {
    int fd;
    size_t at, end;
    char bytes[1 << 16];
} Wire;

static Wire *dial(int port) {
    Wire *wire = cloak_alloc(sizeof *wire);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int yes = 1;
    wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    wire->at = wire->end = 0;
    if (wire->fd < 0 || connect(wire->fd, (struct sockaddr *)&at, sizeof at) != 0)
        stop("cannot connect to beanstalkd");
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return wire;
}

static void hang_up(Wire *wire) {
    close(wire->fd);
    free(wire);
}

static void say(Wire *wire, const char *text, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(wire->fd, text + sent, length - sent, MSG_NOSIGNAL);
        if (n <= 0)
            stop("beanstalkd hung up");
        sent += (size_t)n;
    }
}

/* The next line, without its end; valid until the next call. */
static const char *hear(Wire *wire) {
    for (;;) {
        char *from = wire->bytes + wire->at, *end = memchr(from, '\n', wire->end - wire->at);
        if (end) {
            wire->at = (size_t)(end - wire->bytes) + 1;
            *end = 0;
            return from;
        }
        memmove(wire->bytes, from, wire->end - wire->at);
        wire->end -= wire->at;
        wire->at = 0;
        ssize_t n = recv(wire->fd, wire->bytes + wire->end, sizeof wire->bytes - wire->end, 0);
        if (n <= 0)
            stop("beanstalkd hung up");
        wire->end += (size_t)n;
    }
}

static void put_all(const Load *load) {
    Wire *wire = dial(load->port);
    char *text = cloak_alloc(CHUNK * 128);
    for (size_t at = 0; at < load->jobs; at += CHUNK) {
        size_t count = load->jobs - at < CHUNK ? load->jobs - at : CHUNK, length = 0;
        for (size_t i = 0; i < count; i++) {
            char body[64];
            int size = snprintf(body, sizeof body, "0123456789abcdef 2026/photo %zu.jpg", at + i);
            length += (size_t)snprintf(text + length, 128, "put 1 0 60 %d\r\n%s\r\n", size, body);
        }
        say(wire, text, length);
        for (size_t i = 0; i < count; i++)
            if (strncmp(hear(wire), "INSERTED", 8) != 0)
                stop("beanstalkd did not take a job");
    }
    free(text);
    hang_up(wire);
}

static void *work_beanstalk(void *context) {
    Load *load = ((Client *)context)->load;
    Wire *wire = dial(load->port);
    static const char reserve[] = "reserve-with-timeout 0\r\n";
    for (size_t count = 1; count > 0;) {
        char text[MOST_BATCH * 40];
        size_t length = 0;
        for (size_t i = 0; i < load->batch; i++, length += sizeof reserve - 1)
            memcpy(text + length, reserve, sizeof reserve - 1);
        const double start = cloak_now();
        say(wire, text, length);
        length = count = 0;
        for (size_t i = 0; i < load->batch; i++) {
            unsigned long long id;
            if (sscanf(hear(wire), "RESERVED %llu", &id) != 1)
                continue; /* TIMED_OUT: nothing is left */
            hear(wire);
            length += (size_t)snprintf(text + length, 40, "delete %llu\r\n", id);
            count++;
        }
        note_claim(load, cloak_now() - start);
        say(wire, text, length);
        for (size_t i = 0; i < count; i++)
            if (strncmp(hear(wire), "DELETED", 7) != 0)
                stop("beanstalkd did not delete a job");
        atomic_fetch_add(&load->finished, count);
    }
    hang_up(wire);
    return NULL;
}

/* --- both --- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(Load *load, double submitted, double worked) {
    size_t n = load->claim_count < MOST_CLAIMS ? load->claim_count : MOST_CLAIMS;
    qsort(load->claims, n, sizeof *load->claims, by_size);
    printf("{\"jobs\": %zu, \"submit_seconds\": %.4f, \"seconds\": %.4f, \"jobs_per_second\": %.0f, "
           "\"claim_p50_ms\": %.4f, \"claim_p99_ms\": %.4f}\n",
        load->jobs, submitted, worked, (double)load->jobs / worked, load->claims[n / 2] * 1e3,
        load->claims[n * 99 / 100] * 1e3);
}

static void run(Load *load, void (*fill)(const Load *load), void *(*work)(void *client)) {
    pthread_t threads[MOST_CLIENTS];
    Client clients[MOST_CLIENTS];
    load->claims = cloak_alloc(MOST_CLAIMS * sizeof *load->claims);
    double start = cloak_now(), filled;
    fill(load);
    filled = cloak_now();
    for (size_t i = 0; i < load->clients; i++) {
        clients[i] = (Client){load, i};
        if (pthread_create(&threads[i], NULL, work, &clients[i]) != 0)
            stop("no thread");
    }
    for (size_t i = 0; i < load->clients; i++)
        pthread_join(threads[i], NULL);
    if (load->clients && load->finished != load->jobs)
        stop("not every job was finished once");
    report(load, filled - start, cloak_now() - filled);
    free(load->claims);
}

static size_t number(const char *text, size_t most) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end || n > most)
        stop("a number is out of bounds");
    return n;
}

int main(int argc, char **argv) {
    const bool ours = argc == 8 && strcmp(argv[1], "cloak") == 0;
    if (!ours && (argc != 6 || strcmp(argv[1], "beanstalk") != 0))
        stop("cloak URL JOBS CLIENTS BATCH SUMS RATE, or beanstalk PORT JOBS CLIENTS BATCH");
    Load load = {.url = argv[2], .jobs = number(argv[3], 10000000),
        .clients = number(argv[4], MOST_CLIENTS), .batch = number(argv[5], MOST_BATCH)};
    if (!load.jobs || !load.batch)
        stop("jobs and batch must not be 0");
    if (ours) {
        load.sums = number(argv[6], MOST_SUMS);
        load.rate = (double)number(argv[7], 100000000);
        run(&load, submit_all, work_cloak);
    } else {
        load.port = (int)number(argv[2], 65535);
        run(&load, put_all, work_beanstalk);
    }
    return 0;
}
