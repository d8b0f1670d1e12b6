/* How the whole queue stands: its load, whose photos wait, and the books of its newest albums, for `status` and
 * `serve`. */
#ifndef CLOAK_DISPATCHER_OVERVIEW_H
#define CLOAK_DISPATCHER_OVERVIEW_H

#include "common/queue/queue.h"

typedef struct {
    char id[CLOAK_ALBUM_ID_SIZE];
    cloak_books books;
} cloak_album_state;

enum { CLOAK_OVERVIEW_TENANTS = 400 };

typedef struct {
    char class_word[16], name[65];
    uint64_t waiting; /* photos */
    double weight;
    bool paused;
} cloak_tenant_state;

typedef struct {
    const char *queue; /* its name, borrowed */
    cloak_load load;
    cloak_album_state *albums; /* newest first */
    size_t count, most;
    cloak_tenant_state tenants[CLOAK_OVERVIEW_TENANTS]; /* whose photos wait: those served next, and paused ones, of each class */
    size_t tenant_count;
} cloak_overview;

/* Reads it, with at most `most` albums from place `offset` on (0 is the newest). Free with cloak_overview_free. */
CLOAK_MUST_CHECK cloak_status cloak_overview_read(cloak_queue *queue, const char *name, size_t offset, size_t most,
    cloak_overview *overview, cloak_error *error);
void cloak_overview_free(cloak_overview *overview);

/* As one line of JSON with the documented keys (docs/operating.md), a new string (free()). */
char *cloak_overview_json(const cloak_overview *overview);

/* The albums alone, as an object {"albums": […], "next": the place after the last, or null}; a new string (free()). */
char *cloak_overview_albums_json(const cloak_overview *overview, size_t offset);

/* For people: the queue on stderr, the albums on stdout. */
void cloak_overview_print(const cloak_overview *overview);

#endif
