/* What a worker needs to know of the albums whose photos it is given: settings, stores, labels.
 * Read once per album and kept for the few albums that were used last. */
#ifndef CLOAK_WORKER_ALBUMS_H
#define CLOAK_WORKER_ALBUMS_H

#include "common/queue/queue.h"
#include "common/report/labels.h"
#include "common/report/settings.h"
#include "common/store/store.h"

typedef struct {
    char id[CLOAK_ALBUM_ID_SIZE];
    cloak_album_spec spec;
    cloak_settings settings;
    cloak_store *source, *destination;
    cloak_labels *labels; /* NULL when the album has none */
} cloak_album;

typedef struct {
    cloak_album *slots[8]; /* most recently used first */
    cloak_store_stop stop; /* what ends a wait for a store (store.h), or NULL */
    void *stop_context;
} cloak_albums;

/* The album `id`, from the cache or from the queue. Borrowed until the next call. */
CLOAK_MUST_CHECK cloak_status cloak_albums_get(cloak_albums *albums, cloak_queue *queue,
    const char *id, const cloak_album **album, cloak_error *error);

/* Frees all that is kept. */
void cloak_albums_clear(cloak_albums *albums);

#endif
