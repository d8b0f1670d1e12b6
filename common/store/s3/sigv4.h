/* Private to this folder: AWS Signature Version 4.
 *
 * Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference. */
#ifndef CLOAK_STORE_S3_SIGV4_H
#define CLOAK_STORE_S3_SIGV4_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;  /* lower case */
    const char *value; /* without white space at its ends */
} cloak_sigv4_header;

typedef struct {
    const char *access_key, *secret_key, *region, *service;
    const char *method;
    const char *path;  /* percent-encoded by cloak_sigv4_encode, begins with '/' */
    const char *query; /* "name=value&…", both encoded, sorted by name; "" for none */
    const cloak_sigv4_header *headers; /* all that are signed, sorted by name; "host" is one */
    size_t header_count;
    const char *payload; /* SHA-256 of the body in hexadecimal */
    int64_t when;        /* seconds since the epoch, UTC; the same as in the header x-amz-date */
} cloak_sigv4_request;

#define CLOAK_SIGV4_DATE_SIZE 17 /* "20260131T120000Z" and the terminator */

/* Writes `when` as the header x-amz-date wants it. Any thread. */
void cloak_sigv4_date(int64_t when, char text[CLOAK_SIGV4_DATE_SIZE]);

/* Percent-encodes every byte but A–Z a–z 0–9 - . _ ~ and, if `slashes`, '/'. Returns a new string
 * (free()), never NULL. Any thread. */
char *cloak_sigv4_encode(const char *text, int slashes);

/* The value of the header Authorization, as a new string (free()), never NULL. Aborts where the
 * library cannot compute a digest. Any thread. */
char *cloak_sigv4_authorization(const cloak_sigv4_request *request);

#endif
