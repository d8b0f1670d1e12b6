/* Which albums a verb is about: the one that is named, a tenant's, or all of the queue. */
#ifndef CLOAK_DISPATCHER_SCOPE_H
#define CLOAK_DISPATCHER_SCOPE_H

#include "dispatcher/verbs.h"

/* One of the three. */
typedef struct {
    const char *album; /* id or output folder */
    const char *tenant;
    bool all;
} cloak_scope;

#define CLOAK_SCOPE_OPTIONS(scope, which)                                                                              \
    {"all", NULL, NULL, CLOAK_OPTION_FLAG, &(scope).all, 0, 0, "every album" which}, {                                 \
        "tenant", "NAME", NULL, CLOAK_OPTION_TEXT, &(scope).tenant, 0, 0, "every album of a tenant" which              \
    }

/* What is done with an album. An error ends the visit. */
typedef cloak_status cloak_album_visit(void *context, cloak_queue *queue, const char *id, cloak_error *error);

/* Visits the albums, newest first. Those that are submitted meanwhile may or may not be among them. More or less than
 * one scope is CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_scope_each(const cloak_queue_options *options, const cloak_scope *scope,
    cloak_album_visit *visit, void *context, cloak_error *error);

#endif
