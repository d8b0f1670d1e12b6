/* SHA-256 in hexadecimal; see the header. */
#include "common/base/digest.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

void cloak_digest_hex(const void *bytes, size_t length, char hex[CLOAK_DIGEST_SIZE]) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!EVP_Digest(bytes, length, sum, &size, EVP_sha256(), NULL) || size != 32) {
        fprintf(stderr, "cloak: libcrypto cannot compute SHA-256\n");
        abort();
    }
    for (unsigned i = 0; i < size; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}
