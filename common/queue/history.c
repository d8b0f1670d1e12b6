/* The records of finished photos, which finish writes to a stream. */
#include "common/queue/internal.h"

#include <stdio.h>
#include <string.h>

/* An entry is {id, {"job", job, "record", record}}. */
static const char *place_of(const redisReply *entry) {
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 && entry->element[0]->type == REDIS_REPLY_STRING
               ? entry->element[0]->str
               : NULL;
}

/* NULL when there is none. */
static const char *record_of(const redisReply *entry) {
    const redisReply *fields = entry->element[1];
    if (fields->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, "record") == 0)
            return fields->element[i + 1]->str;
    return NULL;
}

static bool is_place(const char *text) {
    const size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 19 && text[digits] == '-' && strlen(text + digits + 1) > 0 &&
           strlen(text + digits + 1) <= 19 && strspn(text + digits + 1, "0123456789") == strlen(text + digits + 1);
}

cloak_status cloak_queue_history(cloak_queue *queue, const char *before, size_t most,
    bool (*visit)(void *context, const char *place, const char *record), void *context, bool *more, cloak_error *error) {
    enum { EACH = 200 };
    char from[48] = "+";
    redisReply *reply;
    if (before && !is_place(before))
        return cloak_fail(error, CLOAK_E_USAGE, "\"%.40s\" is no place in the history", before);
    if (before)
        snprintf(from, sizeof from, "(%s", before);
    *more = !before || strspn(before, "0-") != strlen(before); /* Redis has no words for what is before the first */
    if (!*more)
        return CLOAK_OK;
    for (size_t seen = 0; seen < most;) {
        const char *argv[] = {"XREVRANGE", queue->keys[CLOAK_KEY_LOG], from, "-", "COUNT", "200"};
        cloak_status status = cloak_redis_call(queue->redis, 6, argv, NULL, &reply, error);
        if (status)
            return status;
        if (reply->type != REDIS_REPLY_ARRAY) {
            freeReplyObject(reply);
            return cloak_reply_unexpected(queue, "history", error);
        }
        bool go_on = true;
        for (size_t i = 0; i < reply->elements && go_on && seen < most; i++, seen++) {
            const char *place = place_of(reply->element[i]), *record = place ? record_of(reply->element[i]) : NULL;
            if (!place)
                continue;
            snprintf(from, sizeof from, "(%s", place);
            go_on = visit(context, place, record ? record : "");
        }
        const size_t got = reply->elements;
        freeReplyObject(reply);
        if (!go_on)
            return CLOAK_OK;
        if (got < EACH && seen < most) {
            *more = false;
            return CLOAK_OK;
        }
    }
    return CLOAK_OK;
}
