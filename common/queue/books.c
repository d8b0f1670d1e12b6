/* What an album has come to: books, sums, dead letters, single photos. Nothing here changes the
 * queue. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

cloak_status cloak_queue_books(
    cloak_queue *queue, const char *album, cloak_books *books, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_books);
    cloak_call_album_key(&call, "album", album);
    cloak_call_album_key(&call, "seen", album);
    cloak_call_album_key(&call, "done", album);
    redisReply *reply = NULL;
    status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 0) {
        status = cloak_album_unknown(queue, album, error);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 13) {
        status = cloak_reply_unexpected(queue, "books", error);
    } else {
        cloak_books b = {0};
        uint64_t *counts[] = {&b.total, &b.waiting, &b.leased, &b.delayed, &b.done, &b.dead,
            &b.cancelled, &b.expected};
        for (int i = 0; i < 8; i++)
            *counts[i] = (uint64_t)reply->element[i]->integer;
        b.sealed = reply->element[8]->integer == 1;
        b.cancel_requested = reply->element[9]->integer == 1;
        b.paused = reply->element[10]->integer == 1;
        b.seen_bits = (uint64_t)reply->element[11]->integer;
        b.done_bits = (uint64_t)reply->element[12]->integer;
        b.balanced = b.total == b.waiting + b.leased + b.delayed + b.done + b.dead + b.cancelled &&
                     b.total == b.seen_bits && b.done == b.done_bits;
        *books = b;
    }
    freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_sums(
    cloak_queue *queue, const char *album, cloak_sums *sums, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    char *key = cloak_format("%ssums:%s", queue->prefix, album);
    redisReply *reply = NULL;
    status =
        cloak_redis_call(queue->redis, 2, (const char *[]){"HGETALL", key}, NULL, &reply, error);
    free(key);
    if (status)
        return status;
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements / 2 : 0;
    cloak_sums out = {
        count, cloak_alloc(count * sizeof *out.names), cloak_alloc(count * sizeof *out.values)};
    for (size_t i = 0; i < count; i++) {
        out.names[i] = cloak_strdup(reply->element[2 * i]->str);
        out.values[i] = strtoll(reply->element[2 * i + 1]->str, NULL, 10);
    }
    freeReplyObject(reply);
    *sums = out;
    return CLOAK_OK;
}

int64_t cloak_sums_get(const cloak_sums *sums, const char *name) {
    for (size_t i = 0; i < sums->count; i++)
        if (strcmp(sums->names[i], name) == 0)
            return sums->values[i];
    return 0;
}

void cloak_sums_free(cloak_sums *sums) {
    for (size_t i = 0; i < sums->count; i++)
        free(sums->names[i]);
    free(sums->names);
    free(sums->values);
    *sums = (cloak_sums){0};
}

/* A set of indices as a bitmap that grows with the largest. */
typedef struct {
    unsigned char *bits;
    size_t bytes;
} index_set;

/* Adds `index`; false when it was there. */
static bool add_index(index_set *set, uint32_t index) {
    size_t byte = index / 8;
    if (byte >= set->bytes) {
        size_t bytes = byte * 2 + 64;
        set->bits = cloak_realloc(set->bits, bytes);
        memset(set->bits + set->bytes, 0, bytes - set->bytes);
        set->bytes = bytes;
    }
    unsigned char bit = (unsigned char)(1u << index % 8);
    if (set->bits[byte] & bit)
        return false;
    set->bits[byte] |= bit;
    return true;
}

/* Visits the dead letters of one step of the scan. */
static cloak_status visit_step(cloak_queue *queue, const redisReply *step, index_set *shown,
    void (*visit)(void *context, const cloak_dead *dead), void *context, cloak_error *error) {
    for (size_t i = 1; i < step->elements; i += 2) {
        cloak_job job;
        char *word, *text;
        const redisReply *value = step->element[i];
        if (!cloak_entry_parse_dead(value->str, value->len, &job, &word, &text))
            return cloak_reply_unexpected(queue, "HSCAN", error);
        cloak_dead dead = {job.index, job.failures, job.losses, job.key, word, text};
        /* HSCAN may show a field twice while the hash is being resized. */
        if (add_index(shown, job.index))
            visit(context, &dead);
        free(job.key);
        free(word);
        free(text);
    }
    return CLOAK_OK;
}

cloak_status cloak_queue_dead(cloak_queue *queue, const char *album,
    void (*visit)(void *context, const cloak_dead *dead), void *context, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    char *key = cloak_format("%sdead:%s", queue->prefix, album);
    char cursor[32] = "0";
    index_set shown = {0};
    do {
        const char *argv[] = {"HSCAN", key, cursor, "COUNT", "500"};
        redisReply *reply = NULL;
        status = cloak_redis_call(queue->redis, 5, argv, NULL, &reply, error);
        if (status)
            break;
        if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
            reply->element[0]->len >= sizeof cursor) {
            status = cloak_reply_unexpected(queue, "HSCAN", error);
        } else {
            strcpy(cursor, reply->element[0]->str);
            status = visit_step(queue, reply->element[1], &shown, visit, context, error);
        }
        freeReplyObject(reply);
    } while (!status && strcmp(cursor, "0") != 0);
    free(shown.bits);
    free(key);
    return status;
}

cloak_status cloak_queue_is_done(
    cloak_queue *queue, const char *album, uint32_t index, bool *done, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    char *key = cloak_format("%sdone:%s", queue->prefix, album), at[16];
    snprintf(at, sizeof at, "%u", (unsigned)index);
    redisReply *reply = NULL;
    status =
        cloak_redis_call(queue->redis, 3, (const char *[]){"GETBIT", key, at}, NULL, &reply, error);
    free(key);
    if (status)
        return status;
    *done = reply->integer == 1;
    freeReplyObject(reply);
    return CLOAK_OK;
}
