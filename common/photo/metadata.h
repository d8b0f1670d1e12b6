/* Private to this folder. What may stay of a photo's EXIF, XMP and IPTC. */
#ifndef CLOAK_PHOTO_METADATA_H
#define CLOAK_PHOTO_METADATA_H

#include "common/photo/photo.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raw blocks as they lie in a file, borrowed; NULL where there is none. */
typedef struct {
    const uint8_t *exif; /* a TIFF header and what follows */
    size_t exif_length;
    const uint8_t *xmp; /* an XML packet */
    size_t xmp_length;
    const uint8_t *iptc; /* IIM records */
    size_t iptc_length;
} cloak_blocks;

/* Once per process, before threads. Exiv2 gets no lock: the filter runs in one thread at a time. */
void cloak_metadata_start(void);

/* Fills photo->metadata with what `policy` lets pass of the blocks, written anew by Exiv2; photo->width and
 * height go into the EXIF. A block that makes no sense is left out: metadata never cost a photo. */
void cloak_metadata_filter(const cloak_blocks *blocks, cloak_metadata_policy policy, cloak_photo *photo);

/* Puts photo->metadata into a weeded file of the photo's format. Returns the file, which may have moved, or
 * NULL without memory, having freed it. */
CLOAK_MUST_CHECK uint8_t *cloak_metadata_embed(const cloak_photo *photo, uint8_t *file, size_t *length);

#ifdef __cplusplus
}
#endif
#endif
