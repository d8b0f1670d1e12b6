/* From the manifest to the queue; see the header. */
#include "dispatcher/feeder.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "dispatcher/estimate.h"

enum {
    BATCH = 1000,
    PATIENCE = 60, /* seconds without Redis */
};

cloak_status cloak_feeder_create(cloak_queue *queue, const cloak_manifest *manifest,
    const char *tenant, const char *job_class, cloak_error *error) {
    cloak_album_spec album = {manifest->id, tenant, job_class, manifest->source,
        manifest->destination, manifest->settings, getenv("TRACEPARENT")};
    return cloak_queue_create(queue, &album, error);
}

cloak_status cloak_feeder_run(cloak_feeder *feeder, int max_batches, cloak_error *error) {
    const cloak_manifest *manifest = feeder->manifest;
    if (feeder->next < manifest->count) { /* an empty submission just reads the backlog */
        size_t accepted = 0;
        uint64_t backlog = 0;
        cloak_status status = cloak_queue_submit(
            feeder->queue, manifest->id, NULL, 0, &accepted, &backlog, error);
        feeder->full = backlog >= feeder->max_backlog;
        if (status == CLOAK_OK && !feeder->full)
            status = cloak_estimate_cost(feeder->queue, manifest->settings, &feeder->cost_ms, error);
        if (status != CLOAK_OK || feeder->full)
            return status;
    }
    for (int batch = 0; batch < max_batches && feeder->next < manifest->count; batch++) {
        cloak_job_spec jobs[BATCH];
        size_t count = 0, accepted = 0;
        uint64_t backlog = 0;
        while (count < BATCH && feeder->next + count < manifest->count) {
            size_t index = feeder->next + count;
            jobs[count++] =
                (cloak_job_spec){(uint32_t)index, feeder->cost_ms, manifest->photos[index].key};
        }
        cloak_status status = cloak_queue_submit(
            feeder->queue, manifest->id, jobs, count, &accepted, &backlog, error);
        if (status != CLOAK_OK)
            return status;
        feeder->next += count;
        feeder->accepted += accepted;
        feeder->full = backlog >= feeder->max_backlog;
        if (feeder->full)
            return CLOAK_OK;
    }
    if (feeder->next < manifest->count || feeder->sealed)
        return CLOAK_OK;
    cloak_status status =
        cloak_queue_seal(feeder->queue, manifest->id, manifest->count, error);
    feeder->sealed = status == CLOAK_OK;
    return status;
}

cloak_status cloak_feeder_finish(cloak_feeder *feeder, cloak_error *error) {
    double away_since = 0;
    while (!feeder->sealed) {
        cloak_status status = cloak_feeder_run(feeder, 100, error);
        if (status == CLOAK_E_QUEUE && error->retryable) {
            if (away_since == 0) {
                away_since = cloak_now();
                fprintf(stderr, "  %s; waiting\n", error->text);
            }
            if (cloak_now() - away_since > PATIENCE)
                return status;
            cloak_clock_system.sleep(1);
            continue;
        }
        if (status != CLOAK_OK)
            return status;
        away_since = 0;
        if (!feeder->sealed && feeder->full) {
            fprintf(stderr, "  %zu of %zu photos submitted; the queue is full, waiting\n",
                feeder->next, feeder->manifest->count);
            cloak_clock_system.sleep(5);
        }
    }
    return CLOAK_OK;
}
