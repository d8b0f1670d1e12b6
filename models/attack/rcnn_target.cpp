/* The vanishing loss on a Faster R-CNN.
 *
 * DESIGN. The loss is the sum, over all RoIs that the test-time rules propose, of the hinge on the
 * logit margin (face minus background) above the detection threshold less a safety margin, plus
 * 0.05 times the hinge on the objectness of every anchor that is, or could soon be, a proposal for a
 * face. No box terms: a box that is not reported need not be moved. Sums, not means, so that a photo
 * with one stubborn face is not slowed down by a thousand dead proposals.
 *
 * Only RoIs with an active hinge are differentiated: few dozen of a thousand. The second stage is
 * differentiated by hand down to the pyramid (our own RoIAlign), the dense part by autograd.
 */
#include "models/attack/rcnn_target.h"

#include <cmath>

#include <ATen/ATen.h>
#include <torch/autograd.h>

namespace cloak {

namespace {
/* Anchors below this logit are far from becoming anybody's proposal. */
constexpr float objectness_floor = -2.0f, objectness_weight = 0.05f;
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
    const float *m = verdict.margin.data_ptr<float>();
    for (int i = 0; i < proposals.count(); i++)
        if (m[i] > floor)
            rows.push_back(i);
    if (!rows.empty()) {
        torch::Tensor index = torch::tensor(std::vector<int64_t>(rows.begin(), rows.end()));
        torch::Tensor pooled = proposals.pooled.index_select(0, index).requires_grad_();
        torch::Tensor loss = detector_.margins(pooled).sum(); /* the hinge's slope is 1 here */
        torch::Tensor grad = torch::autograd::grad({loss}, {pooled})[0];
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
            grads.push_back(active.to(torch::kFloat32).mul_(objectness_weight));
        }
    }
    if (outputs.empty())
        return torch::Tensor();
    return torch::autograd::grad(outputs, {input}, grads)[0];
}

Look RcnnTarget::look(const torch::Tensor &input, const InputShape &shape, int photo_width,
    int photo_height, bool want_gradient, float margin) const {
    const InputSize size = {shape.width, shape.height, shape.padded_width, shape.padded_height};
    Look result;
    torch::AutoGradMode mode(want_gradient);
    torch::Tensor leaf = want_gradient ? input.detach().requires_grad_() : input;
    Dense dense = detector_.dense(leaf);
    Proposals proposals = detector_.propose(dense, size);
    Verdict verdict = detector_.judge(proposals, size);
    const float sx = float(photo_width) / float(size.width),
                sy = float(photo_height) / float(size.height);
    for (const Detection &d : verdict.detections)
        result.found.push_back({d.x1 * sx, d.y1 * sy, d.x2 * sx, d.y2 * sy, d.score});
    if (want_gradient && !result.found.empty())
        result.gradient = differentiate(leaf, dense, proposals, verdict, margin);
    return result;
}

} // namespace cloak
