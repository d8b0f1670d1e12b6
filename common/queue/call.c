/* One script call being put together: keys, then arguments, borrowed or made on the way. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

void cloak_call_begin(cloak_call *call, cloak_queue *queue, cloak_script *script) {
    *call = (cloak_call){.queue = queue, .script = script};
}

/* Adds an argument; `owned` says that the call frees it. */
static void add_bytes(cloak_call *call, const char *text, size_t length, bool owned) {
    if (call->count == call->room) {
        call->room = call->room ? call->room * 2 : 32;
        size_t room = (size_t)call->room;
        call->argv = cloak_realloc(call->argv, room * sizeof *call->argv);
        call->lengths = cloak_realloc(call->lengths, room * sizeof *call->lengths);
        call->owned = cloak_realloc(call->owned, room * sizeof *call->owned);
    }
    call->argv[call->count] = text;
    call->lengths[call->count] = length;
    call->owned[call->count] = owned ? (char *)text : NULL;
    call->count++;
}

static void add(cloak_call *call, const char *text, bool owned) {
    add_bytes(call, text, strlen(text), owned);
}

void cloak_call_key(cloak_call *call, cloak_key key) {
    add(call, call->queue->keys[key], false);
    call->keys++;
}

void cloak_call_queue_keys(cloak_call *call) {
    for (int i = 0; i < CLOAK_QUEUE_KEYS; i++)
        cloak_call_key(call, (cloak_key)i);
}

void cloak_call_album_key(cloak_call *call, const char *kind, const char *album) {
    add(call, cloak_format("%s%s:%s", call->queue->prefix, kind, album), true);
    call->keys++;
}

void cloak_call_text(cloak_call *call, const char *text) {
    add(call, text, false);
}

void cloak_call_bytes(cloak_call *call, const char *bytes, size_t length) {
    add_bytes(call, bytes, length, false);
}

void cloak_call_number(cloak_call *call, int64_t number) {
    add(call, cloak_format("%lld", (long long)number), true);
}

void cloak_call_job(cloak_call *call, const cloak_job *job) {
    add(call, cloak_format("%s:%u", job->album, (unsigned)job->index), true);
    add(call, job->token, false);
}

cloak_status cloak_call_run(cloak_call *call, redisReply **reply, cloak_error *error) {
    cloak_status status = cloak_redis_script(call->queue->redis, call->script, call->keys,
        call->count, call->argv, call->lengths, reply, error);
    for (int i = 0; i < call->count; i++)
        free(call->owned[i]);
    free(call->argv);
    free(call->lengths);
    free(call->owned);
    return status;
}

cloak_status cloak_call_integer(cloak_call *call, long long *number, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_status status = cloak_call_run(call, &reply, error);
    if (status)
        return status;
    if (reply->type == REDIS_REPLY_INTEGER)
        *number = reply->integer;
    else
        status = cloak_reply_unexpected(call->queue, call->script->name, error);
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_call_step(
    cloak_call *call, char cursor[32], long long *number, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_status status = cloak_call_run(call, &reply, error);
    if (status)
        return status;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING && reply->element[0]->len < 32 &&
        reply->element[1]->type == REDIS_REPLY_INTEGER) {
        strcpy(cursor, reply->element[0]->str);
        *number = reply->element[1]->integer;
    } else {
        status = cloak_reply_unexpected(call->queue, call->script->name, error);
    }
    freeReplyObject(reply);
    return status;
}
