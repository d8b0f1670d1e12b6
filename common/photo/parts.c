/* Walks over the parts of a JPEG, PNG or WebP file; see parts.h.
 *
 * JPEG: ITU-T T.81 annex B. PNG: W3C PNG, section 5. WebP: RIFF container, RFC 9649 section 2.
 */
#include "common/photo/parts.h"

#include <string.h>

static uint32_t big32(const uint8_t *p) {
    return CLOAK_FOUR(p[0], p[1], p[2], p[3]);
}

static uint32_t little32(const uint8_t *p) {
    return CLOAK_FOUR(p[3], p[2], p[1], p[0]);
}

cloak_parts cloak_parts_of(cloak_format_id format, const void *bytes, size_t length) {
    cloak_parts parts = {format, bytes, (const uint8_t *)bytes + length, false};
    size_t header = format == CLOAK_FORMAT_PNG ? 8 : format == CLOAK_FORMAT_WEBP ? 12 : 0;
    if (length < header) {
        parts.at = parts.end;
        return parts;
    }
    if (format == CLOAK_FORMAT_WEBP) {
        /* RIFF's size counts from byte 8; what lies behind it is not part of the picture */
        uint64_t announced = (uint64_t)little32(parts.at + 4) + 8;
        if (announced < length && announced >= header)
            parts.end = parts.at + announced;
        parts.complete = announced <= length;
    }
    parts.at += header;
    return parts;
}

/* The end of a scan's coded data: the next marker that is neither a stuffed zero nor a restart. */
static const uint8_t *scan_end(const uint8_t *p, const uint8_t *end) {
    while (p < end) {
        p = memchr(p, 0xff, (size_t)(end - p));
        if (!p || end - p < 2)
            return end;
        if (p[1] == 0xff)
            p++; /* fill byte */
        else if (p[1] == 0 || (p[1] >= 0xd0 && p[1] <= 0xd7))
            p += 2;
        else
            return p;
    }
    return end;
}

static bool next_segment(cloak_parts *parts, cloak_part *part) {
    const uint8_t *p = parts->at, *end = parts->end;
    if (parts->complete)
        return false;
    /* like libjpeg, pass over stray bytes and fill bytes before a marker */
    while (end - p >= 2 && (p[0] != 0xff || p[1] == 0xff || p[1] == 0))
        p++;
    if (end - p < 2)
        return false;
    *part = (cloak_part){.kind = p[1], .data = p + 2, .whole = p, .whole_length = 2};
    bool bare = p[1] == CLOAK_JPEG_SOI || p[1] == CLOAK_JPEG_EOI || p[1] == 0x01 ||
                (p[1] >= 0xd0 && p[1] <= 0xd7);
    if (!bare) {
        size_t length = end - p < 4 ? 0 : (size_t)p[2] << 8 | p[3];
        if (length < 2 || length > (size_t)(end - p) - 2)
            return false;
        part->data = p + 4;
        part->length = length - 2;
        part->whole_length = length + 2;
        if (part->kind == CLOAK_JPEG_SOS)
            part->whole_length = (size_t)(scan_end(p + 2 + length, end) - p);
    }
    parts->complete = part->kind == CLOAK_JPEG_EOI;
    parts->at = p + part->whole_length;
    return true;
}

static bool next_png_chunk(cloak_parts *parts, cloak_part *part) {
    const uint8_t *p = parts->at;
    size_t left = (size_t)(parts->end - p);
    if (parts->complete || left < 12 || big32(p) > left - 12)
        return false;
    size_t length = big32(p);
    *part = (cloak_part){big32(p + 4), p + 8, length, p, length + 12};
    parts->complete = part->kind == CLOAK_FOUR('I', 'E', 'N', 'D');
    parts->at = p + length + 12;
    return true;
}

static bool next_riff_chunk(cloak_parts *parts, cloak_part *part) {
    const uint8_t *p = parts->at;
    size_t left = (size_t)(parts->end - p);
    if (left == 0)
        return false;
    if (left < 8 || little32(p + 4) > left - 8) {
        parts->complete = false;
        return false;
    }
    size_t length = little32(p + 4);
    size_t padded = 8 + length + (length & 1);
    if (padded > left)
        padded = left; /* some writers leave out the last padding byte */
    *part = (cloak_part){big32(p), p + 8, length, p, padded};
    parts->at = p + padded;
    return true;
}

bool cloak_parts_next(cloak_parts *parts, cloak_part *part) {
    switch (parts->format) {
    case CLOAK_FORMAT_JPEG:
        return next_segment(parts, part);
    case CLOAK_FORMAT_PNG:
        return next_png_chunk(parts, part);
    case CLOAK_FORMAT_WEBP:
        return next_riff_chunk(parts, part);
    default:
        return false;
    }
}
