/* AWS Signature Version 4; see the header. */
#include "common/store/s3/sigv4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"

enum { SUM = 32 };

void cloak_sigv4_date(int64_t when, char text[CLOAK_SIGV4_DATE_SIZE]) {
    time_t seconds = (time_t)when;
    struct tm parts = {0};
    gmtime_r(&seconds, &parts);
    strftime(text, CLOAK_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &parts);
}

char *cloak_sigv4_encode(const char *text, int slashes) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *out = cloak_alloc(strlen(text) * 3 + 1), *to = out;
    for (const char *c = text; *c; c++) {
        if (strchr(plain, *c) || (slashes && *c == '/'))
            *to++ = *c;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*c);
    }
    return out;
}

static void hmac(const void *key, size_t key_length, const char *text, unsigned char sum[SUM]) {
    unsigned size = 0;
    unsigned char out[EVP_MAX_MD_SIZE];
    if (!HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, strlen(text), out, &size) ||
        size != SUM) {
        fprintf(stderr, "cloak: libcrypto cannot compute HMAC-SHA-256\n");
        abort();
    }
    memcpy(sum, out, SUM);
}

/* "a;b;c" of the headers' names. */
static char *signed_names(const cloak_sigv4_request *r) {
    char *names = cloak_strdup("");
    for (size_t i = 0; i < r->header_count; i++) {
        char *longer = cloak_format("%s%s%s", names, i ? ";" : "", r->headers[i].name);
        free(names);
        names = longer;
    }
    return names;
}

static char *canonical_request(const cloak_sigv4_request *r, const char *names) {
    char *headers = cloak_strdup("");
    for (size_t i = 0; i < r->header_count; i++) {
        char *longer = cloak_format("%s%s:%s\n", headers, r->headers[i].name, r->headers[i].value);
        free(headers);
        headers = longer;
    }
    char *text = cloak_format(
        "%s\n%s\n%s\n%s\n%s\n%s", r->method, r->path, r->query, headers, names, r->payload);
    free(headers);
    return text;
}

char *cloak_sigv4_authorization(const cloak_sigv4_request *r) {
    char date[CLOAK_SIGV4_DATE_SIZE], day[9], hex[CLOAK_DIGEST_SIZE];
    unsigned char key[SUM];
    cloak_sigv4_date(r->when, date);
    memcpy(day, date, 8);
    day[8] = 0;

    char *names = signed_names(r), *request = canonical_request(r, names);
    cloak_digest_hex(request, strlen(request), hex);
    char *scope = cloak_format("%s/%s/%s/aws4_request", day, r->region, r->service);
    char *to_sign = cloak_format("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hex);

    char *first = cloak_format("AWS4%s", r->secret_key);
    hmac(first, strlen(first), day, key);
    hmac(key, SUM, r->region, key);
    hmac(key, SUM, r->service, key);
    hmac(key, SUM, "aws4_request", key);
    hmac(key, SUM, to_sign, key);
    for (int i = 0; i < SUM; i++)
        snprintf(hex + 2 * i, 3, "%02x", key[i]);
    char *value = cloak_format("AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
        r->access_key, scope, names, hex);
    OPENSSL_cleanse(first, strlen(first));
    free(first);
    free(to_sign);
    free(scope);
    free(request);
    free(names);
    return value;
}
