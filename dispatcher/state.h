/* The state folder beside an output folder: one `cloak` at a time works on it. */
#ifndef CLOAK_DISPATCHER_STATE_H
#define CLOAK_DISPATCHER_STATE_H

#include "common/base/status.h"

/* Takes the folder's lock, waiting up to `seconds` for whoever holds it. The lock is inherited by
 * child processes and is free only when the last of them is gone, so that nobody starts a second
 * Redis on data that an orphan still holds. Returns the descriptor in `*lock`; close it to let go. */
CLOAK_MUST_CHECK cloak_status cloak_state_lock(
    const char *folder, double seconds, int *lock, cloak_error *error);

#endif
