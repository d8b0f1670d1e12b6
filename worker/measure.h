/* What the receipt says about a photo's before and after. */
#ifndef CLOAK_WORKER_MEASURE_H
#define CLOAK_WORKER_MEASURE_H

#include "common/report/labels.h"
#include "common/report/record.h"
#include "models/target_set.h"

/* A clean photo's detection above this score is a reference face where there are no labels. */
#define CLOAK_REFERENCE_SCORE 0.5f

/* Fills detections, faces and the AP histograms, which are the own model's, and scores, success and
 * outcome, which are everybody's. `truth` is the photo's ground truth, or NULL: then the clean photo's
 * own sure detections are. */
void cloak_measure_faces(const cloak_target_set *targets, const cloak_findings *before,
    const cloak_findings *after, const cloak_truth *truth, cloak_record *record);

/* Fills PSNR, SSIM, the worst face's SSIM (over `faces` that are reference faces) and the share of
 * changed pixels. All images are width × height; `cloaked` is before encoding, `decoded` after. */
void cloak_measure_pixels(const uint8_t *clean, const uint8_t *cloaked, const uint8_t *decoded,
    int width, int height, const cloak_detections *faces, cloak_record *record);

/* Looks at the delivered pixels after each change of `survive` and fills survival and survives. */
CLOAK_MUST_CHECK cloak_status cloak_measure_survival(const cloak_target_set *targets,
    const cloak_image *delivered, const char *survive, cloak_record *record, cloak_error *error);

#endif
