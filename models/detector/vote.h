/* Box voting (Gidaris and Komodakis 2015): detections are placed by all candidates that agree. */
#ifndef CLOAK_DETECTOR_VOTE_H
#define CLOAK_DETECTOR_VOTE_H

#include <cstdint>
#include <vector>

namespace cloak {

/* `boxes` (x1, y1, x2, y2) and `scores` are the candidates before non-maximum suppression, `kept`
 * the indices of the `count` that survived it. Returns the box of each survivor: the mean of all
 * candidates that overlap it with IoU of at least `least`, itself included, weighted by
 * score × IoU². Scores do not change, so neither does what is found; only where. */
std::vector<float> vote_boxes(const std::vector<float> &boxes, const std::vector<float> &scores,
    const int32_t *kept, int count, float least);

} // namespace cloak
#endif
