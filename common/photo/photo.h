/* From a file's bytes to upright pixels and back.
 *
 * Formats in this version: JPEG, PNG, WebP, HEIC, AVIF, TIFF, one still picture each. Decoding is hardened: only these
 * loaders are allowed, dimensions and bytes have limits, a truncated or corrupt file is an error. The colour profile is
 * kept, orientation is applied to the pixels, and of the other metadata what the caller's policy says.
 *
 * Pixels are interleaved 8-bit RGB in the file's own colour space (the ICC profile is kept beside them), row by row
 * from the top, no padding. Alpha is kept beside them and written back. So are the samples of a file that has more than
 * 8 bits: what is changed in the 8-bit pixels is added to them at their own depth. The pixels of a CMYK file are what
 * it looks like in sRGB, and its own numbers are kept beside them; one of 16 bits becomes sRGB.
 */
#ifndef CLOAK_PHOTO_H
#define CLOAK_PHOTO_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

/*   X(enumerator, word, usual file extension) */
#define CLOAK_FORMAT_TABLE(X)                                                                      \
    X(CLOAK_FORMAT_UNKNOWN, "unknown", "")                                                         \
    X(CLOAK_FORMAT_JPEG, "jpeg", "jpg")                                                            \
    X(CLOAK_FORMAT_PNG, "png", "png")                                                              \
    X(CLOAK_FORMAT_WEBP, "webp", "webp")                                                           \
    X(CLOAK_FORMAT_HEIC, "heic", "heic")                                                           \
    X(CLOAK_FORMAT_AVIF, "avif", "avif")                                                           \
    X(CLOAK_FORMAT_TIFF, "tiff", "tif")

typedef enum {
#define X(name, word, extension) name,
    CLOAK_FORMAT_TABLE(X)
#undef X
} cloak_format_id;

typedef struct {
    uint64_t max_pixels; /* width × height; default 200,000,000 */
    int max_side;        /* default 32,000 */
} cloak_photo_limits;

/* What may stay of EXIF, XMP and IPTC. In no mode a second picture: thumbnails, previews, maker notes, depth and
 * gain maps, motion photos.
 *   none  nothing
 *   safe  capture date, exposure, camera and lens model, author and copyright
 *   keep  everything else, too: places, serial numbers, names and regions of faces, captions */
typedef enum { CLOAK_METADATA_NONE, CLOAK_METADATA_SAFE, CLOAK_METADATA_KEEP } cloak_metadata_policy;

enum { CLOAK_PNG_COLOUR = 12 + 4 + 12 + 32 + 12 + 1 + 12 + 4 };

/* Blocks that were let pass and written anew; NULL where there are none. */
typedef struct {
    uint8_t *exif, *xmp, *iptc;
    size_t exif_length, xmp_length, iptc_length;
} cloak_metadata;

typedef struct {
    int width, height; /* after orientation */
    uint8_t *rgb;      /* height × width × 3 */
    uint8_t *alpha;    /* height × width, or NULL */
    /* The same as the file has them, scaled to 0…65535, where that is finer than 8 bits (PNG, TIFF, HEIC, AVIF); else
     * NULL. Whoever changes rgb leaves these as they are. */
    uint16_t *deep, *deep_alpha;
    int depth; /* bits of a sample in the file, 9…16, where there is `deep`; else 0 */
    uint8_t *ink; /* CMYK (JPEG, TIFF): height × width × 4, 255 is all of an ink; else NULL. This is what is coded then */
    uint8_t *icc; /* ICC profile of an RGB space, of a grey one where `grey`, of CMYK where `ink`; or NULL */
    size_t icc_length;
    /* PNG: the chunks that say besides a profile what its numbers mean (gAMA, cHRM, sRGB, cICP), as they lie in the
     * file. */
    uint8_t png_colour[CLOAK_PNG_COLOUR];
    size_t png_colour_length;
    int primaries, transfer; /* HEIC and AVIF without a profile: their code points (H.273); else 0 */
    uint16_t *srgb; /* tables to sRGB and back (srgb.h), or NULL; decode leaves them out */
    uint16_t *ink_view; /* table from CMYK to sRGB, likewise */
    cloak_format_id format;
    int quality;       /* JPEG: the source's estimated quality 1…100, 0 unknown; else 0 */
    bool grey;         /* the source had no colour: R, G and B are alike, and it is written grey again */
    bool lossless;     /* the source was stored without loss (PNG, lossless WebP) */
    cloak_metadata metadata; /* is written by encode and clean; empty after decode */
} cloak_photo;

/* Starts the image library for this process: untrusted loaders blocked, caches off, one thread.
 * Call once, before threads start. */
CLOAK_MUST_CHECK cloak_status cloak_photo_init(const char *program, cloak_error *error);

/* The format that the first bytes of a file announce. 128 bytes are enough. Any thread. */
cloak_format_id cloak_photo_sniff(const void *bytes, size_t length);

/* The word of a format ("jpeg"); static storage. */
const char *cloak_format_word(cloak_format_id format);

/* NULL when a file of this name is worth opening as a photo, else why it is skipped ("RAW photos
 * are not supported; …", "not a photo"). Looks at the extension only. Static storage. */
const char *cloak_photo_skip_reason(const char *name);

cloak_photo_limits cloak_photo_default_limits(void);

/* Decodes `length` bytes. `name` (raw bytes) only serves error texts; NULL `limits` are the default
 * ones. Damage inside a JPEG's coded data that viewers pass over is passed over here as well. On
 * success `photo` owns its blocks: free them with cloak_photo_free. Corrupt, truncated, animated,
 * too large: CLOAK_E_PERMANENT; no memory: CLOAK_E_TRANSIENT. On failure `photo` is zeroed. Any
 * thread. */
CLOAK_MUST_CHECK cloak_status cloak_photo_decode(const void *bytes, size_t length,
    const char *name, const cloak_photo_limits *limits, cloak_photo *photo, cloak_error *error);

/* Takes from the file that `photo` was decoded from what the policy lets pass, for encode and clean to write.
 * Metadata that make no sense are left out. One thread at a time, after cloak_photo_init. */
void cloak_photo_keep_metadata(
    const void *bytes, size_t length, cloak_metadata_policy policy, cloak_photo *photo);
void cloak_photo_drop_metadata(cloak_photo *photo);

/* The policy of a word; false, with `policy` unaltered, for any other. Any thread. */
bool cloak_metadata_parse(const char *word, cloak_metadata_policy *policy);

/* Encodes the photo in its own format, with its ICC profile, alpha and kept metadata: JPEG 4:4:4, baseline, optimised
 * Huffman tables, at the source's quality but at least 90; PNG; WebP lossless when the source was, else at 98 (a WebP
 * does not tell its quality); HEIC 4:2:0 at 80 and AVIF 4:4:4 at 90, of ten bits as of twelve; TIFF with deflate. Where
 * there is `deep`, the file gets its depth: a sample whose 8 bits are still those of `rgb` is `deep`'s to the bit, any
 * other is as many 255ths away from it as they differ. Where there is `ink`, that is coded, not `rgb`. A JPEG with
 * alpha, or ink in what is neither JPEG nor TIFF, is CLOAK_E_USAGE. The same photo gives the same bytes. `*bytes` is a
 * new block (free()). Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_photo_encode(
    const cloak_photo *photo, void **bytes, size_t *length, cloak_error *error);

/* Other pixels (those of `changed`, which is else like `photo`) over the photo's own JPEG: blocks of which no pixel
 * differs keep their coefficients to the bit, the others are coded with the file's own tables and subsampling.
 * `changed` NULL: none, and nothing but pixels and colours is left. `source` are the bytes that `photo` was decoded
 * from, or their core. CLOAK_E_USAGE where that cannot be done: no JPEG, one that is stored on its side and whose sides
 * are no whole number of blocks; CLOAK_E_TRANSIENT without memory. `*bytes` is a new block (free()). Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_photo_patch(const void *source, size_t source_length,
    const cloak_photo *photo, const cloak_photo *changed, void **bytes, size_t *length, cloak_error *error);

/* The photo with no metadata but those kept: the file's coded pixels are copied as they are, with its ICC profile. TIFF
 * is encoded anew, without loss; so are HEIC and AVIF of kinds that cannot be copied with certainty, with loss. A photo
 * whose metadata turn it is turned block by block where that can be done, else encoded anew, upright. `source` are the
 * bytes that `photo` was decoded from, their core, or NULL where there is none. A file whose colour profile is none, or
 * holds more than it says, is encoded anew, too; `*encoded` tells. `*bytes` is a new block (free()). Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_photo_clean(const void *source, size_t source_length,
    const cloak_photo *photo, void **bytes, size_t *length, bool *encoded, cloak_error *error);

/* The coded pixels of the file that `photo` was decoded from, upright and without anything else: what clean and patch
 * take in place of the file's bytes, for the same result. A new block (free()), or NULL where there is none (TIFF, a
 * HEIC or AVIF of unusual make, or it cannot be turned without loss) or no memory. Any thread. */
CLOAK_MUST_CHECK void *cloak_photo_core(
    const void *bytes, size_t length, const cloak_photo *photo, size_t *core_length);

/* The quality the encoder uses for this photo (see above); 0 where there is none. */
int cloak_photo_encode_quality(const cloak_photo *photo);

/* Frees the blocks of a photo and zeroes it. NULL and zeroed photos are fine. */
void cloak_photo_free(cloak_photo *photo);

/* Peak signal-to-noise ratio in dB between two RGB8 images of n bytes (infinity is given as 99).
 * Any thread. */
double cloak_photo_psnr(const uint8_t *a, const uint8_t *b, size_t n);

/* Mean SSIM (Wang et al. 2004: luma of BT.601, 8×8 windows at stride 4, K1 .01, K2 .03) over the
 * rectangle [x0, x1) × [y0, y1) of two images of the same width; 1 when the rectangle is smaller
 * than a window. Any thread. */
double cloak_photo_ssim(
    const uint8_t *a, const uint8_t *b, int width, int x0, int y0, int x1, int y1);

#endif
