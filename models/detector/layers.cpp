/* Layers; see the header. Parameter names are torchvision's. */
#include "models/detector/layers.h"

#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

namespace {

/* The convolution of this shape with `prefix`.weight, its bias still undefined. */
Conv load_weight(const Weights &weights, const std::string &prefix, const ConvShape &shape) {
    Conv conv;
    conv.weight = weights.at(prefix + ".weight",
        {shape.outputs, shape.depthwise ? 1 : shape.inputs, shape.kernel, shape.kernel});
    conv.stride = shape.stride;
    conv.padding = shape.kernel / 2;
    conv.groups = shape.depthwise ? shape.inputs : 1;
    conv.activation = shape.activation;
    return conv;
}

} // namespace

torch::Tensor Conv::operator()(const torch::Tensor &x) const {
    torch::Tensor y = at::conv2d(x, weight, bias, stride, padding, 1, groups);
    if (activation == relu6)
        return at::hardtanh_(y, 0, 6);
    if (activation == relu)
        return at::relu_(y);
    return y;
}

void Conv::to(torch::Device device) {
    weight = weight.to(device);
    bias = bias.to(device);
}

Conv load_conv(const Weights &weights, const std::string &prefix, const ConvShape &shape) {
    Conv conv = load_weight(weights, prefix, shape);
    conv.bias = weights.at(prefix + ".bias", {conv.outputs()});
    return conv;
}

/* One layer for two: y = (conv(x) - m)·g/√(v+ε) + b. */
Conv load_folded(const Weights &weights, const std::string &conv, const std::string &norm,
    const ConvShape &shape) {
    Conv folded = load_weight(weights, conv, shape);
    auto of_norm = [&](const char *name) { return weights.at(norm + name, {folded.outputs()}); };
    const torch::Tensor variance = of_norm(".running_var");
    if (variance.lt(0).any().item<bool>())
        throw std::runtime_error("the model file's tensor " + norm + ".running_var is negative");
    const torch::Tensor scale = of_norm(".weight") * torch::rsqrt(variance + 1e-5);
    folded.bias = of_norm(".bias") - of_norm(".running_mean") * scale;
    folded.weight = folded.weight * scale.view({-1, 1, 1, 1});
    return folded;
}

torch::Tensor Linear::operator()(const torch::Tensor &x) const {
    return at::linear(x, weight, bias);
}

void Linear::to(torch::Device device) {
    weight = weight.to(device);
    bias = bias.to(device);
}

Linear load_linear(
    const Weights &weights, const std::string &prefix, int64_t inputs, int64_t outputs) {
    Linear linear;
    linear.weight = weights.at(prefix + ".weight", {outputs, inputs});
    linear.bias = weights.at(prefix + ".bias", {linear.outputs()});
    return linear;
}

} // namespace cloak
