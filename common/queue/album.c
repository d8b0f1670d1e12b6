/* Albums: made, fed, sealed, paused, cancelled, revived and listed. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/trace.h"
#include "common/queue/internal.h"

enum { MOST_PHOTOS = 1000, MOST_KEY = 4096 };

static cloak_status check_spec(const cloak_album_spec *album, cloak_error *error) {
    cloak_status status = cloak_album_check(album->id, error);
    if (!status)
        status = cloak_word_check("tenant", album->tenant, 64, error);
    if (status)
        return status;
    if (!album->job_class ||
        (strcmp(album->job_class, "interactive") != 0 && strcmp(album->job_class, "bulk") != 0))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the class of album %s must be \"interactive\" or \"bulk\"", album->id);
    if (!album->source || !album->destination || !album->settings)
        return cloak_fail(
            error, CLOAK_E_USAGE, "album %s needs a source, a destination and settings", album->id);
    return CLOAK_OK;
}

cloak_status cloak_queue_create(
    cloak_queue *queue, const cloak_album_spec *album, cloak_error *error) {
    cloak_status status = check_spec(album, error);
    if (status)
        return status;
    cloak_call call;
    char trace[CLOAK_TRACE_SIZE];
    cloak_trace_of_album(album->id, trace);
    cloak_call_begin(&call, queue, &cloak_script_create);
    cloak_call_album_key(&call, "album", album->id);
    cloak_call_key(&call, CLOAK_KEY_ALBUMS);
    cloak_call_text(&call, album->id);
    cloak_call_text(&call, album->tenant);
    cloak_call_text(&call, album->job_class);
    cloak_call_text(&call, album->source);
    cloak_call_text(&call, album->destination);
    cloak_call_text(&call, album->settings);
    cloak_call_text(&call, cloak_trace_ok(album->trace) ? album->trace : trace);
    redisReply *reply = NULL;
    status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type != REDIS_REPLY_STRING)
        status = cloak_reply_unexpected(queue, "create", error);
    else if (reply->len > 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "album %s exists at %s with another %s; use its own, or give the new album a new id",
            album->id, cloak_queue_place(queue), reply->str);
    freeReplyObject(reply);
    return status;
}

static cloak_status check_photos(
    const char *album, const cloak_job_spec *jobs, size_t count, cloak_error *error) {
    if (count > MOST_PHOTOS)
        return cloak_fail(error, CLOAK_E_USAGE,
            "album %s: %zu photos in one submission; the most is %d", album, count, MOST_PHOTOS);
    for (size_t i = 0; i < count; i++) {
        const cloak_job_spec *job = &jobs[i];
        const char *wrong = NULL;
        if (job->index > INT32_MAX)
            wrong = "its index must be below 2^31";
        else if (job->cost_ms < 1)
            wrong = "its cost must be at least 1 ms";
        else if (!job->key || !*job->key)
            wrong = "it has no key";
        else if (strlen(job->key) > MOST_KEY)
            wrong = "its key is longer than 4096 bytes";
        if (wrong)
            return cloak_fail(
                error, CLOAK_E_USAGE, "album %s: photo %u: %s", album, (unsigned)job->index, wrong);
    }
    return CLOAK_OK;
}

static cloak_status cancelled(const char *album, const char *what, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_USAGE,
        "album %s is cancelled, which is final: %s; make a new album", album, what);
}

cloak_status cloak_queue_submit(cloak_queue *queue, const char *album, const cloak_job_spec *jobs,
    size_t count, size_t *accepted, uint64_t *backlog, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (!status)
        status = check_photos(album, jobs, count, error);
    if (status)
        return status;
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_submit);
    cloak_call_queue_keys(&call);
    cloak_call_album_key(&call, "album", album);
    cloak_call_album_key(&call, "seen", album);
    cloak_call_key(&call, CLOAK_KEY_PAUSED_ALBUMS);
    cloak_call_text(&call, queue->prefix);
    cloak_call_text(&call, album);
    for (size_t i = 0; i < count; i++) {
        cloak_call_number(&call, jobs[i].index);
        cloak_call_number(&call, jobs[i].cost_ms);
        cloak_call_text(&call, jobs[i].key);
    }
    redisReply *reply = NULL;
    status = cloak_call_run(&call, &reply, error);
    if (status)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        status = cloak_reply_unexpected(queue, "submit", error);
    } else if (reply->element[0]->integer == -1) {
        status = cloak_album_unknown(queue, album, error);
    } else if (reply->element[0]->integer == -2) {
        status = cancelled(album, "it takes no photos", error);
    } else {
        *accepted = (size_t)reply->element[0]->integer;
        *backlog = (uint64_t)reply->element[1]->integer;
    }
    freeReplyObject(reply);
    return status;
}

/* Runs a script that returns a negative number for an album it does not know. */
static cloak_status run_on_album(cloak_call *call, const char *album, cloak_error *error) {
    cloak_queue *queue = call->queue;
    long long found = 0;
    cloak_status status = cloak_call_integer(call, &found, error);
    return !status && found < 0 ? cloak_album_unknown(queue, album, error) : status;
}

cloak_status cloak_queue_seal(
    cloak_queue *queue, const char *album, uint64_t expected, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    if (expected > (uint64_t)INT32_MAX + 1)
        return cloak_fail(
            error, CLOAK_E_USAGE, "album %s: an album holds at most 2^31 photos", album);
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_seal);
    cloak_call_album_key(&call, "album", album);
    cloak_call_number(&call, (int64_t)expected);
    return run_on_album(&call, album, error);
}

cloak_status cloak_queue_cancel(cloak_queue *queue, const char *album, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_cancel);
    cloak_call_album_key(&call, "album", album);
    cloak_call_key(&call, CLOAK_KEY_BACKLOG);
    cloak_call_key(&call, CLOAK_KEY_RESUMING);
    cloak_call_key(&call, CLOAK_KEY_PAUSED_ALBUMS);
    cloak_call_text(&call, album);
    return run_on_album(&call, album, error);
}

static cloak_status set_queue_paused(cloak_queue *queue, bool paused, cloak_error *error) {
    const char *argv[] = {paused ? "SET" : "DEL", queue->keys[CLOAK_KEY_PAUSED], "1"};
    redisReply *reply = NULL;
    cloak_status status =
        cloak_redis_call(queue->redis, paused ? 3 : 2, argv, NULL, &reply, error);
    if (status == CLOAK_OK)
        freeReplyObject(reply);
    return status;
}

static cloak_status set_paused(
    cloak_queue *queue, const char *album, bool paused, cloak_error *error) {
    if (!album)
        return set_queue_paused(queue, paused, error);
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    cloak_call call;
    cloak_call_begin(&call, queue, &cloak_script_pause);
    cloak_call_album_key(&call, "album", album);
    cloak_call_key(&call, CLOAK_KEY_RESUMING);
    cloak_call_key(&call, CLOAK_KEY_PAUSED_ALBUMS);
    cloak_call_text(&call, album);
    cloak_call_number(&call, paused);
    return run_on_album(&call, album, error);
}

cloak_status cloak_queue_pause(cloak_queue *queue, const char *album, cloak_error *error) {
    return set_paused(queue, album, true, error);
}

cloak_status cloak_queue_resume(cloak_queue *queue, const char *album, cloak_error *error) {
    return set_paused(queue, album, false, error);
}

static cloak_status set_tenant_paused(cloak_queue *queue, const char *tenant, bool paused, cloak_error *error) {
    cloak_status status = cloak_word_check("tenant", tenant, 64, error);
    if (status)
        return status;
    cloak_call call;
    long long done = 0;
    cloak_call_begin(&call, queue, &cloak_script_pause_tenant);
    cloak_call_queue_keys(&call);
    cloak_call_text(&call, queue->prefix);
    cloak_call_text(&call, tenant);
    cloak_call_number(&call, paused);
    return cloak_call_integer(&call, &done, error);
}

cloak_status cloak_queue_pause_tenant(cloak_queue *queue, const char *tenant, cloak_error *error) {
    return set_tenant_paused(queue, tenant, true, error);
}

cloak_status cloak_queue_resume_tenant(cloak_queue *queue, const char *tenant, cloak_error *error) {
    return set_tenant_paused(queue, tenant, false, error);
}

cloak_status cloak_queue_retry(cloak_queue *queue, const char *album, const char *class_word,
    size_t *moved, cloak_error *error) {
    cloak_status status = cloak_album_check(album, error);
    if (status)
        return status;
    char cursor[32] = "0";
    size_t count = 0;
    do {
        cloak_call call;
        long long step = 0;
        cloak_call_begin(&call, queue, &cloak_script_retry);
        cloak_call_queue_keys(&call);
        cloak_call_album_key(&call, "album", album);
        cloak_call_album_key(&call, "dead", album);
        cloak_call_text(&call, queue->prefix);
        cloak_call_text(&call, album);
        cloak_call_text(&call, class_word ? class_word : "");
        cloak_call_text(&call, cursor);
        status = cloak_call_step(&call, cursor, &step, error);
        if (status)
            return status;
        if (strcmp(cursor, "-1") == 0)
            return cloak_album_unknown(queue, album, error);
        if (strcmp(cursor, "-2") == 0)
            return cancelled(album, "its dead photos stay dead", error);
        count += (size_t)step;
    } while (strcmp(cursor, "0") != 0);
    *moved = count;
    return CLOAK_OK;
}

cloak_status cloak_queue_album(
    cloak_queue *queue, const char *id, cloak_album_spec *album, cloak_error *error) {
    cloak_status status = cloak_album_check(id, error);
    if (status)
        return status;
    char *key = cloak_format("%salbum:%s", queue->prefix, id);
    const char *argv[] = {"HMGET", key, "tenant", "class", "source", "destination", "settings", "trace"};
    redisReply *reply = NULL;
    status = cloak_redis_call(queue->redis, 8, argv, NULL, &reply, error);
    free(key);
    if (status)
        return status;
    enum { FIELDS = 7 };
    char trace[CLOAK_TRACE_SIZE];
    cloak_trace_of_album(id, trace);
    const char *fields[FIELDS] = {id};
    size_t sizes[FIELDS] = {strlen(id) + 1}, total = sizes[0];
    for (size_t i = 1; !status && i < FIELDS; i++) {
        const redisReply *field = i <= reply->elements ? reply->element[i - 1] : NULL;
        if (i == FIELDS - 1 && (!field || field->type != REDIS_REPLY_STRING || !cloak_trace_ok(field->str))) {
            fields[i] = trace; /* an album of an older version has none */
            total += sizes[i] = sizeof trace;
            continue;
        }
        if (!field || field->type != REDIS_REPLY_STRING) {
            status = cloak_album_unknown(queue, id, error);
            break;
        }
        fields[i] = field->str;
        sizes[i] = strlen(field->str) + 1;
        total += sizes[i];
    }
    if (!status) {
        const char **targets[FIELDS] = {&album->id, &album->tenant, &album->job_class, &album->source,
            &album->destination, &album->settings, &album->trace};
        char *block = cloak_alloc(total);
        for (int i = 0; i < FIELDS; i++) {
            *targets[i] = memcpy(block, fields[i], sizes[i]);
            block += sizes[i];
        }
    }
    freeReplyObject(reply);
    return status;
}

void cloak_album_spec_free(cloak_album_spec *album) {
    free((char *)album->id); /* the block begins with the id */
    *album = (cloak_album_spec){0};
}

cloak_status cloak_queue_albums(cloak_queue *queue, size_t offset, cloak_album_id *ids, size_t most,
    size_t *count, cloak_error *error) {
    char first[24], last[24];
    *count = 0;
    if (most == 0 || offset >= INT32_MAX)
        return CLOAK_OK;
    snprintf(first, sizeof first, "%zu", offset);
    snprintf(last, sizeof last, "%zu", offset + (most < INT32_MAX ? most : INT32_MAX) - 1);
    const char *argv[] = {"ZREVRANGE", queue->keys[CLOAK_KEY_ALBUMS], first, last};
    redisReply *reply = NULL;
    cloak_status status = cloak_redis_call(queue->redis, 4, argv, NULL, &reply, error);
    if (status)
        return status;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements && *count < most; i++)
        snprintf(ids[(*count)++], CLOAK_ALBUM_ID_SIZE, "%s", reply->element[i]->str);
    freeReplyObject(reply);
    return CLOAK_OK;
}
