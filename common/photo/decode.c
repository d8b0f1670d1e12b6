/* From a file's bytes to upright pixels.
 *
 * DESIGN. The bytes are hostile until proven otherwise. In order: the format by its first bytes; a survey of the
 * container, which refuses what is too large, animated or broken before anything is allocated for it; a weeded copy, so
 * that libvips sees pixels and colour only (of a TIFF all); libvips with one named loader, failing on errors; and its
 * rows, copied one strip at a time into blocks whose size was checked. HEIC and AVIF are libheif's (heif.c). What
 * libvips finds must agree with the survey, or the file lies to one of the two.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>
#include <zlib.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/photo/heif.h"
#include "common/photo/library.h"
#include "common/photo/parts.h"
#include "common/photo/upright.h"

static const char replace_it[] = ": replace it with an intact copy";

cloak_photo_limits cloak_photo_default_limits(void) {
    return (cloak_photo_limits){.max_pixels = 200000000, .max_side = 32000};
}

void cloak_photo_free(cloak_photo *photo) {
    if (!photo)
        return;
    free(photo->rgb);
    free(photo->alpha);
    free(photo->deep);
    free(photo->deep_alpha);
    free(photo->ink);
    free(photo->icc);
    free(photo->srgb);
    free(photo->ink_view);
    cloak_photo_drop_metadata(photo);
    *photo = (cloak_photo){0};
}

static cloak_status fail(
    cloak_error *error, cloak_status code, const char *name, const char *what) {
    char *shown = cloak_text_brief(name);
    cloak_fail(error, code, "%s %s", shown, what);
    free(shown);
    return code;
}

/* Refuses what the file announces: too large, animated, broken. */
static cloak_status judge(const cloak_survey *survey, const cloak_photo_limits *limits,
    const char *name, cloak_error *error) {
    if (survey->animated)
        return fail(error, CLOAK_E_PERMANENT, name,
            "is animated: only still photos are supported; export a still, or leave it out");
    if (survey->pages)
        return fail(error, CLOAK_E_PERMANENT, name,
            "has several pages: save each as a photo of its own, or leave it out");
    if (survey->width == 0 || survey->height == 0)
        return fail(error, CLOAK_E_PERMANENT, name,
            "is truncated or corrupt: it announces no size; replace it with an intact copy");
    uint64_t side = survey->width > survey->height ? survey->width : survey->height;
    if (side > (uint64_t)limits->max_side || survey->width * survey->height > limits->max_pixels) {
        char what[200];
        snprintf(what, sizeof what,
            "has %" PRIu64 " x %" PRIu64 " pixels; the limits are %d per side and %" PRIu64
            " in all: make it smaller, or raise the limits",
            survey->width, survey->height, limits->max_side, limits->max_pixels);
        return fail(error, CLOAK_E_PERMANENT, name, what);
    }
    if (survey->damaged)
        return fail(error, CLOAK_E_PERMANENT, name,
            "is truncated or corrupt: replace it with an intact copy");
    return CLOAK_OK;
}

/* Reads the header only; pixels follow on demand, top to bottom. `bytes` must outlive the image. */
static VipsImage *open_image(cloak_format_id format, void *bytes, size_t length) {
    VipsImage *image = NULL;
    int failed = -1;
    if (format == CLOAK_FORMAT_JPEG)
        failed = vips_jpegload_buffer(bytes, length, &image, "access", VIPS_ACCESS_SEQUENTIAL,
            "fail-on", VIPS_FAIL_ON_ERROR, NULL);
    else if (format == CLOAK_FORMAT_PNG)
        failed = vips_pngload_buffer(bytes, length, &image, "access", VIPS_ACCESS_SEQUENTIAL,
            "fail-on", VIPS_FAIL_ON_ERROR, NULL);
    else if (format == CLOAK_FORMAT_WEBP)
        failed = vips_webpload_buffer(bytes, length, &image, "access", VIPS_ACCESS_SEQUENTIAL,
            "fail-on", VIPS_FAIL_ON_ERROR, NULL);
    else if (format == CLOAK_FORMAT_TIFF)
        failed = vips_tiffload_buffer(bytes, length, &image, "access", VIPS_ACCESS_SEQUENTIAL,
            "fail-on", VIPS_FAIL_ON_ERROR, NULL);
    return failed ? NULL : image;
}

/* Puts behind a CMYK picture's inks what it looks like in sRGB, through its own profile where that is usable. Where the
 * inks are not kept, that takes their place. */
static int see_cmyk(VipsImage **image, bool keep_ink) {
    VipsImage *seen = NULL, *both = NULL;
    if (vips_icc_transform(*image, &seen, "srgb", "embedded", TRUE, "input-profile", "cmyk",
            "intent", VIPS_INTENT_RELATIVE, "black-point-compensation", TRUE, NULL))
        return -1;
    if (keep_ink) {
        const int failed = vips_bandjoin2(*image, seen, &both, NULL);
        g_object_unref(seen);
        if (failed)
            return -1;
        seen = both;
    }
    g_object_unref(*image);
    *image = seen;
    return 0;
}

size_t cloak_profile_length(const uint8_t *icc, size_t length, const char *space) {
    if (length < 132 || memcmp(icc + 16, space, 4) != 0 || memcmp(icc + 36, "acsp", 4) != 0)
        return 0;
    size_t stated = CLOAK_FOUR(icc[0], icc[1], icc[2], icc[3]);
    return stated <= length && cloak_is_profile(icc, stated) ? stated : 0;
}

static cloak_status keep_profile(
    VipsImage *image, const char *space, const char *name, cloak_photo *photo, cloak_error *error) {
    const void *icc = NULL;
    size_t length = 0;
    if (!vips_image_get_typeof(image, VIPS_META_ICC_NAME) ||
        vips_image_get_blob(image, VIPS_META_ICC_NAME, &icc, &length)) {
        vips_error_clear();
        return CLOAK_OK;
    }
    length = cloak_profile_length(icc, length, space);
    if (length == 0)
        return CLOAK_OK;
    photo->icc = cloak_try_alloc(length);
    if (!photo->icc)
        return fail(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free");
    memcpy(photo->icc, icc, length);
    photo->icc_length = length;
    return CLOAK_OK;
}

/* One of each, only as long as it must be, and only whole. */
static void keep_png_colour(const void *bytes, size_t length, cloak_photo *photo) {
    static const struct {
        uint32_t kind;
        size_t length;
    } known[] = {{CLOAK_FOUR('g', 'A', 'M', 'A'), 4}, {CLOAK_FOUR('c', 'H', 'R', 'M'), 32},
        {CLOAK_FOUR('s', 'R', 'G', 'B'), 1}, {CLOAK_FOUR('c', 'I', 'C', 'P'), 4}};
    cloak_parts parts = cloak_parts_of(CLOAK_FORMAT_PNG, bytes, length);
    cloak_part part;
    unsigned seen = 0;
    while (cloak_parts_next(&parts, &part))
        for (unsigned i = 0; i < sizeof known / sizeof *known; i++) {
            const uint8_t *sum = part.data + part.length;
            if (part.kind != known[i].kind || part.length != known[i].length || seen >> i & 1 ||
                crc32(0, part.whole + 4, (uInt)part.length + 4) != CLOAK_FOUR(sum[0], sum[1], sum[2], sum[3]))
                continue;
            seen |= 1u << i;
            memcpy(photo->png_colour + photo->png_colour_length, part.whole, part.whole_length);
            photo->png_colour_length += part.whole_length;
        }
}

static cloak_status read_pixels(
    VipsImage *image, int orientation, const char *name, cloak_photo *photo, cloak_error *error) {
    enum { STRIP = 16 };
    int width = image->Xsize, height = image->Ysize, bands = image->Bands;
    bool deep = image->BandFmt == VIPS_FORMAT_USHORT;
    cloak_status status = CLOAK_OK;
    cloak_upright place = cloak_upright_of(width, height, orientation);
    photo->width = place.width;
    photo->height = place.height;
    photo->depth = deep ? 16 : 0;
    if (bands == CLOAK_INK_BANDS)
        photo->ink = cloak_try_alloc((size_t)width * (size_t)height * 4);
    if (!cloak_photo_room(photo, bands == 2 || bands == 4, deep) || (bands == CLOAK_INK_BANDS && !photo->ink))
        return fail(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free");
    VipsRegion *region = vips_region_new(image);
    for (int top = 0; top < height && status == CLOAK_OK; top += STRIP) {
        VipsRect strip = {0, top, width, height - top < STRIP ? height - top : STRIP};
        if (vips_region_prepare(region, &strip)) {
            status = cloak_library_fail(
                error, CLOAK_E_PERMANENT, name, "is truncated or corrupt", replace_it);
            break;
        }
        for (int y = top; y < top + strip.height; y++)
            cloak_upright_row(&place, y, VIPS_REGION_ADDR(region, 0, y), width, bands, photo);
    }
    g_object_unref(region);
    return status;
}

static cloak_status decode_weeded(void *bytes, size_t length, const cloak_survey *survey,
    const char *name, cloak_photo *photo, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    VipsImage *image = open_image(photo->format, bytes, length);
    if (!image)
        return cloak_library_fail(
            error, CLOAK_E_PERMANENT, name, "is truncated or corrupt", replace_it);
    bool jpeg = photo->format == CLOAK_FORMAT_JPEG;
    bool cmyk = image->Bands == 4 && (jpeg || image->Type == VIPS_INTERPRETATION_CMYK);
    bool ink = cmyk && image->BandFmt == VIPS_FORMAT_UCHAR && image->Coding == VIPS_CODING_NONE;
    if ((uint64_t)image->Xsize != survey->width || (uint64_t)image->Ysize != survey->height) {
        status = fail(error, CLOAK_E_PERMANENT, name,
            "is corrupt: it announces two different sizes; replace it with an intact copy");
        goto done;
    }
    photo->grey = image->Bands <= 2;
    if (ink || !cmyk)
        status = keep_profile(image, ink ? "CMYK" : photo->grey ? "GRAY" : "RGB ", name, photo, error);
    if (status != CLOAK_OK)
        goto done;
    if (cmyk && see_cmyk(&image, ink)) {
        status = cloak_library_fail(error, CLOAK_E_PERMANENT, name,
            "is a CMYK photo that cannot be converted", ": save it as RGB first");
        goto done;
    }
    bool known = image->Coding == VIPS_CODING_NONE && (image->BandFmt == VIPS_FORMAT_UCHAR || image->BandFmt == VIPS_FORMAT_USHORT) &&
                 image->Bands >= 1 && (image->Bands <= 4 || ink);
    if (!known || (jpeg && image->Bands != 1 && image->Bands != 3 && !ink)) {
        status = fail(error, CLOAK_E_PERMANENT, name,
            "has an unsupported kind of pixels: save it as 8-bit RGB first");
        goto done;
    }
    status = read_pixels(image, survey->orientation, name, photo, error);
done:
    g_object_unref(image);
    return status;
}

cloak_status cloak_photo_decode(const void *bytes, size_t length, const char *name,
    const cloak_photo_limits *limits, cloak_photo *photo, cloak_error *error) {
    cloak_photo_limits defaults = cloak_photo_default_limits();
    *photo = (cloak_photo){0};
    if (length == 0)
        return fail(error, CLOAK_E_PERMANENT, name, "is empty: copy it again from where it came");
    cloak_format_id format = cloak_photo_sniff(bytes, length);
    if (format == CLOAK_FORMAT_UNKNOWN)
        return fail(error, CLOAK_E_PERMANENT, name,
            "holds no photo of a known format, whatever its name says: convert it, or leave it out");
    cloak_survey survey = cloak_survey_read(format, bytes, length);
    cloak_status status = judge(&survey, limits ? limits : &defaults, name, error);
    if (status != CLOAK_OK)
        return status;
    photo->format = format;
    photo->quality = survey.quality;
    photo->lossless = survey.lossless;
    if (format == CLOAK_FORMAT_HEIC || format == CLOAK_FORMAT_AVIF) {
        status = cloak_heif_decode(bytes, length, &survey, name, photo, error);
        if (status != CLOAK_OK)
            cloak_photo_free(photo);
        return status;
    }
    if (format == CLOAK_FORMAT_PNG)
        keep_png_colour(bytes, length, photo);
    size_t weeded_length;
    uint8_t *weeded = cloak_weed(format, bytes, length, &weeded_length);
    if (!weeded)
        return fail(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free");
    status = decode_weeded(weeded, weeded_length, &survey, name, photo, error);
    free(weeded);
    vips_error_clear(); /* warnings about photos that were fine in the end stay there otherwise */
    vips_thread_shutdown(); /* frees this thread's strip buffers; our callers own the threads */
    if (status != CLOAK_OK)
        cloak_photo_free(photo);
    return status;
}
