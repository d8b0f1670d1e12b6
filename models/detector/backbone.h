/* A classifier's body with a feature pyramid (Lin et al. 2017) on top. */
#ifndef CLOAK_DETECTOR_BACKBONE_H
#define CLOAK_DETECTOR_BACKBONE_H

#include <vector>

#include "models/detector/body.h"
#include "models/detector/config.h"

namespace cloak {

class Backbone {
  public:
    /* Throws std::runtime_error when the body is not known, or when a tensor is missing or does not
     * fit. */
    Backbone(const Weights &weights, const DetectorConfig &config);

    /* From the padded, normalised input (1 × 3 × H × W, multiples of 32) to five feature maps at
     * strides 4, 8, 16, 32 and 64, each of config.fpn_channels, in the input's type. Differentiable
     * in the input. `early` (or NULL) becomes the body's last map of stride 2, where it keeps one. */
    std::vector<torch::Tensor> operator()(
        const torch::Tensor &input, torch::Tensor *early = nullptr) const;

    /* Throws std::runtime_error when the body keeps no map of stride 2. */
    int64_t early_channels() const;

  private:
    Body body_;
    std::vector<Conv> inner_, layer_; /* by level, from stride 4 */
};

} // namespace cloak
#endif
