/* Writes an object on the condition that nobody else has meanwhile; see store.h.
 *
 * DESIGN. What this is for has two writers that cannot see each other's lock: two machines that keep the manifest of
 * one output. Photos and receipts do without. A manifest gives an output to one album; within it a lease gives a photo
 * to one worker, whose request is broken off when the lease is lost. What such a worker has sent before that was
 * cloaked and verified as well; where it has other bytes than its successor's (another device or build), the receipt
 * does not fit the photo, and `cloak audit` names it.
 *
 * Servers differ. Amazon heeds both conditions, and answers 412 or, while two write at once, 409. Swift answers 501 to
 * both on a PUT, and 412 to a completed upload even where the condition holds. Others take no notice. So what is there
 * is looked at before, which is all that the last two kinds give: a gap of one request remains.
 *
 * An answer that gets lost leaves an object, which the next attempt meets and the condition then refuses. Its bytes
 * tell whose it is: ETags are no digests where the server encrypts.
 *
 * Source: "How to prevent object overwrites with conditional writes", Amazon S3 user guide. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/backend.h"
#include "common/store/s3/s3.h"

/* What is there now; all zero for nothing. */
static cloak_status look(cloak_s3 *s3, const char *key, cloak_store_info *info, cloak_error *error) {
    *info = (cloak_store_info){0};
    cloak_status status = cloak_s3_stat(s3, key, info, error);
    if (status == CLOAK_OK && !*info->version)
        status = cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, error, "the server gives it no ETag of up to 127 bytes");
    return status == CLOAK_E_PERMANENT ? CLOAK_OK : status;
}

static cloak_status has_bytes(cloak_store *store, const char *key, const cloak_store_info *info, const void *bytes,
    size_t length, bool *same, cloak_error *error) {
    void *there = NULL;
    size_t there_length = 0;
    *same = false;
    if (!*info->version || info->size != length)
        return CLOAK_OK;
    cloak_status status = cloak_s3_get(store, key, length, &there, &there_length, error);
    *same = status == CLOAK_OK && there_length == length && memcmp(there, bytes, length) == 0;
    free(there);
    return status;
}

cloak_status cloak_s3_put_if(cloak_store *store, const char *key, const void *bytes, size_t length, char *version,
    cloak_error *error) {
    static const char text[] = "another has written it meanwhile";
    cloak_s3 *s3 = store->state;
    cloak_s3_condition condition = {.version = version}, nothing = {0};
    cloak_store_info now;
    cloak_error why = {0};
    bool same = false;
    cloak_status status = look(s3, key, &now, error);
    if (status != CLOAK_OK)
        return status;
    if (strcmp(now.version, version) != 0)
        return cloak_s3_fail(s3, key, CLOAK_E_FENCED, error, text);
    status = cloak_s3_write(s3, key, bytes, length, &condition, &why);
    if (status != CLOAK_OK && (condition.answered == 412 || condition.answered == 404)) {
        cloak_status looked = look(s3, key, &now, error);
        if (looked == CLOAK_OK)
            looked = has_bytes(store, key, &now, bytes, length, &same, error);
        if (looked != CLOAK_OK)
            return looked;
        if (same) {
            cloak_s3_version(now.version, version);
            return CLOAK_OK;
        }
        if (strcmp(now.version, version) != 0)
            return cloak_s3_fail(s3, key, CLOAK_E_FENCED, error, text);
    }
    if (status != CLOAK_OK && (condition.answered == 501 || condition.answered == 412)) {
        status = cloak_s3_write(s3, key, bytes, length, &nothing, &why);
        condition = nothing;
    }
    if (status == CLOAK_OK)
        cloak_s3_version(condition.after, version);
    else if (error)
        *error = why;
    return status;
}
