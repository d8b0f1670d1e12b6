/* Private to this folder: an open bucket, and one request to it. */
#ifndef CLOAK_STORE_S3_S3_H
#define CLOAK_STORE_S3_S3_H

#include "common/store/s3/credentials.h"
#include "common/store/s3/place.h"
#include "common/store/s3/web.h"
#include "common/store/store.h"

typedef struct {
    cloak_s3_place place;
    cloak_s3_credentials credentials;
    cloak_web *web;
    bool expired; /* the server does not want these keys (any more): fetch new ones before the next request */
    const cloak_store *store; /* whose `stop` is asked */
} cloak_s3;

typedef struct {
    const char *method;
    const char *key;   /* below the store's prefix; NULL for the bucket itself */
    const char *query; /* sorted and encoded (sigv4.h); NULL for none */
    const char *content_type;
    const char *range, *if_match, *if_none_match; /* headers, or NULL */
    const void *body;
    size_t body_length;
    size_t limit; /* of the answer's body */
} cloak_s3_call;

/* How often a request was tried, and since when. Zeroed before the first. */
typedef struct {
    int failed;
    double began;
} cloak_s3_tries;

/* Signs and sends once. CLOAK_OK means an answer of 2xx. Otherwise the error names bucket and key
 * and says what to do, and its `retryable` is true where the same call may go better in a moment;
 * `*answer` has the status, and what came of the body (free it in any case). An object that is not there is
 * CLOAK_E_PERMANENT, a write whose condition does not hold CLOAK_E_FENCED. `error` must not be NULL. */
CLOAK_MUST_CHECK cloak_status cloak_s3_try(
    cloak_s3 *s3, const cloak_s3_call *call, cloak_web_answer *answer, cloak_error *error);

/* After a failure: waits and returns true, or returns false when it should not be tried again. The
 * waits double from 0.1 s to 5 s, with jitter ("Exponential Backoff And Jitter", AWS Architecture
 * Blog); a server's Retry-After of up to 20 s is heeded. Six tries in all, within ten minutes. */
bool cloak_s3_again(cloak_s3 *s3, cloak_s3_tries *tries, const cloak_error *error);

/* Both in a loop. On failure the body is freed. `error` may be NULL. */
CLOAK_MUST_CHECK cloak_status cloak_s3_send(
    cloak_s3 *s3, const cloak_s3_call *call, cloak_web_answer *answer, cloak_error *error);

/* Fills `error` with `text` about a key of the bucket. */
cloak_status cloak_s3_fail(const cloak_s3 *s3, const char *key, cloak_status code, cloak_error *error,
    const char *text);

/* Ends an upload in parts (its id percent-encoded), which is then gone with all its parts. One that is gone already is
 * fine. */
cloak_status cloak_s3_abort(cloak_s3 *s3, const char *key, const char *upload, cloak_error *error);

/* What a write depends on, and what became of it. */
typedef struct {
    const char *version; /* NULL: on nothing; "": that nothing is there; else that this is */
    long answered;       /* after a failure: the last answer's status */
    char after[CLOAK_STORE_VERSION_SIZE]; /* after success: the version that was written; "" unknown */
} cloak_s3_condition;

/* Writes an object, in one request or in parts. */
cloak_status cloak_s3_write(cloak_s3 *s3, const char *key, const void *bytes, size_t length,
    cloak_s3_condition *condition, cloak_error *error);

/* Copies an ETag as a version; "" for none, or one that is too long. */
void cloak_s3_version(const char *etag, char version[CLOAK_STORE_VERSION_SIZE]);

/* The calls of backend.h that have a file of their own. */
cloak_status cloak_s3_get(cloak_store *store, const char *key, size_t limit, void **bytes,
    size_t *length, cloak_error *error);
cloak_status cloak_s3_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error);
cloak_status cloak_s3_put_if(cloak_store *store, const char *key, const void *bytes, size_t length, char *version,
    cloak_error *error);
cloak_status cloak_s3_stat(cloak_s3 *s3, const char *key, cloak_store_info *info, cloak_error *error);
cloak_status cloak_s3_remove(cloak_s3 *s3, const char *key, cloak_error *error);
cloak_status cloak_s3_sweep(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
    cloak_error *error);
cloak_status cloak_s3_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error);

#endif
