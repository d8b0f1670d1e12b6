/* A Redis for one run on one machine: no port, a unix socket only its owner can open, everything
 * on disk before a reply. */
#ifndef CLOAK_DISPATCHER_PRIVATE_REDIS_H
#define CLOAK_DISPATCHER_PRIVATE_REDIS_H

#include <sys/types.h>

#include "common/base/status.h"

typedef struct {
    char *folder; /* its data */
    char *socket;
    char *socket_folder; /* a folder of ours in /tmp, where `folder` is too long for a socket */
    char *url;    /* for cloak_queue_open */
    pid_t pid;
} cloak_private_redis;

/* Starts redis-server on the data in `folder` (created if need be) and waits until it answers. */
CLOAK_MUST_CHECK cloak_status cloak_private_redis_start(
    const char *folder, cloak_private_redis *redis, cloak_error *error);

/* Starts it again when it has died; sets `*restarted`. */
CLOAK_MUST_CHECK cloak_status cloak_private_redis_mend(
    cloak_private_redis *redis, bool *restarted, cloak_error *error);

/* Shuts it down in order and frees. Zeroed structs are fine. */
void cloak_private_redis_stop(cloak_private_redis *redis);

#endif
