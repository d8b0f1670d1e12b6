/* Layers; see the header. Parameter names are torchvision's. */
#include "models/detector/layers.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "models/detector/device.h"
#include "models/kernels/gate.h"
#include "models/kernels/places.h"

namespace cloak {

Parameter &Parameter::operator=(torch::Tensor value) {
    exact = value.dim() == 4 ? value.contiguous(at::MemoryFormat::ChannelsLast) : value;
    if (has_bfloat16(exact.device()))
        brief = exact.to(torch::kBFloat16);
    return *this;
}

namespace {

/* Left to itself, torch gives small convolutions to BLAS, whose idle threads spin beside ours. */
torch::Tensor multiply(const torch::Tensor &x, const torch::Tensor &weight,
    const torch::Tensor &bias, const Conv::Pair &stride = {1, 1},
    const Conv::Pair &padding = {0, 0}, const Conv::Pair &dilation = {1, 1}, int64_t groups = 1) {
    static const bool has_onednn = at::hasMKLDNN();
    if (has_onednn && x.device().is_cpu())
        return at::mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups);
    return at::conv2d(x, weight, bias, stride, padding, dilation, groups);
}

torch::Tensor convolve(const Conv &conv, const torch::Tensor &x) {
    torch::Tensor y = multiply(x, conv.weight.like(x), conv.bias.like(x), conv.stride, conv.padding,
        conv.dilation, conv.groups);
    if (conv.activation == Conv::relu6)
        return at::hardtanh_(y, 0, 6);
    if (conv.activation == Conv::relu)
        return at::relu_(y);
    return y;
}

/* Rows as the places of an image of one column, and back. */
torch::Tensor as_image(const torch::Tensor &rows) {
    return rows.contiguous().view({1, rows.size(0), 1, rows.size(1)}).permute({0, 3, 1, 2});
}

torch::Tensor as_rows(const torch::Tensor &image) {
    return image.permute({0, 2, 3, 1}).reshape({image.size(2), image.size(1)});
}

/* A gradient goes by places where at most one in this many holds anything; above, the whole map costs
 * less: 4,800 places of 19,200 are a quarter of its multiplications, and the windows' sums besides. */
constexpr int64_t one_in = 4;
/* So many at a time, which bounds the memory; and their number is rounded up to a multiple, lest
 * oneDNN prepare a kernel for each. */
constexpr int64_t places_at_once = 1024, multiple = 64;

/* A convolution's gradient by way of the places to which a gradient came (`grad`: one image,
 * channels-last); undefined if they are many. */
torch::Tensor backward_from_few(const Conv &conv, const torch::Tensor &grad) {
    const torch::Tensor plain = grad.to(torch::kFloat32);
    const int64_t outputs = grad.size(1), height = grad.size(2), width = grad.size(3);
    const int64_t kernel = conv.weight.exact.size(2), inputs = conv.weight.exact.size(1);
    std::vector<int32_t> places(size_t(height * width / one_in));
    const float *from = plain.data_ptr<float>();
    const int64_t count = cloak_find_places(
        from, height * width, int(outputs), int64_t(places.size()), places.data());
    if (count > int64_t(places.size()))
        return torch::Tensor();
    torch::Tensor to = torch::zeros({1, height, width, inputs});
    for (int64_t first = 0; first < count; first += places_at_once) {
        const int64_t here = std::min(count - first, places_at_once);
        torch::Tensor packed = torch::zeros({(here + multiple - 1) / multiple * multiple, outputs});
        for (int64_t i = 0; i < here; i++)
            std::memcpy(packed.data_ptr<float>() + i * outputs,
                from + places[size_t(first + i)] * outputs, size_t(outputs) * sizeof(float));
        const torch::Tensor taps =
            as_rows(multiply(as_image(packed), conv.taps, torch::Tensor())).contiguous();
        cloak_add_windows(taps.data_ptr<float>(), &places[size_t(first)], here, int(kernel),
            int(height), int(width), int(inputs), to.data_ptr<float>());
    }
    return to.permute({0, 3, 1, 2}).to(grad.scalar_type());
}

/* The gradient of a convolution and its activation in one node of the graph, with respect to what
 * went in and nothing else. */
struct ConvNode : torch::autograd::Function<ConvNode> {
    static torch::Tensor forward(
        torch::autograd::AutogradContext *context, const torch::Tensor &x, const Conv *conv) {
        torch::Tensor y = convolve(*conv, x);
        context->saved_data["conv"] = int64_t(reinterpret_cast<intptr_t>(conv));
        if (conv->activation == Conv::none)
            context->save_for_backward({x});
        else
            context->save_for_backward({x, y});
        return y;
    }

    static torch::autograd::variable_list backward(
        torch::autograd::AutogradContext *context, torch::autograd::variable_list grads) {
        const Conv &conv =
            *reinterpret_cast<const Conv *>(intptr_t(context->saved_data["conv"].toInt()));
        const torch::autograd::variable_list saved = context->get_saved_variables();
        const torch::Tensor &x = saved[0];
        torch::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
        if (conv.activation != Conv::none)
            grad = gate(grad, saved[1].contiguous(at::MemoryFormat::ChannelsLast),
                conv.activation == Conv::relu6);
        if (conv.taps.defined()) {
            torch::Tensor to = backward_from_few(conv, grad);
            if (to.defined())
                return {to, torch::Tensor()};
        }
        torch::Tensor to = std::get<0>(at::convolution_backward(grad, x, conv.weight.like(x),
            at::OptionalIntArrayRef(), conv.stride, conv.padding, conv.dilation, false, {0, 0},
            conv.groups, {true, false, false}));
        return {to, torch::Tensor()};
    }

    /* The gradient where the activation passed its input through, zero elsewhere. */
    static torch::Tensor gate(const torch::Tensor &grad, const torch::Tensor &y, bool six) {
        if (!grad.device().is_cpu())
            return six ? at::hardtanh_backward(grad, y, 0, 6) : at::threshold_backward(grad, y, 0);
        torch::Tensor to = torch::empty_like(grad);
        const int64_t count = grad.numel();
        if (grad.scalar_type() == torch::kFloat32)
            gate_float(grad.data_ptr<float>(), y.data_ptr<float>(), six, count,
                to.data_ptr<float>());
        else
            gate_bfloat16(static_cast<const uint16_t *>(grad.data_ptr()),
                static_cast<const uint16_t *>(y.data_ptr()), six, count,
                static_cast<uint16_t *>(to.data_ptr()));
        return to;
    }
};

/* See Conv::taps. */
torch::Tensor taps_of(const torch::Tensor &weight) {
    return weight.permute({2, 3, 1, 0}).reshape({-1, weight.size(0), 1, 1}).contiguous();
}

/* The convolution of this shape with `prefix`.weight, its bias still undefined. */
Conv load_weight(const Weights &weights, const std::string &prefix, const ConvShape &shape,
    torch::Tensor *weight) {
    Conv conv;
    *weight = weights.at(prefix + ".weight",
        {shape.outputs, shape.depthwise ? 1 : shape.inputs, shape.kernel, shape.kernel});
    conv.stride = {shape.stride, shape.stride};
    conv.padding = {shape.kernel / 2, shape.kernel / 2};
    conv.groups = shape.depthwise ? shape.inputs : 1;
    conv.activation = shape.activation;
    return conv;
}

} // namespace

torch::Tensor Conv::operator()(const torch::Tensor &x) const {
    if (at::GradMode::is_enabled() && x.requires_grad())
        return ConvNode::apply(x, this);
    return convolve(*this, x);
}

void Conv::move_to(const torch::Device &device) {
    weight = weight.exact.to(device);
    bias = bias.exact.to(device);
    taps = torch::Tensor();
}

Conv load_conv(const Weights &weights, const std::string &prefix, const ConvShape &shape,
    Passes passes) {
    torch::Tensor weight;
    Conv conv = load_weight(weights, prefix, shape, &weight);
    conv.weight = weight.to(weights.device);
    conv.bias = weights.at(prefix + ".bias", {conv.outputs()}).to(weights.device);
    if (passes == Passes::both && shape.stride == 1 && !shape.depthwise && weights.device.is_cpu())
        conv.taps = taps_of(weight);
    return conv;
}

/* One layer for two: y = (conv(x) - m)·g/√(v+ε) + b. */
Conv load_folded(const Weights &weights, const std::string &conv, const std::string &norm,
    const ConvShape &shape) {
    torch::Tensor weight;
    Conv folded = load_weight(weights, conv, shape, &weight);
    auto of_norm = [&](const char *name) { return weights.at(norm + name, {weight.size(0)}); };
    const torch::Tensor variance = of_norm(".running_var");
    if (variance.lt(0).any().item<bool>())
        throw std::runtime_error("the model file's tensor " + norm + ".running_var is negative");
    const torch::Tensor scale = of_norm(".weight") * torch::rsqrt(variance + 1e-5);
    folded.bias = (of_norm(".bias") - of_norm(".running_mean") * scale).to(weights.device);
    folded.weight = (weight * scale.view({-1, 1, 1, 1})).to(weights.device);
    return folded;
}

torch::Tensor Linear::operator()(const torch::Tensor &x) const {
    if (!x.device().is_cpu())
        return at::linear(x, weight.like(x).flatten(1), bias.like(x));
    return as_rows(multiply(as_image(x), weight.like(x), bias.like(x)));
}

torch::Tensor Linear::backward(const torch::Tensor &grad) const {
    if (!grad.device().is_cpu())
        return at::matmul(grad, weight.exact.flatten(1));
    return as_rows(multiply(as_image(grad), taps, torch::Tensor()));
}

Linear load_linear(const Weights &weights, const std::string &prefix, int64_t inputs,
    int64_t outputs, Passes passes) {
    Linear linear;
    const torch::Tensor weight = weights.at(prefix + ".weight", {outputs, inputs});
    linear.weight = weight.view({weight.size(0), weight.size(1), 1, 1}).to(weights.device);
    if (passes == Passes::both && weights.device.is_cpu())
        linear.taps = taps_of(linear.weight.exact);
    linear.bias = weights.at(prefix + ".bias", {linear.outputs()}).to(weights.device);
    return linear;
}

} // namespace cloak
