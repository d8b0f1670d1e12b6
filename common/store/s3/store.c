/* S3 as a store: "s3://bucket/folder".
 *
 * DESIGN. Servers make a PUT appear whole or not at all, so an object needs no temporary name: a
 * crash leaves nothing, the old object or the new one. Every request is signed (sigv4.h), tried
 * again where that may help (call.c), and bounded in time and size. Keys are sent as they are: a
 * key that is no UTF-8, or longer than S3's 1,024 bytes, is refused before anything is sent.
 * Nothing but photos, receipts and their keys goes to the server; credentials never leave this process but as
 * signatures, and are not in the queue: each worker has its own. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/store/backend.h"
#include "common/store/s3/profile.h"
#include "common/store/s3/s3.h"

enum { MAX_KEY = 1024 };

static cloak_status s3_open(cloak_store *store, const char *url, cloak_error *error) {
    cloak_s3 *s3 = cloak_alloc(sizeof *s3);
    store->state = s3;
    s3->store = store;
    cloak_status status = cloak_s3_place_read(url, &s3->place, error);
    if (status != CLOAK_OK)
        return status;
    char *ca_file = cloak_s3_environment("AWS_CA_BUNDLE") ? cloak_strdup(cloak_s3_environment("AWS_CA_BUNDLE"))
                                                          : cloak_s3_profile_get("ca_bundle");
    s3->web = cloak_web_new(ca_file);
    free(ca_file);
    size_t n = strlen(s3->place.prefix);
    store->place = cloak_format("s3://%s%s%.*s", s3->place.bucket, n ? "/" : "", (int)(n ? n - 1 : 0), s3->place.prefix);
    store->address = cloak_format("%s at %s", store->place, s3->place.endpoint ? s3->place.endpoint : "amazonaws.com");
    return CLOAK_OK;
}

static void s3_close(cloak_store *store) {
    cloak_s3 *s3 = store->state;
    if (!s3)
        return;
    cloak_s3_place_free(&s3->place);
    cloak_s3_credentials_free(&s3->credentials);
    cloak_web_free(s3->web);
    free(s3);
}

static size_t s3_longest_key(const cloak_store *store) {
    const cloak_s3 *s3 = store->state;
    const size_t taken = strlen(s3->place.prefix);
    return taken < MAX_KEY ? MAX_KEY - taken : 0;
}

static cloak_status check_key(const cloak_store *store, const char *key, cloak_error *error) {
    const cloak_s3 *s3 = store->state;
    if (strlen(key) > s3_longest_key(store))
        return cloak_s3_fail(s3, key, CLOAK_E_PERMANENT, error, "S3's keys have at most 1024 bytes");
    for (const char *c = key; *c;) {
        int n = cloak_text_utf8_length((const unsigned char *)c);
        if (n == 0)
            return cloak_s3_fail(s3, key, CLOAK_E_PERMANENT, error, "S3's keys are UTF-8 and this name is not: rename the file");
        c += n;
    }
    return CLOAK_OK;
}

static cloak_status s3_get(cloak_store *store, const char *key, size_t limit, void **bytes, size_t *length,
    cloak_error *error) {
    cloak_status status = check_key(store, key, error);
    return status ? status : cloak_s3_get(store, key, limit, bytes, length, error);
}

static cloak_status s3_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error) {
    cloak_status status = check_key(store, key, error);
    return status ? status : cloak_s3_put(store, key, bytes, length, error);
}

static cloak_status s3_put_if(cloak_store *store, const char *key, const void *bytes, size_t length, char *version,
    cloak_error *error) {
    cloak_status status = check_key(store, key, error);
    return status ? status : cloak_s3_put_if(store, key, bytes, length, version, error);
}

static cloak_status s3_stat(
    cloak_store *store, const char *key, cloak_store_info *info, cloak_error *error) {
    cloak_status status = check_key(store, key, error);
    return status ? status : cloak_s3_stat(store->state, key, info, error);
}

static cloak_status s3_remove(cloak_store *store, const char *key, cloak_error *error) {
    cloak_status status = check_key(store, key, error);
    return status ? status : cloak_s3_remove(store->state, key, error);
}

const cloak_store_backend cloak_store_s3 = {"s3", s3_open, s3_close, s3_get, s3_put, s3_stat, cloak_s3_list,
    s3_remove, cloak_s3_sweep, NULL, s3_put_if, s3_longest_key};
