/* Private to this folder: which bucket at which server. */
#ifndef CLOAK_STORE_S3_PLACE_H
#define CLOAK_STORE_S3_PLACE_H

#include <stdbool.h>

#include "common/base/status.h"

typedef struct {
    char *bucket;
    char *prefix;   /* of all keys: "" or "a/b/" */
    char *region;
    char *endpoint; /* as configured, without a slash at its end; NULL for Amazon's */
    bool virtual_host; /* the bucket is in the host's name, not in the path */
    char *host;     /* what requests go to, with its port: also the header */
    char *base;     /* "https://host" */
    char *root;     /* percent-encoded path before the key: "" or "/bucket" */
} cloak_s3_place;

/* Reads "s3://bucket/prefix", and from environment and profile where that bucket is:
 *   AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, `endpoint_url`   another server than Amazon's
 *   AWS_REGION, AWS_DEFAULT_REGION, `region`                 else us-east-1
 *   CLOAK_S3_ADDRESSING, `s3.addressing_style`               "path", "virtual" or "auto"
 * "auto" puts the bucket into the host's name at Amazon's servers, where the name allows it, and
 * into the path elsewhere. Plain http is refused but for this very machine, or with
 * CLOAK_S3_PLAIN=1. All errors are CLOAK_E_USAGE. Free with cloak_s3_place_free, which takes zeroed
 * structs too. */
CLOAK_MUST_CHECK cloak_status cloak_s3_place_read(
    const char *url, cloak_s3_place *place, cloak_error *error);
void cloak_s3_place_free(cloak_s3_place *place);

/* The bucket turned out to be in another region of Amazon's. */
void cloak_s3_place_move(cloak_s3_place *place, const char *region);

#endif
