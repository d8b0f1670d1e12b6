/* The lease keeper: a thread that renews the leases of the photos in hand and tells the fleet that
 * this worker lives. */
#ifndef CLOAK_WORKER_KEEPER_H
#define CLOAK_WORKER_KEEPER_H

#include "common/queue/queue.h"
#include "worker/pulse.h"

typedef struct cloak_keeper cloak_keeper;

/* Starts the thread with a connection of its own. `pulse` is what it tells of the worker; borrowed.
 * Ends with cloak_keeper_stop. */
CLOAK_MUST_CHECK cloak_status cloak_keeper_start(const char *redis_url, const char *queue_name,
    const char *worker, cloak_pulse *pulse, double lease_seconds, cloak_keeper **keeper,
    cloak_error *error);

/* Puts jobs, claimed by a call that began at `asked` (cloak_now), under the keeper's care. The array is borrowed until
 * cloak_keeper_drop. */
void cloak_keeper_hold(
    cloak_keeper *keeper, const cloak_job *jobs, size_t count, double asked);

/* Ends the care for all jobs. */
void cloak_keeper_drop(cloak_keeper *keeper);

/* True while job i of the held array is certainly ours: it was renewed, and the last success is
 * recent enough that its lease cannot have run out. Any thread. */
bool cloak_keeper_holds(cloak_keeper *keeper, size_t i);

/* Ends the thread and frees. NULL is fine. */
void cloak_keeper_stop(cloak_keeper *keeper);

#endif
