/* Private to this folder. Numbers and folders (IFDs) of a TIFF: the file format, and what EXIF is made of. */
#ifndef CLOAK_PHOTO_TIFF_H
#define CLOAK_PHOTO_TIFF_H

#include "common/photo/metadata.h"

typedef struct {
    const uint8_t *at; /* borrowed */
    size_t length;
    bool little;
} cloak_tiff;

/* A field, and where its value lies. */
typedef struct {
    uint32_t tag, type, count;
    size_t at, size; /* from the TIFF's first byte; inside of it */
} cloak_tiff_field;

/* Starts at the first folder; false for bytes that are no TIFF. */
bool cloak_tiff_open(const void *bytes, size_t length, cloak_tiff *t, uint32_t *folder);

/* `bytes` (2 or 4) at `offset`; false when they lie outside. */
bool cloak_tiff_number(const cloak_tiff *t, size_t offset, int bytes, uint32_t *value);

/* Field `i` of a folder; false where there is none, and with `size` 0 where its type is unknown or its value lies
 * outside. */
bool cloak_tiff_field_read(const cloak_tiff *t, uint32_t folder, uint32_t i, cloak_tiff_field *field);

/* EXIF, XMP and IPTC of a TIFF file. What it shares with its pixels' folder, and its pixels themselves, stay behind:
 * the EXIF is a new block with people's fields only, which is returned and which the caller frees; NULL when there is
 * none, or no memory. XMP and IPTC are borrowed. */
uint8_t *cloak_tiff_blocks(const void *bytes, size_t length, cloak_blocks *blocks, const uint8_t **photoshop, size_t *photoshop_length);

/* Adds metadata to a TIFF file of our own: little-endian, below 2 GiB, one folder. `out` has room for both and for 4
 * KiB more. Returns the length of the result. What does not fit together is left out. */
size_t cloak_tiff_embed(const cloak_metadata *metadata, const uint8_t *file, size_t length, uint8_t *out);

#endif
