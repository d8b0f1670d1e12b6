/* Feeds a manifest's photos to the queue as room allows. */
#ifndef CLOAK_DISPATCHER_FEEDER_H
#define CLOAK_DISPATCHER_FEEDER_H

#include "common/queue/queue.h"
#include "dispatcher/manifest.h"

typedef struct {
    cloak_queue *queue;
    const cloak_manifest *manifest;
    size_t next;          /* first photo that was not offered to the queue in this process */
    uint64_t max_backlog; /* cloak_queue_submit's backlog at which feeding pauses */
    uint32_t cost_ms;     /* of a photo (cloak_estimate_cost), asked for anew when there is room */
    size_t accepted;      /* photos that the queue did not know yet */
    bool full;            /* the backlog's bound was reached when it was last looked at */
    bool sealed;
} cloak_feeder;

/* Offers photos until all are fed, the backlog's bound is reached or `max_batches` batches of 1,000
 * went out; seals the album at the end. Photos that the queue knows are passed over by it, so that
 * a feeder that was killed just starts again. */
CLOAK_MUST_CHECK cloak_status cloak_feeder_run(
    cloak_feeder *feeder, int max_batches, cloak_error *error);

/* Feeds until all is in the queue, waiting while its backlog is full, and through times without Redis of up to
 * a minute (a restart, a failover). Says on stderr what it waits for. */
CLOAK_MUST_CHECK cloak_status cloak_feeder_finish(cloak_feeder *feeder, cloak_error *error);

/* Creates the album in the queue as the manifest describes it. */
CLOAK_MUST_CHECK cloak_status cloak_feeder_create(cloak_queue *queue,
    const cloak_manifest *manifest, const char *tenant, const char *job_class,
    cloak_error *error);

#endif
