/* From a store's listing to the manifest; see the header. */
#include "dispatcher/survey.h"

#include <string.h>

#include "common/base/file.h"
#include "common/photo/photo.h"

/* A file name has 255 bytes on most file systems, and the receipt adds its ending. */
enum { MAX_KEY = 4000, MAX_NAME = 255 - (sizeof ".cloak.json" - 1) };

typedef struct {
    cloak_manifest *manifest;
    char *const *leave_out;
    size_t leave_out_count;
    cloak_error *error;
} Survey;

const char *cloak_survey_reason(const char *key) {
    const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
    const char *reason = cloak_photo_skip_reason(key);
    if (!reason && (strlen(key) > MAX_KEY || strlen(name) > MAX_NAME))
        reason = "its name is too long: its receipt's would not fit";
    return reason;
}

bool cloak_survey_leaves_out(char *const *leave_out, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++)
        if (cloak_path_inside(key, leave_out[i]))
            return true;
    return false;
}

static cloak_status visit(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    Survey *survey = context;
    if (cloak_survey_leaves_out(survey->leave_out, survey->leave_out_count, key))
        return CLOAK_OK;
    const char *reason = problem ? problem : cloak_survey_reason(key);
    if (reason)
        return cloak_manifest_skip(survey->manifest, key, reason, survey->error);
    const cloak_manifest_photo *known = cloak_manifest_find(survey->manifest, key);
    if (known && known->size == info->size && known->modified_ns == info->modified_ns)
        return CLOAK_OK;
    return cloak_manifest_add(
        survey->manifest, key, info->size, info->modified_ns, survey->error);
}

cloak_status cloak_survey_album(cloak_store *source, cloak_manifest *manifest,
    char *const *leave_out, size_t count, cloak_error *error) {
    Survey survey = {manifest, leave_out, count, error};
    for (size_t i = 0; i < count; i++) {
        cloak_status status = cloak_manifest_skip(
            manifest, leave_out[i], "output folder inside the album, left out", error);
        if (status != CLOAK_OK)
            return status;
    }
    cloak_status status = cloak_store_list(source, visit, &survey, error);
    return status == CLOAK_OK ? cloak_manifest_sync(manifest, error) : status;
}
