/* MobileNetV2 (Sandler et al. 2018), torchvision's `features` 0 to 17: a convolution, then blocks
 * that widen, filter each channel by itself and narrow. */
#include "models/detector/body.h"

namespace cloak {

namespace {

/* Where the resolution is halved, and which blocks feed the pyramid. */
constexpr int block_count = 18;
bool halves(int block) {
    return block == 0 || block == 2 || block == 4 || block == 7 || block == 14;
}
constexpr int last_of_stride_2 = 1;
bool feeds_pyramid(int block) {
    return block == 3 || block == 6 || block == 13 || block == 17;
}

/* Block `i`, from 1; the first has nothing that widens. */
Block load_inverted_residual(const Weights &weights, int i, int64_t inputs) {
    const std::string conv = "backbone.body." + std::to_string(i) + ".conv.";
    const int64_t stride = halves(i) ? 2 : 1;
    Block block;
    int64_t width = inputs;
    int next = 0;
    if (i > 1) {
        block.convs.push_back(load_folded(
            weights, conv + "0.0", conv + "0.1", {inputs, any_size, 1, 1, Conv::relu6}));
        width = block.outputs();
        next = 1;
    }
    const std::string depth = conv + std::to_string(next);
    block.convs.push_back(load_folded(
        weights, depth + ".0", depth + ".1", {width, width, 3, stride, Conv::relu6, true}));
    block.convs.push_back(load_folded(weights, conv + std::to_string(next + 1),
        conv + std::to_string(next + 2), {width, any_size, 1}));
    block.residual = stride == 1 && block.outputs() == inputs;
    block.feeds_pyramid = feeds_pyramid(i);
    block.early = i == last_of_stride_2;
    return block;
}

} // namespace

Body load_mobilenet_v2(const Weights &weights) {
    Block stem;
    stem.convs.push_back(load_folded(
        weights, "backbone.body.0.0", "backbone.body.0.1", {3, any_size, 3, 2, Conv::relu6}));
    Body body = {stem};
    for (int i = 1; i < block_count; i++)
        body.push_back(load_inverted_residual(weights, i, body.back().outputs()));
    return body;
}

} // namespace cloak
