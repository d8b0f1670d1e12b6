/* One job: claim → fetch → decode → detect → attack → encode → verify → put → report. */
#ifndef CLOAK_WORKER_PIPELINE_H
#define CLOAK_WORKER_PIPELINE_H

#include "common/queue/queue.h"
#include "common/report/record.h"
#include "models/target_set.h"
#include "intake/intake.h"
#include "worker/albums.h"
#include "worker/stages.h"

typedef struct {
    const cloak_target_set *targets;
    cloak_intake *intake; /* reads the photos' files */
    const char *worker; /* its name */
    cloak_stop stop;    /* asked between steps: drain or lost lease */
    void *stop_context;
    bool (*may_deliver)(void *context); /* asked just before the put */
    void *deliver_context;
    cloak_stages *stages; /* where the photo is; the caller begins and ends them */
} cloak_pipeline;

/* Takes one photo all the way to the store. On success photo and receipt are in the destination and
 * `record` (initialised by the caller) is complete. On failure nothing new is in the destination,
 * or the photo without its receipt; `record` holds what was measured until then. */
CLOAK_MUST_CHECK cloak_status cloak_pipeline_run(const cloak_pipeline *pipeline,
    const cloak_job *job, const cloak_album *album, cloak_record *record, cloak_error *error);

#endif
