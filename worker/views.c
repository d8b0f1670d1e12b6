/* See the header. */
#include "worker/views.h"

#include <stdlib.h>

#include "common/base/text.h"
#include "common/photo/srgb.h"

/* Keeps the surer look of each further target in `*found`. */
static void take_surer(const cloak_target_set *targets, const cloak_findings *other, cloak_findings *found) {
    for (size_t i = 0; i < targets->count; i++) {
        if (other->best[i] > found->best[i])
            found->best[i] = other->best[i];
        if (other->found[i] > found->found[i])
            found->found[i] = other->found[i];
    }
}

cloak_status cloak_views_detect(const cloak_target_set *targets, const cloak_photo *photo, const uint8_t *rgb,
    const char *name, cloak_findings *found, bool *plain, cloak_error *error) {
    uint8_t *room = NULL;
    cloak_image image = {cloak_srgb_see(photo, rgb, &room), photo->width, photo->height};
    cloak_findings numbers = {0};
    if (plain)
        *plain = false;
    if (!image.rgb) {
        char *shown = cloak_text_brief(name);
        cloak_fail(error, CLOAK_E_DEVICE, "%s: out of memory", shown);
        free(shown);
        return CLOAK_E_DEVICE;
    }
    cloak_status status = cloak_target_set_detect(targets, &image, NULL, found, error);
    free(room);
    if (status != CLOAK_OK || !photo->srgb)
        return status;
    image.rgb = rgb;
    status = cloak_target_set_detect(targets, &image, NULL, &numbers, error);
    if (status != CLOAK_OK) {
        cloak_findings_free(found);
        return status;
    }
    if (cloak_findings_best(&numbers) > cloak_findings_best(found)) {
        const cloak_findings seen = *found;
        *found = numbers;
        numbers = seen;
        if (plain)
            *plain = true;
    }
    take_surer(targets, &numbers, found);
    cloak_findings_free(&numbers);
    return CLOAK_OK;
}
