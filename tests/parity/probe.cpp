/* Seams for parity tests, callable from Python: the backbone alone, forwards and backwards, a
 * convolution of it, and an ONNX graph alone. The C interface of the model has no way to ask for them. */
#include <cstring>

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "models/detector/backbone.h"
#include "models/targets/graph.h"

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

/* The gradient of the sum of seeds × relu(convolution) of the pyramid's kind. `sizes`: inputs, outputs,
 * kernel, height, width. `x`: inputs × height × width, and so `gradient`; `weight`: outputs × inputs ×
 * kernel × kernel, without bias; `seeds`: outputs × height × width. Returns false with the reason in
 * `error`. */
extern "C" bool cloak_probe_conv(const int64_t sizes[5], float *x, float *weight, float *seeds,
    float *gradient, char error[768]) try {
    const int64_t inputs = sizes[0], outputs = sizes[1], kernel = sizes[2];
    cloak::Weights weights;
    weights.tensors["it.weight"] = at::from_blob(weight, {outputs, inputs, kernel, kernel}).clone();
    weights.tensors["it.bias"] = torch::zeros({outputs});
    const cloak::Conv conv = cloak::load_conv(weights, "it",
        {inputs, outputs, kernel, 1, cloak::Conv::relu}, cloak::Passes::both);
    torch::AutoGradMode with_gradients(true);
    auto image = [sizes](float *values, int64_t channels) {
        return at::from_blob(values, {1, channels, sizes[3], sizes[4]}).clone();
    };
    torch::Tensor leaf = image(x, inputs).requires_grad_();
    const torch::Tensor slope =
        torch::autograd::grad({conv(leaf)}, {leaf}, {image(seeds, outputs)})[0].contiguous();
    memcpy(gradient, slope.data_ptr(), slope.nbytes());
    return true;
} catch (const std::exception &problem) {
    snprintf(error, 768, "%s", problem.what());
    return false;
}

/* Runs an ONNX file on one input (float, four sizes) up to the value `wanted`, whose numbers go into
 * `output` (room for `room`) and whose sizes into `sizes` (8, the rest 0). With `seed` (like the output),
 * `gradient` (like the input) becomes that of the sum of seed × output. Returns false with the reason in
 * `error`. */
extern "C" bool cloak_probe_graph(const char *path, const float *input, const int64_t shape[4],
    const char *wanted, float *output, int64_t room, int64_t sizes[8], const float *seed,
    float *gradient, char error[768]) try {
    const cloak::Graph graph(cloak::read_onnx(path), "", {wanted}, torch::kCPU);
    torch::Tensor leaf = torch::empty({shape[0], shape[1], shape[2], shape[3]});
    memcpy(leaf.data_ptr(), input, leaf.nbytes());
    torch::AutoGradMode with_gradients(seed != nullptr);
    leaf.requires_grad_(seed != nullptr);
    const torch::Tensor value = graph.run(leaf, cloak::Precision::exact)[0];
    const torch::Tensor plain = value.detach().contiguous();
    if (plain.numel() > room || plain.dim() > 8)
        throw std::runtime_error("the output is larger than the test expects");
    memcpy(output, plain.data_ptr(), plain.nbytes());
    for (int64_t i = 0; i < 8; i++)
        sizes[i] = i < plain.dim() ? plain.size(i) : 0;
    if (seed) {
        torch::Tensor weights = torch::empty_like(plain);
        memcpy(weights.data_ptr(), seed, plain.nbytes());
        const torch::Tensor slope =
            torch::autograd::grad({value}, {leaf}, {weights})[0].contiguous();
        memcpy(gradient, slope.data_ptr(), slope.nbytes());
    }
    return true;
} catch (const std::exception &problem) {
    snprintf(error, 768, "%s", problem.what());
    return false;
}
