/* The worker's loop.
 *
 * DESIGN of stopping. The first SIGTERM or SIGINT starts the drain: nothing more is claimed, the
 * photo in hand may finish within `drain_seconds`; after that the attack is stopped between two
 * steps. Photos that are not finished are given back untouched, neither failed nor lost. A second
 * signal cuts the drain short. A worker that dies without all this loses nothing either: its leases
 * run out and others take over.
 *
 * How much is claimed: about two seconds of this device. Estimates of photos are in seconds of a device that
 * all share; the worker learns its own pace from what they really took. Photos are not alike, and a batch may turn
 * out to be more: after two seconds what was not begun is given back, so that nobody waits for it at the end.
 *
 * A worker whose photos fail one after the other, not by the photos' fault (its device, its disk, its network),
 * does not run through the queue and use up everybody's retries: it rests after the fifth, twice as long
 * after each further one, up to a minute, and tries one photo at a time meanwhile. An error of a GPU stays with the
 * process that met it: where the model does not even look at a grey square any more, the worker ends, so that whoever
 * supervises it starts another, which takes no photo before its model has looked at one.
 */
#include "worker/loop.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/queue/queue.h"
#include "common/queue/redis.h"
#include "worker/keeper.h"
#include "worker/pipeline.h"
#include "worker/targets.h"

enum { MAX_CLAIM = 64, CLAIM_MS = 2000, MAX_STATS = 8192, REST_AFTER = 5, REST_MOST = 60, READ_SECONDS = 120 };

static volatile sig_atomic_t stop_signals;

static void on_signal(int number) {
    (void)number;
    stop_signals++;
}

typedef struct {
    const cloak_loop_options *options;
    cloak_queue *queue;
    cloak_keeper *keeper;
    cloak_albums albums;
    cloak_targets_cache targets;
    cloak_intake *intake;
    cloak_stages stages;
    cloak_pulse pulse;
    size_t current;     /* the held job in work */
    size_t photos;      /* taken in hand so far */
    double drain_until; /* monotonic; 0 before the first signal */
    double pace;        /* seconds that photos take for each second of their estimates */
    int failed;         /* photos in a row that failed by no fault of their own */
    int rested;         /* for how many of them the worker has rested */
} Worker;

/* Bytes of memory that the process has in use; 0 when the system does not say. */
static size_t memory_in_use(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Whether the worker has done its share, by photos or by memory. */
static bool spent(const Worker *worker) {
    const cloak_loop_options *o = worker->options;
    return (o->most_photos && worker->photos >= o->most_photos) ||
           (o->most_memory && worker->photos && memory_in_use() > o->most_memory);
}

/* The drain's clock starts when the first signal is noticed. */
static bool drained(Worker *worker) {
    if (!stop_signals)
        return false;
    if (worker->drain_until == 0)
        worker->drain_until = cloak_now() + worker->options->drain_seconds;
    return stop_signals > 1 || cloak_now() >= worker->drain_until;
}

static bool must_stop(void *context) {
    Worker *worker = context;
    return drained(worker) || !cloak_keeper_holds(worker->keeper, worker->current);
}

static bool may_deliver(void *context) {
    Worker *worker = context;
    return cloak_keeper_holds(worker->keeper, worker->current);
}

/* --- reporting ----------------------------------------------------------------------------- */

typedef struct {
    cloak_stat *items;
    size_t count;
} Stats;

static void collect(void *context, const char *name, int64_t add) {
    Stats *stats = context;
    if (stats->count == MAX_STATS)
        return;
    stats->items[stats->count++] = (cloak_stat){cloak_strdup(name), add};
}

/* Tells the queue what became of a job: `tell` is repeated until Redis has answered, for as long as
 * the worker has patience. Finished work is not thrown away because Redis restarts just then. */
typedef struct {
    Worker *worker;
    const cloak_job *job;
    const Stats *stats;     /* finish */
    const char *record;     /* finish */
    const cloak_error *why; /* fail */
    const char *trace;      /* fail: of the attempt; NULL where it did not come so far */
    double seconds;         /* fail: that it took */
} Verdict;

static cloak_status settle(const Verdict *verdict,
    cloak_status (*tell)(const Verdict *verdict, cloak_error *error), cloak_error *error) {
    double until = cloak_now() + verdict->worker->options->patience;
    for (;;) {
        cloak_status status = tell(verdict, error);
        if (status != CLOAK_E_QUEUE || cloak_now() > until || drained(verdict->worker))
            return status;
        cloak_clock_system.sleep(0.5);
    }
}

static cloak_status tell_finished(const Verdict *v, cloak_error *error) {
    return cloak_queue_finish(
        v->worker->queue, v->job, v->stats->items, v->stats->count, v->record, error);
}

static cloak_status tell_released(const Verdict *v, cloak_error *error) {
    return cloak_queue_release(v->worker->queue, v->job, 1, error);
}

/* Backoff with full jitter: up to 1, 2, 4 … 60 s by the number of earlier failures. */
static double backoff(const cloak_job *job) {
    double most = 1;
    for (int i = 0; i < job->failures && most < 60; i++)
        most *= 2;
    return most * ((double)random() / (double)RAND_MAX);
}

static void log_failure(const Verdict *v, const char *event) {
    char text[4096];
    cloak_text_json(v->why->text, text, sizeof text);
    char *trace = v->trace ? cloak_format("\"trace\":\"%s\",", v->trace) : cloak_strdup("");
    char *object = cloak_format(
        "{\"job\":\"%s:%u\",%s\"seconds_total\":%.6f,\"error_class\":\"%s\",\"failures\":%d,\"text\":\"%s\"}", v->job->album,
        v->job->index, trace, v->seconds, cloak_status_word(v->why->code), v->job->failures + 1, text);
    cloak_log_object(CLOAK_LOG_WARN, event, object);
    free(object);
    free(trace);
}

static cloak_status tell_failed(const Verdict *v, cloak_error *error) {
    bool dead = false;
    cloak_status status =
        cloak_queue_fail(v->worker->queue, v->job, v->why, backoff(v->job), &dead, error);
    if (status == CLOAK_OK)
        log_failure(v, dead ? "photo_dead" : "photo_failed");
    return status;
}

/* One event per photo, with the record's names. Which photo it was is told only to who asks for details. */
static void log_record(const cloak_record *record) {
    char *fields = cloak_record_log(record, cloak_log_is_on(CLOAK_LOG_DEBUG));
    cloak_log_object(CLOAK_LOG_INFO, "photo_done", fields);
    free(fields);
}

static cloak_status finish(
    Worker *worker, const cloak_job *job, const cloak_record *record, cloak_error *error) {
    Stats stats = {cloak_alloc(MAX_STATS * sizeof(cloak_stat)), 0};
    char *json = cloak_record_json(record);
    Verdict verdict = {.worker = worker, .job = job, .stats = &stats, .record = json};
    cloak_status status = cloak_record_stats(record, collect, &stats, error);
    if (status == CLOAK_OK)
        status = settle(&verdict, tell_finished, error);
    if (status == CLOAK_OK) {
        cloak_metrics_record(worker->options->metrics, record);
        cloak_pulse_photo(&worker->pulse);
        log_record(record);
    }
    for (size_t i = 0; i < stats.count; i++)
        free((char *)stats.items[i].name);
    free(stats.items);
    free(json);
    return status;
}

/* Runs the pipeline. What is wrong with the album as seen from this machine (settings of a newer
 * version, a label file, a target, keys or a source folder that is not there) is not the photo's fault: such
 * errors become transient, so that another worker, or a later attempt, may do better. */
static cloak_status attempt(Worker *worker, const cloak_job *job, cloak_pipeline *pipeline,
    cloak_record *record, cloak_error *why) {
    const cloak_album *album = NULL;
    cloak_status done = cloak_albums_get(&worker->albums, worker->queue, job->album, &album, why);
    if (done == CLOAK_OK)
        done = cloak_targets_get(
            &worker->targets, album->settings.targets, &pipeline->targets, why);
    if (done != CLOAK_OK) {
        if (done != CLOAK_E_QUEUE)
            done = cloak_error_spare_photo(why);
        return done;
    }
    done = cloak_pipeline_run(pipeline, job, album, record, why);
    uint64_t room = 0;
    const bool known = cloak_store_free_bytes(album->destination, &room);
    cloak_metrics_set(worker->options->metrics, CLOAK_METRIC_STORE_FREE, NULL, known ? (double)room : NAN);
    if (done == CLOAK_E_USAGE || (done == CLOAK_E_PERMANENT && !cloak_store_reachable(album->source)))
        done = cloak_error_spare_photo(why);
    return done;
}

/* Learns from what became of a photo, which ended in `stage`. */
static void learn(
    Worker *worker, const cloak_job *job, cloak_status done, cloak_stage stage, const cloak_record *record) {
    if (done != CLOAK_OK && done != CLOAK_E_FENCED && done != CLOAK_E_INTERRUPTED && done != CLOAK_E_QUEUE) {
        cloak_metrics_add(worker->options->metrics, CLOAK_METRIC_FAILURES, cloak_status_word(done), 1);
        cloak_metrics_add(worker->options->metrics, CLOAK_METRIC_FAILED_STAGES,
            stage == CLOAK_STAGE_NONE ? "prepare" : cloak_stage_word(stage), 1);
    }
    if (done == CLOAK_OK) {
        /* by the record: a photo that was delivered before took its time then */
        double pace = record->seconds_total * 1000 / job->cost_ms;
        worker->failed = worker->rested = 0;
        worker->pace += 0.2 * ((pace > 1e-3 ? pace : 1e-3) - worker->pace);
    } else if (done == CLOAK_E_TRANSIENT || done == CLOAK_E_DEVICE || done == CLOAK_E_INTERNAL) {
        worker->failed++;
    }
}

/* Works on one held job and settles it with the queue. */
static cloak_status handle(Worker *worker, const cloak_job *job, cloak_error *error) {
    cloak_pipeline pipeline = {.intake = worker->intake, .worker = worker->options->worker, .stop = must_stop,
        .stop_context = worker, .may_deliver = may_deliver, .deliver_context = worker, .stages = &worker->stages};
    cloak_error why;
    cloak_record record;
    cloak_record_init(&record);
    const double began = cloak_now();
    cloak_stages_begin(&worker->stages, &record);
    cloak_status done = attempt(worker, job, &pipeline, &record, &why), status = CLOAK_OK;
    const Verdict verdict = {
        .worker = worker, .job = job, .why = &why, .trace = record.trace, .seconds = cloak_now() - began};
    learn(worker, job, done, cloak_stages_end(&worker->stages), &record);
    if (done == CLOAK_OK)
        status = finish(worker, job, &record, error);
    else if (done == CLOAK_E_FENCED || (done == CLOAK_E_INTERRUPTED && !may_deliver(worker)))
        status = CLOAK_E_FENCED;
    else if (done == CLOAK_E_INTERRUPTED || done == CLOAK_E_QUEUE)
        status = settle(&verdict, tell_released, error);
    else
        status = settle(&verdict, tell_failed, error);
    if (status == CLOAK_E_FENCED) {
        cloak_metrics_add(worker->options->metrics, CLOAK_METRIC_FENCED, NULL, 1);
        cloak_log(CLOAK_LOG_WARN, "photo_fenced", "%s:%u is another worker's now", job->album,
            job->index);
        status = CLOAK_OK;
    }
    cloak_record_free(&record);
    return status;
}

/* --- the loop ------------------------------------------------------------------------------ */

static bool must_rest(const Worker *worker) {
    return worker->failed >= REST_AFTER;
}

/* Has a model that is not on the processor look at a grey square. */
static cloak_status try_device(Worker *worker, cloak_error *error) {
    enum { SIDE = 64 };
    uint8_t grey[SIDE * SIDE * 3];
    const cloak_image image = {grey, SIDE, SIDE};
    cloak_detections found = {0};
    cloak_error why;
    const char *device = cloak_model_describe(worker->targets.own).device;
    if (strcmp(device, "cpu") == 0)
        return CLOAK_OK;
    memset(grey, 128, sizeof grey);
    cloak_status status = cloak_model_detect(worker->targets.own, &image, 1, &found, &why);
    cloak_detections_free(&found);
    if (status != CLOAK_OK)
        return cloak_fail(error, CLOAK_E_DEVICE, "%s fails, and may be well for another process: %s", device, why.text);
    return CLOAK_OK;
}

/* Waits when photos have failed in a row, but not through a stop signal, and not for a device that is lost. */
static cloak_status rest(Worker *worker, cloak_error *error) {
    if (!must_rest(worker) || worker->rested == worker->failed)
        return CLOAK_OK;
    cloak_status status = try_device(worker, error);
    if (status != CLOAK_OK)
        return status;
    worker->rested = worker->failed;
    double seconds = 1;
    for (int i = REST_AFTER; i < worker->failed && seconds < REST_MOST; i++)
        seconds *= 2;
    seconds = seconds < REST_MOST ? seconds : REST_MOST;
    cloak_log(CLOAK_LOG_WARN, "worker_rest",
        "%d photos in a row failed here: resting %.0f s before the next; see device, disk and network",
        worker->failed, seconds);
    cloak_metrics_add(worker->options->metrics, CLOAK_METRIC_RESTS, NULL, 1);
    for (double until = cloak_now() + seconds; !stop_signals && cloak_now() < until;)
        cloak_clock_system.sleep(0.1);
    return CLOAK_OK;
}

static cloak_status work_off(
    Worker *worker, cloak_job *jobs, size_t count, double asked, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    size_t i = 0;
    cloak_keeper_hold(worker->keeper, jobs, count, asked);
    const double until = cloak_now() + CLAIM_MS / 1000.0;
    for (; i < count && status == CLOAK_OK && !stop_signals && !spent(worker) &&
           (i == 0 || (!must_rest(worker) && cloak_now() < until));
         i++) {
        worker->current = i;
        if (cloak_keeper_holds(worker->keeper, i))
            status = handle(worker, &jobs[i], error);
        worker->photos++;
    }
    cloak_keeper_drop(worker->keeper);
    cloak_metrics_set(worker->options->metrics, CLOAK_METRIC_MEMORY, NULL, (double)memory_in_use());
    if (i < count) { /* give the rest back, whatever became of this one */
        cloak_metrics_add(worker->options->metrics, CLOAK_METRIC_RELEASED, NULL, (double)(count - i));
        cloak_error second;
        cloak_status released =
            cloak_queue_release(worker->queue, jobs + i, count - i, &second);
        if (status == CLOAK_OK && released != CLOAK_OK) {
            status = released;
            *error = second;
        }
    }
    return status;
}

/* Claims once and works it off. `*idle` tells that nothing was there. */
static cloak_status turn(Worker *worker, bool *idle, cloak_error *error) {
    cloak_job *jobs = NULL;
    size_t count = 0;
    double asked = cloak_now();
    cloak_status status = cloak_queue_claim(worker->queue, worker->options->worker,
        must_rest(worker) ? 1 : MAX_CLAIM, (uint32_t)(CLAIM_MS / worker->pace),
        worker->options->lease_seconds, &jobs, &count, error);
    cloak_metrics_set(worker->options->metrics, CLOAK_METRIC_ROUND_TRIPS, NULL, (double)cloak_redis_round_trips());
    if (status != CLOAK_OK)
        return status;
    cloak_metrics_observe(worker->options->metrics, CLOAK_METRIC_CLAIMS, NULL, cloak_now() - asked);
    *idle = count == 0;
    if (count)
        status = work_off(worker, jobs, count, asked, error);
    cloak_jobs_free(jobs, count);
    return status;
}

static void install_handlers(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static cloak_status serve(Worker *worker, cloak_error *error) {
    double away_since = 0;
    cloak_status tried = try_device(worker, error);
    if (tried != CLOAK_OK)
        return tried;
    while (!stop_signals && !spent(worker)) {
        bool idle = false;
        cloak_status status = rest(worker, error);
        if (status != CLOAK_OK)
            return status;
        status = turn(worker, &idle, error);
        if (status == CLOAK_OK) {
            away_since = 0;
            if (idle)
                cloak_clock_system.sleep(0.2);
            continue;
        }
        if (status != CLOAK_E_QUEUE || spent(worker))
            return status;
        if (away_since == 0) {
            away_since = cloak_now();
            cloak_log(CLOAK_LOG_WARN, "queue_away", "%s", error->text);
        }
        if (cloak_now() - away_since > worker->options->patience)
            return status;
        cloak_clock_system.sleep(0.5);
    }
    return CLOAK_OK;
}

/* Opens the queue, with patience: at boot Redis may come up after its workers. */
static cloak_status connect(Worker *worker, cloak_error *error) {
    const cloak_loop_options *o = worker->options;
    double until = cloak_now() + o->patience;
    for (bool told = false;;) {
        cloak_status status =
            cloak_queue_open(o->redis_url, o->queue_name, 10, &worker->queue, error);
        if (status != CLOAK_E_QUEUE || cloak_now() > until || stop_signals)
            return status;
        if (!told)
            cloak_log(CLOAK_LOG_WARN, "queue_away", "%s", error->text);
        told = true;
        cloak_clock_system.sleep(0.5);
    }
}

cloak_status cloak_loop_run(
    cloak_model *model, const cloak_loop_options *options, cloak_error *error) {
    Worker worker = {.options = options, .pace = 1, .targets = {.own = model, .params = options->params}};
    cloak_pulse_start(&worker.pulse, model, &worker.stages);
    worker.intake = cloak_intake_new(READ_SECONDS, must_stop, &worker);
    worker.albums.stop = must_stop;
    worker.albums.stop_context = &worker;
    install_handlers();
    srandom((unsigned)(cloak_clock_system.wall_ms() ^ (int64_t)(cloak_now() * 1e6)));
    cloak_status status = connect(&worker, error);
    if (status == CLOAK_OK)
        status = cloak_keeper_start(options->redis_url, options->queue_name, options->worker,
            &worker.pulse, options->lease_seconds, &worker.keeper, error);
    if (status == CLOAK_OK)
        status = serve(&worker, error);
    if (status == CLOAK_OK && !stop_signals)
        cloak_log(CLOAK_LOG_INFO, "worker_recycle", "%zu photos, %zu MiB in use", worker.photos,
            memory_in_use() >> 20);
    cloak_keeper_stop(worker.keeper);
    cloak_intake_free(worker.intake);
    cloak_albums_clear(&worker.albums);
    cloak_targets_clear(&worker.targets);
    cloak_queue_close(worker.queue);
    cloak_pulse_end(&worker.pulse);
    return status;
}
