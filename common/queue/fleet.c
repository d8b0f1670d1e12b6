/* Who works, and how much there is to do. */
#include "common/queue/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { SILENT_MS = 15000 }; /* 3 beats of 5 s */

cloak_status cloak_queue_beat(
    cloak_queue *queue, const char *worker, const char *about, cloak_error *error) {
    cloak_status status = cloak_word_check("worker", worker, 20, error);
    if (status)
        return status;
    cloak_call call;
    long long done = 0;
    cloak_call_begin(&call, queue, &cloak_script_beat);
    cloak_call_key(&call, CLOAK_KEY_WORKERS);
    cloak_call_key(&call, CLOAK_KEY_WORKERS_ABOUT);
    cloak_call_text(&call, worker);
    cloak_call_text(&call, about);
    cloak_call_number(&call, SILENT_MS);
    return cloak_call_integer(&call, &done, error);
}

cloak_status cloak_queue_load(cloak_queue *queue, cloak_load *load, cloak_error *error) {
    enum { WAITING, DELAYED, LEASED, WORKERS, COST_MS, OLDEST_MS, PAUSED, LOST, RETRIED, DEAD, USED, MOST, COUNT };
    cloak_call call;
    redisReply *reply = NULL;
    cloak_call_begin(&call, queue, &cloak_script_load);
    cloak_call_queue_keys(&call);
    cloak_call_key(&call, CLOAK_KEY_WORKERS);
    cloak_call_key(&call, CLOAK_KEY_PAUSED);
    cloak_call_key(&call, CLOAK_KEY_PAUSED_ALBUMS);
    cloak_call_key(&call, CLOAK_KEY_RESUMING);
    cloak_call_text(&call, queue->prefix);
    cloak_call_number(&call, SILENT_MS);
    cloak_status status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == COUNT) {
        long long n[COUNT];
        for (int i = 0; i < COUNT; i++)
            n[i] = reply->element[i]->integer;
        *load = (cloak_load){(uint64_t)n[WAITING], (uint64_t)n[DELAYED], (uint64_t)n[LEASED],
            (uint64_t)n[WORKERS], (double)n[COST_MS] / 1e3, (double)n[OLDEST_MS] / 1e3,
            n[PAUSED] == 1, (uint64_t)n[LOST], (uint64_t)n[RETRIED], (uint64_t)n[DEAD], (uint64_t)n[USED],
            (uint64_t)n[MOST]};
    } else {
        status = cloak_reply_unexpected(queue, "load", error);
    }
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_workers(cloak_queue *queue,
    void (*visit)(void *context, const cloak_live_worker *worker), void *context, cloak_error *error) {
    enum { MOST = 10000 };
    cloak_call call;
    redisReply *reply = NULL;
    cloak_call_begin(&call, queue, &cloak_script_workers);
    cloak_call_key(&call, CLOAK_KEY_WORKERS);
    cloak_call_key(&call, CLOAK_KEY_WORKERS_ABOUT);
    cloak_call_number(&call, SILENT_MS);
    cloak_call_number(&call, MOST);
    cloak_status status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 3 != 0)
        status = cloak_reply_unexpected(queue, "workers", error);
    for (size_t i = 0; status == CLOAK_OK && i < reply->elements; i += 3) {
        const cloak_live_worker worker = {reply->element[i]->str, reply->element[i + 1]->str,
            (double)reply->element[i + 2]->integer / 1e3};
        visit(context, &worker);
    }
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_tenants(cloak_queue *queue, size_t most,
    void (*visit)(void *context, const cloak_tenant *tenant), void *context, cloak_error *error) {
    enum { EACH = 5 };
    cloak_call call;
    redisReply *reply = NULL;
    cloak_call_begin(&call, queue, &cloak_script_tenants);
    cloak_call_queue_keys(&call);
    cloak_call_key(&call, CLOAK_KEY_WEIGHTS);
    cloak_call_text(&call, queue->prefix);
    cloak_call_number(&call, (int64_t)most);
    cloak_status status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % EACH != 0)
        status = cloak_reply_unexpected(queue, "tenants", error);
    for (size_t i = 0; status == CLOAK_OK && i < reply->elements; i += EACH) {
        redisReply **e = reply->element + i;
        const cloak_tenant tenant = {e[0]->str, e[1]->str, (uint64_t)e[2]->integer, strtod(e[3]->str, NULL),
            e[4]->integer == 1};
        visit(context, &tenant);
    }
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_set_share(cloak_queue *queue, const char *tenant, double share, cloak_error *error) {
    char text[32];
    redisReply *reply = NULL;
    cloak_status status = cloak_word_check("tenant", tenant, 64, error);
    if (status)
        return status;
    if (!(share >= 0.001 && share <= 1000))
        return cloak_fail(error, CLOAK_E_USAGE, "tenant %s: a share of %g; it must be .001 to 1000", tenant, share);
    snprintf(text, sizeof text, "%.17g", share);
    const char *argv[] = {share == 1 ? "HDEL" : "HSET", queue->keys[CLOAK_KEY_WEIGHTS], tenant, text};
    status = cloak_redis_call(queue->redis, share == 1 ? 3 : 4, argv, NULL, &reply, error);
    if (status == CLOAK_OK)
        freeReplyObject(reply);
    return status;
}
