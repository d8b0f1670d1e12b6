/* A detector's graph on a device that is not the host: what a GPU would be given. torch's meta device knows the sizes of
 * tensors and nothing of what is in them: an operation on tensors of two devices fails there as it does on a GPU, and so
 * does reading a tensor on the host before the results are to come back.
 */
#include <cstdio>
#include <cstring>
#include <string>

#include <ATen/ATen.h>
#include <torch/library.h>

#include "models/targets/graph.h"

/* What this torch has no sizes for. */
static torch::Tensor convolution(const torch::Tensor &x, const torch::Tensor &weight, const c10::optional<torch::Tensor> &bias,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef,
    int64_t) {
    for (const torch::Tensor &other : {weight, bias.value_or(weight)})
        if (other.device() != x.device() || other.scalar_type() != x.scalar_type() || transposed)
            throw std::runtime_error("its weights lie elsewhere, or are of another type");
    auto size = [&](int64_t i) {
        const int64_t window = dilation[size_t(i)] * (weight.size(2 + i) - 1) + 1;
        return (x.size(2 + i) + 2 * padding[size_t(i)] - window) / stride[size_t(i)] + 1;
    };
    return at::empty({x.size(0), weight.size(0), size(0), size(1)}, x.options());
}

static torch::Tensor relu(const torch::Tensor &x) {
    return at::empty_like(x);
}

TORCH_LIBRARY_IMPL(aten, Meta, sizes) {
    sizes.impl("convolution_overrideable", convolution);
    sizes.impl("relu", relu);
}

/* What running the file on such a device says. */
static std::string run(const char *path, int height, int width, cloak::Precision precision) try {
    const cloak::OnnxFile file = cloak::read_onnx(path);
    const cloak::Graph graph(file, "", file.outputs, torch::kMeta);
    graph.run(torch::zeros({1, 3, height, width}), precision);
    return "nothing";
} catch (const std::exception &problem) {
    return problem.what();
}

int main(int argc, char **argv) {
    if (argc < 4 || (argc - 1) % 3 != 0) {
        std::fprintf(stderr, "usage: unit_elsewhere FILE.onnx HEIGHT WIDTH ...\n");
        return 2;
    }
    for (int i = 1; i < argc; i += 3)
        for (cloak::Precision precision : {cloak::Precision::exact, cloak::Precision::brief}) {
            const std::string said = run(argv[i], std::atoi(argv[i + 1]), std::atoi(argv[i + 2]), precision);
            if (said.compare(0, 4, "node") == 0 || said.find("Cannot copy out of meta tensor") == std::string::npos) {
                std::fprintf(stderr, "FAILED %s: %.500s\n", argv[i], said.c_str());
                return 1;
            }
        }
    std::puts("graphs stay on their device");
    return 0;
}
