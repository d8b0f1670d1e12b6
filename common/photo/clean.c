/* A photo that keeps its coded pixels and loses its metadata, or some of them. */
#include <stdlib.h>

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
    if (photo->format == CLOAK_FORMAT_JPEG) {
        const cloak_status status = cloak_photo_patch(source, source_length, photo, NULL, bytes, length, NULL);
        *encoded = status == CLOAK_E_USAGE;
        if (status == CLOAK_E_TRANSIENT)
            return cloak_fail(error, status, "the photo needs more memory than is free");
        return *encoded ? cloak_photo_encode(photo, bytes, length, error) : status;
    }
    uint8_t *cleaned = source ? cloak_photo_core(source, source_length, photo, &cleaned_length) : NULL;
    /* Without: what turns it goes away, so that the pixels themselves must turn; or it is no row of parts. */
    *encoded = !cleaned || !cloak_is_plain(photo->format, cleaned, cleaned_length, photo->icc);
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
