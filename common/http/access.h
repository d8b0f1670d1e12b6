/* Who may talk to an HTTP server of ours, and how it proves who it is: from the environment, since the command line is
 * there for all to read. */
#ifndef CLOAK_HTTP_ACCESS_H
#define CLOAK_HTTP_ACCESS_H

#include "common/base/status.h"

typedef struct {
    char *token;      /* CLOAK_HTTP_TOKEN, or NULL: requests need none */
    char *cert, *key; /* the files of CLOAK_HTTP_CERT (with those it is signed by) and CLOAK_HTTP_KEY as PEM, or NULL: no TLS */
} cloak_http_access;

/* Reads all three. A file that cannot be read, or a certificate without a key, is CLOAK_E_USAGE. Free with
 * cloak_http_access_free. */
CLOAK_MUST_CHECK cloak_status cloak_http_access_read(cloak_http_access *access, cloak_error *error);
void cloak_http_access_free(cloak_http_access *access);

#endif
