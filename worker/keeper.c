/* The lease keeper.
 *
 * DESIGN. Invariant: when cloak_keeper_holds says true, no other worker can hold the job. The
 * lease of `lease_seconds` starts, by the server's clock, after the renewal was sent; we count from
 * before it was sent, by our own monotonic clock, and give up at nine tenths of the lease. So our
 * idea of its end lies before the server's, whatever the reply's delay. A worker that was stopped
 * (SIGSTOP, a frozen machine) and comes back finds the time gone by and drops its photos before it
 * delivers them; if it is already past that check, the fencing token still keeps the books right
 * and, of like workers (build, kind of processor, threads), the bytes are the same anyway. Of unlike
 * ones, one that stands still between that check and the put may leave its photo under the other's
 * receipt: `cloak audit` says so.
 *
 * The thread does nothing but wait and renew, so that a busy device cannot starve it: renewals
 * every sixth of a lease leave room for four that fail.
 */
#include "worker/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"

struct cloak_keeper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cloak_queue *queue;
    char *worker;
    cloak_pulse *pulse;
    double lease_seconds;
    bool stopping;
    /* Guarded by `lock`: */
    cloak_job *jobs; /* copies; keys are not copied */
    bool *held;
    double *renewed; /* when the last successful renewal was sent */
    size_t count;
    unsigned long generation; /* grows with every hold and drop */
};

/* Renews what is held. The lock is free while Redis answers; the answer is dropped when the jobs
 * have changed meanwhile. */
static void renew(cloak_keeper *keeper) {
    pthread_mutex_lock(&keeper->lock);
    size_t count = keeper->count;
    unsigned long generation = keeper->generation;
    cloak_job *jobs = cloak_alloc(count * sizeof *jobs);
    bool *held = cloak_alloc(count * sizeof *held);
    if (count)
        memcpy(jobs, keeper->jobs, count * sizeof *jobs);
    pthread_mutex_unlock(&keeper->lock);

    cloak_error error;
    double sent = cloak_now();
    if (count && cloak_queue_renew(
                     keeper->queue, jobs, count, keeper->lease_seconds, held, &error) != CLOAK_OK)
        cloak_log(CLOAK_LOG_WARN, "renew_failed", "%s", error.text);
    else if (count) {
        pthread_mutex_lock(&keeper->lock);
        if (generation == keeper->generation)
            for (size_t i = 0; i < count; i++) {
                keeper->held[i] = keeper->held[i] && held[i];
                if (held[i])
                    keeper->renewed[i] = sent;
            }
        pthread_mutex_unlock(&keeper->lock);
    }
    char *about = cloak_pulse_text(keeper->pulse);
    if (cloak_queue_beat(keeper->queue, keeper->worker, about, &error) != CLOAK_OK)
        cloak_log(CLOAK_LOG_WARN, "beat_failed", "%s", error.text);
    free(about);
    free(jobs);
    free(held);
}

static void *keep(void *context) {
    cloak_keeper *keeper = context;
    double pause = keeper->lease_seconds / 6 < 5 ? keeper->lease_seconds / 6 : 5;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->stopping) {
        pthread_mutex_unlock(&keeper->lock);
        renew(keeper);
        pthread_mutex_lock(&keeper->lock);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        double at = (double)until.tv_nsec * 1e-9 + pause;
        until.tv_sec += (time_t)at;
        until.tv_nsec = (long)((at - (double)(time_t)at) * 1e9);
        while (!keeper->stopping &&
               pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

cloak_status cloak_keeper_start(const char *redis_url, const char *queue_name, const char *worker,
    cloak_pulse *pulse, double lease_seconds, cloak_keeper **out, cloak_error *error) {
    cloak_keeper *keeper = cloak_alloc(sizeof *keeper);
    pthread_condattr_t clock;
    cloak_status status = cloak_queue_open(
        redis_url, queue_name, lease_seconds / 6, &keeper->queue, error);
    if (status != CLOAK_OK) {
        free(keeper);
        return status;
    }
    keeper->worker = cloak_strdup(worker);
    keeper->pulse = pulse;
    keeper->lease_seconds = lease_seconds;
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->wake, &clock);
    pthread_condattr_destroy(&clock);
    if (pthread_create(&keeper->thread, NULL, keep, keeper) != 0) {
        cloak_queue_close(keeper->queue);
        free(keeper->worker);
        free(keeper);
        return cloak_fail(error, CLOAK_E_INTERNAL, "cannot start the lease keeper's thread");
    }
    *out = keeper;
    return CLOAK_OK;
}

void cloak_keeper_hold(
    cloak_keeper *keeper, const cloak_job *jobs, size_t count, double asked) {
    pthread_mutex_lock(&keeper->lock);
    keeper->jobs = cloak_realloc(keeper->jobs, count * sizeof *jobs);
    keeper->held = cloak_realloc(keeper->held, count * sizeof *keeper->held);
    keeper->renewed = cloak_realloc(keeper->renewed, count * sizeof *keeper->renewed);
    for (size_t i = 0; i < count; i++) {
        keeper->jobs[i] = jobs[i];
        keeper->held[i] = true;
        keeper->renewed[i] = asked;
    }
    keeper->count = count;
    keeper->generation++;
    pthread_mutex_unlock(&keeper->lock);
}

void cloak_keeper_drop(cloak_keeper *keeper) {
    pthread_mutex_lock(&keeper->lock);
    keeper->count = 0;
    keeper->generation++;
    pthread_mutex_unlock(&keeper->lock);
}

bool cloak_keeper_holds(cloak_keeper *keeper, size_t i) {
    pthread_mutex_lock(&keeper->lock);
    bool holds = i < keeper->count && keeper->held[i] &&
                 cloak_now() - keeper->renewed[i] < 0.9 * keeper->lease_seconds;
    pthread_mutex_unlock(&keeper->lock);
    return holds;
}

void cloak_keeper_stop(cloak_keeper *keeper) {
    if (!keeper)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    pthread_mutex_destroy(&keeper->lock);
    pthread_cond_destroy(&keeper->wake);
    cloak_queue_close(keeper->queue);
    free(keeper->jobs);
    free(keeper->held);
    free(keeper->renewed);
    free(keeper->worker);
    free(keeper);
}
