/* The job queue: albums, jobs, leases and books in one hash-tagged shard of Redis.
 *
 * Delivery is at least once, accounting exactly once. DESIGN, invariants and what breaks them are
 * in queue.c; the scripts that change state are in scripts/. All functions use the queue's own
 * connection: one thread at a time per cloak_queue, different cloak_queue objects in different
 * threads. Redis errors are CLOAK_E_QUEUE; every call is safe to repeat after one.
 */
#ifndef CLOAK_QUEUE_H
#define CLOAK_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct cloak_queue cloak_queue;

#define CLOAK_ALBUM_ID_SIZE 37 /* a libuuid v4 in text with its terminator */
#define CLOAK_TOKEN_SIZE 48

/* What the queue keeps of an album. Strings are borrowed by calls that take the struct. */
typedef struct {
    const char *id;          /* UUID text */
    const char *tenant;      /* fair share is between tenants; [A-Za-z0-9_.-]{1,64} */
    const char *job_class;   /* "interactive" or "bulk" */
    const char *source;      /* store URL */
    const char *destination; /* store URL */
    const char *settings;    /* JSON object, handed to workers as it is */
    const char *trace;       /* context that the photos' spans are below (common/base/trace.h); NULL: one by the album's id */
} cloak_album_spec;

/* One photo to submit. */
typedef struct {
    uint32_t index;   /* position in the manifest, from 0, below 2^31 */
    uint32_t cost_ms; /* estimated device time in milliseconds, at least 1 */
    const char *key;  /* store key in raw bytes, NUL-terminated */
} cloak_job_spec;

/* One claimed photo. `key` belongs to the struct: free with cloak_jobs_free. */
typedef struct {
    char album[CLOAK_ALBUM_ID_SIZE];
    uint32_t index;
    uint32_t cost_ms;
    int failures; /* earlier attempts that failed: the job's fault */
    int losses;   /* earlier attempts whose worker died: the worker's fault */
    int64_t waited_ms; /* from submission to this claim, server time */
    char token[CLOAK_TOKEN_SIZE]; /* fencing token of this lease */
    char *key;
} cloak_job;

/* A number that `finish` adds to the album's sums. `name` is borrowed: [a-z0-9_.:]{1,48}. */
typedef struct {
    const char *name;
    int64_t add;
} cloak_stat;

/* The books of an album at one instant (read by one script). */
typedef struct {
    uint64_t total, waiting, leased, delayed, done, dead, cancelled; /* photos */
    uint64_t seen_bits, done_bits; /* BITCOUNT of the two bitmaps */
    uint64_t expected; /* photos in the manifest once it is sealed, else 0 */
    bool sealed, cancel_requested, paused;
    bool balanced; /* total = the six = seen_bits, done = done_bits */
} cloak_books;

/* Counts and sums of an album: name and value pairs. Free with cloak_sums_free. */
typedef struct {
    size_t count;
    char **names;
    int64_t *values;
} cloak_sums;

/* Opens the queue `name` ([A-Za-z0-9_.-]{1,64}) on the server at `url` and checks that the server
 * can hold it (cloak_redis_check). `timeout` in seconds bounds every reply. */
CLOAK_MUST_CHECK cloak_status cloak_queue_open(
    const char *url, const char *name, double timeout, cloak_queue **queue, cloak_error *error);

/* Closes and frees. NULL is fine. Leases stay and run out. */
void cloak_queue_close(cloak_queue *queue);

/* The server as people read it. Borrowed, lives with the queue. */
const char *cloak_queue_place(const cloak_queue *queue);

/* Creates the album, or finds it as it was created: the same id with other contents is
 * CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_queue_create(
    cloak_queue *queue, const cloak_album_spec *album, cloak_error *error);

/* Adds `count` photos (at most 1,000 a call) to the album, each once ever: those that were added before are passed
 * over. `*accepted` of them were new; `*backlog` is then what feeders hold back for: the photos waiting in the whole
 * queue, or ten times those of its own tenant and class (and its own that were set aside) where that is fewer, so that
 * a tenant with little in it is never kept out by others. A cancelled album is CLOAK_E_USAGE, an unknown one too. */
CLOAK_MUST_CHECK cloak_status cloak_queue_submit(cloak_queue *queue, const char *album,
    const cloak_job_spec *jobs, size_t count, size_t *accepted, uint64_t *backlog,
    cloak_error *error);

/* Says that the manifest is complete and holds `expected` photos. Idempotent; a larger number
 * later (photos were added to the album) replaces the smaller. */
CLOAK_MUST_CHECK cloak_status cloak_queue_seal(
    cloak_queue *queue, const char *album, uint64_t expected, cloak_error *error);

/* Claims up to `max_jobs` photos (at most 256) whose estimated cost adds up to at most `max_cost_ms`
 * (the first one always fits), each under a lease of `lease_seconds` and a fencing token
 * "<worker>.<boot>-<sequence>". First it brings back what is due: leases that ran out (counted as
 * losses) and delayed photos whose time has come. Photos with a loss behind them come alone.
 * `*jobs` is a new array (cloak_jobs_free) of `*count`, possibly 0. `worker` is
 * [A-Za-z0-9_.-]{1,20}. */
CLOAK_MUST_CHECK cloak_status cloak_queue_claim(cloak_queue *queue, const char *worker,
    size_t max_jobs, uint32_t max_cost_ms, double lease_seconds, cloak_job **jobs, size_t *count,
    cloak_error *error);

/* Frees an array of claimed jobs and their keys. */
void cloak_jobs_free(cloak_job *jobs, size_t count);

/* Renews the leases of `count` jobs in one call. `held[i]` tells whether job i is still ours; a
 * job that is not must be dropped at once. */
CLOAK_MUST_CHECK cloak_status cloak_queue_renew(cloak_queue *queue, const cloak_job *jobs,
    size_t count, double lease_seconds, bool *held, cloak_error *error);

/* A leased job that is done, what it adds to its album's sums, and its record (JSON) for the log
 * stream, or NULL. All borrowed. */
typedef struct {
    const cloak_job *job;
    const cloak_stat *stats;
    size_t stat_count;
    const char *record;
} cloak_finished;

/* Moves leased jobs, of any albums, to done, adds to the sums and appends the records; up to 256 jobs in one script, so
 * that many cost little more than one. `held[i]` tells whether job i was ours or this very token finished it before;
 * for a job that was not, nothing is changed. A sum that would leave 64 bits stays as it is, though several jobs of one
 * script may have added to it. On an error up to 256 jobs at a time are done or not; call again with all of them. */
CLOAK_MUST_CHECK cloak_status cloak_queue_finish_many(cloak_queue *queue,
    const cloak_finished *finished, size_t count, bool *held, cloak_error *error);

/* The same for one job. CLOAK_E_FENCED when the lease is no longer ours. */
CLOAK_MUST_CHECK cloak_status cloak_queue_finish(cloak_queue *queue, const cloak_job *job,
    const cloak_stat *stats, size_t stat_count, const char *record, cloak_error *error);

/* Moves a leased job to delayed (tried again after `delay_seconds`) or, when its class has no
 * retries left, to dead with `why` (class and text). `*dead` tells which. CLOAK_E_FENCED when the
 * lease is no longer ours. The job of a cancelled album becomes cancelled. */
CLOAK_MUST_CHECK cloak_status cloak_queue_fail(cloak_queue *queue, const cloak_job *job,
    const cloak_error *why, double delay_seconds, bool *dead, cloak_error *error);

/* Gives leased jobs back untouched: neither a failure nor a loss (drain). Jobs whose lease is no
 * longer ours are passed over. */
CLOAK_MUST_CHECK cloak_status cloak_queue_release(
    cloak_queue *queue, const cloak_job *jobs, size_t count, cloak_error *error);

/* Takes back the leases of one worker that is known to be dead (or of all when `worker` is NULL),
 * without waiting for them to run out. With `count_loss` each job gets a loss, as after expiry.
 * `*moved` is the number of jobs. */
CLOAK_MUST_CHECK cloak_status cloak_queue_recover(cloak_queue *queue, const char *worker,
    bool count_loss, size_t *moved, cloak_error *error);

/* Cancels an album: waiting and delayed photos become cancelled now; photos in a worker's hands
 * are finished or given back and are then cancelled. Idempotent. */
CLOAK_MUST_CHECK cloak_status cloak_queue_cancel(
    cloak_queue *queue, const char *album, cloak_error *error);

/* Pauses an album, or the whole queue when `album` is NULL: its photos wait, and no claim gets any; those in
 * a worker's hands are finished. Idempotent. When an album goes on, with each claim at most 256 of its photos come
 * back, the last first. */
CLOAK_MUST_CHECK cloak_status cloak_queue_pause(
    cloak_queue *queue, const char *album, cloak_error *error);
CLOAK_MUST_CHECK cloak_status cloak_queue_resume(
    cloak_queue *queue, const char *album, cloak_error *error);

/* Puts the album's dead photos back to waiting with fresh counts: those whose error class is
 * `class_word`, or all when it is NULL. `*moved` is their number. */
CLOAK_MUST_CHECK cloak_status cloak_queue_retry(cloak_queue *queue, const char *album,
    const char *class_word, size_t *moved, cloak_error *error);

/* Reads the books. An unknown album is CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_queue_books(
    cloak_queue *queue, const char *album, cloak_books *books, cloak_error *error);

/* Reads all sums that `finish` added up. */
CLOAK_MUST_CHECK cloak_status cloak_queue_sums(
    cloak_queue *queue, const char *album, cloak_sums *sums, cloak_error *error);

/* The value of a sum, 0 when it was never added to. */
int64_t cloak_sums_get(const cloak_sums *sums, const char *name);

void cloak_sums_free(cloak_sums *sums);

/* Reads an album's spec. The strings of `*album` are one new block: free with
 * cloak_album_spec_free. An unknown album is CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_queue_album(
    cloak_queue *queue, const char *id, cloak_album_spec *album, cloak_error *error);

void cloak_album_spec_free(cloak_album_spec *album);

typedef char cloak_album_id[CLOAK_ALBUM_ID_SIZE];

/* The ids of albums, newest first, from the one at place `offset` (0 is the newest) on: `*count` of them, at most
 * `most`. */
CLOAK_MUST_CHECK cloak_status cloak_queue_albums(cloak_queue *queue, size_t offset, cloak_album_id *ids, size_t most,
    size_t *count, cloak_error *error);

/* Visits the dead photos of an album in no particular order. */
typedef struct {
    uint32_t index;
    int failures, losses;
    const char *key;        /* raw bytes; borrowed for the call, as the others */
    const char *class_word; /* error class */
    const char *text;
} cloak_dead;
CLOAK_MUST_CHECK cloak_status cloak_queue_dead(cloak_queue *queue, const char *album,
    void (*visit)(void *context, const cloak_dead *dead), void *context, cloak_error *error);

/* Whether photo `index` is done. */
CLOAK_MUST_CHECK cloak_status cloak_queue_is_done(
    cloak_queue *queue, const char *album, uint32_t index, bool *done, cloak_error *error);

/* Visits the records of finished photos of all albums, newest first, of which about the last 100,000 are kept: at most
 * `most`, those before `before` (a place that an earlier visit was given; NULL: from the newest on), until `visit` says
 * false. `record` is JSON (common/report/record.h), or empty for an entry that is none of ours. `*more`: whether there
 * may be older ones. A `before` that is no place is CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_queue_history(cloak_queue *queue, const char *before, size_t most,
    bool (*visit)(void *context, const char *place, const char *record), void *context, bool *more, cloak_error *error);

/* Tells the fleet that `worker` lives: `about` (JSON) is kept for 3 beats of 5 s. */
CLOAK_MUST_CHECK cloak_status cloak_queue_beat(
    cloak_queue *queue, const char *worker, const char *about, cloak_error *error);

/* Visits the workers that have beaten within the last 15 s of server time, by name, at most 10,000. */
typedef struct {
    const char *name;  /* borrowed for the call, as `about` */
    const char *about; /* what it said of itself: JSON */
    double silent;     /* seconds since its last beat */
} cloak_live_worker;
CLOAK_MUST_CHECK cloak_status cloak_queue_workers(cloak_queue *queue,
    void (*visit)(void *context, const cloak_live_worker *worker), void *context, cloak_error *error);

/* Pauses a tenant: what waits of its albums, those to come too, waits until cloak_queue_resume_tenant. Photos in hand
 * are finished, and those that wait alone after a loss may still be tried. Idempotent; any tenant's name will do. */
CLOAK_MUST_CHECK cloak_status cloak_queue_pause_tenant(cloak_queue *queue, const char *tenant, cloak_error *error);
CLOAK_MUST_CHECK cloak_status cloak_queue_resume_tenant(cloak_queue *queue, const char *tenant, cloak_error *error);

/* While others wait as well, a tenant gets `share` (.001 to 1,000; 1 unless set) times as much device time as one whose
 * share is 1. Any tenant's name will do; what it was charged before stays as it was. */
CLOAK_MUST_CHECK cloak_status cloak_queue_set_share(cloak_queue *queue, const char *tenant, double share, cloak_error *error);

/* Visits the tenants whose photos wait, of each class ("interactive", "bulk") the `most` that are served next and as
 * many that are paused. What waits alone after a loss, is delayed or set aside is not among it. */
typedef struct {
    const char *class_word; /* borrowed for the call, as `name` */
    const char *name;
    uint64_t waiting; /* photos */
    double weight;    /* its share */
    bool paused;
} cloak_tenant;
CLOAK_MUST_CHECK cloak_status cloak_queue_tenants(cloak_queue *queue, size_t most,
    void (*visit)(void *context, const cloak_tenant *tenant), void *context, cloak_error *error);

/* What a fleet has before it: what an autoscaler wants to know. */
typedef struct {
    uint64_t waiting, delayed, leased; /* photos not yet claimed; to be tried again later; in hand */
    uint64_t workers;                  /* that have beaten within the last 15 s of server time */
    double backlog_seconds; /* estimated device time of what waits or is delayed and is not paused, by the mean of
                             * some photos of each tenant */
    double oldest_seconds;  /* since the photo was submitted that has waited longest; 0 for none */
    bool paused;            /* the whole queue; `backlog_seconds` and `oldest_seconds` leave out what is paused */
    uint64_t lost, retried, dead;      /* photos, since the queue began: leases that ended without a word from their
                                        * worker, failures that are tried again, photos given up */
    uint64_t memory_used, memory_most; /* of the server, bytes; 0: it does not say, or has no limit */
} cloak_load;

CLOAK_MUST_CHECK cloak_status cloak_queue_load(
    cloak_queue *queue, cloak_load *load, cloak_error *error);

#endif
