/* Whether a weeded PNG or WebP, or a colour profile, is what it says and nothing else. Decoders stop where a picture
 * ends; what lies behind that, in the same part, nobody sees, and it would pass. (JPEG's coefficients are written anew:
 * patch.c.) */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base/alloc.h"
#include "common/photo/parts.h"

/* Whether a JPEG's first segment is here and another begins behind it. Its first three bytes alone are in any
 * compressed pixels, and in 16-bit curves just below white. */
static bool begins_jpeg(const uint8_t *at, const uint8_t *end) {
    const size_t left = (size_t)(end - at);
    if (left < 8 || at[3] < 0xc0 || at[3] == 0xff || (at[3] >= 0xd0 && at[3] <= 0xda))
        return false;
    const size_t length = (size_t)at[4] << 8 | at[5];
    return length >= 2 && length + 6 <= left && at[4 + length] == 0xff && at[5 + length] >= 0xc0 && at[5 + length] < 0xff;
}

bool cloak_holds_picture(const uint8_t *bytes, size_t length) {
    static const struct {
        const char *start;
        size_t length;
    } starts[] = {{"\x89PNG\r\n\x1a\n", 8}, {"WEBPVP8", 7}, {"ftyp", 4}, {"GIF87a", 6}, {"GIF89a", 6}, {"II*\0\x08\0\0\0", 8},
        {"MM\0*\0\0\0\x08", 8}, {"Exif\0\0", 6}, {"/9j/", 4}, {"iVBORw0KGgo", 11}, {"R0lGOD", 6}};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (memmem(bytes, length, starts[i].start, starts[i].length))
            return true;
    for (const uint8_t *at = bytes, *end = bytes + length; (at = memmem(at, (size_t)(end - at), "\xff\xd8\xff", 3)); at++)
        if (begins_jpeg(at, end))
            return true;
    return false;
}

bool cloak_is_profile(const uint8_t *icc, size_t length) {
    return length >= 132 && length <= CLOAK_PROFILE_MOST && memcmp(icc + 36, "acsp", 4) == 0 &&
           CLOAK_FOUR(icc[0], icc[1], icc[2], icc[3]) == length && !cloak_holds_picture(icc, length);
}

/* The same for what a PNG has compressed: a name, a method, a stream. */
static bool is_png_profile(const cloak_part *part) {
    const uint8_t *end = memchr(part->data, 0, part->length < 80 ? part->length : 80);
    size_t head = end ? (size_t)(end - part->data) + 2 : 0;
    if (!head || head >= part->length)
        return false;
    uint8_t *profile = cloak_try_alloc(CLOAK_PROFILE_MOST);
    uLongf length = CLOAK_PROFILE_MOST;
    uLong taken = (uLong)(part->length - head);
    bool clean = profile && uncompress2(profile, &length, part->data + head, &taken) == Z_OK &&
                 taken == part->length - head && cloak_is_profile(profile, length);
    free(profile);
    return clean;
}

/* Bytes of a PNG's rows with their filter types (W3C PNG, sections 7 and 8), or 0 for a header that makes no sense. */
static uint64_t png_size(const cloak_part *header) {
    static const uint8_t channels[] = {1, 0, 3, 1, 2, 0, 4};
    static const struct {
        uint32_t x, y, right, down;
    } passes[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}, whole = {0, 0, 1, 1};
    const uint8_t *at = header->data;
    if (header->length != 13 || at[9] > 6 || at[12] > 1)
        return 0;
    const uint32_t width = CLOAK_FOUR(at[0], at[1], at[2], at[3]), height = CLOAK_FOUR(at[4], at[5], at[6], at[7]);
    const uint64_t bits = (uint64_t)at[8] * channels[at[9]];
    uint64_t size = 0;
    for (size_t i = 0; i < (at[12] ? sizeof passes / sizeof *passes : 1); i++) {
        const uint32_t x = at[12] ? passes[i].x : whole.x, y = at[12] ? passes[i].y : whole.y,
                       right = at[12] ? passes[i].right : whole.right, down = at[12] ? passes[i].down : whole.down;
        if (x < width && y < height)
            size += ((uint64_t)(height - y) + down - 1) / down * (1 + ((((uint64_t)(width - x) + right - 1) / right) * bits + 7) / 8);
    }
    return size;
}

/* A PNG's pixels, which may lie in many parts, as they are decompressed. */
typedef struct {
    z_stream stream;
    uint64_t size, wanted;
    bool ended;
} Rows;

/* One part more; false when something lies behind the last row, or behind the stream. */
static bool add_rows(Rows *rows, const cloak_part *part) {
    uint8_t room[1 << 16];
    rows->stream.next_in = (uint8_t *)part->data;
    rows->stream.avail_in = (uInt)part->length;
    while (rows->stream.avail_in > 0) {
        if (rows->ended)
            return false;
        rows->stream.next_out = room;
        rows->stream.avail_out = sizeof room;
        const int status = inflate(&rows->stream, Z_NO_FLUSH);
        rows->size += sizeof room - rows->stream.avail_out;
        rows->ended = status == Z_STREAM_END;
        if ((status != Z_OK && status != Z_STREAM_END) || rows->size > rows->wanted)
            return false;
    }
    return true;
}

static bool is_plain_png(const uint8_t *file, size_t length, bool profile) {
    cloak_parts parts = cloak_parts_of(CLOAK_FORMAT_PNG, file, length);
    cloak_part part;
    size_t headers = 0, palettes = 0, transparent = 0, profiles = 0;
    Rows rows = {.size = 0};
    bool plain = inflateInit(&rows.stream) == Z_OK;
    while (plain && cloak_parts_next(&parts, &part))
        switch (part.kind) {
        case CLOAK_FOUR('I', 'H', 'D', 'R'):
            rows.wanted = png_size(&part);
            plain = headers++ == 0;
            break;
        case CLOAK_FOUR('P', 'L', 'T', 'E'):
            plain = palettes++ == 0 && part.length <= 768;
            break;
        case CLOAK_FOUR('t', 'R', 'N', 'S'):
            plain = transparent++ == 0 && part.length <= 256;
            break;
        case CLOAK_FOUR('i', 'C', 'C', 'P'):
            plain = profile && profiles++ == 0 && is_png_profile(&part);
            break;
        case CLOAK_FOUR('I', 'D', 'A', 'T'):
            plain = add_rows(&rows, &part);
            break;
        case CLOAK_FOUR('I', 'E', 'N', 'D'):
            plain = part.length == 0;
            break;
        default:
            plain = false;
        }
    inflateEnd(&rows.stream);
    return plain && rows.ended && rows.size == rows.wanted;
}

/* Where VP8's last partition ends nothing says: what is known for a picture is looked for. */
static bool is_plain_webp(const uint8_t *file, size_t length, bool profile) {
    cloak_parts parts = cloak_parts_of(CLOAK_FORMAT_WEBP, file, length);
    cloak_part part;
    size_t headers = 0, profiles = 0, alphas = 0, pictures = 0;
    bool plain = true;
    while (plain && cloak_parts_next(&parts, &part))
        switch (part.kind) {
        case CLOAK_FOUR('V', 'P', '8', 'X'):
            plain = headers++ == 0 && part.length == 10;
            break;
        case CLOAK_FOUR('I', 'C', 'C', 'P'):
            plain = profile && profiles++ == 0 && cloak_is_profile(part.data, part.length);
            break;
        case CLOAK_FOUR('A', 'L', 'P', 'H'):
            plain = alphas++ == 0 && !cloak_holds_picture(part.data, part.length);
            break;
        default:
            plain = pictures++ == 0 && !cloak_holds_picture(part.data, part.length);
        }
    return plain;
}

bool cloak_is_plain(cloak_format_id format, const uint8_t *file, size_t length, bool profile) {
    return format == CLOAK_FORMAT_PNG ? is_plain_png(file, length, profile)
                                      : format == CLOAK_FORMAT_WEBP && is_plain_webp(file, length, profile);
}
