/* Lists an album into its manifest. */
#ifndef CLOAK_DISPATCHER_SURVEY_H
#define CLOAK_DISPATCHER_SURVEY_H

#include "common/store/store.h"
#include "dispatcher/manifest.h"

/* Adds every photo of the store that the manifest does not hold yet, or that has changed (size or
 * time), and notes the files that are skipped, with reasons. `leave_out` is an array of `count`
 * keys of folders that are not looked into (an output inside the album). The manifest is synced. */
CLOAK_MUST_CHECK cloak_status cloak_survey_album(cloak_store *source, cloak_manifest *manifest,
    char *const *leave_out, size_t count, cloak_error *error);

/* Why a file of this key is not submitted, or NULL. Static storage. */
const char *cloak_survey_reason(const char *key);

/* Whether the key lies in one of these folders. */
bool cloak_survey_leaves_out(char *const *leave_out, size_t count, const char *key);

#endif
