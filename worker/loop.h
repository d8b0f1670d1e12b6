/* The worker's loop: claim, work, report, until it is told to stop. */
#ifndef CLOAK_WORKER_LOOP_H
#define CLOAK_WORKER_LOOP_H

#include "common/base/status.h"
#include "common/report/metrics.h"
#include "models/cloak_model.h"

typedef struct {
    const char *redis_url, *queue_name, *worker;
    double lease_seconds;  /* of a claim */
    double drain_seconds;  /* after a stop signal, photos in hand may take this long */
    double patience;       /* seconds without Redis after which the worker gives up */
    cloak_model_params params; /* for the targets of albums */
    size_t most_photos;    /* after which the worker ends, to be started afresh; 0: no such bound */
    size_t most_memory;    /* bytes resident, the same; looked at after each photo */
    cloak_metrics *metrics; /* what becomes of photos is counted there */
} cloak_loop_options;

/* Runs until SIGTERM or SIGINT or a bound (CLOAK_OK), or until Redis has been away for
 * too long (CLOAK_E_QUEUE) or a GPU is lost to the process (CLOAK_E_DEVICE). Installs the signal handlers. */
CLOAK_MUST_CHECK cloak_status cloak_loop_run(
    cloak_model *model, const cloak_loop_options *options, cloak_error *error);

#endif
