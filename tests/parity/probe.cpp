/* A seam for parity tests: the backbone alone, forwards and backwards, callable from Python. The C
 * interface of the model has no way to ask for a gradient. */
#include <cstring>

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "models/detector/backbone.h"

/* Runs the backbone of the model file on `input` (3 × height × width). `maps` and `seeds` hold the
 * five feature maps one after the other; `gradient` (like the input) is that of the sum of seeds ×
 * maps. Returns false with the reason in `error`. */
extern "C" bool cloak_probe_backbone(const char *path, const float *input, int height, int width,
    const float *seeds, float *maps, float *gradient, char error[768]) try {
    const cloak::Weights weights = cloak::read_safetensors(path);
    const cloak::Backbone backbone(weights, cloak::parse_config(weights.metadata));
    torch::Tensor leaf = torch::empty({1, 3, height, width});
    memcpy(leaf.data_ptr(), input, leaf.nbytes());
    leaf.requires_grad_();
    torch::AutoGradMode with_gradients(true);
    const std::vector<torch::Tensor> levels = backbone(leaf);
    std::vector<torch::Tensor> weighted;
    for (const torch::Tensor &level : levels) {
        const torch::Tensor map = level.detach().contiguous();
        torch::Tensor seed = torch::empty_like(map);
        memcpy(maps, map.data_ptr(), map.nbytes());
        memcpy(seed.data_ptr(), seeds, map.nbytes());
        maps += map.numel();
        seeds += map.numel();
        weighted.push_back(seed);
    }
    const torch::Tensor slope = torch::autograd::grad(levels, {leaf}, weighted)[0].contiguous();
    memcpy(gradient, slope.data_ptr(), slope.nbytes());
    return true;
} catch (const std::exception &problem) {
    snprintf(error, 768, "%s", problem.what());
    return false;
}
