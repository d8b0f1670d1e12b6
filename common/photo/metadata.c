/* Where EXIF, XMP and IPTC lie in a file, and how they get into another.
 *
 * JPEG: APP1 "Exif" (EXIF 2.32, 4.7.2), APP1 with Adobe's namespace (XMP specification part 3), APP13 with Photoshop's
 * resource 1028. PNG: eXIf, and iTXt "XML:com.adobe.xmp". WebP: chunks EXIF and XMP, announced in VP8X (RFC 9649). HEIC
 * and AVIF are libheif's (heif.c), TIFF is in tiff_metadata.c. IPTC is written to JPEG and TIFF only. The second part
 * of an XMP packet that is longer than a segment does not pass.
 */
#include "common/photo/heif.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base/alloc.h"
#include "common/photo/parts.h"
#include "common/photo/tiff.h"

enum { SEGMENT_MOST = 65533, BLOCK_MOST = 1 << 16, APP1 = CLOAK_JPEG_APP0 + 1, APP13 = CLOAK_JPEG_APP0 + 13 };

static const char exif_head[6] = "Exif\0";
static const char xmp_head[] = "http://ns.adobe.com/xap/1.0/";
static const char photoshop_head[] = "Photoshop 3.0";
static const char png_xmp_head[] = "XML:com.adobe.xmp\0\0\0\0"; /* not compressed, no language */

/* --- reading ------------------------------------------------------------------------------- */

static bool starts(const cloak_part *part, const void *head, size_t length) {
    return part->length > length && memcmp(part->data, head, length) == 0;
}

static void take(const uint8_t **block, size_t *size, const uint8_t *data, size_t length) {
    if (*block || length > BLOCK_MOST)
        return; /* the first one counts */
    *block = data;
    *size = length;
}

/* The IIM records in Photoshop's image resources. */
static void find_iptc(const uint8_t *p, size_t left, cloak_blocks *blocks) {
    while (left >= 12 && memcmp(p, "8BIM", 4) == 0) {
        unsigned id = (unsigned)p[4] << 8 | p[5];
        size_t name = ((size_t)p[6] + 2) & ~(size_t)1; /* a counted name, padded to an even length */
        if (left < 10 + name)
            return;
        const uint8_t *at = p + 6 + name;
        size_t length = CLOAK_FOUR(at[0], at[1], at[2], at[3]), padded = (length + 1) & ~(size_t)1;
        if (length > left - 10 - name)
            return;
        if (id == 0x0404)
            take(&blocks->iptc, &blocks->iptc_length, at + 4, length);
        if (padded > left - 10 - name)
            return;
        p = at + 4 + padded;
        left -= 10 + name + padded;
    }
}

static void find_in_jpeg(const cloak_part *part, cloak_blocks *blocks) {
    if (part->kind == APP1 && starts(part, exif_head, 6))
        take(&blocks->exif, &blocks->exif_length, part->data + 6, part->length - 6);
    else if (part->kind == APP1 && starts(part, xmp_head, sizeof xmp_head))
        take(&blocks->xmp, &blocks->xmp_length, part->data + sizeof xmp_head, part->length - sizeof xmp_head);
    else if (part->kind == APP13 && starts(part, photoshop_head, sizeof photoshop_head))
        find_iptc(part->data + sizeof photoshop_head, part->length - sizeof photoshop_head, blocks);
}

static void find_in_chunks(const cloak_part *part, cloak_blocks *blocks) {
    switch (part->kind) {
    case CLOAK_FOUR('e', 'X', 'I', 'f'):
    case CLOAK_FOUR('E', 'X', 'I', 'F'): {
        size_t head = starts(part, exif_head, 6) ? 6 : 0; /* some writers of WebP copy JPEG's */
        take(&blocks->exif, &blocks->exif_length, part->data + head, part->length - head);
        break;
    }
    case CLOAK_FOUR('X', 'M', 'P', ' '):
        take(&blocks->xmp, &blocks->xmp_length, part->data, part->length);
        break;
    case CLOAK_FOUR('i', 'T', 'X', 't'):
        if (starts(part, png_xmp_head, sizeof png_xmp_head))
            take(&blocks->xmp, &blocks->xmp_length, part->data + sizeof png_xmp_head,
                part->length - sizeof png_xmp_head);
        break;
    default:
        break;
    }
}

void cloak_photo_keep_metadata(
    const void *bytes, size_t length, cloak_metadata_policy policy, cloak_photo *photo) {
    cloak_blocks blocks = {0};
    if (photo->format == CLOAK_FORMAT_HEIC || photo->format == CLOAK_FORMAT_AVIF) {
        cloak_photo_drop_metadata(photo);
        if (policy == CLOAK_METADATA_NONE)
            return;
        cloak_heif_blocks(bytes, length, &blocks);
        cloak_metadata_filter(&blocks, policy, photo);
        free((uint8_t *)blocks.exif);
        free((uint8_t *)blocks.xmp);
        return;
    }
    cloak_photo_drop_metadata(photo);
    if (photo->format == CLOAK_FORMAT_TIFF) {
        const uint8_t *resources = NULL;
        size_t resources_length = 0;
        uint8_t *exif = cloak_tiff_blocks(bytes, length, &blocks, &resources, &resources_length);
        find_iptc(resources, resources_length, &blocks);
        cloak_metadata_filter(&blocks, policy, photo);
        free(exif);
        return;
    }
    cloak_parts parts = cloak_parts_of(photo->format, bytes, length);
    cloak_part part;
    while (cloak_parts_next(&parts, &part))
        if (photo->format == CLOAK_FORMAT_JPEG)
            find_in_jpeg(&part, &blocks);
        else
            find_in_chunks(&part, &blocks);
    cloak_metadata_filter(&blocks, policy, photo);
}

void cloak_photo_drop_metadata(cloak_photo *photo) {
    free(photo->metadata.exif);
    free(photo->metadata.xmp);
    free(photo->metadata.iptc);
    photo->metadata = (cloak_metadata){0};
}

bool cloak_metadata_parse(const char *word, cloak_metadata_policy *policy) {
    static const char *const words[] = {"none", "safe", "keep"};
    for (int i = 0; i < 3; i++)
        if (strcmp(word, words[i]) == 0) {
            *policy = (cloak_metadata_policy)i;
            return true;
        }
    return false;
}

/* --- writing ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t length;
} Bytes;

static void put(Bytes *b, const void *data, size_t length) {
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

static void put_number(Bytes *b, uint32_t value, int bytes, bool big) {
    for (int i = 0; i < bytes; i++)
        b->data[b->length++] = (uint8_t)(value >> (8 * (big ? bytes - 1 - i : i)));
}

/* With a zero behind the data where `even` is asked for and their length is not. */
static void put_segment(
    Bytes *b, int marker, const void *head, size_t head_length, const uint8_t *data, size_t length, bool even) {
    const size_t padding = even ? length & 1 : 0;
    if (!data || head_length + length + padding > SEGMENT_MOST)
        return;
    put_number(b, 0xff00u | (unsigned)marker, 2, true);
    put_number(b, (uint32_t)(head_length + length + padding + 2), 2, true);
    put(b, head, head_length);
    put(b, data, length);
    put_number(b, 0, (int)padding, true);
}

static void put_png_chunk(Bytes *b, const char name[5], const void *head, size_t head_length, const uint8_t *data, size_t length) {
    if (!data)
        return;
    put_number(b, (uint32_t)(head_length + length), 4, true);
    const size_t checked = b->length;
    put(b, name, 4);
    put(b, head, head_length);
    put(b, data, length);
    put_number(b, (uint32_t)crc32(0, b->data + checked, (uInt)(b->length - checked)), 4, true);
}

static void put_riff_chunk(Bytes *b, const char name[5], const uint8_t *data, size_t length) {
    if (!data)
        return;
    put(b, name, 4);
    put_number(b, (uint32_t)length, 4, false);
    put(b, data, length);
    if (length & 1)
        put_number(b, 0, 1, false);
}

/* Behind the start marker and JFIF's header. */
static void embed_jpeg(const cloak_metadata *m, const uint8_t *file, size_t length, Bytes *b) {
    size_t head = 2;
    if (length >= 6 && file[2] == 0xff && file[3] == CLOAK_JPEG_APP0)
        head += 2 + ((size_t)file[4] << 8 | file[5]);
    if (head > length)
        head = 2;
    put(b, file, head);
    put_segment(b, APP1, exif_head, 6, m->exif, m->exif_length, false);
    put_segment(b, APP1, xmp_head, sizeof xmp_head, m->xmp, m->xmp_length, false);
    if (m->iptc) {
        uint8_t resource[sizeof photoshop_head + 12];
        Bytes r = {resource, 0};
        put(&r, photoshop_head, sizeof photoshop_head);
        put(&r, "8BIM\4\4\0\0", 8);
        put_number(&r, (uint32_t)m->iptc_length, 4, true);
        put_segment(b, APP13, r.data, r.length, m->iptc, m->iptc_length, true);
    }
    put(b, file + head, length - head);
}

/* Behind IHDR, before the pixels. */
static void embed_png(const cloak_photo *photo, const uint8_t *file, size_t length, Bytes *b) {
    enum { HEAD = 8 + 25 };
    const cloak_metadata *m = &photo->metadata;
    put(b, file, HEAD);
    put(b, photo->png_colour, photo->png_colour_length);
    put_png_chunk(b, "eXIf", "", 0, m->exif, m->exif_length);
    put_png_chunk(b, "iTXt", png_xmp_head, sizeof png_xmp_head, m->xmp, m->xmp_length);
    put(b, file + HEAD, length - HEAD);
}

/* Behind the pixels, announced in the extended header, which is made where there is none. */
static void embed_webp(const cloak_photo *photo, const uint8_t *file, size_t length, Bytes *b) {
    enum { HEAD = 12, FLAG_XMP = 4, FLAG_EXIF = 8, FLAG_ALPHA = 16 };
    const cloak_metadata *m = &photo->metadata;
    const unsigned flags = (m->xmp ? FLAG_XMP : 0u) | (m->exif ? FLAG_EXIF : 0u);
    put(b, file, HEAD);
    if (length >= HEAD + 18 && memcmp(file + HEAD, "VP8X", 4) == 0) {
        put(b, file + HEAD, length - HEAD);
        b->data[HEAD + 8] |= (uint8_t)flags;
    } else {
        put(b, "VP8X", 4);
        put_number(b, 10, 4, false);
        put_number(b, flags | (photo->alpha ? FLAG_ALPHA : 0u), 4, false);
        put_number(b, (uint32_t)photo->width - 1, 3, false);
        put_number(b, (uint32_t)photo->height - 1, 3, false);
        put(b, file + HEAD, length - HEAD);
    }
    if (b->length & 1)
        put_number(b, 0, 1, false); /* a last chunk without its padding */
    put_riff_chunk(b, "EXIF", m->exif, m->exif_length);
    put_riff_chunk(b, "XMP ", m->xmp, m->xmp_length);
    Bytes size = {b->data, 4};
    put_number(&size, (uint32_t)(b->length - 8), 4, false);
}

/* The least that a weeded file has: what metadata are put behind. */
static size_t least(cloak_format_id format) {
    return format == CLOAK_FORMAT_JPEG ? 2 : format == CLOAK_FORMAT_PNG ? 33 : format == CLOAK_FORMAT_TIFF ? 8 : 12;
}

uint8_t *cloak_metadata_embed(const cloak_photo *photo, uint8_t *file, size_t *length) {
    enum { HEADS = 4096 }; /* of parts and blocks, and padding; a TIFF's folder; a PNG's colour */
    const cloak_metadata *m = &photo->metadata;
    const bool coloured = photo->format == CLOAK_FORMAT_PNG && photo->png_colour_length > 0;
    if ((!m->exif && !m->xmp && !m->iptc && !coloured) || *length < least(photo->format))
        return file;
    Bytes b = {cloak_try_alloc(*length + m->exif_length + m->xmp_length + m->iptc_length + HEADS), 0};
    if (b.data && photo->format == CLOAK_FORMAT_JPEG)
        embed_jpeg(m, file, *length, &b);
    else if (b.data && photo->format == CLOAK_FORMAT_PNG)
        embed_png(photo, file, *length, &b);
    else if (b.data && photo->format == CLOAK_FORMAT_TIFF)
        b.length = cloak_tiff_embed(m, file, *length, b.data);
    else if (b.data)
        embed_webp(photo, file, *length, &b);
    free(file);
    *length = b.length;
    return b.data;
}
