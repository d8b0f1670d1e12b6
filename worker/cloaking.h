/* One photo from pixels to verified bytes: attack, apply, encode, decode, look again. */
#ifndef CLOAK_WORKER_CLOAKING_H
#define CLOAK_WORKER_CLOAKING_H

#include "common/photo/photo.h"
#include "common/report/record.h"
#include "common/report/settings.h"
#include "intake/intake.h"
#include "models/target_set.h"
#include "worker/stages.h"

/* What was made of a photo. Free with cloak_cloaking_free. */
typedef struct {
    void *bytes; /* the encoded file */
    size_t length;
    uint8_t *rgb;     /* perturbed pixels before encoding, as a photo's `rgb` */
    uint8_t *decoded; /* pixels of the decoded file, likewise */
    cloak_findings found; /* on the decoded file, in sRGB or its own numbers, whichever shows more */
    bool fine; /* the whole photo was coded anew, and not only the blocks that have changed */
} cloak_cloaking;

/* A photo, the file it comes from, its key, and who reads what becomes of it where that has a profile. All borrowed. */
typedef struct {
    const cloak_photo *photo;
    const uint8_t *seen; /* its pixels in sRGB (common/photo/srgb.h): what is attacked */
    const void *bytes; /* that it was decoded from, or their core (photo.h); NULL where there is none */
    size_t length;
    const char *name;
    cloak_intake *intake;
    const char *owner; /* as cloak_intake_photo takes it */
} cloak_source;

/* Attacks the photo until none of the targets finds anything on its decoded encoding, or the settings' rounds are used
 * up, in sRGB as in the photo's own numbers; then the best attempt (fewest found, then lowest score) is the result.
 * Sets the record's steps, restarts, rounds, grid and what looking took. `before` is what is found on the photo; `stop`
 * is asked between steps. */
CLOAK_MUST_CHECK cloak_status cloak_cloaking_run(const cloak_target_set *targets,
    const cloak_source *source, const cloak_settings *settings, const cloak_findings *before,
    cloak_stop stop, void *stop_context, cloak_stages *stages, cloak_cloaking *cloaking,
    cloak_error *error);

/* Frees the blocks and zeroes the struct. */
void cloak_cloaking_free(cloak_cloaking *cloaking);

#endif
