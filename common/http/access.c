/* Token, certificate and key; see the header. */
#include "common/http/access.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "common/base/alloc.h"
#include "common/base/file.h"

enum { PEM_MOST = 1 << 20 };

static cloak_status read_pem(const char *name, char **text, cloak_error *error) {
    const char *path = getenv(name);
    void *bytes = NULL;
    size_t length = 0;
    cloak_error why;
    if (!path || !*path)
        return CLOAK_OK;
    if (cloak_file_read(path, PEM_MOST, &bytes, &length, &why) != CLOAK_OK)
        return cloak_fail(error, CLOAK_E_USAGE, "%s: %s", name, why.text);
    *text = bytes;
    return CLOAK_OK;
}

cloak_status cloak_http_access_read(cloak_http_access *access, cloak_error *error) {
    const char *token = getenv("CLOAK_HTTP_TOKEN");
    *access = (cloak_http_access){.token = token && *token ? cloak_strdup(token) : NULL};
    cloak_status status = read_pem("CLOAK_HTTP_CERT", &access->cert, error);
    if (status == CLOAK_OK)
        status = read_pem("CLOAK_HTTP_KEY", &access->key, error);
    if (status == CLOAK_OK && !access->cert != !access->key)
        status = cloak_fail(error, CLOAK_E_USAGE, "CLOAK_HTTP_CERT and CLOAK_HTTP_KEY go together: set both, or none");
    if (status != CLOAK_OK)
        cloak_http_access_free(access);
    return status;
}

static void forget(char *secret) {
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void cloak_http_access_free(cloak_http_access *access) {
    forget(access->token);
    forget(access->key);
    free(access->cert);
    *access = (cloak_http_access){0};
}
