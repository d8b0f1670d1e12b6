/* A process of its own that reads photos' files, which are hostile until proven otherwise.
 *
 * DESIGN. What parses a photo's bytes (libjpeg, libpng, libtiff, libheif, Exiv2, and our own walks) runs in
 * `cloak-intake`, a child with nothing to lose: no network, no files to open, no programs to start, limits on
 * memory (child.c). It gets a file's bytes and gives back upright pixels, the colour profile, the metadata that the
 * policy lets pass, and the file's core: its coded pixels upright and without anything else, from which a JPEG's
 * untouched blocks are taken later. So a file that crashes a library costs that photo, which is then dead with the
 * reason, and neither the worker nor the photos it has claimed besides. What the worker still reads itself is the core
 * of a JPEG, which libjpeg has then decoded once without harm, and the boxes of a HEIC's or an AVIF's core, which the
 * child has written.
 *
 * Both sides write what they send into an anonymous file (memfd) and hand over its descriptor with a short message over
 * a socket. The parent copies out of it, with sizes that it has checked: nothing that the child does to the file
 * meanwhile can harm more than this photo.
 *
 * The child lives on from photo to photo of one owner. When it dies, or takes longer than its time, or the next photo
 * is somebody else's, there is a new one: what a file may have done to it ends with that.
 */
#ifndef CLOAK_INTAKE_H
#define CLOAK_INTAKE_H

#include "common/photo/photo.h"

typedef struct cloak_intake cloak_intake;

/* Never NULL; the child is started with the first photo. One thread at a time. `seconds`: how long a photo may take by
 * the clock; it has a minute of the processor. `stop`, unless it is NULL, is asked ten times a second while a photo is
 * read; true ends it. */
cloak_intake *cloak_intake_new(double seconds, bool (*stop)(void *context), void *stop_context);

/* Ends the child. NULL is fine. */
void cloak_intake_free(cloak_intake *intake);

/* As cloak_photo_decode with default limits, then cloak_photo_keep_metadata and cloak_photo_find_srgb. On success
 * `*photo` owns its blocks (cloak_photo_free), and `*core` is a new block (free()) to be used in place of the file's
 * bytes, or NULL where there is none: TIFF, a HEIC or AVIF of unusual make, and what cannot be turned without loss.
 * `owner` is whose photo it is (a tenant). A file of which a fresh child dies, or that takes too much of the processor,
 * is CLOAK_E_PERMANENT. All else that goes wrong is this machine's doing, CLOAK_E_TRANSIENT: no memory, no child, one
 * that was killed from outside or is not done in time; CLOAK_E_INTERRUPTED when `stop` said so. */
CLOAK_MUST_CHECK cloak_status cloak_intake_photo(cloak_intake *intake, const void *bytes, size_t length,
    const char *name, const char *owner, cloak_metadata_policy policy, cloak_photo *photo, void **core,
    size_t *core_length, cloak_error *error);

#endif
