/* One connection to one Redis (or Valkey) server.
 *
 * URLs: redis://[user:password@]host[:port][/db], the same with rediss:// and
 * ?cacert=FILE&cert=FILE&key=FILE through TLS, redis[s]+sentinel://[user:password@]host[:port][,…]/NAME[/db] with
 * ?sentinel-user=U&sentinel-password=P where Sentinels want them, for the primary that they call NAME (sentinel.c), and
 * unix:///path/to/socket[?db=N]. Every call has a timeout; after a failure the connection is closed and the next call
 * opens it again. A connection is used by one thread at a time.
 */
#ifndef CLOAK_QUEUE_REDIS_H
#define CLOAK_QUEUE_REDIS_H

#include <hiredis/hiredis.h>

#include "common/base/status.h"

typedef struct cloak_redis cloak_redis;

/* Checks the URL and prepares a connection; nothing is sent yet. A bad URL is CLOAK_E_USAGE and
 * never echoes a password. `timeout` in seconds bounds connecting and every reply. Close with
 * cloak_redis_close. */
CLOAK_MUST_CHECK cloak_status cloak_redis_open(
    const char *url, double timeout, cloak_redis **redis, cloak_error *error);

/* Closes and frees. NULL is fine. */
void cloak_redis_close(cloak_redis *redis);

/* Sends one command of `argc` binary-safe arguments (`lengths` may be NULL: all are C strings) and
 * waits for the reply, which the caller frees with freeReplyObject. An error reply, a timeout or a
 * broken connection is CLOAK_E_QUEUE; the text names the server and, for known conditions (wrong
 * password, read-only replica, out of memory, loading), what to do. */
CLOAK_MUST_CHECK cloak_status cloak_redis_call(cloak_redis *redis, int argc, const char **argv,
    const size_t *lengths, redisReply **reply, cloak_error *error);

/* A Lua script known at build time; `sha` is filled on first use. */
typedef struct {
    const char *name;
    const char *source;
    char sha[41];
} cloak_script;

/* Runs a script by its digest (EVALSHA), sending the source when the server does not know it. The
 * keys come first in `argv`, then the arguments. Otherwise as cloak_redis_call. */
CLOAK_MUST_CHECK cloak_status cloak_redis_script(cloak_redis *redis, cloak_script *script,
    int key_count, int argc, const char **argv, const size_t *lengths, redisReply **reply,
    cloak_error *error);

/* Checks that the server can hold the queue: version at least 6.2, maxmemory-policy noeviction.
 * A server that hides CONFIG is asked through INFO. CLOAK_E_QUEUE with advice otherwise. */
CLOAK_MUST_CHECK cloak_status cloak_redis_check(cloak_redis *redis, cloak_error *error);

/* How many commands and scripts this process has had answered, over all connections. Any thread. */
uint64_t cloak_redis_round_trips(void);

/* The server as people read it, without a password ("redis://host:6379/0"). Borrowed. */
const char *cloak_redis_place(const cloak_redis *redis);

#endif
