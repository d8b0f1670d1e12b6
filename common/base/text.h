/* Names as bytes: file names may hold anything but '/' and NUL; records must be UTF-8. */
#ifndef CLOAK_BASE_TEXT_H
#define CLOAK_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Percent-encodes '%', control characters (C0, DEL and C1) and every byte that is not part of valid
 * UTF-8 (RFC 3629), so that the result is one line of valid UTF-8 and decodes to the same bytes.
 * Returns a new string (free()), never NULL. Any thread. */
char *cloak_text_encode(const char *bytes);

/* The same for error texts, where the reason has to fit as well: a result of more than 320 bytes
 * keeps its end, after "...". Not to be decoded. Returns a new string (free()), never NULL. Any
 * thread. */
char *cloak_text_brief(const char *bytes);

/* The reverse of cloak_text_encode. Returns a new string (free()), or NULL when `text` holds a bad
 * escape or one that stands for NUL. Any thread. */
char *cloak_text_decode(const char *text);

/* Escapes `text` for the inside of a JSON string, cut to fit `size` bytes with its terminator;
 * invalid UTF-8 becomes '?'. Any thread. */
void cloak_text_json(const char *text, char *out, size_t size);

/* Length of the valid UTF-8 sequence at `bytes`, or 0. Reads at most up to the terminator. */
int cloak_text_utf8_length(const unsigned char *bytes);

#endif
