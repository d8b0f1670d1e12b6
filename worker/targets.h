/* The targets of the albums in hand, loaded: sets that were used last are kept. */
#ifndef CLOAK_WORKER_TARGETS_H
#define CLOAK_WORKER_TARGETS_H

#include "models/target_set.h"

typedef struct {
    char *text; /* the album's setting that it was loaded from */
    cloak_target_set set;
} cloak_loaded_targets;

typedef struct {
    cloak_model *own; /* borrowed; part of every set */
    cloak_model_params params;
    cloak_loaded_targets *slots[4]; /* most recently used first */
} cloak_targets_cache;

/* The set that an album's setting `targets` means, from the cache or from this machine's files.
 * Borrowed until the next call. Errors as of cloak_target_set_load. */
CLOAK_MUST_CHECK cloak_status cloak_targets_get(cloak_targets_cache *cache, const char *targets,
    const cloak_target_set **set, cloak_error *error);

/* Frees all that is kept. */
void cloak_targets_clear(cloak_targets_cache *cache);

#endif
