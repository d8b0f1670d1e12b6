/* Whether a server can hold the queue at all: asked before any photo is entrusted to it. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

/* The value of "name:value\r\n" in an INFO reply as a new string, or NULL. */
static char *info_value(const char *info, const char *name) {
    size_t length = strlen(name);
    for (const char *line = info; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return strndup(line + length + 1, strcspn(line + length + 1, "\r\n"));
    }
    return NULL;
}

/* The maxmemory policy by CONFIG, as a new string, or NULL when the server does not tell. Fails when it does not answer. */
static cloak_status config_policy(cloak_redis *redis, char **policy, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_error why = {0};
    cloak_status status =
        cloak_redis_call(redis, 3, (const char *[]){"CONFIG", "GET", "maxmemory-policy"}, NULL, &reply, &why);
    if (status && !why.retryable)
        return CLOAK_OK; /* it may not be asked */
    if (status)
        return cloak_fail(error, status, "%s", why.text);
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        *policy = cloak_strdup(reply->element[1]->str);
    freeReplyObject(reply);
    return CLOAK_OK;
}

/* Retrying does not help against a server that is the wrong one. */
static cloak_status refuse(cloak_error *error) {
    if (error)
        error->retryable = false;
    return CLOAK_E_QUEUE;
}

static cloak_status check_version(const char *place, const char *version, cloak_error *error) {
    int major = 0, minor = 0;
    if (version && sscanf(version, "%d.%d", &major, &minor) == 2 &&
        (major > 6 || (major == 6 && minor >= 2)))
        return CLOAK_OK;
    cloak_fail(error, CLOAK_E_QUEUE,
        "%s: the server's version is %s; Redis 6.2 or Valkey is needed", place,
        version ? version : "unknown");
    return refuse(error);
}

static cloak_status check_policy(const char *place, const char *policy, cloak_error *error) {
    if (policy && strcmp(policy, "noeviction") == 0)
        return CLOAK_OK;
    if (policy)
        cloak_fail(error, CLOAK_E_QUEUE,
            "%s: maxmemory-policy is %s, so that a full server would silently drop photos from the "
            "queue; set it: CONFIG SET maxmemory-policy noeviction, and in redis.conf",
            place, policy);
    else
        cloak_fail(error, CLOAK_E_QUEUE,
            "%s: the server tells its maxmemory-policy neither by INFO nor by CONFIG; allow this "
            "user one of them (ACL +info)",
            place);
    return refuse(error);
}

cloak_status cloak_redis_check(cloak_redis *redis, cloak_error *error) {
    const char *place = cloak_redis_place(redis);
    redisReply *reply = NULL;
    cloak_status status = cloak_redis_call(redis, 1, (const char *[]){"INFO"}, NULL, &reply, error);
    if (status)
        return status;
    const char *info = reply->type == REDIS_REPLY_STRING ? reply->str : "";
    char *version = info_value(info, "redis_version"), *role = info_value(info, "role");
    char *policy = info_value(info, "maxmemory_policy");
    if (!policy)
        status = config_policy(redis, &policy, error);
    if (!status)
        status = check_version(place, version, error);
    if (!status)
        status = check_policy(place, policy, error);
    if (!status && role && strcmp(role, "slave") == 0)
        status = cloak_fail(error, CLOAK_E_QUEUE,
            "%s: this is a replica: point the URL at the primary, or wait for the failover", place);
    free(version);
    free(role);
    free(policy);
    freeReplyObject(reply);
    return status;
}
