/* Loaded targets; see the header. */
#include "worker/targets.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { SLOTS = sizeof((cloak_targets_cache *)0)->slots / sizeof(cloak_loaded_targets *) };

static void forget(cloak_loaded_targets *loaded) {
    if (!loaded)
        return;
    free(loaded->text);
    cloak_target_set_free(&loaded->set);
    free(loaded);
}

static cloak_status load(const cloak_targets_cache *cache, const char *targets,
    cloak_loaded_targets **out, cloak_error *error) {
    cloak_target_list list;
    cloak_loaded_targets *loaded = cloak_alloc(sizeof *loaded);
    loaded->text = cloak_strdup(targets);
    cloak_status status = cloak_targets_parse(targets, &list, error);
    if (status == CLOAK_OK) {
        status = cloak_target_set_load(&list, cache->own, &cache->params, &loaded->set, error);
        cloak_targets_free(&list);
    }
    if (status == CLOAK_OK)
        *out = loaded;
    else
        forget(loaded);
    return status;
}

cloak_status cloak_targets_get(cloak_targets_cache *cache, const char *targets,
    const cloak_target_set **set, cloak_error *error) {
    cloak_loaded_targets *found = NULL;
    int place = 0;
    while (place < SLOTS && cache->slots[place] &&
           strcmp(cache->slots[place]->text, targets) != 0)
        place++;
    if (place < SLOTS && cache->slots[place]) {
        found = cache->slots[place];
    } else {
        cloak_status status = load(cache, targets, &found, error);
        if (status != CLOAK_OK)
            return status;
        place = place < SLOTS ? place : SLOTS - 1;
        forget(cache->slots[place]);
    }
    memmove(cache->slots + 1, cache->slots, (size_t)place * sizeof *cache->slots);
    cache->slots[0] = found;
    *set = &found->set;
    return CLOAK_OK;
}

void cloak_targets_clear(cloak_targets_cache *cache) {
    for (int i = 0; i < SLOTS; i++) {
        forget(cache->slots[i]);
        cache->slots[i] = NULL;
    }
}
