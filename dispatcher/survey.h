/* Lists an album into its manifest. */
#ifndef CLOAK_DISPATCHER_SURVEY_H
#define CLOAK_DISPATCHER_SURVEY_H

#include "dispatcher/manifest.h"
#include "dispatcher/place.h"

/* Adds every photo of the source that the manifest does not hold yet, or that has changed (size or
 * time), and notes the files that are skipped, with reasons. The manifest is synced. */
CLOAK_MUST_CHECK cloak_status cloak_survey_album(const cloak_place *place, cloak_manifest *manifest, cloak_error *error);

/* Why a file of this key is not submitted, or NULL. Static storage. */
const char *cloak_survey_reason(const cloak_place *place, const char *key);

/* Whether the key lies in a folder that is not looked into: an output inside the album. */
bool cloak_survey_leaves_out(const cloak_place *place, const char *key);

#endif
