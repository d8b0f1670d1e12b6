/* Arguments of nodes; see the header. */
#include "models/targets/operators/arguments.h"

#include <algorithm>
#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

namespace onnx_arguments {

const OnnxAttribute *find(const OnnxNode &node, const char *name) {
    auto found = node.attributes.find(name);
    return found == node.attributes.end() ? nullptr : &found->second;
}

void bad(const std::string &what) {
    throw std::runtime_error(what);
}

bool given(const Values &in, size_t i) {
    return i < in.size() && in[i].defined();
}

const Tensor &need(const Values &in, size_t i) {
    if (!given(in, i))
        bad("input " + std::to_string(i) + " is missing");
    return in[i];
}

/* Refuses a result that nobody's detector has, before it is made. */
void limit(const Sizes &shape) {
    int64_t count = 1;
    for (int64_t size : shape) {
        if (size < 0)
            bad("a size would be negative");
        if (size > max_elements || (count *= size) > max_elements)
            bad("a tensor would have more than " + std::to_string(max_elements) + " elements");
    }
}

/* A small tensor of whole numbers as a list. */
Sizes list_of(const Tensor &tensor) {
    if (tensor.numel() > 4096)
        bad("a list of more than 4096 numbers");
    Tensor whole = tensor.detach().to(torch::kCPU, torch::kInt64).contiguous().view({-1});
    return Sizes(whole.data_ptr<int64_t>(), whole.data_ptr<int64_t>() + whole.numel());
}

Tensor to_tensor(const Sizes &list) {
    return torch::tensor(list, torch::kInt64);
}

int64_t axis_of(int64_t axis, int64_t dims) {
    if (axis < -dims || axis >= std::max<int64_t>(dims, 1))
        bad("axis " + std::to_string(axis) + " of " + std::to_string(dims) + " dimensions");
    return axis < 0 ? axis + dims : axis;
}

/* Axes from an input, as newer operator sets have them, or from an attribute. */
Sizes axes_of(const OnnxNode &node, const Values &in, size_t place, int64_t dims) {
    Sizes axes = given(in, place) ? list_of(in[place]) : wholes(node, "axes", {});
    for (int64_t &axis : axes)
        axis = axis_of(axis, dims);
    std::sort(axes.begin(), axes.end());
    return axes;
}

} // namespace onnx_arguments

using onnx_arguments::find;

int64_t whole(const OnnxNode &node, const char *name, int64_t otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->whole : otherwise;
}

double real(const OnnxNode &node, const char *name, double otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->real : otherwise;
}

std::vector<int64_t> wholes(const OnnxNode &node, const char *name, std::vector<int64_t> otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->wholes : otherwise;
}

std::string word(const OnnxNode &node, const char *name, const char *otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->text : otherwise;
}

} // namespace cloak
