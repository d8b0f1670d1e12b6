/* All detectors that a cloak must defeat, side by side: the fleet's own model, which says where the
 * faces are and what AP and recall mean, and the further targets that an album names. */
#ifndef CLOAK_TARGET_SET_H
#define CLOAK_TARGET_SET_H

#include "common/report/targets.h"
#include "models/cloak_model.h"

typedef struct {
    cloak_model *own; /* borrowed */
    cloak_model *others[CLOAK_TARGETS_MAX];
    size_t count; /* of the others */
} cloak_target_set;

/* What a set finds on one picture. Free with cloak_findings_free. */
typedef struct {
    cloak_detections own; /* by the own model */
    cloak_detections all; /* by everybody, the own model's first */
    float best[CLOAK_TARGETS_MAX];    /* highest score of each other; 0: nothing */
    size_t found[CLOAK_TARGETS_MAX];  /* how many each other found */
} cloak_findings;

/* Loads the targets of a list beside `own`, each with `params`. A target that is missing or not the one
 * that the list means is CLOAK_E_TRANSIENT, one that cannot be read CLOAK_E_USAGE. Free with
 * cloak_target_set_free. */
CLOAK_MUST_CHECK cloak_status cloak_target_set_load(const cloak_target_list *list,
    cloak_model *own, const cloak_model_params *params, cloak_target_set *set, cloak_error *error);

/* What everybody finds on a picture, after a transform where one is given (or NULL). */
CLOAK_MUST_CHECK cloak_status cloak_target_set_detect(const cloak_target_set *set,
    const cloak_image *image, const cloak_transform *transform, cloak_findings *findings,
    cloak_error *error);

/* Says in `text` (a new string) what each other target scored: "yunet:0.93,centerface:0"; empty where
 * there is none. */
char *cloak_findings_text(const cloak_target_set *set, const cloak_findings *findings);

/* What each member took, our own first, in a new string: "face:1.93,yunet:0.12". `seconds` has 1 + count of them. */
char *cloak_target_set_seconds_text(const cloak_target_set *set, const double *seconds);

/* Who found anything, our own first, joined by `+`, in a new string: "face+yunet"; empty where nobody did. */
char *cloak_findings_finders(const cloak_target_set *set, const cloak_findings *findings);

/* The highest score of all, and of our own model alone. */
float cloak_findings_best(const cloak_findings *findings);
float cloak_findings_best_own(const cloak_findings *findings);

void cloak_findings_free(cloak_findings *findings);

/* Frees the others. */
void cloak_target_set_free(cloak_target_set *set);

#endif
