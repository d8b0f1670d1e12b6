/* What a photo's file says about itself before libvips sees it: the size that its pixels will
 * need, orientation, animation, source quality. libvips allocates a WebP's canvas while it reads
 * the header, so limits have to be checked from here. */
#include <string.h>

#include "common/photo/heif.h"
#include "common/photo/parts.h"

/* CRC-32 as PNG uses it (ISO 3309), four bits at a time. Needed because libvips stops reading
 * before the last pixel chunk's checksum and ignores zlib's. */
static uint32_t crc32_of(const uint8_t *bytes, size_t length) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190,
        0x6b6b51f4, 0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc = table[(crc ^ bytes[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ (uint32_t)(bytes[i] >> 4)) & 15] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t big(const uint8_t *p, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static uint32_t little(const uint8_t *p, int bytes) {
    uint32_t value = 0;
    for (int i = bytes; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static bool is_frame_header(uint32_t marker) {
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

static void survey_jpeg(const cloak_part *part, cloak_survey *survey, bool *seen_exif) {
    if (is_frame_header(part->kind) && part->length >= 6 && survey->width == 0) {
        survey->height = big(part->data + 1, 2);
        survey->width = big(part->data + 3, 2);
    }
    if (part->kind == CLOAK_JPEG_APP0 + 1 && !*seen_exif && part->length > 6 &&
        memcmp(part->data, "Exif\0", 5) == 0) {
        survey->orientation = cloak_orientation_read(part->data, part->length);
        *seen_exif = true;
    }
}

static void survey_png(const cloak_part *part, cloak_survey *survey, bool *seen_exif) {
    switch (part->kind) {
    case CLOAK_FOUR('I', 'H', 'D', 'R'):
        if (part->length >= 8 && survey->width == 0) {
            survey->width = big(part->data, 4);
            survey->height = big(part->data + 4, 4);
        }
        break;
    case CLOAK_FOUR('a', 'c', 'T', 'L'): /* also when it counts one frame: nobody writes that */
        survey->animated = true;
        break;
    case CLOAK_FOUR('e', 'X', 'I', 'f'):
        if (!*seen_exif)
            survey->orientation = cloak_orientation_read(part->data, part->length);
        *seen_exif = true;
        break;
    default:
        break;
    }
    bool critical = !(part->kind >> 24 & 0x20); /* an upper case first letter */
    if (critical &&
        crc32_of(part->whole + 4, part->length + 4) != big(part->data + part->length, 4))
        survey->damaged = true;
}

static void survey_webp(const cloak_part *part, cloak_survey *survey, bool *seen_exif) {
    uint64_t width = 0, height = 0;
    switch (part->kind) {
    case CLOAK_FOUR('V', 'P', '8', 'X'):
        if (part->length >= 10) {
            survey->animated = survey->animated || (part->data[0] & 0x02) != 0;
            width = little(part->data + 4, 3) + 1;
            height = little(part->data + 7, 3) + 1;
        }
        break;
    case CLOAK_FOUR('V', 'P', '8', ' '):
        if (part->length >= 10) {
            width = little(part->data + 6, 2) & 0x3fff;
            height = little(part->data + 8, 2) & 0x3fff;
        }
        break;
    case CLOAK_FOUR('V', 'P', '8', 'L'):
        survey->lossless = true;
        if (part->length >= 5) {
            uint32_t bits = little(part->data + 1, 4);
            width = (bits & 0x3fff) + 1;
            height = (bits >> 14 & 0x3fff) + 1;
        }
        break;
    case CLOAK_FOUR('A', 'N', 'I', 'M'):
    case CLOAK_FOUR('A', 'N', 'M', 'F'):
        survey->animated = true;
        break;
    case CLOAK_FOUR('E', 'X', 'I', 'F'):
        if (!*seen_exif)
            survey->orientation = cloak_orientation_read(part->data, part->length);
        *seen_exif = true;
        break;
    default:
        break;
    }
    /* the canvas and the picture in it: whichever asks for more */
    if (width > survey->width)
        survey->width = width;
    if (height > survey->height)
        survey->height = height;
}

cloak_survey cloak_survey_read(cloak_format_id format, const void *bytes, size_t length) {
    if (format == CLOAK_FORMAT_TIFF)
        return cloak_tiff_survey(bytes, length);
    if (format == CLOAK_FORMAT_HEIC || format == CLOAK_FORMAT_AVIF)
        return cloak_heif_survey(bytes, length);
    cloak_survey survey = {.orientation = 1, .lossless = format == CLOAK_FORMAT_PNG};
    cloak_parts parts = cloak_parts_of(format, bytes, length);
    cloak_part part;
    bool seen_exif = false;
    while (cloak_parts_next(&parts, &part)) {
        if (format == CLOAK_FORMAT_JPEG)
            survey_jpeg(&part, &survey, &seen_exif);
        else if (format == CLOAK_FORMAT_PNG)
            survey_png(&part, &survey, &seen_exif);
        else
            survey_webp(&part, &survey, &seen_exif);
    }
    if (format == CLOAK_FORMAT_JPEG)
        survey.quality = cloak_quality_read(bytes, length);
    else /* a JPEG without its end marker may still hold every pixel; its decoder knows */
        survey.damaged = survey.damaged || !parts.complete;
    return survey;
}
