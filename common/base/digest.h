/* SHA-256 in hexadecimal, as receipts and model files are named by. */
#ifndef CLOAK_BASE_DIGEST_H
#define CLOAK_BASE_DIGEST_H

#include <stddef.h>

#define CLOAK_DIGEST_SIZE 65 /* 64 digits and the terminator */

/* Writes the digest of `length` bytes. Aborts where the library cannot compute one. Any thread. */
void cloak_digest_hex(const void *bytes, size_t length, char hex[CLOAK_DIGEST_SIZE]);

#endif
