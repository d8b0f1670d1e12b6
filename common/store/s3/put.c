/* Writes an object: in one request, or, above 16 MiB, in parts that become an object at once; see
 * s3.h.
 *
 * Source: "Uploading and copying objects using multipart upload", Amazon S3 user guide. A PUT and a
 * completed upload appear whole or not at all. Parts of an upload that nobody completes take space
 * without being seen: a failure here aborts them, and cloak_s3_sweep those of the dead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/store/backend.h"
#include "common/store/s3/s3.h"
#include "common/store/s3/sigv4.h"
#include "common/store/s3/xml.h"

enum { WHOLE_MAX = 16 << 20, PART = 8 << 20, MAX_ANSWER = 4 << 20, MAX_ETAG = 256, MAX_PARTS = 10000 };

/* The media type of what we write, by the key's ending (IANA's registry). */
static const char *content_type(const char *key) {
    static const struct {
        const char *ending, *type;
    } types[] = {{".jpg", "image/jpeg"}, {".jpeg", "image/jpeg"}, {".png", "image/png"},
        {".webp", "image/webp"}, {".heic", "image/heic"}, {".heif", "image/heif"},
        {".avif", "image/avif"}, {".tif", "image/tiff"}, {".tiff", "image/tiff"},
        {".json", "application/json"}, {".txt", "text/plain"}};
    const char *dot = strrchr(key, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(dot, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

/* --- uploads in parts ---------------------------------------------------------------------- */

static cloak_status begin(cloak_s3 *s3, const char *key, char **upload, cloak_error *error) {
    cloak_web_answer answer;
    const cloak_s3_call call = {.method = "POST", .key = key, .query = "uploads=",
        .content_type = content_type(key), .limit = MAX_ANSWER};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    if (status != CLOAK_OK)
        return status;
    *upload = cloak_s3_xml_text(answer.body, answer.length, NULL, "UploadId");
    free(answer.body);
    return *upload ? CLOAK_OK
                   : cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, error, "the server began an upload without an id");
}

static cloak_status send_part(cloak_s3 *s3, const char *key, const char *upload, int number, const char *bytes,
    size_t length, char etag[MAX_ETAG], cloak_error *error) {
    cloak_web_answer answer;
    char *query = cloak_format("partNumber=%d&uploadId=%s", number, upload);
    const cloak_s3_call call = {.method = "PUT", .key = key, .query = query, .body = bytes,
        .body_length = length, .limit = MAX_ANSWER};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    free(query);
    if (status != CLOAK_OK)
        return status;
    const char *tag = cloak_web_header(s3->web, "ETag");
    free(answer.body);
    if (!tag || !*tag || strlen(tag) >= MAX_ETAG || strpbrk(tag, "<>&"))
        return cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, error, "the server took a part without an ETag");
    snprintf(etag, MAX_ETAG, "%s", tag);
    return CLOAK_OK;
}

/* Whether an answer of 200 says that the object is there: it may have begun before that was known. */
static bool is_completed(const cloak_web_answer *answer) {
    char *root = cloak_s3_xml_text(answer->body, answer->length, "", "CompleteMultipartUploadResult");
    free(root);
    return root != NULL;
}

/* Whether the object is one that was put together from so many parts. */
static bool is_there(cloak_s3 *s3, const char *key, uint64_t size, int parts) {
    cloak_store_info info;
    char ending[24];
    if (cloak_s3_stat(s3, key, &info, NULL) != CLOAK_OK || info.size != size)
        return false;
    const char *etag = cloak_web_header(s3->web, "ETag");
    size_t length = etag ? strcspn(etag + (*etag == '"'), "\"") + (*etag == '"') : 0;
    int n = snprintf(ending, sizeof ending, "-%d", parts);
    return etag && length >= (size_t)n && strncmp(etag + length - n, ending, (size_t)n) == 0;
}

/* Fills in what a call depends on. A weak ETag cannot be a condition (RFC 9110, 13.1.1). */
static void depend_on(const cloak_s3_condition *condition, cloak_s3_call *call) {
    const char *version = condition->version;
    if (version && !*version)
        call->if_none_match = "*";
    else if (version && *version == '"')
        call->if_match = version;
}

/* Once more whole, now as an object. The answer may be 200 and an error all the same. When it gets lost, the next
 * attempt finds no such upload: then the object tells which of the two it was, unless others may have put one like
 * it. */
static cloak_status complete(cloak_s3 *s3, const char *key, const char *upload, const char *list,
    uint64_t size, int parts, cloak_s3_condition *condition, cloak_error *error) {
    cloak_s3_tries tries = {0};
    cloak_error why = {0};
    cloak_status status;
    char *query = cloak_format("uploadId=%s", upload);
    cloak_s3_call call = {.method = "POST", .key = key, .query = query, .content_type = "application/xml",
        .body = list, .body_length = strlen(list), .limit = MAX_ANSWER};
    depend_on(condition, &call);
    do {
        cloak_web_answer answer;
        status = cloak_s3_try(s3, &call, &answer, &why);
        if (status == CLOAK_OK && !is_completed(&answer)) {
            status = cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, &why, "the server did not put the parts together");
            why.retryable = true;
        } else if (status == CLOAK_OK) {
            char *etag = cloak_s3_xml_text(answer.body, answer.length, NULL, "ETag");
            cloak_s3_version(etag, condition->after);
            free(etag);
        } else if (tries.failed && answer.status == 404 && !condition->version && is_there(s3, key, size, parts)) {
            status = CLOAK_OK;
        }
        condition->answered = answer.status;
        free(answer.body);
    } while (status != CLOAK_OK && cloak_s3_again(s3, &tries, &why));
    free(query);
    if (status != CLOAK_OK && error)
        *error = why;
    return status;
}

cloak_status cloak_s3_abort(cloak_s3 *s3, const char *key, const char *upload, cloak_error *error) {
    cloak_web_answer answer;
    char *query = cloak_format("uploadId=%s", upload);
    const cloak_s3_call call = {.method = "DELETE", .key = key, .query = query, .limit = MAX_ANSWER};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    if (answer.status == 404)
        status = CLOAK_OK;
    else if (status == CLOAK_OK)
        free(answer.body);
    free(query);
    return status;
}

static cloak_status write_in_parts(cloak_s3 *s3, const char *key, const char *bytes, size_t length,
    cloak_s3_condition *condition, cloak_error *error) {
    char *upload = NULL, *list = cloak_strdup("<CompleteMultipartUpload>");
    cloak_status status = length / PART < MAX_PARTS
                              ? begin(s3, key, &upload, error)
                              : cloak_s3_fail(s3, key, CLOAK_E_PERMANENT, error, "too large to store");
    char *id = upload ? cloak_sigv4_encode(upload, 0) : NULL;
    int parts = 0;
    for (size_t at = 0; at < length && status == CLOAK_OK; at += PART) {
        char etag[MAX_ETAG];
        status = send_part(
            s3, key, id, ++parts, bytes + at, length - at < PART ? length - at : PART, etag, error);
        if (status == CLOAK_OK) {
            char *longer = cloak_format(
                "%s<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", list, parts, etag);
            free(list);
            list = longer;
        }
    }
    if (status == CLOAK_OK) {
        char *whole = cloak_format("%s</CompleteMultipartUpload>", list);
        status = complete(s3, key, id, whole, length, parts, condition, error);
        free(whole);
    }
    if (status != CLOAK_OK && id)
        (void)cloak_s3_abort(s3, key, id, NULL);
    free(list);
    free(id);
    free(upload);
    return status;
}

cloak_status cloak_s3_write(cloak_s3 *s3, const char *key, const void *bytes, size_t length,
    cloak_s3_condition *condition, cloak_error *error) {
    cloak_web_answer answer;
    if (length > WHOLE_MAX)
        return write_in_parts(s3, key, bytes, length, condition, error);
    cloak_s3_call call = {.method = "PUT", .key = key, .content_type = content_type(key),
        .body = length ? bytes : "", .body_length = length, .limit = MAX_ANSWER};
    depend_on(condition, &call);
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    condition->answered = answer.status;
    if (status != CLOAK_OK)
        return status;
    cloak_s3_version(cloak_web_header(s3->web, "ETag"), condition->after);
    free(answer.body);
    return CLOAK_OK;
}

cloak_status cloak_s3_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error) {
    cloak_s3_condition nothing = {0};
    return cloak_s3_write(store->state, key, bytes, length, &nothing, error);
}
