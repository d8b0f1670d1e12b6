/* A photo that keeps its coded pixels and loses its metadata, or some of them. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
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

cloak_status cloak_photo_clean(const void *source, size_t source_length, const cloak_photo *photo,
    void **bytes, size_t *length, cloak_error *error) {
    cloak_survey survey = cloak_survey_read(photo->format, source, source_length);
    const bool is_row = photo->format == CLOAK_FORMAT_PNG || photo->format == CLOAK_FORMAT_WEBP;
    size_t cleaned_length = 0;
    uint8_t *cleaned = photo->format == CLOAK_FORMAT_JPEG
                           ? cloak_jpeg_upright(source, source_length, &cleaned_length)
                       : survey.orientation == 1 && is_row
                           ? cloak_weed(photo->format, source, source_length, &cleaned_length)
                           : NULL;
    /* what turns it goes away: the pixels themselves must turn; HEIC, AVIF and TIFF are no rows of parts to weed */
    if (!cleaned && (survey.orientation != 1 || (photo->format != CLOAK_FORMAT_JPEG && !is_row)))
        return cloak_photo_encode(photo, bytes, length, error);
    if (cleaned)
        cleaned = cloak_metadata_embed(photo, cleaned, &cleaned_length);
    if (!cleaned)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "the photo needs more memory than is free");
    *bytes = cleaned;
    *length = cleaned_length;
    return CLOAK_OK;
}
