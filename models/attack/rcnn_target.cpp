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
 * dense part by autograd, its pyramid and what proposes by the few places that a gradient comes from
 * (detector/layers.cpp).
 */
#include "models/attack/rcnn_target.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <torch/autograd.h>

namespace cloak {

namespace {
/* Anchors below this logit are far from becoming anybody's proposal. */
constexpr float objectness_floor = -2.0f, objectness_weight = 0.05f;

/* Share of the gradient that passes through the box head's units that are off. What makes a sure
 * face unsure are units that are off now and could be switched on; the true gradient cannot see
 * them. Too much of it leads astray: 30 photos of the sample album at eps 5/255 took 8.2 steps with
 * 1/6, 6.9 with 1/12 (the model of 410f98e). In the backbone it does harm. */
constexpr float head_leak = 1.0f / 12;
} // namespace

InputShape RcnnTarget::input_shape(
    int photo_width, int photo_height, float scale, int) const {
    InputSize size = detector_.input_size(photo_width, photo_height, scale);
    return {size.width, size.height, size.padded_width, size.padded_height};
}

torch::Tensor RcnnTarget::differentiate(const torch::Tensor &input, const Dense &dense,
    const Proposals &proposals, const Verdict &verdict, const Ask &ask) const {
    const LossSettings &loss = *ask.loss;
    const float floor = ask.loss_floor(detector_.config().score_threshold);
    std::vector<torch::Tensor> outputs, grads;
    std::vector<int> rows;
    std::vector<float> slopes;
    const float *m = verdict.margin.data_ptr<float>();
    double sum = 0;
    for (int i = 0; i < proposals.count(); i++)
        if (m[i] > floor) {
            rows.push_back(i);
            slopes.push_back(loss.surest_most ? m[i] - floor : 1);
            sum += double(slopes.back());
        }
    if (!rows.empty()) {
        torch::Tensor weights = torch::tensor(slopes).mul_(float(double(rows.size()) / sum));
        torch::Tensor grad =
            detector_.margins_backward(verdict, rows, weights, loss.leak ? head_leak : 0);
        std::vector<torch::Tensor> maps = detector_.pool_backward(proposals, rows, grad, dense);
        for (size_t level = 0; level < maps.size(); level++)
            if (maps[level].defined()) {
                outputs.push_back(dense.features[level]);
                grads.push_back(maps[level]);
            }
    }
    for (const torch::Tensor &level : dense.objectness) {
        if (!loss.objectness)
            break;
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
    int photo_height, const Ask &ask) const {
    const InputSize size = {shape.width, shape.height, shape.padded_width, shape.padded_height};
    Look result;
    torch::AutoGradMode mode(ask.loss != nullptr);
    torch::Tensor leaf = ask.loss ? input.detach().requires_grad_() : input;
    Dense dense = detector_.dense(leaf, ask.precision);
    Proposals proposals = detector_.propose(dense, size);
    Verdict verdict = detector_.judge(dense, proposals, size, ask.precision, ask.caution);
    const float sx = float(photo_width) / float(size.width),
                sy = float(photo_height) / float(size.height);
    for (const Detection &d : verdict.detections)
        result.found.push_back({d.x1 * sx, d.y1 * sy, std::min(d.x2 * sx, float(photo_width)),
            std::min(d.y2 * sy, float(photo_height)), d.score}); /* what was clipped, and rounded */
    if (ask.loss && !result.found.empty())
        result.gradient = differentiate(leaf, dense, proposals, verdict, ask);
    return result;
}

} // namespace cloak
