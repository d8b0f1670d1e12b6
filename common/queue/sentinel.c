/* Where the primary is, by the Sentinels that watch over it.
 *
 * Source: "Guidelines for Redis clients with support for Redis Sentinel" (Redis documentation). With
 * every new connection the Sentinels are asked, the one that knew last first; the server they name is
 * then asked itself whether it is a primary, since what they know may be a few seconds old. Sentinels
 * have a user and password of their own, or none.
 *
 * What a failover costs is Redis' replication to answer for: what the old primary had taken and not
 * yet passed on is gone. The queue's state is then an earlier one, whole, since every change was one
 * script; photos that were finished meanwhile are made again, with the same bytes, and what was
 * submitted meanwhile comes back with `cloak audit --repair`.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

static cloak_status read_place(const redisReply *reply, const char *sentinel,
    const char *service, char **host, int *port, cloak_error *error) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING || reply->element[0]->len == 0 ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return cloak_fail(error, CLOAK_E_QUEUE, "%s: knows no primary called %s (see SENTINEL MASTERS)",
            sentinel, service);
    int number = atoi(reply->element[1]->str);
    if (number < 1 || number > 65535)
        return cloak_fail(error, CLOAK_E_QUEUE, "%s: names a primary without a port", sentinel);
    *host = cloak_strdup(reply->element[0]->str);
    *port = number;
    return CLOAK_OK;
}

/* Whether a Sentinel's error is about who asks, not about the primary. */
static bool is_refusal(const char *text) {
    return strstr(text, ": NOAUTH") || strstr(text, ": WRONGPASS") || strstr(text, ": NOPERM");
}

static cloak_status ask(const cloak_address *address, size_t i, double timeout, char **host, int *port,
    cloak_error *error) {
    cloak_address place;
    redisReply *reply = NULL;
    cloak_address_sentinel(address, i, &place);
    cloak_redis *redis = cloak_redis_open_address(&place, timeout);
    cloak_status status = cloak_redis_call(redis, 3,
        (const char *[]){"SENTINEL", "get-master-addr-by-name", address->service}, NULL, &reply, error);
    if (status && error && is_refusal(error->text)) {
        status = cloak_fail(error, CLOAK_E_QUEUE, "%s: refuses %s; its own stand at the end of the URL: "
            "/NAME?sentinel-user=USER&sentinel-password=PASSWORD", cloak_redis_place(redis),
            address->sentinel_password ? "this user and password" : "to answer without a password");
        error->retryable = false;
    }
    if (status == CLOAK_OK)
        status = read_place(reply, cloak_redis_place(redis), address->service, host, port, error);
    if (reply)
        freeReplyObject(reply);
    cloak_redis_close(redis);
    return status;
}

cloak_status cloak_sentinel_find(const cloak_address *address, double timeout, size_t *first, char **host,
    int *port, cloak_error *error) {
    cloak_status status = CLOAK_E_QUEUE;
    for (size_t i = 0; i < address->sentinel_count; i++) {
        size_t at = (*first + i) % address->sentinel_count;
        status = ask(address, at, timeout, host, port, error);
        if (status == CLOAK_OK) {
            *first = at;
            return status;
        }
    }
    return status;
}
