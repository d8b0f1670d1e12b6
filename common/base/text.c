/* Percent-encoding and JSON escaping of arbitrary bytes; see the header. */
#include "common/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

int cloak_text_utf8_length(const unsigned char *s) {
    int n;
    if (s[0] < 0x80)
        return s[0] ? 1 : 0;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        n = 2;
    else if ((s[0] & 0xf0) == 0xe0)
        n = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        n = 4;
    else
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Unicode's controls: terminals act on U+0080 to U+009F (0xc2 0x80 to 0x9f) as on ESC sequences. */
static bool is_control(const unsigned char *s) {
    return *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);
}

char *cloak_text_encode(const char *bytes) {
    static const char digits[] = "0123456789ABCDEF";
    const unsigned char *s = (const unsigned char *)bytes;
    char *out = cloak_alloc(strlen(bytes) * 3 + 1), *o = out;
    while (*s) {
        int n = cloak_text_utf8_length(s);
        if (n == 0 || is_control(s) || *s == '%') {
            *o++ = '%';
            *o++ = digits[*s >> 4];
            *o++ = digits[*s & 15];
            s++;
        } else {
            memcpy(o, s, (size_t)n);
            o += n;
            s += n;
        }
    }
    return out;
}

char *cloak_text_brief(const char *bytes) {
    enum { LIMIT = 320 };
    char *text = cloak_text_encode(bytes);
    size_t length = strlen(text);
    if (length <= LIMIT)
        return text;
    const char *end = text + length - (LIMIT - 3);
    while (((unsigned char)*end & 0xc0) == 0x80)
        end++; /* not into the middle of a character */
    char *brief = cloak_format("...%s", end);
    free(text);
    return brief;
}

static int hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

char *cloak_text_decode(const char *text) {
    char *out = cloak_alloc(strlen(text) + 1), *o = out;
    while (*text) {
        if (*text != '%') {
            *o++ = *text++;
            continue;
        }
        int high = hex(text[1]), low = high < 0 ? -1 : hex(text[2]);
        if (low < 0 || high * 16 + low == 0) {
            free(out);
            return NULL;
        }
        *o++ = (char)(high * 16 + low);
        text += 3;
    }
    return out;
}

void cloak_text_json(const char *text, char *out, size_t size) {
    const unsigned char *s = (const unsigned char *)text;
    size_t used = 0;
    while (*s) {
        char piece[8];
        int n = cloak_text_utf8_length(s), length = n;
        if (n == 0) {
            piece[0] = '?';
            n = length = 1;
        } else if (*s == '"' || *s == '\\') {
            length = snprintf(piece, sizeof piece, "\\%c", *s);
        } else if (*s < 0x20) {
            length = snprintf(piece, sizeof piece, "\\u%04x", *s);
        } else {
            memcpy(piece, s, (size_t)n);
        }
        if (used + (size_t)length + 1 > size)
            break;
        memcpy(out + used, piece, (size_t)length);
        used += (size_t)length;
        s += n;
    }
    if (size)
        out[used] = 0;
}
