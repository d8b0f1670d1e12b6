/* Greedy non-maximum suppression within groups. */
#ifndef CLOAK_KERNELS_NMS_H
#define CLOAK_KERNELS_NMS_H

#include <cstdint>

extern "C" {

/* `boxes`: count × (x1, y1, x2, y2); a box is dropped when a kept box of the same group and a higher
 * score overlaps it with IoU above `threshold`. `groups` may be NULL: all are one. Writes the
 * indices of at most `limit` kept boxes by falling score (ties: lower index first) into `kept` and
 * returns their number. */
int cloak_nms(const float *boxes, const float *scores, const int32_t *groups, int count,
    float threshold, int limit, int32_t *kept);
}
#endif
