/* Looks at an object, and removes one; see s3.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/store/s3/s3.h"

enum { MAX_ANSWER = 1 << 20 };

void cloak_s3_version(const char *etag, char version[CLOAK_STORE_VERSION_SIZE]) {
    bool fits = etag && strlen(etag) < CLOAK_STORE_VERSION_SIZE;
    snprintf(version, CLOAK_STORE_VERSION_SIZE, "%s", fits ? etag : "");
}

cloak_status cloak_s3_stat(cloak_s3 *s3, const char *key, cloak_store_info *info, cloak_error *error) {
    cloak_web_answer answer;
    struct tm parts = {0};
    const cloak_s3_call call = {.method = "HEAD", .key = key, .limit = MAX_ANSWER};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    if (status != CLOAK_OK)
        return status;
    free(answer.body);
    const char *size = cloak_web_header(s3->web, "Content-Length");
    const char *date = cloak_web_header(s3->web, "Last-Modified");
    if (!size)
        return cloak_s3_fail(s3, key, CLOAK_E_TRANSIENT, error, "the server does not say how large it is");
    info->size = strtoull(size, NULL, 10);
    info->modified_ns = date && strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &parts) ? (int64_t)timegm(&parts) * 1000000000 : 0;
    cloak_s3_version(cloak_web_header(s3->web, "ETag"), info->version);
    return CLOAK_OK;
}

cloak_status cloak_s3_remove(cloak_s3 *s3, const char *key, cloak_error *error) {
    cloak_web_answer answer;
    const cloak_s3_call call = {.method = "DELETE", .key = key, .limit = MAX_ANSWER};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    if (status == CLOAK_OK)
        free(answer.body);
    return status == CLOAK_E_PERMANENT ? CLOAK_OK : status; /* some servers say that it was not there */
}
