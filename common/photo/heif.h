/* Private to this folder. HEIC and AVIF, by libheif in both directions. */
#ifndef CLOAK_PHOTO_HEIF_H
#define CLOAK_PHOTO_HEIF_H

#include "common/photo/metadata.h"
#include "common/photo/parts.h"

/* HEIC or AVIF by the brands in a file's first box, else CLOAK_FORMAT_UNKNOWN. */
cloak_format_id cloak_heif_sniff(const uint8_t *bytes, size_t length);

/* Size of the primary picture, upright, before any pixel is decoded. */
cloak_survey cloak_heif_survey(const void *bytes, size_t length);

/* Fills size, rgb, alpha, icc and nclx from the primary picture; other pictures of the file are left. A picture that
 * turns out to be of another size than the survey's is refused. */
CLOAK_MUST_CHECK cloak_status cloak_heif_decode(const void *bytes, size_t length, const cloak_survey *survey,
    const char *name, cloak_photo *photo, cloak_error *error);

/* EXIF and XMP of the primary picture; exif and xmp are new blocks, which the caller frees. */
void cloak_heif_blocks(const void *bytes, size_t length, cloak_blocks *blocks);

/* Encodes with profile, alpha and kept metadata. */
CLOAK_MUST_CHECK cloak_status cloak_heif_encode(
    const cloak_photo *photo, void **bytes, size_t *length, cloak_error *error);


#endif
