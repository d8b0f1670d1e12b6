/* Blocks and the choice among bodies; see the header. */
#include "models/detector/body.h"

#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

/* The sum and its rectifier work in place: on the output of a linear convolution, which no gradient
 * reads, and on the sum, of which the rectifier's gradient reads only its result. */
torch::Tensor Block::operator()(const torch::Tensor &x) const {
    torch::Tensor y = x;
    for (const Conv &conv : convs)
        y = conv(y);
    if (residual)
        y.add_(shortcut ? (*shortcut)(x) : x);
    if (relu)
        at::relu_(y);
    return max_pool ? at::max_pool2d(y, {3, 3}, {2, 2}, {1, 1}) : y;
}

Body load_body(const Weights &weights, const std::string &name) {
    if (name == "mobilenet_v2")
        return load_mobilenet_v2(weights);
    if (name == "resnet18" || name == "resnet34" || name == "resnet50")
        return load_resnet(weights, name);
    throw std::runtime_error("the model file wants the backbone \"" + name +
                             "\"; this build knows mobilenet_v2, resnet18, resnet34 and resnet50");
}

} // namespace cloak
