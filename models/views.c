/* See the header. */
#include "models/views.h"

/* Keeps the surer look of each further target in `*found`. */
static void take_surer(const cloak_target_set *targets, const cloak_findings *other, cloak_findings *found) {
    for (size_t i = 0; i < targets->count; i++) {
        if (other->best[i] > found->best[i])
            found->best[i] = other->best[i];
        if (other->found[i] > found->found[i])
            found->found[i] = other->found[i];
    }
}

cloak_status cloak_views_detect(const cloak_target_set *targets, const cloak_photo *photo,
    const uint8_t *seen, const uint8_t *rgb, cloak_findings *found, bool *plain, cloak_error *error) {
    cloak_image image = {seen, photo->width, photo->height};
    cloak_findings numbers = {0};
    if (plain)
        *plain = false;
    cloak_status status = cloak_target_set_detect(targets, &image, NULL, found, error);
    if (status != CLOAK_OK || !photo->srgb)
        return status;
    image.rgb = rgb;
    status = cloak_target_set_detect(targets, &image, NULL, &numbers, error);
    if (status != CLOAK_OK) {
        cloak_findings_free(found);
        return status;
    }
    if (cloak_findings_best(&numbers) > cloak_findings_best(found)) {
        const cloak_findings in_srgb = *found;
        *found = numbers;
        numbers = in_srgb;
        if (plain)
            *plain = true;
    }
    take_surer(targets, &numbers, found);
    cloak_findings_free(&numbers);
    return CLOAK_OK;
}
