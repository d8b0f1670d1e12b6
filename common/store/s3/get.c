/* Reads an object, going on where a transfer broke off; see s3.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/store/backend.h"
#include "common/store/s3/s3.h"

enum { MAX_ETAG = 256, STRIDE = 64 << 10 };

/* What has come so far. */
typedef struct {
    char *bytes;
    size_t length;
    char etag[MAX_ETAG]; /* of the version it belongs to; without one it is of no use */
} Part;

static void start_over(Part *part) {
    free(part->bytes);
    *part = (Part){0};
}

/* Adds an answer's body to the part; takes the body over. */
static cloak_status add(Part *part, cloak_web_answer *answer, cloak_error *error) {
    if (answer->status != 206)
        start_over(part); /* from the beginning, whatever was asked for */
    if (!part->bytes) {
        part->bytes = answer->body;
        part->length = answer->length;
    } else if (answer->length) {
        char *joined = realloc(part->bytes, part->length + answer->length + 1);
        if (!joined) {
            free(answer->body);
            answer->body = NULL;
            return cloak_fail(error, CLOAK_E_TRANSIENT, "out of memory");
        }
        memcpy(joined + part->length, answer->body, answer->length + 1);
        part->bytes = joined;
        part->length += answer->length;
        free(answer->body);
    } else {
        free(answer->body);
    }
    answer->body = NULL;
    return CLOAK_OK;
}

/* Whether the last answer, a 206, is the rest of the part. */
static bool continues(const cloak_s3 *s3, const Part *part) {
    char want[48];
    const char *etag = cloak_web_header(s3->web, "ETag"), *range = cloak_web_header(s3->web, "Content-Range");
    snprintf(want, sizeof want, "bytes %zu-", part->length);
    return part->length && etag && strcmp(etag, part->etag) == 0 && range &&
           strncmp(range, want, strlen(want)) == 0;
}

static cloak_status try_rest(
    cloak_s3 *s3, const char *key, size_t limit, Part *part, cloak_error *error) {
    char range[48];
    cloak_web_answer answer;
    cloak_s3_call call = {.method = "GET", .key = key, .limit = limit};
    if (part->length) {
        snprintf(range, sizeof range, "bytes=%zu-", part->length);
        call.range = range;
        call.if_match = part->etag;
    }
    cloak_status status = cloak_s3_try(s3, &call, &answer, error);
    bool content = answer.status == 200 || answer.status == 206;
    if (answer.status == 206 && !continues(s3, part)) { /* a server that does not heed If-Match */
        free(answer.body);
        start_over(part);
        cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, error, "the server continues another object than was asked for");
        return CLOAK_E_TRANSIENT;
    }
    if (content && (answer.too_large || (answer.status == 206 && answer.length > limit - part->length))) {
        free(answer.body);
        char *text = cloak_format("it has more than %zu bytes, which is the limit", limit);
        cloak_s3_fail(s3, key, CLOAK_E_PERMANENT, error, text);
        free(text);
        return CLOAK_E_PERMANENT;
    }
    if (content) {
        const char *etag = cloak_web_header(s3->web, "ETag");
        cloak_status added = add(part, &answer, error);
        if (added != CLOAK_OK)
            return added;
        bool weak = !etag || strlen(etag) >= MAX_ETAG || strncmp(etag, "W/", 2) == 0;
        if (status != CLOAK_OK && weak)
            start_over(part);
        else if (!weak)
            snprintf(part->etag, sizeof part->etag, "%s", etag);
        return status;
    }
    if (part->length && (answer.status == 412 || answer.status == 416)) {
        start_over(part); /* the object is another one by now */
        error->retryable = true;
    }
    free(answer.body);
    return status;
}

cloak_status cloak_s3_get(cloak_store *store, const char *key, size_t limit, void **bytes,
    size_t *length, cloak_error *error) {
    cloak_s3 *s3 = store->state;
    cloak_s3_tries tries = {0};
    cloak_error why = {0};
    Part part = {0};
    for (size_t most = 0;;) {
        cloak_status status = try_rest(s3, key, limit, &part, &why);
        if (status == CLOAK_OK)
            break;
        if (part.length >= most + STRIDE) { /* it gets on; the limit bounds how often, `tries` how long */
            most = part.length;
            tries.failed = 0;
        }
        if (cloak_s3_again(s3, &tries, &why))
            continue;
        start_over(&part);
        if (error)
            *error = why;
        return status;
    }
    *bytes = part.bytes ? part.bytes : cloak_alloc(1);
    *length = part.length;
    return CLOAK_OK;
}
