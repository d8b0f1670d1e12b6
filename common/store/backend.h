/* Private to this folder: what a kind of store has to offer. A new kind is one table and one line
 * in store.c. Every call means what its namesake in store.h says; keys have been
 * checked before. */
#ifndef CLOAK_STORE_BACKEND_H
#define CLOAK_STORE_BACKEND_H

#include "common/store/store.h"

typedef struct {
    const char *scheme; /* "file": answers for URLs that begin with "file://" */

    /* Sets `store->place` and, where needed, `store->state`. `url` is whole, as the user wrote it.
     */
    cloak_status (*open)(cloak_store *store, const char *url, cloak_error *error);
    /* Frees `store->state`; NULL when there is none. */
    void (*close)(cloak_store *store);
    cloak_status (*get)(cloak_store *store, const char *key, size_t limit, void **bytes,
        size_t *length, cloak_error *error);
    cloak_status (*put)(
        cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error);
    cloak_status (*stat)(
        cloak_store *store, const char *key, cloak_store_info *info, cloak_error *error);
    cloak_status (*list)(
        cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error);
    cloak_status (*remove)(cloak_store *store, const char *key, cloak_error *error);
    cloak_status (*sweep)(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
        cloak_error *error);
    /* NULL where a call's own error tells it. */
    bool (*reachable)(const cloak_store *store);
    cloak_status (*put_if)(cloak_store *store, const char *key, const void *bytes, size_t length, char *version,
        cloak_error *error); /* or NULL */
    size_t (*longest_key)(const cloak_store *store); /* or NULL: no limit */
} cloak_store_backend;

struct cloak_store {
    const cloak_store_backend *backend;
    char *place; /* freed by cloak_store_close */
    char *address; /* the same, unmistakable across servers; NULL where `place` is that. Freed likewise */
    bool follows;  /* a folder of which links lead anywhere */
    char *apart;   /* or NULL: where listing does not follow a link. Freed likewise */
    void *state;   /* the backend's own */
    cloak_store_stop stop; /* NULL, or asked while a call waits */
    void *stop_context;
};

extern const cloak_store_backend cloak_store_folder; /* also answers for plain paths */
extern const cloak_store_backend cloak_store_s3;

#endif
