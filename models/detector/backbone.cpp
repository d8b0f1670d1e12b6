/* MobileNetV2 and feature pyramid; see the header. Parameter names are torchvision's. */
#include "models/detector/backbone.h"

#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

namespace {

/* A convolution followed by batch norm, folded into one:
 * y = (conv(x) - m)·g/√(v+ε) + b. */
Conv fold(const Weights &weights, const std::string &conv, const std::string &norm, int64_t stride,
    bool depthwise, Conv::Activation activation) {
    Conv folded;
    torch::Tensor w = weights.at(conv + ".weight");
    torch::Tensor scale =
        weights.at(norm + ".weight") * torch::rsqrt(weights.at(norm + ".running_var") + 1e-5);
    folded.weight = w * scale.view({-1, 1, 1, 1});
    folded.bias = weights.at(norm + ".bias") - weights.at(norm + ".running_mean") * scale;
    folded.stride = stride;
    folded.padding = w.size(2) / 2;
    folded.groups = depthwise ? w.size(0) : 1;
    folded.activation = activation;
    return folded;
}

/* Where MobileNetV2 halves the resolution, and which blocks feed the pyramid. */
constexpr int block_count = 18;
bool halves(int block) {
    return block == 0 || block == 2 || block == 4 || block == 7 || block == 14;
}
bool feeds_pyramid(int block) {
    return block == 3 || block == 6 || block == 13 || block == 17;
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

Conv load_conv(
    const Weights &weights, const std::string &prefix, Conv::Activation activation) {
    Conv conv;
    conv.weight = weights.at(prefix + ".weight");
    conv.bias = weights.at(prefix + ".bias");
    conv.padding = conv.weight.size(2) / 2;
    conv.activation = activation;
    return conv;
}

Backbone::Backbone(const Weights &weights, const DetectorConfig &config) {
    if (config.backbone != "mobilenet_v2")
        throw std::runtime_error("the model file wants the backbone \"" + config.backbone +
                                 "\"; this build knows mobilenet_v2");
    for (int i = 0; i < block_count; i++) {
        const std::string at = "backbone.body." + std::to_string(i);
        const int64_t stride = halves(i) ? 2 : 1;
        Block block;
        if (i == 0) {
            block.convs.push_back(fold(weights, at + ".0", at + ".1", 2, false, Conv::relu6));
        } else {
            const std::string conv = at + ".conv.";
            int next = 0;
            if (i > 1)
                block.convs.push_back(
                    fold(weights, conv + "0.0", conv + "0.1", 1, false, Conv::relu6));
            next = i > 1 ? 1 : 0;
            const std::string depth = conv + std::to_string(next);
            block.convs.push_back(
                fold(weights, depth + ".0", depth + ".1", stride, true, Conv::relu6));
            block.convs.push_back(fold(weights, conv + std::to_string(next + 1),
                conv + std::to_string(next + 2), 1, false, Conv::none));
            block.residual = stride == 1 && block.convs.front().weight.size(1) ==
                                                block.convs.back().weight.size(0);
            if (i == 1)
                block.residual = false; /* 32 channels in, 16 out; its first conv is depthwise */
        }
        blocks_.push_back(block);
    }
    for (int i = 0; i < 4; i++) {
        const std::string n = std::to_string(i);
        inner_.push_back(load_conv(weights, "backbone.fpn.inner_blocks." + n + ".0", Conv::none));
        layer_.push_back(load_conv(weights, "backbone.fpn.layer_blocks." + n + ".0", Conv::none));
    }
}

std::vector<torch::Tensor> Backbone::operator()(const torch::Tensor &input) const {
    std::vector<torch::Tensor> bottom, maps(5);
    torch::Tensor x = input;
    for (int i = 0; i < block_count; i++) {
        torch::Tensor y = x;
        for (const Conv &conv : blocks_[size_t(i)].convs)
            y = conv(y);
        x = blocks_[size_t(i)].residual ? x + y : y;
        if (feeds_pyramid(i))
            bottom.push_back(x);
    }
    torch::Tensor top = inner_[3](bottom[3]);
    maps[3] = layer_[3](top);
    for (int i = 2; i >= 0; i--) {
        torch::Tensor lateral = inner_[size_t(i)](bottom[size_t(i)]);
        top = lateral +
              at::upsample_nearest2d(top, {lateral.size(2), lateral.size(3)});
        maps[size_t(i)] = layer_[size_t(i)](top);
    }
    maps[4] = at::max_pool2d(maps[3], {1, 1}, {2, 2});
    return maps;
}

bool Backbone::fits(int channels) const {
    for (const Conv &conv : layer_)
        if (conv.weight.size(0) != channels)
            return false;
    return true;
}

void Backbone::to(torch::Device device) {
    auto move = [device](Conv &conv) {
        conv.weight = conv.weight.to(device);
        conv.bias = conv.bias.to(device);
    };
    for (Block &block : blocks_)
        for (Conv &conv : block.convs)
            move(conv);
    for (size_t i = 0; i < 4; i++) {
        move(inner_[i]);
        move(layer_[i]);
    }
}

} // namespace cloak
