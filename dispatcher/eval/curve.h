/* Precision-recall curves as a picture. */
#ifndef CLOAK_EVAL_CURVE_H
#define CLOAK_EVAL_CURVE_H

#include <stdio.h>

#include "common/report/ap.h"

/* Writes an SVG that needs nothing beside it: precision over recall at IoU 0.3 … 0.9, each curve up
 * to the end of the detections, with AP and recall in a legend. `photos` is for the caption.
 * Whether the stream took it is for the caller to ask (ferror, fclose). */
void cloak_eval_draw(FILE *to, const cloak_ap *ap, size_t photos);

#endif
