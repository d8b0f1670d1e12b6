/* RoIAlign on maps; see the header. */
#include "models/detector/pooling.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "models/kernels/roi_align.h"

namespace cloak {

namespace {
constexpr int samples = 2; /* per bin, in each direction */
} // namespace

int pooling_level(const float *box) {
    float side = std::sqrt((box[2] - box[0]) * (box[3] - box[1]));
    int level = int(std::floor(4.0f + std::log2(side / 224.0f) + 1e-6f));
    return std::min(std::max(level, 2), 5) - 2;
}

void pool_boxes(const torch::Tensor &map, const float *boxes, int count, int stride, int bins,
    float *pooled) {
    torch::Tensor plain = map.detach().to(torch::kFloat32).permute({0, 2, 3, 1}).contiguous();
    cloak_roi_align_forward(plain.data_ptr<float>(), int(plain.size(3)), int(plain.size(1)),
        int(plain.size(2)), boxes, count, 1.0f / float(stride), bins, samples, pooled);
}

torch::Tensor pool_boxes_backward(const torch::Tensor &map, const float *boxes, int count, int stride,
    int bins, const float *grad_pooled) {
    torch::Tensor to = torch::zeros({1, map.size(2), map.size(3), map.size(1)});
    cloak_roi_align_backward(grad_pooled, int(map.size(1)), int(map.size(2)), int(map.size(3)), boxes,
        count, 1.0f / float(stride), bins, samples, to.data_ptr<float>());
    return to.permute({0, 3, 1, 2});
}

} // namespace cloak
