/* Private to this folder. HEIC and AVIF files without a decoder: their boxes (ISO/IEC 14496-12) and items
 * (23008-12). */
#ifndef CLOAK_PHOTO_BMFF_H
#define CLOAK_PHOTO_BMFF_H

#include "common/photo/metadata.h"

/* A file with the coded pixels of this one's primary picture, and of its alpha, as they are, its colour, how it is
 * turned, and `metadata` (NULL for none); nothing else. A new block (free()), or NULL where any of it is not what we
 * know to hold a picture and no more, and without memory. The same from the result gives the same. Any thread. */
CLOAK_MUST_CHECK uint8_t *cloak_bmff_rewrite(
    const void *bytes, size_t length, const cloak_metadata *metadata, size_t *rewritten_length);

/* Whether there is a track besides the pictures: a sequence, whatever its brands say. A film that was only appended (a
 * second `ftyp`) does not count. Any thread. */
bool cloak_bmff_has_track(const void *bytes, size_t length);

#endif
