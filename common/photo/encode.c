/* From pixels back to a file of the same format.
 *
 * The image handed to libvips is made from raw pixels and holds the colour profile as its only
 * field, so nothing of the source can pass; what libvips adds by itself is weeded from its output, and what is
 * to be kept of the metadata is put in last.
 */
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "common/base/alloc.h"
#include "common/photo/heif.h"
#include "common/photo/library.h"
#include "common/photo/metadata.h"
#include "common/photo/parts.h"
#include "common/photo/upright.h"

/* Only a JPEG tells its own quality. The others' are such that of 100 means of 8 × 8 pixels 98 stay within a CIE76 of 1
 * (tests/integration/colours.py). */
enum { LEAST_JPEG = 90, WEBP = 98, HEIC = 80, AVIF = 90 };

int cloak_photo_encode_quality(const cloak_photo *photo) {
    switch (photo->format) {
    case CLOAK_FORMAT_JPEG:
        return photo->quality < LEAST_JPEG ? LEAST_JPEG : photo->quality > 100 ? 100 : photo->quality;
    case CLOAK_FORMAT_WEBP:
        return photo->lossless ? 0 : WEBP;
    case CLOAK_FORMAT_HEIC:
        return HEIC;
    case CLOAK_FORMAT_AVIF:
        return AVIF;
    default:
        return 0;
    }
}

/* The pixels without their colour, as a copy. */
static VipsImage *wrap_grey(const cloak_photo *photo, size_t pixels) {
    uint8_t *grey = cloak_try_alloc(pixels);
    for (size_t i = 0; grey && i < pixels; i++)
        grey[i] = cloak_luma(photo->rgb + 3 * i);
    VipsImage *image = grey ? vips_image_new_from_memory_copy(
                                  grey, pixels, photo->width, photo->height, 1, VIPS_FORMAT_UCHAR)
                            : NULL;
    free(grey);
    return image;
}

/* The pixels at the file's own depth, as a copy. */
static VipsImage *wrap_deep(const cloak_photo *photo, size_t pixels) {
    const size_t colours = photo->grey ? 1 : 3, bands = colours + (photo->deep_alpha ? 1 : 0),
                 size = pixels * bands * sizeof(uint16_t);
    uint16_t *samples = cloak_try_alloc(size);
    for (size_t i = 0; samples && i < pixels; i++) {
        uint16_t *to = samples + i * bands;
        for (size_t c = 0; c < colours; c++)
            to[c] = cloak_deepen(
                photo->deep[3 * i + c], photo->grey ? cloak_luma(photo->rgb + 3 * i) : photo->rgb[3 * i + c]);
        if (photo->deep_alpha)
            to[colours] = photo->deep_alpha[i];
    }
    VipsImage *image = samples ? vips_image_new_from_memory_copy(samples, size, photo->width, photo->height,
                                     (int)bands, VIPS_FORMAT_USHORT)
                               : NULL;
    free(samples);
    return image;
}

/* What the pixels of an image stand for, as libvips calls it. */
static VipsInterpretation meaning(const cloak_photo *photo) {
    if (photo->ink)
        return VIPS_INTERPRETATION_CMYK;
    if (photo->deep)
        return photo->grey ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16;
    return photo->grey ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB;
}

/* The photo as libvips sees it; the pixels and the profile stay borrowed. NULL on failure. */
static VipsImage *wrap(const cloak_photo *photo) {
    size_t pixels = (size_t)photo->width * (size_t)photo->height;
    const int bands = photo->ink ? 4 : 3;
    VipsImage *colour = photo->deep ? wrap_deep(photo, pixels)
                        : photo->grey
                            ? wrap_grey(photo, pixels)
                            : vips_image_new_from_memory(photo->ink ? photo->ink : photo->rgb, pixels * (size_t)bands,
                                  photo->width, photo->height, bands, VIPS_FORMAT_UCHAR);
    VipsImage *alpha = NULL, *joined = NULL, *image = NULL;
    if (!colour)
        return NULL;
    if (photo->alpha && !photo->deep) {
        alpha = vips_image_new_from_memory(
            photo->alpha, pixels, photo->width, photo->height, 1, VIPS_FORMAT_UCHAR);
        if (!alpha || vips_bandjoin2(colour, alpha, &joined, NULL))
            goto done;
    }
    if (vips_copy(joined ? joined : colour, &image, "interpretation", meaning(photo), NULL))
        goto done;
    if (photo->icc)
        vips_image_set_blob(image, VIPS_META_ICC_NAME, NULL, photo->icc, photo->icc_length);
done:
    VIPS_UNREF(joined);
    VIPS_UNREF(alpha);
    VIPS_UNREF(colour);
    return image;
}

static int save(const cloak_photo *photo, VipsImage *image, void **bytes, size_t *length) {
    int quality = cloak_photo_encode_quality(photo);
    if (photo->format == CLOAK_FORMAT_JPEG)
        return vips_jpegsave_buffer(image, bytes, length, "Q", quality, "optimize-coding", TRUE,
            "subsample-mode", VIPS_FOREIGN_SUBSAMPLE_OFF, NULL);
    if (photo->format == CLOAK_FORMAT_PNG) /* filters make photos a third smaller */
        return vips_pngsave_buffer(
            image, bytes, length, "compression", 6, "filter", VIPS_FOREIGN_PNG_FILTER_ALL, NULL);
    if (photo->format == CLOAK_FORMAT_TIFF)
        return vips_tiffsave_buffer(image, bytes, length, "compression", VIPS_FOREIGN_TIFF_COMPRESSION_DEFLATE,
            "predictor", VIPS_FOREIGN_TIFF_PREDICTOR_HORIZONTAL, NULL);
    if (photo->lossless)
        return vips_webpsave_buffer(image, bytes, length, "lossless", TRUE, NULL);
    return vips_webpsave_buffer(
        image, bytes, length, "Q", quality, "alpha-q", 100, "smart-subsample", TRUE, NULL);
}

/* Puts JFIF's header (T.871, no thumbnail, square pixels) behind the start marker where there is
 * none: libvips writes either EXIF or JFIF, and some readers want to see one of them. */
static uint8_t *add_jfif(uint8_t *jpeg, size_t *length) {
    static const uint8_t header[] = {
        0xff, 0xe0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0};
    if (*length < 4 || jpeg[3] == CLOAK_JPEG_APP0)
        return jpeg;
    uint8_t *longer = realloc(jpeg, *length + sizeof header);
    if (!longer) {
        free(jpeg);
        return NULL;
    }
    memmove(longer + 2 + sizeof header, longer + 2, *length - 2);
    memcpy(longer + 2, header, sizeof header);
    *length += sizeof header;
    return longer;
}

cloak_status cloak_photo_encode(
    const cloak_photo *photo, void **bytes, size_t *length, cloak_error *error) {
    if (photo->format == CLOAK_FORMAT_UNKNOWN ||
        (photo->format == CLOAK_FORMAT_JPEG && photo->alpha))
        return cloak_fail(error, CLOAK_E_USAGE,
            "cannot encode a photo %s: choose JPEG (without alpha), PNG, WebP, HEIC, AVIF or TIFF",
            photo->alpha ? "with alpha as JPEG" : "of unknown format");
    /* of other formats libvips would make sRGB, by a profile that only intake/ may read */
    if (photo->ink && photo->format != CLOAK_FORMAT_JPEG && photo->format != CLOAK_FORMAT_TIFF)
        return cloak_fail(error, CLOAK_E_USAGE, "cannot encode CMYK as %s: choose JPEG or TIFF", cloak_format_word(photo->format));
    if (photo->format == CLOAK_FORMAT_HEIC || photo->format == CLOAK_FORMAT_AVIF)
        return cloak_heif_encode(photo, bytes, length, error);
    void *saved = NULL;
    size_t saved_length = 0, weeded_length = 0;
    VipsImage *image = wrap(photo);
    int failed = image ? save(photo, image, &saved, &saved_length) : -1;
    VIPS_UNREF(image);
    vips_thread_shutdown();
    if (failed)
        return cloak_library_fail(error, CLOAK_E_INTERNAL, "the photo", "cannot be encoded",
            ": run it again; if it stays so, report it with this text");
    vips_error_clear();
    uint8_t *weeded = cloak_weed(photo->format, saved, saved_length, &weeded_length);
    g_free(saved);
    if (weeded && photo->format == CLOAK_FORMAT_JPEG && !photo->ink) /* JFIF knows no CMYK */
        weeded = add_jfif(weeded, &weeded_length);
    if (weeded)
        weeded = cloak_metadata_embed(photo, weeded, &weeded_length);
    if (!weeded)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "the photo needs more memory than is free");
    *bytes = weeded;
    *length = weeded_length;
    return CLOAK_OK;
}
