/* A photo in a worker's hands: claim, renew, finish, fail, release, recover. The invariants are in
 * queue.c, the work is done by the scripts of the same names; here is what the client adds: tokens,
 * and what it does about a claim whose reply was lost.
 *
 * The server may have run such a claim: a batch would then sit leased to us without our knowing,
 * until the leases run out and every photo in it gets a loss that nobody deserves. So the handle
 * remembers the tokens it offered, and before it claims again takes back, without a loss, all
 * leases with those or later tokens. If the process dies before that, the leases run out.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

enum {
    MOST_JOBS = 256,  /* per claim, and per step of renew and release */
    MOST_ROUNDS = 64, /* of a claim through a heap of cancelled entries, 2,000 each */
    /* A token is worker (20), '.', boot (16), '-' and a sequence of nine digits. */
    PREFIX_SIZE = 20 + 1 + 16 + 1 + 1,
    MOST_SEQUENCE = 999999999,
};
_Static_assert(PREFIX_SIZE + 9 == CLOAK_TOKEN_SIZE, "a token must fit");

/* A lease in whole milliseconds, at least one; false for what is no lease. */
static bool lease_ms(double seconds, int64_t *ms) {
    if (!(seconds > 0 && seconds <= 86400))
        return false;
    *ms = (int64_t)(seconds * 1000);
    if (*ms < 1)
        *ms = 1;
    return true;
}

static cloak_status bad_lease(double seconds, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_USAGE,
        "a lease must last more than 0 and at most 86400 seconds, not %g", seconds);
}

/* The lease of `job` is another's by now. */
static cloak_status fenced(const cloak_job *job, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_FENCED,
        "%s:%u: the lease is no longer ours; another worker has or had this photo: drop the result",
        job->album, (unsigned)job->index);
}

/* Takes leases back, step by step through all of them: the worker's when it is not "", those with
 * the token prefix and a sequence from `first` to `last` when that is not "", else all. */
static cloak_status take_back(cloak_queue *queue, const char *worker, const char *prefix,
    uint32_t first, uint32_t last, bool count_loss, size_t *moved, cloak_error *error) {
    char cursor[32] = "0";
    *moved = 0;
    do {
        long long step = 0;
        cloak_call call;
        cloak_call_begin(&call, queue, &cloak_script_recover);
        cloak_call_queue_keys(&call);
        cloak_call_text(&call, queue->prefix);
        cloak_call_text(&call, cursor);
        cloak_call_text(&call, worker);
        cloak_call_text(&call, prefix);
        cloak_call_number(&call, first);
        cloak_call_number(&call, last);
        cloak_call_number(&call, count_loss ? cloak_status_retries(CLOAK_E_LOST) : 0);
        cloak_status status = cloak_call_step(&call, cursor, &step, error);
        if (status)
            return status;
        *moved += (size_t)step;
    } while (strcmp(cursor, "0") != 0);
    return CLOAK_OK;
}

cloak_status cloak_queue_recover(
    cloak_queue *queue, const char *worker, bool count_loss, size_t *moved, cloak_error *error) {
    size_t count = 0;
    cloak_status status = worker ? cloak_word_check("worker", worker, 20, error) : CLOAK_OK;
    if (!status)
        status = take_back(queue, worker ? worker : "", "", 0, 0, count_loss, &count, error);
    if (!status)
        *moved = count;
    return status;
}

/* Undoes the claim whose reply was lost, if there is one. */
static cloak_status resolve_doubt(cloak_queue *queue, cloak_error *error) {
    size_t moved = 0;
    if (!queue->doubt[0])
        return CLOAK_OK;
    cloak_status status =
        take_back(queue, "", queue->doubt, queue->doubt_first, queue->doubt_last, false, &moved, error);
    if (!status)
        queue->doubt[0] = 0;
    return status;
}

/* Draws a boot id when the handle is new or has used up its sequence. */
static void prepare_tokens(cloak_queue *queue) {
    if (queue->boot[0] && queue->sequence <= MOST_SEQUENCE - MOST_JOBS)
        return;
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        abort(); /* cannot happen for 8 bytes; a guessable token would break fencing */
    snprintf(queue->boot, sizeof queue->boot, "%016llx", (unsigned long long)random);
    queue->sequence = 0;
}

/* Turns the script's reply {more, now, entry...} into jobs. */
static cloak_status read_batch(cloak_queue *queue, const redisReply *reply,
    const char prefix[PREFIX_SIZE], cloak_job **jobs, size_t *count, bool *more,
    cloak_error *error) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2 ||
        reply->elements > MOST_JOBS + 2 || reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER)
        return cloak_reply_unexpected(queue, "claim", error);
    size_t n = reply->elements - 2;
    cloak_job *made = cloak_alloc(n * sizeof *made);
    for (size_t i = 0; i < n; i++) {
        const redisReply *entry = reply->element[i + 2];
        if (entry->type != REDIS_REPLY_STRING ||
            !cloak_entry_parse(entry->str, entry->len, reply->element[1]->integer, &made[i])) {
            cloak_jobs_free(made, i);
            return cloak_reply_unexpected(queue, "claim", error);
        }
        /* The sequence has nine digits at most; the remainder tells the compiler. */
        snprintf(made[i].token, sizeof made[i].token, "%s%u", prefix,
            (unsigned)(queue->sequence + i) % (MOST_SEQUENCE + 1u));
    }
    *more = reply->element[0]->integer != 0;
    *jobs = made;
    *count = n;
    return CLOAK_OK;
}

/* One run of the script. Until its reply is understood, the claim is in doubt. */
static cloak_status claim_once(cloak_queue *queue, const char *worker, size_t max_jobs,
    uint32_t max_cost_ms, int64_t lease, cloak_job **jobs, size_t *count, bool *more,
    cloak_error *error) {
    cloak_status status = resolve_doubt(queue, error);
    if (status)
        return status;
    prepare_tokens(queue);
    char prefix[PREFIX_SIZE];
    snprintf(prefix, sizeof prefix, "%.20s.%s-", worker, queue->boot);

    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_claim);
    cloak_call_queue_keys(&call);
    cloak_call_key(&call, CLOAK_KEY_WEIGHTS);
    cloak_call_key(&call, CLOAK_KEY_PAUSED);
    cloak_call_key(&call, CLOAK_KEY_RESUMING);
    cloak_call_key(&call, CLOAK_KEY_PASSED);
    cloak_call_text(&call, queue->prefix);
    cloak_call_text(&call, prefix);
    cloak_call_number(&call, queue->sequence);
    cloak_call_number(&call, (int64_t)max_jobs);
    cloak_call_number(&call, max_cost_ms);
    cloak_call_number(&call, lease);
    cloak_call_number(&call, cloak_status_retries(CLOAK_E_LOST));

    strcpy(queue->doubt, prefix);
    queue->doubt_first = queue->sequence;
    queue->doubt_last = queue->sequence + (uint32_t)max_jobs - 1;
    redisReply *reply = NULL;
    cloak_redis_set_repeat(queue->redis, false);
    status = cloak_call_run(&call, &reply, error);
    cloak_redis_set_repeat(queue->redis, true);
    if (!status) {
        status = read_batch(queue, reply, prefix, jobs, count, more, error);
        freeReplyObject(reply);
    }
    if (!status)
        queue->doubt[0] = 0;
    queue->sequence += (uint32_t)(status ? max_jobs : *count);
    return status;
}

cloak_status cloak_queue_claim(cloak_queue *queue, const char *worker, size_t max_jobs,
    uint32_t max_cost_ms, double lease_seconds, cloak_job **jobs, size_t *count,
    cloak_error *error) {
    int64_t lease;
    cloak_status status = cloak_word_check("worker", worker, 20, error);
    if (status)
        return status;
    if (!lease_ms(lease_seconds, &lease))
        return bad_lease(lease_seconds, error);
    if (max_jobs < 1)
        return cloak_fail(error, CLOAK_E_USAGE, "a claim must ask for at least one photo");
    if (max_jobs > MOST_JOBS)
        max_jobs = MOST_JOBS;

    cloak_job *batch = NULL;
    size_t size = 0;
    bool more = true;
    for (int round = 0; more && size == 0 && round < MOST_ROUNDS; round++) {
        cloak_jobs_free(batch, 0);
        batch = NULL;
        status =
            claim_once(queue, worker, max_jobs, max_cost_ms, lease, &batch, &size, &more, error);
        /* An idle connection that the server closed: once more, after clearing up. */
        if (status && cloak_redis_broke(queue->redis))
            status = claim_once(
                queue, worker, max_jobs, max_cost_ms, lease, &batch, &size, &more, error);
        if (status)
            return status;
    }
    *jobs = batch;
    *count = size;
    return CLOAK_OK;
}

void cloak_jobs_free(cloak_job *jobs, size_t count) {
    for (size_t i = 0; i < count; i++)
        free(jobs[i].key);
    free(jobs);
}

/* Runs a script that says of each job whether it was ours. */
static cloak_status run_for_each(
    cloak_call *call, bool *held, size_t count, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_status status = cloak_call_run(call, &reply, error);
    if (status)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != count)
        status = cloak_reply_unexpected(call->queue, call->script->name, error);
    for (size_t i = 0; !status && i < count; i++)
        held[i] = reply->element[i]->integer == 1;
    freeReplyObject(reply);
    return status;
}

/* Renews at most MOST_JOBS leases. */
static cloak_status renew_some(cloak_queue *queue, const cloak_job *jobs, size_t count,
    int64_t lease, bool *held, cloak_error *error) {
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_renew);
    cloak_call_key(&call, CLOAK_KEY_LEASED);
    cloak_call_key(&call, CLOAK_KEY_LEASES);
    cloak_call_number(&call, lease);
    for (size_t i = 0; i < count; i++)
        cloak_call_job(&call, &jobs[i]);
    return run_for_each(&call, held, count, error);
}

cloak_status cloak_queue_renew(cloak_queue *queue, const cloak_job *jobs, size_t count,
    double lease_seconds, bool *held, cloak_error *error) {
    int64_t lease;
    if (!lease_ms(lease_seconds, &lease))
        return bad_lease(lease_seconds, error);
    for (size_t at = 0; at < count; at += MOST_JOBS) {
        size_t size = count - at < MOST_JOBS ? count - at : MOST_JOBS;
        cloak_status status = renew_some(queue, jobs + at, size, lease, held + at, error);
        if (status)
            return status;
    }
    return CLOAK_OK;
}

static bool is_stat_name(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.:");
    return length >= 1 && length <= 48 && !name[length];
}

static cloak_status check_stats(const cloak_finished *finished, size_t count, cloak_error *error) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < finished[i].stat_count; j++)
            if (!is_stat_name(finished[i].stats[j].name))
                return cloak_fail(error, CLOAK_E_USAGE,
                    "bad name of a sum: \"%.60s\"; it must be [a-z0-9_.:]{1,48}",
                    finished[i].stats[j].name);
    return CLOAK_OK;
}

/* Where the sequence of a token begins: what is before it is the prefix. */
static size_t prefix_length(const cloak_job *job) {
    const char *dash = strrchr(job->token, '-');
    return dash ? (size_t)(dash - job->token) + 1 : 0;
}

/* Declares each album's keys once. `album_of[i]` is which of the albums job i belongs to. */
static void add_albums(
    cloak_call *call, const cloak_finished *finished, size_t count, size_t album_of[MOST_JOBS]) {
    const char *albums[MOST_JOBS];
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        const char *album = finished[i].job->album;
        size_t at = 0;
        while (at < known && strcmp(albums[at], album) != 0)
            at++;
        album_of[i] = at;
        if (at < known)
            continue;
        albums[known++] = album;
        cloak_call_album_key(call, "album", album);
        cloak_call_album_key(call, "done", album);
        cloak_call_album_key(call, "sums", album);
    }
}

/* How many of the jobs, from the first on, are of one album and under one token prefix, `length` long. */
static size_t run_length(
    const cloak_finished *finished, const size_t *album_of, size_t count, size_t length) {
    size_t n = 1;
    while (n < count && album_of[n] == album_of[0] && prefix_length(finished[n].job) == length &&
           memcmp(finished[n].job->token, finished[0].job->token, length) == 0)
        n++;
    return n;
}

/* The jobs in runs, as the script takes them: what they have in common is said once. */
static void add_runs(
    cloak_call *call, const cloak_finished *finished, const size_t *album_of, size_t count) {
    cloak_call_number(call, (int64_t)count);
    for (size_t at = 0, n; at < count; at += n) {
        const cloak_job *first = finished[at].job;
        const size_t length = prefix_length(first);
        n = run_length(finished + at, album_of + at, count - at, length);
        cloak_call_number(call, (int64_t)album_of[at]);
        cloak_call_text(call, first->album);
        cloak_call_bytes(call, first->token, length);
        cloak_call_number(call, (int64_t)n);
        for (size_t i = at; i < at + n; i++) {
            cloak_call_number(call, finished[i].job->index);
            cloak_call_text(call, finished[i].job->token + length);
        }
    }
}

/* What goes with some of the jobs: records and sums. */
static void add_extras(cloak_call *call, const cloak_finished *finished, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const cloak_finished *f = &finished[i];
        if (!f->record && f->stat_count == 0)
            continue;
        cloak_call_number(call, (int64_t)i + 1);
        cloak_call_text(call, f->record ? f->record : "");
        cloak_call_number(call, (int64_t)f->stat_count);
        for (size_t j = 0; j < f->stat_count; j++) {
            cloak_call_text(call, f->stats[j].name);
            cloak_call_number(call, f->stats[j].add);
        }
    }
}

/* Finishes at most MOST_JOBS. */
static cloak_status finish_some(cloak_queue *queue, const cloak_finished *finished, size_t count,
    bool *held, cloak_error *error) {
    size_t album_of[MOST_JOBS];
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_finish);
    cloak_call_key(&call, CLOAK_KEY_LEASED);
    cloak_call_key(&call, CLOAK_KEY_LEASES);
    cloak_call_key(&call, CLOAK_KEY_SETTLED);
    cloak_call_key(&call, CLOAK_KEY_SETTLED_OLD);
    cloak_call_key(&call, CLOAK_KEY_LOG);
    add_albums(&call, finished, count, album_of);
    add_runs(&call, finished, album_of, count);
    add_extras(&call, finished, count);
    return run_for_each(&call, held, count, error);
}

cloak_status cloak_queue_finish_many(cloak_queue *queue, const cloak_finished *finished,
    size_t count, bool *held, cloak_error *error) {
    cloak_status status = check_stats(finished, count, error);
    for (size_t at = 0; status == CLOAK_OK && at < count; at += MOST_JOBS) {
        const size_t size = count - at < MOST_JOBS ? count - at : MOST_JOBS;
        status = finish_some(queue, finished + at, size, held + at, error);
    }
    return status;
}

cloak_status cloak_queue_finish(cloak_queue *queue, const cloak_job *job, const cloak_stat *stats,
    size_t stat_count, const char *record, cloak_error *error) {
    const cloak_finished finished = {job, stats, stat_count, record};
    bool held = false;
    cloak_status status = cloak_queue_finish_many(queue, &finished, 1, &held, error);
    if (status)
        return status;
    return held ? CLOAK_OK : fenced(job, error);
}

cloak_status cloak_queue_fail(cloak_queue *queue, const cloak_job *job, const cloak_error *why,
    double delay_seconds, bool *dead, cloak_error *error) {
    if (why->code == CLOAK_OK)
        return cloak_fail(error, CLOAK_E_USAGE, "a photo cannot fail with the status ok");
    if (!(delay_seconds >= 0 && delay_seconds <= 86400))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the delay of a retry must be 0 to 86400 seconds, not %g", delay_seconds);
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_fail);
    cloak_call_queue_keys(&call);
    cloak_call_key(&call, CLOAK_KEY_SETTLED);
    cloak_call_key(&call, CLOAK_KEY_SETTLED_OLD);
    cloak_call_text(&call, queue->prefix);
    cloak_call_job(&call, job);
    cloak_call_number(&call, cloak_status_retries(why->code));
    cloak_call_number(&call, (int64_t)(delay_seconds * 1000));
    cloak_call_text(&call, cloak_status_word(why->code));
    cloak_call_text(&call, why->text);
    redisReply *reply = NULL;
    cloak_status status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    const char *outcome = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    if (strcmp(outcome, "fenced") == 0 || strcmp(outcome, "done") == 0)
        status = fenced(job, error);
    else if (!*outcome)
        status = cloak_reply_unexpected(queue, "fail", error);
    else
        *dead = strcmp(outcome, "dead") == 0;
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_release(
    cloak_queue *queue, const cloak_job *jobs, size_t count, cloak_error *error) {
    /* From the last jobs to the first: each step goes ahead of the one before. */
    while (count > 0) {
        size_t size = count < MOST_JOBS ? count : MOST_JOBS;
        long long moved = 0;
        cloak_call call;
        cloak_call_begin(&call, queue, &cloak_script_release);
        cloak_call_queue_keys(&call);
        cloak_call_key(&call, CLOAK_KEY_WEIGHTS);
        cloak_call_text(&call, queue->prefix);
        for (size_t i = count - size; i < count; i++)
            cloak_call_job(&call, &jobs[i]);
        cloak_status status = cloak_call_integer(&call, &moved, error);
        if (status)
            return status;
        count -= size;
    }
    return CLOAK_OK;
}
