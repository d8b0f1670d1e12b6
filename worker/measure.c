/* Before and after in numbers; see the header. */
#include "worker/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/photo.h"

_Static_assert(sizeof(cloak_detection) == sizeof(cloak_box), "the two share one layout");

/* Adds up one side's histogram; returns how many reference faces it found at IoU 0.5. */
static int64_t histogram(
    const cloak_detections *found, const cloak_truth *truth, char **text) {
    cloak_ap ap;
    cloak_ap_init(&ap);
    cloak_ap_add(&ap, (const cloak_box *)found->items, found->count, truth);
    *text = cloak_ap_text(&ap);
    double recall = cloak_ap_recall(&ap, CLOAK_AP_IOU_50);
    int64_t faces = ap.faces ? llround(recall * (double)ap.faces) : 0;
    cloak_ap_free(&ap);
    return faces;
}

/* What each further target scored goes into a text field, which stays absent where there is none. */
static void set_scores(
    const cloak_target_set *targets, const cloak_findings *findings, char **field) {
    char *text = cloak_findings_text(targets, findings);
    cloak_record_set(field, *text ? text : NULL);
    free(text);
}

void cloak_measure_faces(const cloak_target_set *targets, const cloak_findings *seen_before,
    const cloak_findings *seen_after, const cloak_truth *truth, cloak_record *record) {
    const cloak_detections *before = &seen_before->own, *after = &seen_after->own;
    const size_t left = seen_after->all.count;
    cloak_box *sure = cloak_alloc(before->count * sizeof *sure);
    cloak_truth own = {0, sure, NULL};
    for (size_t i = 0; i < before->count; i++)
        if (before->items[i].score > CLOAK_REFERENCE_SCORE)
            memcpy(&sure[own.count++], &before->items[i], sizeof *sure);
    cloak_record_set(&record->ap_reference, truth ? "labels" : "clean");
    free(record->ap_before);
    free(record->ap_after);
    record->faces_before = histogram(before, truth ? truth : &own, &record->ap_before);
    record->faces_after = histogram(after, truth ? truth : &own, &record->ap_after);
    record->detections_before = (int64_t)before->count;
    record->detections_after = (int64_t)after->count;
    record->best_score_before = (double)cloak_findings_best(seen_before);
    record->residual_score = (double)cloak_findings_best(seen_after);
    record->model_before = (double)cloak_findings_best_own(seen_before);
    record->model_after = (double)cloak_findings_best_own(seen_after);
    record->success = left == 0;
    set_scores(targets, seen_before, &record->targets_before);
    set_scores(targets, seen_after, &record->targets_after);
    cloak_record_set(&record->outcome,
        cloak_outcome_word(left > 0                     ? CLOAK_OUTCOME_RESIDUAL
                           : seen_before->all.count > 0 ? CLOAK_OUTCOME_CLOAKED
                                                        : CLOAK_OUTCOME_NO_FACE));
    free(sure);
}

/* Adds NAME:VALUE to a list with commas, which is freed for the longer one. */
static char *with_entry(char *list, const char *name, const char *value) {
    char *longer = cloak_format("%s%s%s:%s", list, *list ? "," : "", name, value);
    free(list);
    return longer;
}

cloak_status cloak_measure_survival(const cloak_target_set *targets,
    const cloak_image *delivered, const char *survive, cloak_record *record, cloak_error *error) {
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    size_t count = 0;
    char *left = cloak_strdup(""), *finders = cloak_strdup("");
    bool survives = true;
    cloak_status status = cloak_transforms_parse(survive, transforms, &count, error);
    for (size_t i = 0; i < count && status == CLOAK_OK; i++) {
        cloak_findings found = {0};
        status = cloak_target_set_detect(targets, delivered, &transforms[i], &found, error);
        if (status != CLOAK_OK)
            break;
        char *best = cloak_format("%.4g", (double)cloak_findings_best(&found));
        char *names = cloak_findings_finders(targets, &found);
        left = with_entry(left, transforms[i].name, best);
        survives = survives && found.all.count == 0;
        if (*names)
            finders = with_entry(finders, transforms[i].name, names);
        free(best);
        free(names);
        cloak_findings_free(&found);
    }
    if (status == CLOAK_OK) {
        cloak_record_set(&record->survival, left);
        cloak_record_set(&record->survival_by, *finders ? finders : NULL);
        record->survives = survives;
    }
    free(left);
    free(finders);
    return status;
}

static int clamp(float value, int high) {
    return value < 0 ? 0 : value > (float)high ? high : (int)value;
}

void cloak_measure_pixels(const uint8_t *clean, const uint8_t *cloaked, const uint8_t *decoded,
    int width, int height, const cloak_detections *faces, cloak_record *record) {
    size_t pixels = (size_t)width * (size_t)height, changed = 0;
    for (size_t i = 0; i < pixels; i++)
        changed += memcmp(clean + 3 * i, cloaked + 3 * i, 3) != 0;
    record->changed_fraction = (double)changed / (double)pixels;
    record->psnr_db = cloak_photo_psnr(clean, decoded, pixels * 3);
    record->ssim = cloak_photo_ssim(clean, decoded, width, 0, 0, width, height);
    record->ssim_worst_face = 1;
    for (size_t i = 0; i < faces->count; i++) {
        const cloak_detection *f = &faces->items[i];
        if (!(f->score > CLOAK_REFERENCE_SCORE))
            continue;
        double ssim = cloak_photo_ssim(clean, decoded, width, clamp(f->x1, width),
            clamp(f->y1, height), clamp(f->x2, width), clamp(f->y2, height));
        record->ssim_worst_face = fmin(record->ssim_worst_face, ssim);
    }
}
