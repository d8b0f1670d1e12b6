/* Copies of photo files without anything that is not pixels or colour. An allow list: a part that nobody here has heard
 * of does not pass. Used in both directions: what libvips decodes, so that no parser of metadata sees hostile bytes of
 * JPEG, PNG and WebP, and what it encodes, because 8.14 writes an EXIF block of its own unless told to drop the colour
 * profile as well. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/parts.h"

static bool starts(const cloak_part *part, const char *text, size_t length) {
    return part->length >= length && memcmp(part->data, text, length) == 0;
}

static bool jpeg_wanted(const cloak_part *part) {
    switch (part->kind) {
    case CLOAK_JPEG_APP0: /* only JFIF's header, without the thumbnail that it may carry; JFXX carries one */
        return part->length == 14 && starts(part, "JFIF", 5) && part->data[12] == 0 && part->data[13] == 0;
    case CLOAK_JPEG_APP0 + 2: /* not MPF, not a gain map */
        return starts(part, "ICC_PROFILE", 12);
    case CLOAK_JPEG_APP0 + 14: /* says which colour transform the pixels went through */
        return part->length >= 12 && starts(part, "Adobe", 5); /* what is delivered has one that libjpeg has written */
    case 0xc8: /* nobody's frame, */
    case 0xdc: /* a number of lines, a hierarchy: read by no decoder of ours */
    case 0xde:
    case 0xdf:
        return false;
    default: /* frame headers, tables, scans, restart intervals, start and end; not comments and what applications add */
        return part->kind >= 0xc0 && part->kind < 0xe0;
    }
}

static bool png_wanted(const cloak_part *part) {
    switch (part->kind) {
    case CLOAK_FOUR('I', 'H', 'D', 'R'):
    case CLOAK_FOUR('P', 'L', 'T', 'E'):
    case CLOAK_FOUR('t', 'R', 'N', 'S'):
    case CLOAK_FOUR('i', 'C', 'C', 'P'):
    case CLOAK_FOUR('I', 'D', 'A', 'T'):
    case CLOAK_FOUR('I', 'E', 'N', 'D'):
        return true;
    default:
        return false;
    }
}

static bool webp_wanted(const cloak_part *part) {
    switch (part->kind) {
    case CLOAK_FOUR('V', 'P', '8', 'X'):
    case CLOAK_FOUR('I', 'C', 'C', 'P'):
    case CLOAK_FOUR('A', 'L', 'P', 'H'):
    case CLOAK_FOUR('V', 'P', '8', ' '):
    case CLOAK_FOUR('V', 'P', '8', 'L'):
        return true;
    default:
        return false;
    }
}

static bool wanted(cloak_format_id format, const cloak_part *part) {
    return format == CLOAK_FORMAT_JPEG  ? jpeg_wanted(part)
           : format == CLOAK_FORMAT_PNG ? png_wanted(part)
                                        : webp_wanted(part);
}

/* Mends the flags that announced what is gone, leaves out the extended header when it announces
 * nothing any more, and states the new length. Returns it. */
static size_t mend_webp(uint8_t *out, size_t length) {
    enum { HEADER = 12, EXTENDED = 18, FLAG_ICC = 0x20, FLAG_ALPHA = 0x10 };
    uint8_t *first = out + HEADER;
    if (length >= HEADER + EXTENDED && memcmp(first, "VP8X", 4) == 0 && first[4] == 10) {
        first[8] &= FLAG_ICC | FLAG_ALPHA;
        if (first[8] == 0) {
            length -= EXTENDED;
            memmove(first, first + EXTENDED, length - HEADER);
        }
    }
    size_t size = length - 8;
    for (int i = 0; i < 4; i++)
        out[4 + i] = (uint8_t)(size >> (8 * i));
    return length;
}

uint8_t *cloak_weed(
    cloak_format_id format, const void *bytes, size_t length, size_t *weeded_length) {
    uint8_t *out = cloak_try_alloc(length);
    if (!out)
        return NULL;
    if (format != CLOAK_FORMAT_JPEG && format != CLOAK_FORMAT_PNG && format != CLOAK_FORMAT_WEBP) {
        memcpy(out, bytes, length);
        *weeded_length = length;
        return out;
    }
    cloak_parts parts = cloak_parts_of(format, bytes, length);
    size_t used = (size_t)(parts.at - (const uint8_t *)bytes);
    memcpy(out, bytes, used);
    cloak_part part;
    while (cloak_parts_next(&parts, &part)) {
        if (!wanted(format, &part))
            continue;
        memcpy(out + used, part.whole, part.whole_length);
        used += part.whole_length;
    }
    if (format == CLOAK_FORMAT_WEBP && used >= 12)
        used = mend_webp(out, used);
    *weeded_length = used;
    return out;
}
