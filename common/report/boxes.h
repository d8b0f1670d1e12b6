/* Boxes of faces, as the detector gives them and as labels state them. */
#ifndef CLOAK_REPORT_BOXES_H
#define CLOAK_REPORT_BOXES_H

#include <stddef.h>
#include <stdint.h>

/* One box in pixels of the upright photo, torchvision's xyxy: x1, y1 is the upper left corner and
 * x2, y2 the edge just behind the lower right one, so width = x2 - x1. The score is a probability,
 * 0…1. The model's C interface declares a struct of the same five floats in the same order, so that
 * arrays pass from one to the other as they are: keep the layout. */
typedef struct {
    float x1, y1, x2, y2, score;
} cloak_box;

_Static_assert(sizeof(cloak_box) == 5 * sizeof(float), "five floats, no padding");

/* What a box of the ground truth counts as. */
typedef enum {
    CLOAK_TRUTH_FACE = 0,   /* a face that ought to be found */
    CLOAK_TRUTH_IGNORE = 1, /* one face that nobody has to find (WIDER FACE's "invalid") */
    CLOAK_TRUTH_CROWD = 2,  /* a region of unlabelled faces (COCO's "iscrowd") */
} cloak_truth_kind;

/* The ground truth of one photo; a count of 0 says that there is no face. Scores are not used.
 * `ignore` holds a cloak_truth_kind per box and may be NULL when all are faces. Who owns the arrays
 * is said by whoever fills the struct. */
typedef struct {
    size_t count;
    const cloak_box *boxes;
    const uint8_t *ignore;
} cloak_truth;

#endif
