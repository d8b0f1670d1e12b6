/* MobileNetV2 (Sandler et al. 2018) with a feature pyramid (Lin et al. 2017), frozen: batch norms
 * are folded into the convolutions at load, no weight wants a gradient. */
#ifndef CLOAK_DETECTOR_BACKBONE_H
#define CLOAK_DETECTOR_BACKBONE_H

#include <vector>

#include "models/detector/config.h"
#include "models/detector/safetensors.h"

namespace cloak {

/* A convolution with what follows it. */
struct Conv {
    enum Activation { none, relu, relu6 };
    torch::Tensor weight, bias;
    int64_t stride = 1, padding = 0, groups = 1;
    Activation activation = none;

    torch::Tensor operator()(const torch::Tensor &x) const;
};

/* The convolution `prefix`.weight/.bias without batch norm. */
Conv load_conv(const Weights &weights, const std::string &prefix, Conv::Activation activation);

class Backbone {
  public:
    /* Throws std::runtime_error when a tensor is missing or the backbone is not known. */
    Backbone(const Weights &weights, const DetectorConfig &config);

    /* From the padded, normalised input (1 × 3 × H × W, multiples of 32) to five feature maps at
     * strides 4, 8, 16, 32 and 64. */
    std::vector<torch::Tensor> operator()(const torch::Tensor &input) const;

    /* Whether every map of the pyramid has this many channels. */
    bool fits(int channels) const;

    void to(torch::Device device);

  private:
    struct Block {
        std::vector<Conv> convs;
        bool residual = false;
    };
    std::vector<Block> blocks_;
    std::vector<Conv> inner_, layer_;
};

} // namespace cloak
#endif
