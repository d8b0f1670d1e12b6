/* What targets find on a photo however it is looked at. */
#ifndef CLOAK_VIEWS_H
#define CLOAK_VIEWS_H

#include "common/photo/photo.h"
#include "models/target_set.h"

/* Looks at a photo's pixels in sRGB (`seen`, by cloak_srgb_see), and where that is something else also at its own
 * numbers as they are (`rgb`), which is what programs see that know nothing of profiles. Both of the photo's size.
 * `*found` is the look with the surer face, and of each further target its surer look; `*plain` (may be NULL) tells
 * whether that was the numbers. Free with cloak_findings_free. */
CLOAK_MUST_CHECK cloak_status cloak_views_detect(const cloak_target_set *targets, const cloak_photo *photo,
    const uint8_t *seen, const uint8_t *rgb, cloak_findings *found, bool *plain, cloak_error *error);

#endif
