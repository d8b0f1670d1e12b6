/* Private to this folder. A photo's file as a row of parts: JPEG segments, PNG chunks, WebP chunks; and what its
 * container says of it.
 *
 * libvips decodes and encodes; these few functions look at the container around the pixels: what
 * the file announces before anything is allocated, and which parts of it may pass.
 * Nothing here allocates pixels, reads beyond `length`, or trusts a length field. Any thread.
 */
#ifndef CLOAK_PHOTO_PARTS_H
#define CLOAK_PHOTO_PARTS_H

#include "common/photo/photo.h"

/* A PNG or WebP chunk's name as a number. */
#define CLOAK_FOUR(a, b, c, d)                                                                     \
    ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

enum {
    CLOAK_JPEG_SOI = 0xd8,
    CLOAK_JPEG_EOI = 0xd9,
    CLOAK_JPEG_SOS = 0xda,
    CLOAK_JPEG_DQT = 0xdb,
    CLOAK_JPEG_APP0 = 0xe0,
};

/* All pointers are borrowed from the file's bytes. */
typedef struct {
    uint32_t kind;        /* JPEG: the marker's second byte; PNG and WebP: CLOAK_FOUR */
    const uint8_t *data;  /* the payload without header, padding and checksum */
    size_t length;        /* of the payload */
    const uint8_t *whole; /* the part as it lies in the file; a JPEG scan with its coded data */
    size_t whole_length;
} cloak_part;

typedef struct {
    cloak_format_id format;
    const uint8_t *at, *end;
    bool complete; /* the last part was reached: EOI, IEND, or the end that RIFF announces */
} cloak_parts;

/* Starts at the first part of a file whose first bytes are those of `format`. */
cloak_parts cloak_parts_of(cloak_format_id format, const void *bytes, size_t length);

/* Gives the next part; false behind the last one or where the row breaks. */
bool cloak_parts_next(cloak_parts *parts, cloak_part *part);

/* What a file says about itself. */
typedef struct {
    uint64_t width, height; /* as stored, before orientation; 0 when nothing was announced */
    int orientation;        /* EXIF: 1…8, 1 when there is none */
    int quality;            /* JPEG: estimated from its tables, 0 unknown */
    bool animated;          /* more than one picture to show, one after the other */
    bool pages;             /* or side by side */
    bool lossless;
    bool damaged; /* ends early, or a checksum of its pixels is wrong (PNG) */
} cloak_survey;

cloak_survey cloak_survey_read(cloak_format_id format, const void *bytes, size_t length);
cloak_survey cloak_tiff_survey(const void *bytes, size_t length); /* what it does for a TIFF */

/* The most bytes of a colour profile, in whatever format: what the parts of a JPEG can hold of one. A larger one is
 * none. */
enum { CLOAK_PROFILE_MOST = 255 * 65519 };

/* Whether bytes are one, from first to last (ICC.1:2022, 7.2), without a picture in a tag of its own. */
bool cloak_is_profile(const uint8_t *icc, size_t length);

/* Whether the start of a picture's file is somewhere in the bytes, as it is or in base64. */
bool cloak_holds_picture(const uint8_t *bytes, size_t length);

/* Whether a weeded PNG or WebP holds its pixels and colours, each once, and nothing behind them; a profile only where
 * `profile` says that decoding has found one. Of WebP's coded pixels only cloak_holds_picture can tell. */
bool cloak_is_plain(cloak_format_id format, const uint8_t *file, size_t length, bool profile);

/* The length of a profile of a space ("RGB ", "GRAY", "CMYK"), as its header states it, or 0 when it is none
 * (ICC.1:2022, 7.2). What lies behind that length is not colour and does not pass. */
size_t cloak_profile_length(const uint8_t *icc, size_t length, const char *space);

/* A copy that holds only what pixels and colour need: no EXIF, XMP, IPTC, thumbnails, comments, text, unknown parts,
 * nothing behind the end. HEIC, AVIF and TIFF are no rows of parts: all of them. A new block (free()), or NULL without
 * memory. */
CLOAK_MUST_CHECK uint8_t *cloak_weed(
    cloak_format_id format, const void *bytes, size_t length, size_t *weeded_length);

/* The luma of an RGB pixel (BT.601), as libjpeg computes it. */
static inline uint8_t cloak_luma(const uint8_t *rgb) {
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 32768u) >> 16);
}

/* A JPEG without its metadata and upright, its coded pixels turned block by block where they lie on a side. A new
 * block (free()), or NULL without memory, or where its sides are no whole number of blocks. */
CLOAK_MUST_CHECK uint8_t *cloak_jpeg_upright(const void *bytes, size_t length, size_t *upright_length);

/* Turns a JPEG as the EXIF orientation (2…8) asks for, without loss; NULL when that cannot be done. */
CLOAK_MUST_CHECK uint8_t *cloak_turn_jpeg(
    const uint8_t *jpeg, size_t length, int orientation, size_t *turned_length);

/* The orientation in an EXIF block (a TIFF header, with or without "Exif\0\0" before it): 1…8; 1
 * when it holds none or makes no sense. */
int cloak_orientation_read(const uint8_t *exif, size_t length);

/* The quality (1…100) of the IJG encoder whose tables come nearest, exact where a table is one of
 * its own. Tables in zigzag order as in the file; `chroma` may be NULL. */
int cloak_quality_estimate(const uint16_t luma[64], const uint16_t *chroma);

/* The same from a JPEG's bytes, 0 when it holds no usable table. */
int cloak_quality_read(const void *bytes, size_t length);

#endif
