/* Body and feature pyramid; see the header. Parameter names are torchvision's. */
#include "models/detector/backbone.h"

#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

Backbone::Backbone(const Weights &weights, const DetectorConfig &config)
    : body_(load_body(weights, config.backbone)) {
    const int64_t channels = config.fpn_channels;
    for (const Block &block : body_) {
        if (!block.feeds_pyramid)
            continue;
        const std::string level = std::to_string(inner_.size()) + ".0";
        inner_.push_back(load_conv(weights, "backbone.fpn.inner_blocks." + level,
            {block.outputs(), channels, 1}, Passes::both));
        layer_.push_back(load_conv(weights, "backbone.fpn.layer_blocks." + level,
            {channels, channels, 3}, Passes::both));
    }
}

int64_t Backbone::early_channels() const {
    for (const Block &block : body_)
        if (block.early)
            return block.outputs();
    throw std::runtime_error("box_refine: only the backbone mobilenet_v2 has it");
}

std::vector<torch::Tensor> Backbone::operator()(
    const torch::Tensor &input, torch::Tensor *early) const {
    std::vector<torch::Tensor> bottom, maps(5);
    torch::Tensor x = input.contiguous(at::MemoryFormat::ChannelsLast);
    for (const Block &block : body_) {
        x = block(x);
        if (block.early && early)
            *early = x.detach();
        if (block.feeds_pyramid)
            bottom.push_back(x);
    }
    torch::Tensor top = inner_[3](bottom[3]);
    maps[3] = layer_[3](top);
    for (int i = 2; i >= 0; i--) {
        torch::Tensor lateral = inner_[size_t(i)](bottom[size_t(i)]);
        top = lateral + at::upsample_nearest2d(top, {lateral.size(2), lateral.size(3)});
        maps[size_t(i)] = layer_[size_t(i)](top);
    }
    maps[4] = at::max_pool2d(maps[3], {1, 1}, {2, 2});
    return maps;
}

} // namespace cloak
