/* From a store's listing to the manifest; see the header. */
#include "dispatcher/survey.h"

#include <string.h>

#include "common/base/file.h"
#include "common/photo/photo.h"
#include "common/report/record.h"

/* A file name has 255 bytes on most file systems, and the receipt adds its ending. */
enum { MAX_KEY = 4000, ENDING = sizeof CLOAK_RECEIPT_ENDING - 1, MAX_NAME = 255 - ENDING };

typedef struct {
    const cloak_place *place;
    cloak_manifest *manifest;
    cloak_error *error;
} Survey;

const char *cloak_survey_reason(const cloak_place *place, const char *key) {
    const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
    const char *reason = cloak_photo_skip_reason(key);
    const size_t length = strlen(key);
    if (!reason && (length > MAX_KEY || strlen(name) > MAX_NAME ||
                       length + ENDING > cloak_store_longest_key(place->destination)))
        reason = "its name is too long: its receipt's would not fit";
    return reason;
}

bool cloak_survey_leaves_out(const cloak_place *place, const char *key) {
    for (size_t i = 0; i < place->leave_out_count; i++)
        if (cloak_path_inside(key, place->leave_out[i]))
            return true;
    return false;
}

static cloak_status visit(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    Survey *survey = context;
    if (cloak_survey_leaves_out(survey->place, key))
        return CLOAK_OK;
    const char *reason = problem ? problem : cloak_survey_reason(survey->place, key);
    if (reason)
        return cloak_manifest_skip(survey->manifest, key, reason, survey->error);
    const cloak_manifest_photo *known = cloak_manifest_find(survey->manifest, key);
    if (known && known->size == info->size && known->modified_ns == info->modified_ns)
        return CLOAK_OK;
    return cloak_manifest_add(
        survey->manifest, key, info->size, info->modified_ns, survey->error);
}

cloak_status cloak_survey_album(const cloak_place *place, cloak_manifest *manifest, cloak_error *error) {
    Survey survey = {place, manifest, error};
    for (size_t i = 0; i < place->leave_out_count; i++) {
        cloak_status status = cloak_manifest_skip(
            manifest, place->leave_out[i], "output folder inside the album, left out", error);
        if (status != CLOAK_OK)
            return status;
    }
    cloak_status status = cloak_store_list(place->source, visit, &survey, error);
    return status == CLOAK_OK ? cloak_manifest_sync(manifest, error) : status;
}
