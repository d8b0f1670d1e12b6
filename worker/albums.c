/* A small cache of albums; see the header. */
#include "worker/albums.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { SLOTS = sizeof((cloak_albums *)0)->slots / sizeof(cloak_album *) };

static void album_free(cloak_album *album) {
    if (!album)
        return;
    cloak_store_close(album->source);
    cloak_store_close(album->destination);
    cloak_labels_free(album->labels);
    cloak_settings_free(&album->settings);
    cloak_album_spec_free(&album->spec);
    free(album);
}

static cloak_status album_load(const cloak_albums *albums, cloak_queue *queue, const char *id,
    cloak_album **out, cloak_error *error) {
    cloak_album *album = cloak_alloc(sizeof *album);
    memcpy(album->id, id, strnlen(id, sizeof album->id - 1));
    cloak_status status = cloak_queue_album(queue, id, &album->spec, error);
    if (status == CLOAK_OK)
        status = cloak_settings_parse(album->spec.settings, &album->settings, error);
    if (status == CLOAK_OK)
        status = cloak_store_open(album->spec.source, &album->source, error);
    if (status == CLOAK_OK)
        status = cloak_store_open(album->spec.destination, &album->destination, error);
    if (status == CLOAK_OK && album->settings.labels[0])
        status = cloak_labels_load(album->settings.labels, &album->labels, error);
    if (status == CLOAK_OK) {
        cloak_store_set_stop(album->source, albums->stop, albums->stop_context);
        cloak_store_set_stop(album->destination, albums->stop, albums->stop_context);
        *out = album;
    } else
        album_free(album);
    return status;
}

cloak_status cloak_albums_get(cloak_albums *albums, cloak_queue *queue, const char *id,
    const cloak_album **out, cloak_error *error) {
    cloak_album *album = NULL;
    int at = 0;
    while (at < SLOTS - 1 && albums->slots[at] && strcmp(albums->slots[at]->id, id) != 0)
        at++;
    if (albums->slots[at] && strcmp(albums->slots[at]->id, id) == 0) {
        album = albums->slots[at];
    } else {
        cloak_status status = album_load(albums, queue, id, &album, error);
        if (status != CLOAK_OK)
            return status;
        album_free(albums->slots[at]);
    }
    memmove(&albums->slots[1], &albums->slots[0], (size_t)at * sizeof albums->slots[0]);
    albums->slots[0] = album;
    *out = album;
    return CLOAK_OK;
}

void cloak_albums_clear(cloak_albums *albums) {
    for (int i = 0; i < SLOTS; i++) {
        album_free(albums->slots[i]);
        albums->slots[i] = NULL;
    }
}
