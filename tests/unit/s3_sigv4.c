/* Signature Version 4 against the examples that Amazon publishes ("Examples: Signature
 * Calculations", Amazon S3 API reference). Keys, date and bucket are the examples' own. */
#include <stdlib.h>
#include <string.h>

#include "common/base/digest.h"
#include "common/store/s3/sigv4.h"
#include "tests/check.h"

static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
enum { WHEN = 1369353600 }; /* 2013-05-24T00:00:00Z */

static void check(const char *method, const char *path, const char *query, const char *payload,
    const cloak_sigv4_header *headers, size_t count, const char *names, const char *want) {
    const cloak_sigv4_request request = {"AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3", method, path, query, headers,
        count, payload, WHEN};
    char *value = cloak_sigv4_authorization(&request);
    char whole[1024];
    snprintf(whole, sizeof whole,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=%s,Signature=%s",
        names, want);
    CHECK_TEXT(value, whole);
    free(value);
}

TEST(published_examples) {
    const cloak_sigv4_header get[] = {{"host", "examplebucket.s3.amazonaws.com"}, {"range", "bytes=0-9"},
        {"x-amz-content-sha256", empty}, {"x-amz-date", "20130524T000000Z"}};
    check("GET", "/test.txt", "", empty, get, 4, "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    char body[CLOAK_DIGEST_SIZE];
    cloak_digest_hex("Welcome to Amazon S3.", strlen("Welcome to Amazon S3."), body);
    const cloak_sigv4_header put[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
        {"host", "examplebucket.s3.amazonaws.com"}, {"x-amz-content-sha256", body},
        {"x-amz-date", "20130524T000000Z"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    char *path = cloak_sigv4_encode("/test$file.text", 1);
    check("PUT", path, "", body, put, 5,
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    free(path);

    const cloak_sigv4_header list[] = {{"host", "examplebucket.s3.amazonaws.com"},
        {"x-amz-content-sha256", empty}, {"x-amz-date", "20130524T000000Z"}};
    check("GET", "/", "lifecycle=", empty, list, 3, "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    check("GET", "/", "max-keys=2&prefix=J", empty, list, 3, "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(encoding) {
    static const struct {
        const char *text;
        int slashes;
        const char *want;
    } cases[] = {{"a b+c=d@e", 0, "a%20b%2Bc%3Dd%40e"}, {"a/b~c", 1, "a/b~c"}, {"a/b~c", 0, "a%2Fb~c"},
        {"caf\xc3\xa9\n", 1, "caf%C3%A9%0A"}, {"", 1, ""}, {"100%", 1, "100%25"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = cloak_sigv4_encode(cases[i].text, cases[i].slashes);
        CHECK_TEXT(got, cases[i].want);
        free(got);
    }
    char date[CLOAK_SIGV4_DATE_SIZE];
    cloak_sigv4_date(WHEN, date);
    CHECK_TEXT(date, "20130524T000000Z");
}

