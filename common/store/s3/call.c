/* A signed request to a bucket, its errors in words, and when to try again; see s3.h.
 *
 * Source of the error codes: "Error responses", Amazon S3 API reference. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/store/backend.h"
#include "common/store/s3/s3.h"
#include "common/store/s3/sigv4.h"
#include "common/store/s3/xml.h"

enum { TRIES = 6, MAX_HEADERS = 10, MAX_RETRY_AFTER = 20 };
static const double exchange_seconds = 600, all_seconds = 600;

cloak_status cloak_s3_fail(const cloak_s3 *s3, const char *key, cloak_status code, cloak_error *error,
    const char *text) {
    char *name = cloak_format("%s%s", s3->place.prefix, key ? key : "");
    char *shown = cloak_text_brief(name);
    cloak_fail(error, code, "s3://%s/%s: %s", s3->place.bucket, shown, text);
    free(shown);
    free(name);
    return code;
}

/* --- signing ------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const cloak_sigv4_header *)a)->name, ((const cloak_sigv4_header *)b)->name);
}

static cloak_status sign_and_send(
    cloak_s3 *s3, const cloak_s3_call *call, cloak_web_answer *answer, cloak_error *error) {
    const cloak_s3_credentials *keys = &s3->credentials;
    char payload[CLOAK_DIGEST_SIZE], date[CLOAK_SIGV4_DATE_SIZE];
    int64_t when = cloak_clock_system.wall_ms() / 1000;
    cloak_digest_hex(call->body ? call->body : "", call->body_length, payload);
    cloak_sigv4_date(when, date);
    cloak_sigv4_header headers[MAX_HEADERS] = {
        {"host", s3->place.host}, {"x-amz-content-sha256", payload}, {"x-amz-date", date}};
    size_t count = 3;
    if (keys->token)
        headers[count++] = (cloak_sigv4_header){"x-amz-security-token", keys->token};
    if (call->content_type)
        headers[count++] = (cloak_sigv4_header){"content-type", call->content_type};
    if (call->range)
        headers[count++] = (cloak_sigv4_header){"range", call->range};
    if (call->if_match)
        headers[count++] = (cloak_sigv4_header){"if-match", call->if_match};
    if (call->if_none_match)
        headers[count++] = (cloak_sigv4_header){"if-none-match", call->if_none_match};
    qsort(headers, count, sizeof *headers, by_name);

    char *name = call->key ? cloak_format("/%s%s", s3->place.prefix, call->key) : cloak_strdup("");
    char *encoded = cloak_sigv4_encode(name, 1);
    char *path = cloak_format("%s%s", s3->place.root, encoded);
    if (!*path) {
        free(path);
        path = cloak_strdup("/");
    }
    const char *query = call->query ? call->query : "";
    char *url = cloak_format("%s%s%s%s", s3->place.base, path, *query ? "?" : "", query);
    const cloak_sigv4_request to_sign = {keys->access_key, keys->secret_key, s3->place.region, "s3",
        call->method, path, query, headers, count, payload, when};
    char *authorization = cloak_sigv4_authorization(&to_sign);

    char *lines[MAX_HEADERS + 2];
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        lines[n++] = cloak_format("%s: %s", headers[i].name, headers[i].value);
    lines[n++] = cloak_format("authorization: %s", authorization);
    if (!call->content_type) /* libcurl would name one of its own */
        lines[n++] = cloak_strdup("content-type:");
    const cloak_web_request request = {.method = call->method, .url = url,
        .headers = (const char *const *)lines, .header_count = n, .body = call->body,
        .body_length = call->body_length, .limit = call->limit, .seconds = exchange_seconds,
        .stop = s3->store->stop, .stop_context = s3->store->stop_context};
    cloak_status status = cloak_web_send(s3->web, &request, answer, error);
    for (size_t i = 0; i < n; i++)
        free(lines[i]);
    free(authorization);
    free(url);
    free(path);
    free(encoded);
    free(name);
    return status;
}

/* --- errors -------------------------------------------------------------------------------- */

/* How far the server's clock is from ours, in seconds; 0 where it does not say. */
static long clock_difference(const cloak_s3 *s3) {
    const char *date = cloak_web_header(s3->web, "Date");
    struct tm parts = {0};
    if (!date || !strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &parts))
        return 0;
    return (long)(timegm(&parts) - cloak_clock_system.wall_ms() / 1000);
}

/* What a person can do about an error code. Returns a new string. */
static char *advise(const cloak_s3 *s3, const char *code, long status) {
    static const struct {
        const char *code, *text;
    } advice[] = {
        {"AccessDenied", "; the keys need s3:GetObject, s3:PutObject, s3:ListBucket, s3:ListBucketMultipartUploads and "
                         "s3:AbortMultipartUpload here (without s3:ListBucket a missing object looks denied as well)"},
        {"InvalidAccessKeyId", "; see AWS_ACCESS_KEY_ID or the profile"},
        {"SignatureDoesNotMatch", "; see AWS_SECRET_ACCESS_KEY or the profile, and a proxy that changes requests"},
        {"ExpiredToken", "; the session is over: get a new AWS_SESSION_TOKEN"},
        {"NoSuchBucket", "; create it, or see the bucket's name and AWS_ENDPOINT_URL_S3"},
        {"NoSuchUpload", "; somebody aborted it"},
        {"InvalidObjectState", "; it is archived: restore it first"},
    };
    if (strcmp(code, "RequestTimeTooSkewed") == 0)
        return cloak_format("; this machine's clock is %ld s %s the server's: run an NTP client",
            labs(clock_difference(s3)), clock_difference(s3) < 0 ? "ahead of" : "behind");
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++)
        if (strcmp(advice[i].code, code) == 0)
            return cloak_strdup(advice[i].text);
    if (status == 407 || (status == 401 && !*code))
        return cloak_format("; %s a name and a password: see http_proxy and https_proxy",
            status == 407 ? "the proxy wants" : "the server, or a proxy before it, wants");
    if (status >= 300 && status < 400)
        return cloak_strdup("; the bucket is elsewhere: set AWS_REGION or AWS_ENDPOINT_URL_S3");
    return cloak_strdup("");
}

static bool may_pass(const char *code, long status) {
    static const char *const codes[] = {"SlowDown", "RequestTimeout", "InternalError",
        "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict", "TooManyRequests", "IncompleteBody", "BadDigest",
        "XAmzContentSHA256Mismatch"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i], code) == 0)
            return true;
    return cloak_web_may_pass(status) ||
           (status == 404 && !*code); /* of some proxy that has lost its server: S3's own has a code */
}

/* Codes for which other keys may be better than those we have. */
static bool wants_new_keys(const char *code) {
    static const char *const codes[] = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired",
        "InvalidClientTokenId"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strcmp(codes[i], code) == 0)
            return true;
    return false;
}

/* Amazon says where a bucket is: go there. True when the same call is worth a new try. */
static bool follow_region(cloak_s3 *s3, const cloak_web_answer *answer) {
    const char *header = cloak_web_header(s3->web, "x-amz-bucket-region");
    char *region = header ? cloak_strdup(header)
                          : cloak_s3_xml_text(answer->body, answer->length, "Error", "Region");
    bool moved = region && *region && strcmp(region, s3->place.region) != 0 &&
                 strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(region);
    if (moved)
        cloak_s3_place_move(&s3->place, region);
    free(region);
    return moved;
}

/* Words for an answer that is not 2xx. */
static cloak_status refuse(cloak_s3 *s3, const cloak_s3_call *call, const cloak_web_answer *answer,
    cloak_error *error) {
    char *code = cloak_s3_xml_text(answer->body, answer->length, "Error", "Code");
    char *message = cloak_s3_xml_text(answer->body, answer->length, "Error", "Message");
    const bool head = strcmp(call->method, "HEAD") == 0; /* which has no body to say more */
    const char *known = code                            ? code
                        : answer->status == 404 && head ? "NoSuchKey"
                        : answer->status == 403         ? "AccessDenied"
                                                        : "";
    char *what = advise(s3, known, answer->status);
    char *shown_code = cloak_text_brief(known), *shown = cloak_text_brief(message ? message : "");
    char *text = cloak_format("the server answers %ld%s%s%s%s%s", answer->status, *known ? " " : "", shown_code,
        *shown ? ": " : "", shown, what);
    bool of_the_photo = strcmp(known, "NoSuchKey") == 0 || strcmp(known, "InvalidObjectState") == 0;
    bool of_another = answer->status == 412 && (call->if_match || call->if_none_match) && strcmp(call->method, "GET") != 0;
    cloak_status status = cloak_s3_fail(s3, call->key,
        of_the_photo ? CLOAK_E_PERMANENT : of_another ? CLOAK_E_FENCED : CLOAK_E_TRANSIENT, error, text);
    error->retryable = may_pass(known, answer->status);
    if (wants_new_keys(known) && !s3->expired)
        error->retryable = s3->expired = true;
    if (answer->status == 301 || answer->status == 307 || strcmp(known, "AuthorizationHeaderMalformed") == 0)
        error->retryable = follow_region(s3, answer);
    free(text);
    free(shown);
    free(shown_code);
    free(what);
    free(message);
    free(code);
    return status;
}

cloak_status cloak_s3_try(
    cloak_s3 *s3, const cloak_s3_call *call, cloak_web_answer *answer, cloak_error *error) {
    cloak_error why = {0};
    bool renew = s3->expired;
    *answer = (cloak_web_answer){0};
    cloak_status status = cloak_s3_credentials_fresh(&s3->credentials, s3->web, s3->place.region, renew, error);
    if (status != CLOAK_OK)
        return status;
    status = sign_and_send(s3, call, answer, &why);
    if (status != CLOAK_OK) {
        cloak_s3_fail(s3, call->key, status, error, why.text);
        error->retryable = why.retryable;
    } else if (answer->status < 200 || answer->status > 299) {
        status = refuse(s3, call, answer, error);
    }
    if (renew)
        s3->expired = false;
    return status;
}

/* --- again --------------------------------------------------------------------------------- */

/* Waits, but not through a stop. */
static bool wait_for(const cloak_s3 *s3, double seconds) {
    const cloak_store *store = s3->store;
    for (double until = cloak_now() + seconds; cloak_now() < until;) {
        if (store->stop && store->stop(store->stop_context))
            return false;
        double left = until - cloak_now();
        cloak_clock_system.sleep(left < 0.1 ? left : 0.1);
    }
    return true;
}

bool cloak_s3_again(cloak_s3 *s3, cloak_s3_tries *tries, const cloak_error *error) {
    if (tries->began == 0)
        tries->began = cloak_now();
    if (!error->retryable || ++tries->failed >= TRIES || cloak_now() - tries->began > all_seconds)
        return false;
    double most = 0.1 * (1 << tries->failed);
    double wait = (most < 5 ? most : 5) * (0.5 + 0.5 * (double)random() / RAND_MAX);
    const char *after = cloak_web_header(s3->web, "Retry-After");
    double asked = after ? atof(after) : 0;
    if (asked > wait)
        wait = asked < MAX_RETRY_AFTER ? asked : MAX_RETRY_AFTER;
    return wait_for(s3, wait);
}

cloak_status cloak_s3_send(
    cloak_s3 *s3, const cloak_s3_call *call, cloak_web_answer *answer, cloak_error *error) {
    cloak_s3_tries tries = {0};
    cloak_error why = {0};
    for (;;) {
        cloak_status status = cloak_s3_try(s3, call, answer, &why);
        if (status == CLOAK_OK)
            return status;
        free(answer->body);
        answer->body = NULL;
        if (cloak_s3_again(s3, &tries, &why))
            continue;
        if (error)
            *error = why;
        return status;
    }
}
