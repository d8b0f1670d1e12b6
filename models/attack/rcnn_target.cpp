/* The vanishing loss on a Faster R-CNN.
 *
 * DESIGN. The loss is the sum, over all RoIs that the test-time rules propose, of the squared hinge
 * on the logit margin (face minus background) above the detection threshold less a safety margin,
 * scaled to a mean slope of 1 so that the surest RoIs count most, plus 0.05 times the hinge on the
 * objectness of every anchor that is, or could soon be, a proposal for a
 * face. No box terms: a box that is not reported need not be moved. Sums, not means, so that a photo
 * with one stubborn face is not slowed down by a thousand dead proposals.
 *
 * Only RoIs with an active hinge are differentiated: few dozen of a thousand. The second stage is
 * differentiated by hand down to the pyramid (box head with leaking units, our own RoIAlign), the
 * dense part by autograd.
 */
#include "models/attack/rcnn_target.h"

#include <cmath>

#include <ATen/ATen.h>
#include <torch/autograd.h>

namespace cloak {

namespace {
/* Anchors below this logit are far from becoming anybody's proposal. */
constexpr float objectness_floor = -2.0f, objectness_weight = 0.05f;

/* Share of the gradient that passes through the box head's units that are off. What makes a sure
 * face unsure are units that are off now and could be switched on; the true gradient cannot see
 * them. Same pixels, better direction: with the squared hinge, recall after 10 steps at eps 0.01 on
 * 12 photos (41 faces) .12 instead of .27. In the backbone the same thing does harm. */
constexpr float head_leak = 1.0f / 6;
} // namespace

InputShape RcnnTarget::input_shape(int photo_width, int photo_height) const {
    InputSize size = detector_.input_size(photo_width, photo_height);
    return {size.width, size.height, size.padded_width, size.padded_height};
}

torch::Tensor RcnnTarget::differentiate(const torch::Tensor &input, const Dense &dense,
    const Proposals &proposals, const Verdict &verdict, float margin) const {
    const float threshold = detector_.config().score_threshold;
    const float floor = std::log(threshold / (1 - threshold)) - margin;
    std::vector<torch::Tensor> outputs, grads;
    std::vector<int> rows;
    std::vector<float> slopes;
    const float *m = verdict.margin.data_ptr<float>();
    double sum = 0;
    for (int i = 0; i < proposals.count(); i++)
        if (m[i] > floor) {
            rows.push_back(i);
            slopes.push_back(m[i] - floor);
            sum += double(m[i] - floor);
        }
    if (!rows.empty()) {
        torch::Tensor index = torch::tensor(std::vector<int64_t>(rows.begin(), rows.end()));
        torch::Tensor weights = torch::tensor(slopes).mul_(float(double(rows.size()) / sum));
        torch::Tensor grad = detector_.margins_backward(
            proposals.pooled.index_select(0, index), weights, head_leak);
        std::vector<torch::Tensor> maps = detector_.pool_backward(proposals, rows, grad, dense);
        for (size_t level = 0; level < maps.size(); level++)
            if (maps[level].defined()) {
                outputs.push_back(dense.features[level]);
                grads.push_back(maps[level]);
            }
    }
    for (const torch::Tensor &level : dense.objectness) {
        torch::Tensor active = level.detach().gt(objectness_floor);
        if (active.any().item<bool>()) {
            outputs.push_back(level);
            grads.push_back(active.to(level.scalar_type()).mul_(objectness_weight));
        }
    }
    if (outputs.empty())
        return torch::Tensor();
    return torch::autograd::grad(outputs, {input}, grads)[0];
}

Look RcnnTarget::look(const torch::Tensor &input, const InputShape &shape, int photo_width,
    int photo_height, Precision precision, bool want_gradient, float margin) const {
    const InputSize size = {shape.width, shape.height, shape.padded_width, shape.padded_height};
    Look result;
    torch::AutoGradMode mode(want_gradient);
    torch::Tensor leaf = want_gradient ? input.detach().requires_grad_() : input;
    Dense dense = detector_.dense(leaf, precision);
    Proposals proposals = detector_.propose(dense, size);
    Verdict verdict = detector_.judge(proposals, size, precision);
    const float sx = float(photo_width) / float(size.width),
                sy = float(photo_height) / float(size.height);
    for (const Detection &d : verdict.detections)
        result.found.push_back({d.x1 * sx, d.y1 * sy, d.x2 * sx, d.y2 * sy, d.score});
    if (want_gradient && !result.found.empty())
        result.gradient = differentiate(leaf, dense, proposals, verdict, margin);
    return result;
}

} // namespace cloak
