/* A photo that keeps its coded pixels and loses its metadata, or some of them. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/metadata.h"
#include "common/photo/parts.h"

cloak_status cloak_photo_clean(const void *source, size_t source_length, const cloak_photo *photo,
    void **bytes, size_t *length, cloak_error *error) {
    cloak_survey survey = cloak_survey_read(photo->format, source, source_length);
    if (survey.orientation != 1) /* what says so goes away: the pixels themselves must turn */
        return cloak_photo_encode(photo, bytes, length, error);
    size_t cleaned_length = 0;
    uint8_t *cleaned = cloak_weed(photo->format, source, source_length, &cleaned_length);
    if (cleaned)
        cleaned = cloak_metadata_embed(photo, cleaned, &cleaned_length);
    if (!cleaned)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "the photo needs more memory than is free");
    *bytes = cleaned;
    *length = cleaned_length;
    return CLOAK_OK;
}
