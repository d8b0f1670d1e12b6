/* ResNet-18, -34 and -50 (He et al. 2016) as torchvision has them: where a bottleneck halves the
 * resolution, it does so in its 3 × 3 convolution, not in the first 1 × 1 as in the paper. */
#include "models/detector/body.h"

#include <stdexcept>

namespace cloak {

namespace {

const std::string root = "backbone.body.";

/* Two 3 × 3 convolutions, or a 3 × 3 one between two 1 × 1 that narrow and widen; then the sum. */
Block load_residual(const Weights &weights, const std::string &at, bool bottleneck, int64_t inputs,
    int64_t stride, bool projects) {
    auto load = [&](int n, const ConvShape &shape) {
        const std::string number = std::to_string(n);
        return load_folded(weights, at + ".conv" + number, at + ".bn" + number, shape);
    };
    Block block;
    /* without a projection, what comes out is added to what came in */
    const int64_t outputs = projects ? any_size : inputs;
    if (bottleneck) {
        block.convs.push_back(load(1, {inputs, any_size, 1, 1, Conv::relu}));
        block.convs.push_back(load(2, {block.outputs(), any_size, 3, stride, Conv::relu}));
        block.convs.push_back(load(3, {block.outputs(), outputs, 1}));
    } else {
        block.convs.push_back(load(1, {inputs, any_size, 3, stride, Conv::relu}));
        block.convs.push_back(load(2, {block.outputs(), outputs, 3}));
    }
    block.residual = true;
    if (projects)
        block.shortcut = load_folded(weights, at + ".downsample.0", at + ".downsample.1",
            {inputs, block.outputs(), 1, stride});
    block.relu = true;
    return block;
}

} // namespace

Body load_resnet(const Weights &weights, const std::string &name) {
    const bool bottleneck = name == "resnet50", small = name == "resnet18";
    const int blocks[4] = {small ? 2 : 3, small ? 2 : 4, small ? 2 : 6, small ? 2 : 3};
    Block stem;
    stem.convs.push_back(
        load_folded(weights, root + "conv1", root + "bn1", {3, any_size, 7, 2, Conv::relu}));
    stem.max_pool = true;
    Body body = {stem};
    for (int i = 0; i < 4; i++) {
        const std::string layer = root + "layer" + std::to_string(i + 1) + ".";
        for (int j = 0; j < blocks[i]; j++) {
            /* the first layer keeps the stem's resolution, and in the small nets its width too */
            const int64_t stride = j == 0 && i > 0 ? 2 : 1;
            const bool projects = j == 0 && (i > 0 || bottleneck);
            body.push_back(load_residual(weights, layer + std::to_string(j), bottleneck,
                body.back().outputs(), stride, projects));
        }
        body.back().feeds_pyramid = true;
        const std::string surplus = layer + std::to_string(blocks[i]) + ".conv1.weight";
        if (weights.has(surplus))
            throw std::runtime_error(
                "the model file has " + surplus + ", which is no part of " + name);
    }
    return body;
}

} // namespace cloak
