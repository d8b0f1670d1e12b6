/* Removes what killed workers left half-written in a destination. */
#ifndef CLOAK_DISPATCHER_SWEEP_H
#define CLOAK_DISPATCHER_SWEEP_H

/* Removes the unfinished files of cloak_file_write (".cloak-tmp-" and 16 hex digits) below `folder`;
 * links are not followed. Only for whoever holds the state folder's lock and has no worker running:
 * such a file may be another worker's that is being written. What cannot be read or removed is
 * passed over: leftovers are never taken for photos, they only take space. */
void cloak_sweep_unfinished(const char *folder);

#endif
