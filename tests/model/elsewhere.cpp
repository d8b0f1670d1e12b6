/* Detectors' graphs on a device that is not the host: what a GPU would be given. torch's meta device knows the sizes of
 * tensors and nothing of what is in them, so that reading one on the host fails there. A graph must come as far as its
 * results, which are read on the host, and no node before may be: sizes and what is reckoned with them stay on the
 * host. Many of torch's operations refuse tensors of two devices there, too, if not all that a GPU refuses.
 */
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include <unistd.h>

#include <ATen/ATen.h>
#include <torch/library.h>

#include "models/targets/graph.h"
#include "tests/model/onnx_models.h"

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

/* An image at twice its size, which is reckoned in real numbers, as exporters write it, and a constant added. */
static onnx::ModelProto enlarging_model() {
    onnx::ModelProto model;
    model.set_ir_version(7);
    model.add_opset_import()->set_version(11);
    onnx::GraphProto &graph = *model.mutable_graph();
    graph.set_name("enlarging");
    graph.add_input()->set_name("x");
    add_floats(graph, "twice", {4}, {1, 1, 2, 2});
    add_floats(graph, "shift", {1, 3, 1, 1}, {1, 2, 3});
    add_node(graph, "Shape", {"x"}, {"shape"});
    add_whole_attribute(add_node(graph, "Cast", {"shape"}, {"real"}), "to", 1);
    add_node(graph, "Mul", {"real", "twice"}, {"product"});
    add_node(graph, "Floor", {"product"}, {"floor"});
    add_whole_attribute(add_node(graph, "Cast", {"floor"}, {"sizes"}), "to", 7);
    add_node(graph, "Resize", {"x", "", "", "sizes"}, {"enlarged"});
    add_node(graph, "Add", {"enlarged", "shift"}, {"y"});
    graph.add_output()->set_name("y");
    return model;
}

/* What running the file on such a device says. */
static std::string run(const std::string &path, int height, int width, cloak::Precision precision) try {
    const cloak::OnnxFile file = cloak::read_onnx(path);
    const cloak::Graph graph(file, "", file.outputs, torch::kMeta);
    graph.run(torch::zeros({1, 3, height, width}), precision);
    return "nothing";
} catch (const std::exception &problem) {
    return problem.what();
}

static void check(const std::string &path, int height, int width) {
    for (cloak::Precision precision : {cloak::Precision::exact, cloak::Precision::brief}) {
        const std::string said = run(path, height, width, precision);
        if (said.compare(0, 4, "node") != 0 && said.find("Cannot copy out of meta tensor") != std::string::npos)
            continue;
        std::fprintf(stderr, "FAILED %s: %.500s\n", path.c_str(), said.c_str());
        std::exit(1);
    }
}

int main(int argc, char **argv) {
    if ((argc - 1) % 3 != 0) {
        std::fprintf(stderr, "usage: unit_elsewhere [FILE.onnx HEIGHT WIDTH]...\n");
        return 2;
    }
    char folder[] = "/tmp/cloak-elsewhere-XXXXXX";
    if (!mkdtemp(folder))
        return 1;
    const std::string made = std::string(folder) + "/made.onnx";
    std::ofstream(made, std::ios::binary) << enlarging_model().SerializeAsString();
    check(made, 32, 48);
    unlink(made.c_str());
    rmdir(folder);
    for (int i = 1; i < argc; i += 3)
        check(argv[i], std::atoi(argv[i + 1]), std::atoi(argv[i + 2]));
    std::puts("graphs stay on their device");
    return 0;
}
