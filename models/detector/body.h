/* The body of a backbone: a classifier's convolutions without its last layers, as blocks that run
 * one after the other. Four of them, at strides 4, 8, 16 and 32, feed the feature pyramid. */
#ifndef CLOAK_DETECTOR_BODY_H
#define CLOAK_DETECTOR_BODY_H

#include <optional>
#include <string>
#include <vector>

#include "models/detector/layers.h"

namespace cloak {

/* Convolutions in a row, then, as far as the block has them, in this order: */
struct Block {
    std::vector<Conv> convs;      /* at least one; the last of a residual block is linear */
    bool residual = false;        /* the block's input is added, */
    std::optional<Conv> shortcut; /* by way of this where it differs in size, */
    bool relu = false;            /* and the sum rectified; */
    bool max_pool = false;        /* 3 × 3 places to their greatest, stride 2 */
    bool feeds_pyramid = false;
    bool early = false; /* its output is the body's last map of stride 2 */

    torch::Tensor operator()(const torch::Tensor &x) const;

    int64_t outputs() const {
        return convs.back().outputs();
    }
};

using Body = std::vector<Block>;

/* The body that the model file names. Throws std::runtime_error when it is not known, or when a
 * tensor is missing or does not fit. */
Body load_body(const Weights &weights, const std::string &name);

Body load_mobilenet_v2(const Weights &weights);

/* `name` is resnet18, resnet34 or resnet50. */
Body load_resnet(const Weights &weights, const std::string &name);

} // namespace cloak
#endif
