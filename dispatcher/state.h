/* The state folder of an output: one `cloak` at a time works on it.
 *
 * Beside an output folder OUT it is OUT.cloak. For a bucket it is on this machine, below XDG_STATE_HOME
 * (or ~/.local/state); what must outlive the machine, the manifest, is then kept as an object beside
 * the output as well, so that the same command goes on from any machine. */
#ifndef CLOAK_DISPATCHER_STATE_H
#define CLOAK_DISPATCHER_STATE_H

#include "common/base/status.h"
#include "common/store/store.h"

/* The path of the state folder, and the place that keeps the manifest beside the output: the same for
 * a folder. New strings (free()), never NULL. */
char *cloak_state_folder(const cloak_store *out);
char *cloak_state_beside(const cloak_store *out);

/* For a bucket: brings the manifest that is kept beside the output into the state folder, if it is the
 * one there grown longer, or there is none. Two that differ otherwise, and one here whose copy was removed, are
 * CLOAK_E_USAGE. For the holder of the lock. Nothing to do for a folder. */
CLOAK_MUST_CHECK cloak_status cloak_state_fetch(const cloak_store *out, cloak_error *error);

/* For a bucket: keeps the manifest, synced, beside the output; CLOAK_E_USAGE where another machine has kept another
 * one meanwhile. For the holder of the lock. Nothing to do for a folder. */
CLOAK_MUST_CHECK cloak_status cloak_state_save(const cloak_store *out, cloak_error *error);

/* Opens the output of that name (cloak_store_close) and finds the path of its manifest (free()), which need not exist;
 * fetches it first, unless somebody is working with the one here. On failure both are NULL. */
CLOAK_MUST_CHECK cloak_status cloak_state_find(
    const char *name, cloak_store **out, char **manifest, cloak_error *error);

/* Takes the folder's lock, waiting up to `seconds` for whoever holds it. The lock is inherited by
 * child processes and is free only when the last of them is gone, so that nobody starts a second
 * Redis on data that an orphan still holds. Returns the descriptor in `*lock`; close it to let go. */
CLOAK_MUST_CHECK cloak_status cloak_state_lock(
    const char *folder, double seconds, int *lock, cloak_error *error);

#endif
