/* HEIC and AVIF by libheif (ISO/IEC 23008-12).
 *
 * A file may hold many pictures: thumbnails, depth and gain maps, the frames of a burst. Only the primary one is
 * decoded, and what is written holds that one alone. Its transformations (irot, imir, clap) are applied by
 * libheif; the orientation in its EXIF is for information only (clause A.2.1) and is not.
 *
 * HEVC is written 4:2:0, because hardware decoders of phones show no other, with x265's fastest preset: a photo of
 * twelve megapixels takes seconds even so. AV1 is written 4:4:4, and with twelve bits
 * where it has ten: libheif 1.15 fails there (its issue 788).
 */
#include "common/photo/heif.h"

#include <libheif/heif.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/photo/bmff.h"
#include "common/photo/upright.h"

enum { METADATA_MOST = 1 << 16 };

static bool is_brand(const uint8_t *at, const char *brands) {
    for (; *brands; brands += 4)
        if (memcmp(at, brands, 4) == 0)
            return true;
    return false;
}

cloak_format_id cloak_heif_sniff(const uint8_t *bytes, size_t length) {
    if (length < 16 || memcmp(bytes + 4, "ftyp", 4) != 0)
        return CLOAK_FORMAT_UNKNOWN;
    size_t end = CLOAK_FOUR(bytes[0], bytes[1], bytes[2], bytes[3]);
    end = end < length ? end : length;
    for (size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) { /* the major brand, its version, the others */
        if (is_brand(bytes + at, "avifavis"))
            return CLOAK_FORMAT_AVIF;
        if (is_brand(bytes + at, "heicheixheimheishevchevx"))
            return CLOAK_FORMAT_HEIC;
    }
    return CLOAK_FORMAT_UNKNOWN;
}

typedef struct {
    struct heif_context *context;
    struct heif_image_handle *handle; /* of the primary picture, NULL when there is none */
} File;

static File open_file(const void *bytes, size_t length) {
    File file = {heif_context_alloc(), NULL};
    if (!file.context)
        return file;
    heif_context_set_max_decoding_threads(file.context, 0); /* photos are the unit of parallelism */
    if (heif_context_read_from_memory_without_copy(file.context, bytes, length, NULL).code != heif_error_Ok ||
        heif_context_get_primary_image_handle(file.context, &file.handle).code != heif_error_Ok)
        file.handle = NULL;
    return file;
}

static void close_file(File *file) {
    if (file->handle)
        heif_image_handle_release(file->handle);
    if (file->context)
        heif_context_free(file->context);
}

cloak_survey cloak_heif_survey(const void *bytes, size_t length) {
    cloak_survey survey = {.orientation = 1};
    survey.animated = length >= 12 && (is_brand((const uint8_t *)bytes + 8, "hevchevxmsf1avis") || cloak_bmff_has_track(bytes, length));
    File file = open_file(bytes, length);
    if (file.handle) {
        survey.width = (uint64_t)heif_image_handle_get_width(file.handle);
        survey.height = (uint64_t)heif_image_handle_get_height(file.handle);
    }
    close_file(&file);
    return survey;
}

static cloak_status fail(
    cloak_error *error, cloak_status code, const char *name, const char *what, const char *detail) {
    char *shown = cloak_text_brief(name), *words = cloak_text_brief(detail);
    cloak_fail(error, code, "%s %s (%s)", shown, what, words);
    free(words);
    free(shown);
    return code;
}

static const char broken[] = "is truncated or corrupt: replace it with an intact copy";

static cloak_status out_of_memory(cloak_error *error, const char *name) {
    return fail(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free", "HEIF");
}

static cloak_status keep_profile(
    const struct heif_image_handle *handle, const char *name, cloak_photo *photo, cloak_error *error) {
    size_t length = heif_image_handle_get_raw_color_profile_size(handle);
    if (length < 132 || length > CLOAK_PROFILE_MOST)
        return CLOAK_OK;
    photo->icc = cloak_try_alloc(length);
    if (!photo->icc)
        return out_of_memory(error, name);
    if (heif_image_handle_get_raw_color_profile(handle, photo->icc).code == heif_error_Ok)
        photo->icc_length = cloak_profile_length(photo->icc, length, "RGB ");
    if (photo->icc_length == 0) {
        free(photo->icc);
        photo->icc = NULL;
    }
    return CLOAK_OK;
}

/* What says instead of a profile which primaries and which transfer curve the numbers are of (ISO/IEC 23091-2). */
static void keep_nclx(const struct heif_image_handle *handle, cloak_photo *photo) {
    struct heif_color_profile_nclx *nclx = NULL;
    if (heif_image_handle_get_nclx_color_profile(handle, &nclx).code == heif_error_Ok) {
        photo->primaries = (int)nclx->color_primaries;
        photo->transfer = (int)nclx->transfer_characteristics;
    }
    if (nclx) /* code points that libheif does not know are an error, with a profile all the same */
        heif_nclx_color_profile_free(nclx);
}

static void write_nclx(const cloak_photo *photo, struct heif_image *image) {
    struct heif_color_profile_nclx *nclx = heif_nclx_color_profile_alloc();
    if (!nclx)
        return;
    nclx->color_primaries = (enum heif_color_primaries)photo->primaries;
    nclx->transfer_characteristics = (enum heif_transfer_characteristics)photo->transfer;
    nclx->matrix_coefficients = heif_matrix_coefficients_ITU_R_BT_601_6;
    nclx->full_range_flag = 1;
    (void)heif_image_set_nclx_color_profile(image, nclx);
    heif_nclx_color_profile_free(nclx);
}

/* How libheif shall lay out pixels: 8 bits a sample, or 16 with the least significant byte first. */
static enum heif_chroma chroma_of(bool alpha, bool deep) {
    if (deep)
        return alpha ? heif_chroma_interleaved_RRGGBBAA_LE : heif_chroma_interleaved_RRGGBB_LE;
    return alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB;
}

/* One row of 16-bit numbers that count to 2^depth - 1. */
static void copy_deep(const uint16_t *from, size_t at, size_t width, bool alpha, const cloak_photo *photo) {
    const uint32_t most = (1u << photo->depth) - 1, bands = alpha ? 4 : 3;
    for (size_t x = 0; x < width; x++)
        for (size_t c = 0; c < bands; c++) {
            const uint32_t sample = from[bands * x + c] < most ? from[bands * x + c] : most;
            const uint16_t value = (uint16_t)((sample * UINT16_MAX + most / 2) / most);
            *(c < 3 ? &photo->deep[3 * (at + x) + c] : &photo->deep_alpha[at + x]) = value;
            *(c < 3 ? &photo->rgb[3 * (at + x) + c] : &photo->alpha[at + x]) = cloak_narrow(value);
        }
}

static cloak_status copy_pixels(
    const struct heif_image *image, const char *name, bool alpha, cloak_photo *photo, cloak_error *error) {
    int stride = 0;
    const uint8_t *plane = heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
    if (!plane)
        return fail(error, CLOAK_E_PERMANENT, name, broken, "no pixels");
    photo->width = heif_image_get_width(image, heif_channel_interleaved);
    photo->height = heif_image_get_height(image, heif_channel_interleaved);
    const int depth = heif_image_get_bits_per_pixel_range(image, heif_channel_interleaved);
    const size_t bands = alpha ? 4 : 3;
    const enum heif_chroma chroma = heif_image_get_chroma_format(image);
    const bool wide = chroma == heif_chroma_interleaved_RRGGBB_LE || chroma == heif_chroma_interleaved_RRGGBBAA_LE;
    if (depth < 8 || depth > 16 || wide != (depth > 8))
        return fail(error, CLOAK_E_PERMANENT, name, broken, "samples of no known depth");
    photo->depth = depth > 8 ? depth : 0;
    if (!cloak_photo_room(photo, alpha, depth > 8))
        return out_of_memory(error, name);
    for (size_t y = 0; y < (size_t)photo->height; y++) {
        const uint8_t *row = plane + y * (size_t)stride;
        if (photo->deep) {
            copy_deep((const uint16_t *)(const void *)row, y * (size_t)photo->width, (size_t)photo->width, alpha, photo);
            continue;
        }
        uint8_t *to = photo->rgb + y * (size_t)photo->width * 3;
        for (size_t x = 0; x < (size_t)photo->width; x++) {
            memcpy(to + 3 * x, row + bands * x, 3);
            if (alpha)
                photo->alpha[y * (size_t)photo->width + x] = row[4 * x + 3];
        }
    }
    return CLOAK_OK;
}

cloak_status cloak_heif_decode(const void *bytes, size_t length, const cloak_survey *survey, const char *name,
    cloak_photo *photo, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    struct heif_image *image = NULL;
    struct heif_decoding_options *options = heif_decoding_options_alloc();
    File file = open_file(bytes, length);
    if (!file.handle || !options) {
        status = fail(error, CLOAK_E_PERMANENT, name, broken, "no primary picture");
        goto done;
    }
    const bool alpha = heif_image_handle_has_alpha_channel(file.handle) != 0,
               deep = heif_image_handle_get_luma_bits_per_pixel(file.handle) > 8;
    if (alpha && heif_image_handle_is_premultiplied_alpha(file.handle)) {
        status = fail(error, CLOAK_E_PERMANENT, name, "has colours that are multiplied by its alpha: save it without alpha", "HEIF");
        goto done;
    }
    struct heif_error outcome =
        heif_decode_image(file.handle, &image, heif_colorspace_RGB, chroma_of(alpha, deep), options);
    if (alpha && outcome.code == heif_error_Unsupported_feature) /* libheif takes no alpha of another depth than the colours' */
        outcome = heif_decode_image(file.handle, &image, heif_colorspace_RGB, chroma_of(alpha, !deep), options);
    /* what asks for more than libheif's own limits is no lack of memory */
    if (outcome.code == heif_error_Memory_allocation_error &&
        outcome.subcode != heif_suberror_Security_limit_exceeded)
        status = out_of_memory(error, name);
    else if (outcome.code != heif_error_Ok)
        status = fail(error, CLOAK_E_PERMANENT, name, broken, outcome.message ? outcome.message : "");
    else if ((uint64_t)heif_image_get_width(image, heif_channel_interleaved) != survey->width ||
             (uint64_t)heif_image_get_height(image, heif_channel_interleaved) != survey->height)
        status = fail(error, CLOAK_E_PERMANENT, name, broken, "it announces two different sizes");
    if (status == CLOAK_OK)
        status = copy_pixels(image, name, alpha, photo, error);
    if (status == CLOAK_OK)
        status = keep_profile(file.handle, name, photo, error);
    if (status == CLOAK_OK && !photo->icc)
        keep_nclx(file.handle, photo);
done:
    if (image)
        heif_image_release(image);
    if (options)
        heif_decoding_options_free(options);
    close_file(&file);
    return status;
}

/* --- metadata ------------------------------------------------------------------------------ */

/* The first block of this type as a new one; NULL when there is none. */
static uint8_t *block(const struct heif_image_handle *handle, const char *type, size_t *length) {
    heif_item_id id;
    if (heif_image_handle_get_list_of_metadata_block_IDs(handle, type, &id, 1) != 1)
        return NULL;
    size_t size = heif_image_handle_get_metadata_size(handle, id);
    uint8_t *bytes = size > 0 && size <= METADATA_MOST ? cloak_try_alloc(size) : NULL;
    if (bytes && heif_image_handle_get_metadata(handle, id, bytes).code != heif_error_Ok) {
        free(bytes);
        return NULL;
    }
    *length = size;
    return bytes;
}

void cloak_heif_blocks(const void *bytes, size_t length, cloak_blocks *blocks) {
    File file = open_file(bytes, length);
    if (file.handle) {
        size_t size = 0;
        uint8_t *exif = block(file.handle, "Exif", &size);
        /* four bytes say where the TIFF header is behind them */
        size_t skip = exif && size > 4 ? 4 + (size_t)CLOAK_FOUR(exif[0], exif[1], exif[2], exif[3]) : 0;
        if (exif && skip && skip < size) {
            memmove(exif, exif + skip, size - skip);
            blocks->exif = exif;
            blocks->exif_length = size - skip;
        } else {
            free(exif);
        }
        blocks->xmp = block(file.handle, "mime", &size);
        blocks->xmp_length = blocks->xmp ? size : 0;
    }
    close_file(&file);
}

/* --- writing ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t length;
} Bytes;

static struct heif_error append(
    struct heif_context *context, const void *data, size_t size, void *to) {
    Bytes *b = to;
    (void)context;
    uint8_t *longer = realloc(b->data, b->length + size);
    if (!longer)
        return (struct heif_error){heif_error_Memory_allocation_error, heif_suberror_Unspecified, "no memory"};
    memcpy(longer + b->length, data, size);
    b->data = longer;
    b->length += size;
    return (struct heif_error){heif_error_Ok, heif_suberror_Unspecified, "ok"};
}

/* The bits of a sample that this photo is written with. */
static int depth_written(const cloak_photo *photo) {
    return !photo->deep ? 8 : photo->format == CLOAK_FORMAT_HEIC && photo->depth <= 10 ? 10 : 12;
}

/* Pixel `i` as numbers that count to 2^depth - 1. */
static void write_deep(const cloak_photo *photo, size_t i, uint16_t *to) {
    const uint32_t most = (1u << depth_written(photo)) - 1;
    for (size_t c = 0; c < 3; c++)
        to[c] = (uint16_t)((cloak_deepen(photo->deep[3 * i + c], photo->rgb[3 * i + c]) * most + UINT16_MAX / 2) / UINT16_MAX);
    if (photo->deep_alpha)
        to[3] = (uint16_t)((photo->deep_alpha[i] * most + UINT16_MAX / 2) / UINT16_MAX);
}

/* The photo as libheif's image, or NULL without memory. */
static struct heif_image *wrap(const cloak_photo *photo) {
    struct heif_image *image = NULL;
    int stride = 0;
    const size_t width = (size_t)photo->width, bands = photo->alpha ? 4 : 3;
    if (heif_image_create(photo->width, photo->height, heif_colorspace_RGB,
            chroma_of(photo->alpha != NULL, photo->deep != NULL), &image).code != heif_error_Ok)
        return NULL;
    if (heif_image_add_plane(image, heif_channel_interleaved, photo->width, photo->height, depth_written(photo)).code !=
        heif_error_Ok) {
        heif_image_release(image);
        return NULL;
    }
    uint8_t *plane = heif_image_get_plane(image, heif_channel_interleaved, &stride);
    for (size_t y = 0; y < (size_t)photo->height; y++)
        for (size_t x = 0; x < width; x++) {
            if (photo->deep) {
                write_deep(photo, y * width + x, (uint16_t *)(void *)(plane + y * (size_t)stride) + bands * x);
                continue;
            }
            uint8_t *to = plane + y * (size_t)stride + bands * x;
            memcpy(to, photo->rgb + 3 * (y * width + x), 3);
            if (photo->alpha)
                to[3] = photo->alpha[y * width + x];
        }
    if (photo->icc)
        (void)heif_image_set_raw_color_profile(image, "prof", photo->icc, photo->icc_length);
    else if (photo->primaries)
        write_nclx(photo, image);
    return image;
}

static struct heif_error encode_image(const cloak_photo *photo, struct heif_context *context,
    const struct heif_image *image, struct heif_image_handle **handle) {
    const bool hevc = photo->format == CLOAK_FORMAT_HEIC;
    struct heif_encoder *encoder = NULL;
    struct heif_error outcome = heif_context_get_encoder_for_format(
        context, hevc ? heif_compression_HEVC : heif_compression_AV1, &encoder);
    if (outcome.code != heif_error_Ok)
        return outcome;
    heif_encoder_set_lossy_quality(encoder, cloak_photo_encode_quality(photo));
    if (hevc)
        heif_encoder_set_parameter_string(encoder, "preset", "ultrafast");
    else
        heif_encoder_set_parameter_integer(encoder, "speed", 8);
    heif_encoder_set_parameter_string(encoder, "chroma", hevc ? "420" : "444");
    outcome = heif_context_encode_image(context, image, encoder, NULL, handle);
    heif_encoder_release(encoder);
    if (outcome.code != heif_error_Ok) /* its message was the encoder's */
        outcome.message = "the encoder fails";
    return outcome;
}

cloak_status cloak_heif_encode(
    const cloak_photo *photo, void **bytes, size_t *length, cloak_error *error) {
    const cloak_metadata *m = &photo->metadata;
    struct heif_context *context = heif_context_alloc();
    struct heif_image *image = context ? wrap(photo) : NULL;
    struct heif_image_handle *handle = NULL;
    struct heif_writer writer = {1, append};
    struct heif_error outcome = {heif_error_Memory_allocation_error, heif_suberror_Unspecified, "no memory"};
    Bytes out = {NULL, 0};
    if (image)
        outcome = encode_image(photo, context, image, &handle);
    if (outcome.code == heif_error_Ok && m->exif)
        outcome = heif_context_add_exif_metadata(context, handle, m->exif, (int)m->exif_length);
    if (outcome.code == heif_error_Ok && m->xmp)
        outcome = heif_context_add_XMP_metadata(context, handle, m->xmp, (int)m->xmp_length);
    if (outcome.code == heif_error_Ok)
        outcome = heif_context_write(context, &writer, &out);
    cloak_status status = CLOAK_OK;
    if (outcome.code != heif_error_Ok) { /* its message is the context's */
        status = cloak_fail(error,
            outcome.code == heif_error_Memory_allocation_error ? CLOAK_E_TRANSIENT : CLOAK_E_INTERNAL,
            "the photo cannot be encoded as %s: %s", cloak_format_word(photo->format),
            outcome.message ? outcome.message : "no reason given");
        free(out.data);
    } else {
        *bytes = out.data;
        *length = out.length;
    }
    if (handle)
        heif_image_handle_release(handle);
    if (image)
        heif_image_release(image);
    if (context)
        heif_context_free(context);
    return status;
}
