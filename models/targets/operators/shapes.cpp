/* Operators that change, cut and join shapes. */
#include "models/targets/operators/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

namespace cloak {

using namespace onnx_arguments;

namespace {

Values shape(const OnnxNode &node, const Values &in, int) {
    const Sizes sizes = need(in, 0).sizes().vec();
    const int64_t dims = int64_t(sizes.size());
    auto bound = [&](const char *name, int64_t otherwise) {
        const int64_t at = whole(node, name, otherwise);
        return std::min(std::max<int64_t>(at < 0 ? at + dims : at, 0), dims);
    };
    const int64_t start = bound("start", 0), end = std::max(bound("end", dims), start);
    return {to_tensor(Sizes(sizes.begin() + start, sizes.begin() + end))};
}

Values size(const OnnxNode &, const Values &in, int) {
    return {torch::scalar_tensor(need(in, 0).numel(), torch::kInt64)};
}

Values constant(const OnnxNode &node, const Values &, int) {
    if (const OnnxAttribute *value = find(node, "value"))
        if (value->tensor.defined())
            return {value->tensor};
    if (find(node, "value_float"))
        return {torch::scalar_tensor(real(node, "value_float", 0), torch::kFloat32)};
    if (find(node, "value_int"))
        return {torch::scalar_tensor(whole(node, "value_int", 0), torch::kInt64)};
    if (find(node, "value_ints"))
        return {to_tensor(wholes(node, "value_ints", {}))};
    if (const OnnxAttribute *value = find(node, "value_floats"))
        return {torch::tensor(value->reals, torch::kFloat64).to(torch::kFloat32)};
    bad("a constant of a kind that is not supported");
}

Values constant_of_shape(const OnnxNode &node, const Values &in, int) {
    const Sizes sizes = list_of(need(in, 0));
    limit(sizes);
    const OnnxAttribute *value = find(node, "value");
    if (!value || !value->tensor.defined())
        return {torch::zeros(sizes)};
    if (value->tensor.numel() != 1)
        bad("its value is not one number");
    return {value->tensor.view({1}).expand({1}).reshape(Sizes(sizes.size(), 1)).expand(sizes)};
}

Values range(const OnnxNode &, const Values &in, int) {
    const double start = need(in, 0).item<double>(), end = need(in, 1).item<double>(),
                 step = need(in, 2).item<double>();
    if (!(step != 0) || !((end - start) / step <= double(max_elements)))
        bad("a range without end");
    return {at::arange(start, (end - start) / step > 0 ? end : start, step)
                .to(in[0].scalar_type())};
}

Values reshape(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Sizes to = list_of(need(in, 1));
    if (to.size() > 16)
        bad("more than 16 dimensions");
    for (size_t i = 0; i < to.size(); i++)
        if (to[i] == 0 && !whole(node, "allowzero", 0)) {
            if (int64_t(i) >= x.dim())
                bad("a size that is to be kept is not there");
            to[i] = x.size(int64_t(i));
        }
    return {x.reshape(to)};
}

Values flatten(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t axis = whole(node, "axis", 1);
    if (axis < -x.dim() || axis > x.dim())
        bad("axis " + std::to_string(axis) + " of " + std::to_string(x.dim()) + " dimensions");
    int64_t rows = 1;
    for (int64_t i = 0; i < (axis < 0 ? axis + x.dim() : axis); i++)
        rows *= x.size(i);
    return {x.reshape({rows, rows ? x.numel() / rows : 0})};
}

Values transpose(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Sizes order;
    for (int64_t i = x.dim() - 1; i >= 0; i--)
        order.push_back(i);
    return {x.permute(wholes(node, "perm", order))};
}

Values squeeze(const OnnxNode &node, const Values &in, int) {
    Tensor x = need(in, 0);
    Sizes axes = axes_of(node, in, 1, x.dim());
    if (axes.empty())
        return {x.squeeze()};
    for (size_t i = axes.size(); i > 0; i--) {
        if (x.size(axes[i - 1]) != 1)
            bad("a dimension of more than 1 is to go");
        x = x.squeeze(axes[i - 1]);
    }
    return {x};
}

Values unsqueeze(const OnnxNode &node, const Values &in, int) {
    Tensor x = need(in, 0);
    const Sizes raw = given(in, 1) ? list_of(in[1]) : wholes(node, "axes", {});
    if (raw.size() > 8)
        bad("more than 8 dimensions are to be added");
    Sizes axes;
    for (int64_t axis : raw)
        axes.push_back(axis_of(axis, x.dim() + int64_t(raw.size())));
    std::sort(axes.begin(), axes.end());
    for (int64_t axis : axes)
        x = x.unsqueeze(axis);
    return {x};
}

Values expand(const OnnxNode &, const Values &in, int) {
    const Sizes to = at::infer_size(need(in, 0).sizes(), list_of(need(in, 1)));
    limit(to);
    return {in[0].expand(to)};
}

Values tile(const OnnxNode &, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const Sizes times = list_of(need(in, 1));
    Sizes to;
    if (int64_t(times.size()) != x.dim())
        bad("another number of repeats than dimensions");
    for (size_t i = 0; i < times.size(); i++) {
        limit({times[i]});
        to.push_back(x.size(int64_t(i)) * times[i]);
    }
    limit(to);
    return {x.repeat(times)};
}

Values concat(const OnnxNode &node, const Values &in, int) {
    Values parts;
    int64_t count = 0;
    torch::Dtype type = need(in, 0).scalar_type();
    for (size_t i = 0; i < in.size(); i++) {
        count += need(in, i).numel();
        limit({count});
        type = at::promote_types(type, in[i].scalar_type());
    }
    for (const Tensor &part : in)
        parts.push_back(part.to(type));
    return {at::cat(parts, axis_of(whole(node, "axis", 0), in[0].dim()))};
}

Values split(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t axis = axis_of(whole(node, "axis", 0), x.dim());
    Sizes parts = given(in, 1) ? list_of(in[1]) : wholes(node, "split", {});
    const int64_t count = std::max<int64_t>(int64_t(node.outputs.size()), 1);
    if (parts.empty()) {
        const int64_t each = (x.size(axis) + count - 1) / count;
        for (int64_t i = 0; i < count; i++)
            parts.push_back(std::max<int64_t>(std::min(each, x.size(axis) - i * each), 0));
    }
    return at::split_with_sizes(x, parts, axis);
}

/* One axis of a Slice: from `start` to `end` by `step`, as Python counts. */
Tensor slice_axis(const Tensor &x, int64_t axis, int64_t start, int64_t end, int64_t step) {
    if (step == 0)
        bad("a slice of step 0");
    if (step > 0)
        return at::slice(x, axis, start, end, step);
    const int64_t n = x.size(axis);
    auto within = [n](int64_t at) {
        return std::min(std::max<int64_t>(at < 0 ? at + n : at, -1), n - 1);
    };
    const int64_t last = end < -n ? -1 : within(end);
    Sizes index;
    for (int64_t i = within(start); i > last; i += std::max(step, -n - 1))
        index.push_back(i);
    return x.index_select(axis, to_tensor(index).to(x.device()));
}

Values slice(const OnnxNode &node, const Values &in, int opset) {
    Tensor x = need(in, 0);
    const bool inputs = opset >= 10;
    const Sizes starts = inputs ? list_of(need(in, 1)) : wholes(node, "starts", {});
    const Sizes ends = inputs ? list_of(need(in, 2)) : wholes(node, "ends", {});
    Sizes axes = inputs ? (given(in, 3) ? list_of(in[3]) : Sizes()) : wholes(node, "axes", {});
    Sizes steps = inputs && given(in, 4) ? list_of(in[4]) : Sizes(starts.size(), 1);
    if (axes.empty())
        for (size_t i = 0; i < starts.size(); i++)
            axes.push_back(int64_t(i));
    if (ends.size() != starts.size() || axes.size() != starts.size() ||
        steps.size() != starts.size())
        bad("starts, ends, axes and steps are of different lengths");
    for (size_t i = 0; i < starts.size(); i++)
        x = slice_axis(x, axis_of(axes[i], x.dim()), starts[i], ends[i], steps[i]);
    return {x};
}

Values gather(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t axis = axis_of(whole(node, "axis", 0), x.dim());
    Tensor index = need(in, 1).to(torch::kInt64);
    const int64_t n = x.size(axis);
    if (index.numel() && (index.lt(-n).any().item<bool>() || index.ge(n).any().item<bool>()))
        bad("an index is outside of the " + std::to_string(n) + " that there are");
    if (n)
        limit({x.numel() / n, index.numel()});
    Sizes to = x.sizes().vec();
    const Sizes places = index.sizes().vec();
    to.erase(to.begin() + axis);
    to.insert(to.begin() + axis, places.begin(), places.end());
    const Tensor counted = at::where(index.lt(0), index + n, index).view({-1});
    return {x.index_select(axis, counted.to(x.device())).view(to)};
}

/* Padding as torch wants it (last dimension first) from ONNX's (all starts, then all ends). */
Values pad(const OnnxNode &node, const Values &in, int opset) {
    const Tensor &x = need(in, 0);
    const Sizes pads = opset >= 11 ? list_of(need(in, 1)) : wholes(node, "pads", {});
    const size_t dims = size_t(x.dim());
    if (pads.size() != 2 * dims || given(in, 3))
        bad("pads must name every dimension");
    Sizes order, to;
    for (size_t i = dims; i > 0; i--) {
        order.push_back(pads[i - 1]);
        order.push_back(pads[dims + i - 1]);
        if (std::min(pads[i - 1], pads[dims + i - 1]) < -max_elements)
            bad("negative padding of an impossible size");
        limit({std::max<int64_t>(pads[i - 1], 0)});
        limit({std::max<int64_t>(pads[dims + i - 1], 0)});
        to.push_back(x.size(int64_t(i - 1)) + pads[i - 1] + pads[dims + i - 1]);
    }
    limit(to);
    const std::string mode = word(node, "mode", "constant");
    if (mode == "constant")
        return {at::constant_pad_nd(x, order,
            opset >= 11 ? (given(in, 2) ? in[2].item<double>() : 0) : real(node, "value", 0))};
    if (dims != 4 || order[4] || order[5] || order[6] || order[7])
        bad("padding of mode " + mode + " other than of height and width is not supported");
    order.resize(4);
    if (mode == "reflect")
        return {at::reflection_pad2d(x, order)};
    if (mode == "edge")
        return {at::replication_pad2d(x, order)};
    bad("padding of mode " + mode + " is not supported");
}

Values depth_to_space(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t b = whole(node, "blocksize", 0);
    if (x.dim() != 4 || b < 1 || b > 64 || x.size(1) % (b * b))
        bad("a block size that does not divide the channels");
    const int64_t n = x.size(0), c = x.size(1) / (b * b), h = x.size(2), w = x.size(3);
    if (word(node, "mode", "DCR") == "CRD")
        return {at::pixel_shuffle(x, b)};
    return {x.reshape({n, b, b, c, h, w}).permute({0, 3, 4, 1, 5, 2}).reshape(
        {n, c, h * b, w * b})};
}

Values space_to_depth(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t b = whole(node, "blocksize", 0);
    if (x.dim() != 4 || b < 1 || b > 64 || x.size(2) % b || x.size(3) % b)
        bad("a block size that does not divide height and width");
    const int64_t n = x.size(0), c = x.size(1), h = x.size(2) / b, w = x.size(3) / b;
    return {x.reshape({n, c, h, b, w, b}).permute({0, 3, 5, 1, 2, 4}).reshape(
        {n, c * b * b, h, w})};
}

} // namespace

void add_shapes(OperatorTable &table) {
    table.insert({
        {"Concat", concat},
        {"Constant", constant},
        {"ConstantOfShape", constant_of_shape},
        {"DepthToSpace", depth_to_space},
        {"Expand", expand},
        {"Flatten", flatten},
        {"Gather", gather},
        {"Pad", pad},
        {"Range", range},
        {"Reshape", reshape},
        {"Shape", shape},
        {"Size", size},
        {"Slice", slice},
        {"SpaceToDepth", space_to_depth},
        {"Split", split},
        {"Squeeze", squeeze},
        {"Tile", tile},
        {"Transpose", transpose},
        {"Unsqueeze", unsqueeze},
    });
}

} // namespace cloak
