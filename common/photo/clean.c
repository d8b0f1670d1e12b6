/* A photo that keeps its coded pixels and loses its metadata, or some of them. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base/alloc.h"
#include "common/photo/bmff.h"
#include "common/photo/metadata.h"
#include "common/photo/parts.h"

uint8_t *cloak_jpeg_upright(const void *bytes, size_t length, size_t *upright_length) {
    cloak_survey survey = cloak_survey_read(CLOAK_FORMAT_JPEG, bytes, length);
    size_t weeded_length = 0;
    uint8_t *weeded = cloak_weed(CLOAK_FORMAT_JPEG, bytes, length, &weeded_length);
    if (!weeded || survey.orientation == 1) {
        *upright_length = weeded_length;
        return weeded;
    }
    uint8_t *turned = cloak_turn_jpeg(weeded, weeded_length, survey.orientation, upright_length);
    free(weeded);
    return turned;
}

/* Whether bytes that begin so and are `length` in all are a colour profile and nothing else (ICC.1:2022, 7.2). */
static bool is_profile(const uint8_t *start, size_t there, size_t length) {
    return there >= 132 && length <= CLOAK_PROFILE_MOST && memcmp(start + 36, "acsp", 4) == 0 &&
           CLOAK_FOUR(start[0], start[1], start[2], start[3]) == length;
}

/* The same for what a PNG has compressed: a name, a method, a stream. */
static bool is_png_profile(const cloak_part *part) {
    const uint8_t *end = memchr(part->data, 0, part->length < 80 ? part->length : 80);
    size_t head = end ? (size_t)(end - part->data) + 2 : 0;
    if (!head || head >= part->length)
        return false;
    uint8_t *profile = cloak_try_alloc(CLOAK_PROFILE_MOST);
    uLongf length = CLOAK_PROFILE_MOST;
    uLong taken = (uLong)(part->length - head);
    bool clean = profile && uncompress2(profile, &length, part->data + head, &taken) == Z_OK &&
                 taken == part->length - head && is_profile(profile, length, length);
    free(profile);
    return clean;
}

/* Whether the parts of a weeded file that may pass hold what they should and no more: a profile can be anything,
 * and a WebP could carry a second picture. */
static bool is_plain(cloak_format_id format, const uint8_t *file, size_t length) {
    enum { HEAD = 14 }; /* "ICC_PROFILE", a number and a count */
    cloak_parts parts = cloak_parts_of(format, file, length);
    cloak_part part, first = {0};
    size_t profile = 0, pictures = 0, profiles = 0;
    while (cloak_parts_next(&parts, &part)) {
        if (format == CLOAK_FORMAT_JPEG && part.kind == CLOAK_JPEG_APP0 + 2 && part.length > HEAD) {
            if (profile == 0)
                first = part;
            profile += part.length - HEAD;
        } else if (part.kind == CLOAK_FOUR('I', 'C', 'C', 'P')) {
            if (profiles++ || !is_profile(part.data, part.length, part.length))
                return false;
        } else if (part.kind == CLOAK_FOUR('i', 'C', 'C', 'P')) {
            if (profiles++ || !is_png_profile(&part))
                return false;
        } else if (part.kind == CLOAK_FOUR('V', 'P', '8', ' ') || part.kind == CLOAK_FOUR('V', 'P', '8', 'L')) {
            pictures++;
        }
    }
    return pictures <= 1 && (profile == 0 || is_profile(first.data + HEAD, first.length - HEAD, profile));
}

static bool is_heif(const cloak_photo *photo) {
    return photo->format == CLOAK_FORMAT_HEIC || photo->format == CLOAK_FORMAT_AVIF;
}

void *cloak_photo_core(const void *bytes, size_t length, const cloak_photo *photo, size_t *core_length) {
    *core_length = 0;
    if (photo->format == CLOAK_FORMAT_JPEG)
        return cloak_jpeg_upright(bytes, length, core_length);
    if (is_heif(photo))
        return cloak_bmff_rewrite(bytes, length, NULL, core_length);
    if ((photo->format == CLOAK_FORMAT_PNG || photo->format == CLOAK_FORMAT_WEBP) &&
        cloak_survey_read(photo->format, bytes, length).orientation == 1)
        return cloak_weed(photo->format, bytes, length, core_length);
    return NULL;
}

cloak_status cloak_photo_clean(const void *source, size_t source_length, const cloak_photo *photo,
    void **bytes, size_t *length, bool *encoded, cloak_error *error) {
    size_t cleaned_length = 0;
    if (is_heif(photo)) {
        *bytes = source ? cloak_bmff_rewrite(source, source_length, &photo->metadata, length) : NULL;
        *encoded = !*bytes;
        return *encoded ? cloak_photo_encode(photo, bytes, length, error) : CLOAK_OK;
    }
    uint8_t *cleaned = source ? cloak_photo_core(source, source_length, photo, &cleaned_length) : NULL;
    /* Without: what turns it goes away, so that the pixels themselves must turn; or it is no row of parts. */
    *encoded = !cleaned || !is_plain(photo->format, cleaned, cleaned_length);
    if (*encoded) {
        free(cleaned);
        return cloak_photo_encode(photo, bytes, length, error);
    }
    cleaned = cloak_metadata_embed(photo, cleaned, &cleaned_length);
    if (!cleaned)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "the photo needs more memory than is free");
    *bytes = cleaned;
    *length = cleaned_length;
    return CLOAK_OK;
}
