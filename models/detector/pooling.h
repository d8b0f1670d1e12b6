/* RoIAlign on a detector's maps. */
#ifndef CLOAK_DETECTOR_POOLING_H
#define CLOAK_DETECTOR_POOLING_H

#include <torch/types.h>

namespace cloak {

/* The pyramid level a box (x1, y1, x2, y2 in input pixels) is pooled from (equation 1 of the FPN paper,
 * Lin et al. 2017): 0 for stride 4 to 3 for stride 32. */
int pooling_level(const float *box);

/* Pools `count` boxes (the host's), in input pixels, from a map (1 × channels × h × w, any type) of the given
 * stride into `pooled`, count × channels × bins × bins floats in a row, where the map is. No gradients. Any thread. */
void pool_boxes(const torch::Tensor &map, const float *boxes, int count, int stride, int bins,
    const torch::Tensor &pooled);

/* And back: from the gradient of what was pooled, like `pooled`, to that of the map (1 × channels × h × w, float). */
torch::Tensor pool_boxes_backward(const torch::Tensor &map, const float *boxes, int count, int stride,
    int bins, const torch::Tensor &grad_pooled);

} // namespace cloak
#endif
