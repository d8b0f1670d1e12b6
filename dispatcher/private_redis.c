/* The private Redis of `cloak run`.
 *
 * `appendfsync always`: a handful of small writes per photo cost nothing beside seconds of device
 * time, and then a killed Redis, or a machine that loses power, has lost nothing it acknowledged.
 */
#include "dispatcher/private_redis.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/queue/redis.h"
#include "dispatcher/process.h"

static const double start_seconds = 60; /* a large append-only file takes its time to load */

static cloak_status wait_until_up(cloak_private_redis *redis, cloak_error *error) {
    const char *ping[] = {"PING"};
    double until = cloak_now() + start_seconds;
    for (;;) {
        cloak_redis *connection = NULL;
        redisReply *reply = NULL;
        cloak_status status = cloak_redis_open(redis->url, 2, &connection, error);
        if (status == CLOAK_OK)
            status = cloak_redis_call(connection, 1, ping, NULL, &reply, error);
        if (status == CLOAK_OK)
            freeReplyObject(reply);
        cloak_redis_close(connection);
        if (status == CLOAK_OK)
            return CLOAK_OK;
        if (cloak_process_ended(redis->pid, NULL)) {
            redis->pid = 0;
            return cloak_fail(error, CLOAK_E_QUEUE,
                "the private Redis does not start; its log is %s/redis.log", redis->folder);
        }
        if (cloak_now() > until)
            return cloak_fail(error, CLOAK_E_QUEUE,
                "the private Redis does not answer; its log is %s/redis.log", redis->folder);
        cloak_clock_system.sleep(0.05);
    }
}

static cloak_status launch(cloak_private_redis *redis, cloak_error *error) {
    char *log = cloak_path_join(redis->folder, "redis.log");
    char *argv[] = {"redis-server", "--port", "0", "--unixsocket", redis->socket,
        "--unixsocketperm", "700", "--dir", redis->folder, "--appendonly", "yes", "--appendfsync",
        "always", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no", NULL};
    unlink(redis->socket);
    cloak_status status = cloak_process_start(argv, log, SIGTERM, &redis->pid, error);
    free(log);
    char *place = cloak_path_join(redis->folder, "url"); /* for other verbs, while this one runs */
    if (status == CLOAK_OK)
        status = cloak_file_write(place, redis->url, strlen(redis->url), error);
    free(place);
    return status == CLOAK_OK ? wait_until_up(redis, error) : status;
}

/* A socket's path is short (unix(7)), and as part of a URL it must not hold '%', '?' or '@'. */
static bool fits_a_url(const char *path) {
    return strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path && !strpbrk(path, "%?@#");
}

cloak_status cloak_private_redis_start(
    const char *folder, cloak_private_redis *redis, cloak_error *error) {
    *redis = (cloak_private_redis){.folder = cloak_strdup(folder)};
    cloak_status status = cloak_file_mkdirs(folder, error);
    redis->socket = cloak_path_join(folder, "redis.sock");
    if (status == CLOAK_OK && !fits_a_url(redis->socket)) {
        redis->socket_folder = cloak_strdup("/tmp/cloak-XXXXXX");
        free(redis->socket);
        redis->socket = NULL;
        if (!mkdtemp(redis->socket_folder))
            status = cloak_fail(error, CLOAK_E_TRANSIENT, "cannot create a folder in /tmp");
        redis->socket = cloak_path_join(redis->socket_folder, "redis.sock");
    }
    if (status == CLOAK_OK) {
        redis->url = cloak_format("unix://%s", redis->socket);
        status = launch(redis, error);
    }
    if (status != CLOAK_OK)
        cloak_private_redis_stop(redis);
    return status;
}

cloak_status cloak_private_redis_mend(
    cloak_private_redis *redis, bool *restarted, cloak_error *error) {
    *restarted = false;
    if (!cloak_process_ended(redis->pid, NULL))
        return CLOAK_OK;
    redis->pid = 0;
    *restarted = true;
    return launch(redis, error);
}

void cloak_private_redis_stop(cloak_private_redis *redis) {
    cloak_process_stop(redis->pid, SIGTERM, 20);
    if (redis->socket)
        unlink(redis->socket);
    if (redis->socket_folder)
        rmdir(redis->socket_folder);
    free(redis->folder);
    free(redis->socket);
    free(redis->socket_folder);
    free(redis->url);
    *redis = (cloak_private_redis){0};
}
