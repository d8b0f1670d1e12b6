/* Source and destination of an album as the user named them, checked against each other. */
#ifndef CLOAK_DISPATCHER_PLACE_H
#define CLOAK_DISPATCHER_PLACE_H

#include "common/store/store.h"
#include "dispatcher/manifest.h"

typedef struct {
    cloak_store *source, *destination;
    char *source_url, *destination_url; /* absolute paths, or s3:// URLs; file:// where links are followed */
    char *state;     /* the state folder (state.h): manifest and, for `run`, Redis */
    char *manifest;  /* path of the manifest in it */
    char *leave_out[3]; /* keys of output and state folders inside the album */
    size_t leave_out_count;
} cloak_place;

/* Opens both stores. A source that is no folder, a destination that is the source or contains it
 * are CLOAK_E_USAGE. A destination folder is created. A destination inside the source is fine: it is
 * left out of the listing. With `follow_links` links in a source folder may lead out of it (cloak_store_follow_links).
 * Free with cloak_place_close. */
CLOAK_MUST_CHECK cloak_status cloak_place_open(
    const char *source, const char *destination, bool follow_links, cloak_place *place, cloak_error *error);

/* The same for a look: nothing is created. */
CLOAK_MUST_CHECK cloak_status cloak_place_look(
    const char *source, const char *destination, bool follow_links, cloak_place *place, cloak_error *error);

/* Removes what killed workers left unfinished in the destination for `seconds` or longer (store.h), in a bucket
 * only of the manifest's photos. A failure is told on stderr. */
void cloak_place_sweep(cloak_place *place, const cloak_manifest *manifest, double seconds);

/* Closes and frees. Zeroed structs are fine. */
void cloak_place_close(cloak_place *place);

#endif
