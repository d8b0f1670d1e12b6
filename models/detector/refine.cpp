/* Box refinement; see the header. */
#include "models/detector/refine.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "models/detector/boxes.h"
#include "models/detector/device.h"
#include "models/detector/pooling.h"

namespace cloak {

namespace {
constexpr int bins = 7, early_bins = 14;
constexpr float wider = 1.4f; /* what is pooled, by the box's size: its edges are seen from both sides */
constexpr float least_side = 1e-2f;
const float delta_weights[4] = {10, 10, 5, 5};

Linear load_float(
    const Weights &weights, const std::string &name, int64_t inputs, int64_t outputs) {
    Linear linear = load_linear(weights, "refinement." + name, inputs, outputs, Passes::forward);
    linear.weight.brief = linear.bias.brief = torch::Tensor(); /* it computes in float */
    return linear;
}
} // namespace

Refinement::Refinement(
    const Weights &weights, int64_t channels, int64_t early_channels, float share)
    : share_(share) {
    const int64_t inputs = channels * bins * bins + early_channels * early_bins * early_bins;
    fc6_ = load_float(weights, "fc6", inputs, any_size);
    fc7_ = load_float(weights, "fc7", fc6_.outputs(), any_size);
    deltas_ = load_float(weights, "bbox_pred", fc7_.outputs(), 4);
}

/* The boxes, wider. */
static std::vector<float> widened(const std::vector<float> &boxes) {
    std::vector<float> wide;
    for (size_t i = 0; i < boxes.size(); i += 4)
        for (size_t edge = 0; edge < 4; edge++) {
            const size_t low = i + edge % 2, high = low + 2;
            const float centre = (boxes[low] + boxes[high]) / 2;
            const float half = (boxes[high] - boxes[low]) / 2 * wider;
            wide.push_back(edge < 2 ? centre - half : centre + half);
        }
    return wide;
}

void Refinement::operator()(const std::vector<torch::Tensor> &pyramid, const torch::Tensor &early,
    float width, float height, std::vector<float> &boxes) const {
    const int count = int(boxes.size() / 4);
    if (count == 0)
        return;
    torch::NoGradGuard no_grad;
    const std::vector<float> wide = widened(boxes);
    const torch::TensorOptions there = early.options().dtype(torch::kFloat32);
    torch::Tensor pooled = at::empty({count, pyramid[0].size(1) * bins * bins}, there);
    for (int level = 0; level < int(pyramid.size()); level++) {
        std::vector<int64_t> rows;
        std::vector<float> here;
        for (int64_t i = 0; i < count; i++)
            if (pooling_level(&boxes[size_t(i) * 4]) == level) {
                rows.push_back(i);
                here.insert(here.end(), &wide[size_t(i) * 4], &wide[size_t(i) * 4] + 4);
            }
        if (rows.empty())
            continue;
        torch::Tensor part = at::empty({int64_t(rows.size()), pooled.size(1)}, there);
        pool_boxes(pyramid[size_t(level)], here.data(), int(rows.size()), 4 << level, bins,
            part);
        pooled.index_copy_(0, torch::tensor(rows).to(early.device()), part);
    }
    torch::Tensor edges = at::empty({count, early.size(1) * early_bins * early_bins}, there);
    pool_boxes(early, wide.data(), count, 2, early_bins, edges);
    torch::Tensor hidden = at::relu(fc6_(at::cat({pooled, edges}, 1)));
    const torch::Tensor deltas = on_host(deltas_(at::relu(fc7_(hidden))));
    for (int i = 0; i < count; i++) {
        float *box = &boxes[size_t(i) * 4], moved[4];
        decode_box(box, deltas.data_ptr<float>() + i * 4, delta_weights, moved);
        for (int edge = 0; edge < 4; edge++)
            moved[edge] = box[edge] + share_ * (moved[edge] - box[edge]);
        clip_box(moved, width, height);
        if (moved[2] - moved[0] >= least_side && moved[3] - moved[1] >= least_side)
            std::copy(moved, moved + 4, box);
    }
}

} // namespace cloak
