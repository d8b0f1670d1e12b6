/* What Prometheus scrapes: one table of metrics, their values, and the text format (exposition format 0.0.4).
 *
 * Base units, counters end in _total, and no label is a user, an album or a job: their number must not grow with
 * the work. Buckets of the histograms: stages take from a millisecond (fetch) to minutes (attack on a CPU), so the
 * bounds grow by about 2.5 from 5 ms to 150 s; twelve of them tell a quantile to within that factor.
 */
#ifndef CLOAK_REPORT_METRICS_H
#define CLOAK_REPORT_METRICS_H

#include "common/report/record.h"

/*   X(enumerator, type, name, label, help); label: name of the one label, or "" */
#define CLOAK_METRIC_TABLE(X)                                                                      \
    X(CLOAK_METRIC_BUILD, GAUGE, "cloak_build_info", "version", "Always 1; the version that runs") \
    X(CLOAK_METRIC_START, GAUGE, "cloak_start_time_seconds", "", "When the worker began, in seconds since 1970") \
    X(CLOAK_METRIC_MODEL, GAUGE, "cloak_model_info", "sha256", "Always 1; the model that is defeated") \
    X(CLOAK_METRIC_PHOTOS, COUNTER, "cloak_photos_total", "outcome", "Photos finished, by outcome") \
    X(CLOAK_METRIC_FAILURES, COUNTER, "cloak_photo_failures_total", "class",                       \
        "Attempts at photos that failed, by class of error")                                       \
    X(CLOAK_METRIC_FAILED_STAGES, COUNTER, "cloak_failed_stages_total", "stage",                   \
        "Attempts at photos that failed, by the stage they failed in; prepare: before the photo was read")                             \
    X(CLOAK_METRIC_FENCED, COUNTER, "cloak_photos_fenced_total", "",                               \
        "Photos that were dropped because the lease was another worker's")                         \
    X(CLOAK_METRIC_RELEASED, COUNTER, "cloak_photos_released_total", "", "Photos given back untouched") \
    X(CLOAK_METRIC_STAGES, HISTOGRAM, "cloak_stage_seconds", "stage", "Seconds of a photo per stage") \
    X(CLOAK_METRIC_SECONDS, HISTOGRAM, "cloak_photo_seconds", "", "Seconds that a worker spends on a photo") \
    X(CLOAK_METRIC_STEPS, COUNTER, "cloak_attack_steps_total", "", "Steps of attacks, without those that judge all of what is to be survived")  \
    X(CLOAK_METRIC_FACES, COUNTER, "cloak_faces_total", "when", "Reference faces found, before and after") \
    X(CLOAK_METRIC_BYTES, COUNTER, "cloak_photo_bytes_total", "direction", "Bytes of photos read and written") \
    X(CLOAK_METRIC_RECALL, GAUGE, "cloak_recall_ratio", "when",                                    \
        "Recall at IoU 0.5 over the photos of the last hour or two, before and after")                     \
    X(CLOAK_METRIC_AP, GAUGE, "cloak_average_precision_ratio", "when", "Average precision, the same") \
    X(CLOAK_METRIC_CLAIMS, HISTOGRAM, "cloak_claim_seconds", "", "Seconds that claims took")       \
    X(CLOAK_METRIC_RESTS, COUNTER, "cloak_worker_rests_total", "",                                 \
        "Times the worker rested because photos failed one after the other")                       \
    X(CLOAK_METRIC_MEMORY, GAUGE, "cloak_worker_memory_bytes", "", "Memory that the process has in use") \
    X(CLOAK_METRIC_ROUND_TRIPS, COUNTER, "cloak_redis_round_trips_total", "", "Calls to Redis that were answered") \
    X(CLOAK_METRIC_STORE_FREE, GAUGE, "cloak_destination_free_bytes", "",                          \
        "Free space where the last photo was delivered to; NaN when that is no folder")                 \
    X(CLOAK_METRIC_GPU_USED, GAUGE, "cloak_gpu_memory_used_bytes", "gpu", "Memory in use on a GPU of the machine, by anyone") \
    X(CLOAK_METRIC_GPU_TOTAL, GAUGE, "cloak_gpu_memory_total_bytes", "gpu", "Memory of the GPU")    \
    X(CLOAK_METRIC_GPU_BUSY, GAUGE, "cloak_gpu_busy_ratio", "gpu", "Share of time in which the GPU was busy") \
    X(CLOAK_METRIC_REDIS_UP, GAUGE, "cloak_redis_up", "", "1 when the queue's server answers")     \
    X(CLOAK_METRIC_WAITING, GAUGE, "cloak_queue_photos", "state", "Photos in the queue: waiting, delayed, leased") \
    X(CLOAK_METRIC_EVENTS, COUNTER, "cloak_queue_events_total", "event",                           \
        "Photos lost with their worker, retried after a failure, and given up as dead")            \
    X(CLOAK_METRIC_REDIS_MEMORY, GAUGE, "cloak_redis_memory_bytes", "kind", "Memory of Redis: used, and its limit if any") \
    X(CLOAK_METRIC_BACKLOG, GAUGE, "cloak_queue_backlog_seconds", "",                              \
        "Estimated device seconds of what waits and is not paused")                                \
    X(CLOAK_METRIC_OLDEST, GAUGE, "cloak_queue_oldest_seconds", "", "Age of the photo that has waited longest") \
    X(CLOAK_METRIC_WORKERS, GAUGE, "cloak_queue_workers", "", "Workers that have beaten within 15 s") \
    X(CLOAK_METRIC_PAUSED, GAUGE, "cloak_queue_paused", "", "1 when the whole queue is paused")    \
    X(CLOAK_METRIC_ALBUMS, GAUGE, "cloak_albums", "", "Albums in the queue, of the newest 1,000")  \
    X(CLOAK_METRIC_DEAD, GAUGE, "cloak_queue_dead_photos", "", "Dead photos of these albums")      \
    X(CLOAK_METRIC_IMBALANCED, GAUGE, "cloak_albums_imbalanced", "",                               \
        "Albums of these whose books do not balance: must be 0")

typedef enum {
#define X(name, type, text, label, help) name,
    CLOAK_METRIC_TABLE(X)
#undef X
        CLOAK_METRIC_COUNT
} cloak_metric;

typedef struct cloak_metrics cloak_metrics;

/* Values start absent: a metric that was never touched is not in the text. All calls from any thread. `label` is
 * the value of the metric's label, borrowed; NULL for a metric without one. */
cloak_metrics *cloak_metrics_new(void);
void cloak_metrics_free(cloak_metrics *metrics);
void cloak_metrics_add(cloak_metrics *metrics, cloak_metric metric, const char *label, double value);
void cloak_metrics_set(cloak_metrics *metrics, cloak_metric metric, const char *label, double value);
void cloak_metrics_observe(cloak_metrics *metrics, cloak_metric metric, const char *label, double value);

/* Notes when a worker began, and sets the counters to 0 that it may ever count: a series that is only there from its
 * first event on is none to `rate`, and "none yet" looks like "not scraped". */
void cloak_metrics_start(cloak_metrics *metrics);

/* Adds a finished photo by its record. */
void cloak_metrics_record(cloak_metrics *metrics, const cloak_record *record);

/* The exposition as a new string (free()). */
char *cloak_metrics_text(cloak_metrics *metrics);

#endif
