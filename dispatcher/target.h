/* Which album a verb is about: an album id in the queue that --redis names, or the output folder of
 * a `cloak run` with its private Redis. */
#ifndef CLOAK_DISPATCHER_TARGET_H
#define CLOAK_DISPATCHER_TARGET_H

#include "dispatcher/private_redis.h"
#include "dispatcher/verbs.h"

typedef struct {
    cloak_queue *queue;
    char id[CLOAK_ALBUM_ID_SIZE];
    cloak_private_redis redis; /* when this process had to start it */
    int lock;
} cloak_album_target;

/* Opens the queue and finds the album. For an output folder the Redis of a run that is going on is
 * used; where none is, it is started for the time being. Close with cloak_album_target_close. */
CLOAK_MUST_CHECK cloak_status cloak_album_target_open(const char *argument,
    const cloak_queue_options *options, cloak_album_target *target, cloak_error *error);

void cloak_album_target_close(cloak_album_target *target);

#endif
