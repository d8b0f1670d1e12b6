/* Operators; see the header. Elementwise ones first, then shapes, then windows. */
#include "models/targets/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

namespace cloak {

namespace {

using Tensor = torch::Tensor;
using Sizes = std::vector<int64_t>;

[[noreturn]] void bad(const std::string &what) {
    throw std::runtime_error(what);
}

const OnnxAttribute *find(const OnnxNode &node, const char *name) {
    auto found = node.attributes.find(name);
    return found == node.attributes.end() ? nullptr : &found->second;
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
    Tensor whole = tensor.detach().to(torch::kInt64).contiguous().view({-1});
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

/* --- elementwise -------------------------------------------------------------------------- */

/* Where one side is a bfloat16 image, the other follows it; torch would go to float for good. */
void match_types(Tensor &a, Tensor &b) {
    auto follows = [](const Tensor &from, const Tensor &image) {
        return image.scalar_type() == torch::kBFloat16 && image.dim() == 4 &&
               from.scalar_type() == torch::kFloat32;
    };
    if (follows(b, a))
        b = b.to(torch::kBFloat16);
    else if (follows(a, b))
        a = a.to(torch::kBFloat16);
}

template <Tensor (*compute)(const Tensor &, const Tensor &)>
Values binary(const OnnxNode &, const Values &in, int) {
    Tensor a = need(in, 0), b = need(in, 1);
    limit(at::infer_size(a.sizes(), b.sizes()));
    match_types(a, b);
    return {compute(a, b)};
}

template <Tensor (*compute)(const Tensor &, const Tensor &)>
Values fold(const OnnxNode &, const Values &in, int) {
    Tensor sum = need(in, 0);
    for (size_t i = 1; i < in.size(); i++) {
        Tensor next = need(in, i);
        limit(at::infer_size(sum.sizes(), next.sizes()));
        match_types(sum, next);
        sum = compute(sum, next);
    }
    return {sum};
}

template <Tensor (*compute)(const Tensor &)> Values unary(const OnnxNode &, const Values &in, int) {
    return {compute(need(in, 0))};
}

Tensor add(const Tensor &a, const Tensor &b) {
    return at::add(a, b);
}
Tensor subtract(const Tensor &a, const Tensor &b) {
    return at::sub(a, b);
}
Tensor divide(const Tensor &a, const Tensor &b) {
    if (a.is_floating_point() || b.is_floating_point())
        return at::div(a, b);
    if (b.eq(0).any().item<bool>())
        bad("whole numbers are divided by 0");
    return at::div(a, b, "trunc");
}
Tensor power(const Tensor &a, const Tensor &b) {
    return at::pow(a, b);
}
Tensor equal(const Tensor &a, const Tensor &b) {
    return at::eq(a, b);
}
Tensor greater(const Tensor &a, const Tensor &b) {
    return at::gt(a, b);
}
Tensor less(const Tensor &a, const Tensor &b) {
    return at::lt(a, b);
}
Tensor identity(const Tensor &x) {
    return x;
}
Tensor mish(const Tensor &x) {
    return x * at::tanh(at::softplus(x));
}

Values clip(const OnnxNode &node, const Values &in, int) {
    double low, high;
    const Tensor &x = need(in, 0);
    if (!clip_bounds(node, in, &low, &high))
        bad("bounds that are not single numbers");
    const bool below = low > -HUGE_VAL, above = high < HUGE_VAL;
    if (!below && !above)
        return {x};
    return {at::clamp(x, below ? c10::optional<at::Scalar>(low) : c10::nullopt,
        above ? c10::optional<at::Scalar>(high) : c10::nullopt)};
}

Values leaky_relu(const OnnxNode &node, const Values &in, int) {
    return {at::leaky_relu(need(in, 0), real(node, "alpha", 0.01))};
}

Values elu(const OnnxNode &node, const Values &in, int) {
    return {at::elu(need(in, 0), real(node, "alpha", 1))};
}

Values prelu(const OnnxNode &, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const Tensor slope = need(in, 1).to(x.scalar_type());
    limit(at::infer_size(x.sizes(), slope.sizes()));
    return {at::where(x.gt(0), x, x * slope)};
}

Values hard_sigmoid(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    return {at::clamp(x * real(node, "alpha", 0.2) + real(node, "beta", 0.5), 0, 1)};
}

Values hard_swish(const OnnxNode &, const Values &in, int) {
    const Tensor &x = need(in, 0);
    return {x * at::clamp(x / 6 + 0.5, 0, 1)};
}

/* Before operator set 13, all dimensions from the axis on count as one. */
template <Tensor (*compute)(const Tensor &, int64_t)>
Values soft(const OnnxNode &node, const Values &in, int opset) {
    const Tensor &x = need(in, 0);
    const int64_t axis = axis_of(whole(node, "axis", opset < 13 ? 1 : -1), x.dim());
    if (opset >= 13 || axis == x.dim() - 1)
        return {compute(x, axis)};
    return {compute(x.flatten(axis), axis).view(x.sizes())};
}

Tensor softmax(const Tensor &x, int64_t axis) {
    return at::softmax(x, axis);
}
Tensor log_softmax(const Tensor &x, int64_t axis) {
    return at::log_softmax(x, axis);
}

Values where(const OnnxNode &, const Values &in, int) {
    limit(at::infer_size(
        at::infer_size(need(in, 0).sizes(), need(in, 1).sizes()), need(in, 2).sizes()));
    return {at::where(in[0].to(torch::kBool), in[1], in[2])};
}

Values cast(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    switch (whole(node, "to", 0)) {
    case 1:
    case 10:
    case 11:
    case 16: /* all real numbers are float here, or bfloat16 where the graph is brief */
        return {x.is_floating_point() ? x : x.to(torch::kFloat32)};
    case 2:
    case 3:
    case 6:
    case 7:
        return {x.to(torch::kInt64)};
    case 9:
        return {x.to(torch::kBool)};
    default:
        bad("a cast to type " + std::to_string(whole(node, "to", 0)) + " is not supported");
    }
}

Values dropout(const OnnxNode &, const Values &in, int) {
    return {need(in, 0), torch::ones_like(in[0], torch::kBool)};
}

Values batch_norm(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Sizes shape(size_t(std::max<int64_t>(x.dim(), 2)), 1);
    shape[1] = -1;
    const Tensor scale = need(in, 1) * at::rsqrt(need(in, 4) + real(node, "epsilon", 1e-5));
    const Tensor shift = need(in, 2) - need(in, 3) * scale;
    return {x * scale.view(shape).to(x.scalar_type()) + shift.view(shape).to(x.scalar_type())};
}

/* --- sums and products -------------------------------------------------------------------- */

template <Tensor (*compute)(const Tensor &, const Sizes &, bool)>
Values reduce(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Sizes axes = axes_of(node, in, 1, x.dim());
    if (axes.empty() && whole(node, "noop_with_empty_axes", 0))
        return {x};
    if (axes.empty())
        for (int64_t i = 0; i < x.dim(); i++)
            axes.push_back(i);
    return {compute(x, axes, whole(node, "keepdims", 1) != 0)};
}

Tensor mean_over(const Tensor &x, const Sizes &axes, bool keep) {
    return at::mean(x, axes, keep);
}
Tensor sum_over(const Tensor &x, const Sizes &axes, bool keep) {
    return at::sum(x, axes, keep);
}
Tensor max_over(const Tensor &x, const Sizes &axes, bool keep) {
    return at::amax(x, axes, keep);
}
Tensor min_over(const Tensor &x, const Sizes &axes, bool keep) {
    return at::amin(x, axes, keep);
}
Tensor length_over(const Tensor &x, const Sizes &axes, bool keep) {
    return at::sqrt(at::sum(x * x, axes, keep));
}

Values lp_normalization(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const int64_t axis = axis_of(whole(node, "axis", -1), x.dim());
    if (whole(node, "p", 2) == 1)
        return {x / at::sum(at::abs(x), Sizes{axis}, true)};
    return {x / length_over(x, {axis}, true)};
}

Values matmul(const OnnxNode &, const Values &in, int) {
    const Tensor &a = need(in, 0), &b = need(in, 1);
    if (a.dim() >= 2 && b.dim() >= 2) {
        const Sizes left = a.sizes().vec(), right = b.sizes().vec();
        Sizes shape = at::infer_size(Sizes(left.begin(), left.end() - 2),
            Sizes(right.begin(), right.end() - 2));
        shape.push_back(left[left.size() - 2]);
        shape.push_back(right.back());
        limit(shape);
    }
    return {at::matmul(a, b.to(a.scalar_type()))};
}

Values gemm(const OnnxNode &node, const Values &in, int) {
    Tensor a = need(in, 0), b = need(in, 1).to(need(in, 0).scalar_type());
    if (a.dim() != 2 || b.dim() != 2)
        bad("matrices of two dimensions are needed");
    a = whole(node, "transA", 0) ? a.t() : a;
    b = whole(node, "transB", 0) ? b.t() : b;
    limit({a.size(0), b.size(1)});
    Tensor product = at::matmul(a, b) * real(node, "alpha", 1);
    if (given(in, 2))
        product = product + in[2].to(product.scalar_type()) * real(node, "beta", 1);
    return {product};
}

/* --- shapes ------------------------------------------------------------------------------- */

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
    return x.index_select(axis, to_tensor(index));
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
    return {x.index_select(axis, at::where(index.lt(0), index + n, index).view({-1})).view(to)};
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

/* --- windows ------------------------------------------------------------------------------ */

Sizes plane_of(const Tensor &x) {
    if (x.dim() != 4)
        bad("an input of 4 dimensions is needed, this one has " + std::to_string(x.dim()));
    return {x.size(2), x.size(3)};
}

/* Sizes after a window has gone over an input; refuses what nobody's detector has. */
void limit_window(const Tensor &x, const Window &w, int64_t channels) {
    const Sizes plane = plane_of(x);
    Sizes to = {x.size(0), channels};
    for (size_t i = 0; i < 2; i++) {
        to.push_back((plane[i] + w.before[i] + w.after[i] - w.dilation[i] * (w.kernel[i] - 1) - 1) /
                         w.stride[i] +
                     1);
        limit({plane[i] + w.before[i] + w.after[i]});
    }
    limit(to);
}

/* Makes uneven padding of the input itself, so that the window's is even. */
Tensor even_out(const Tensor &x, Window &w, double value) {
    if (w.symmetric())
        return x;
    Tensor padded =
        at::constant_pad_nd(x, {w.before[1], w.after[1], w.before[0], w.after[0]}, value);
    w.before = w.after = {0, 0};
    return padded;
}

Values conv(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const Tensor weight = need(in, 1).to(x.scalar_type());
    if (weight.dim() != 4)
        bad("only convolutions over height and width are supported");
    Window w = window_of(node, {weight.size(2), weight.size(3)}, plane_of(x));
    limit_window(x, w, weight.size(0));
    const int64_t groups = whole(node, "group", 1);
    if (groups < 1 || groups > weight.size(0))
        bad("an impossible number of groups");
    Tensor even = even_out(x, w, 0);
    return {at::conv2d(even, weight, given(in, 2) ? in[2].to(x.scalar_type()) : Tensor(), w.stride,
        w.before, w.dilation, groups)};
}

Values conv_transpose(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    const Tensor weight = need(in, 1).to(x.scalar_type());
    if (weight.dim() != 4)
        bad("only convolutions over height and width are supported");
    Window w = window_of(node, {weight.size(2), weight.size(3)}, {0, 0});
    const Sizes extra = wholes(node, "output_padding", {0, 0});
    const int64_t groups = whole(node, "group", 1);
    if (!w.symmetric() || word(node, "auto_pad", "NOTSET") != "NOTSET" ||
        find(node, "output_shape") || extra.size() != 2)
        bad("padding that is uneven or goes by the output's shape is not supported");
    limit_window(x, w, 1);
    if (groups < 1 || groups > weight.size(0))
        bad("an impossible number of groups");
    limit({x.size(0), weight.size(1) * groups,
        x.size(2) * w.stride[0] + w.kernel[0] * w.dilation[0] + extra[0],
        x.size(3) * w.stride[1] + w.kernel[1] * w.dilation[1] + extra[1]});
    return {at::conv_transpose2d(x, weight, given(in, 2) ? in[2].to(x.scalar_type()) : Tensor(),
        w.stride, w.before, extra, groups, w.dilation)};
}

Values max_pool(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Window w = window_of(node, {}, plane_of(x));
    limit_window(x, w, x.size(1));
    const bool ceil = whole(node, "ceil_mode", 0) != 0;
    Tensor even = even_out(x, w, -std::numeric_limits<float>::infinity());
    return {at::max_pool2d(even, w.kernel, w.stride, w.before, w.dilation, ceil)};
}

Values average_pool(const OnnxNode &node, const Values &in, int) {
    const Tensor &x = need(in, 0);
    Window w = window_of(node, {}, plane_of(x));
    limit_window(x, w, x.size(1));
    const bool count_padding = whole(node, "count_include_pad", 0) != 0;
    if (!w.symmetric() && !count_padding)
        bad("an average over uneven padding that does not count is not supported");
    Tensor even = even_out(x, w, 0);
    return {at::avg_pool2d(
        even, w.kernel, w.stride, w.before, whole(node, "ceil_mode", 0) != 0, count_padding)};
}

Tensor global_average(const Tensor &x) {
    plane_of(x);
    return at::mean(x, Sizes{2, 3}, true);
}

Tensor global_max(const Tensor &x) {
    plane_of(x);
    return at::amax(x, Sizes{2, 3}, true);
}

/* How much larger an image becomes, and to what size. */
struct Scaling {
    Sizes to;
    std::vector<double> factors;
};

Scaling scaling_of(const OnnxNode &node, const Values &in, const Sizes &plane, int opset) {
    Scaling s;
    const size_t place = opset >= 11 ? 2 : 1;
    if (opset >= 11 && given(in, 3) && in[3].numel()) {
        const Sizes sizes = list_of(in[3]);
        if (sizes.size() != 4)
            bad("sizes of 4 dimensions are needed");
        s.to = {sizes[2], sizes[3]};
        for (size_t i = 0; i < 2; i++)
            s.factors.push_back(double(s.to[i]) / double(std::max<int64_t>(plane[i], 1)));
        return s;
    }
    std::vector<double> scales;
    if (given(in, place)) {
        if (in[place].numel() != 4)
            bad("scales of 4 dimensions are needed");
        Tensor values = in[place].to(torch::kFloat64).contiguous();
        scales.assign(values.data_ptr<double>(), values.data_ptr<double>() + 4);
    } else if (const OnnxAttribute *attribute = find(node, "scales")) {
        scales = attribute->reals;
    }
    if (scales.size() != 4 || scales[0] != 1 || scales[1] != 1)
        bad("scales of height and width alone are needed");
    for (size_t i = 0; i < 2; i++) {
        if (!(scales[2 + i] > 0 && scales[2 + i] <= 64))
            bad("a scale outside of what can be had");
        s.factors.push_back(scales[2 + i]);
        s.to.push_back(int64_t(std::floor(double(plane[i]) * scales[2 + i])));
    }
    return s;
}

Values resize(const OnnxNode &node, const Values &in, int opset) {
    const Tensor &x = need(in, 0);
    const Sizes plane = plane_of(x);
    const Scaling s = scaling_of(node, in, plane, opset);
    limit({x.size(0), x.size(1), s.to[0], s.to[1]});
    const std::string mode = word(node, "mode", "nearest");
    const bool old = node.op == "Upsample" || opset < 11;
    const std::string way =
        word(node, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    /* Where sizes are multiples, all ways to the nearest agree. */
    const bool multiples =
        plane[0] && plane[1] && s.to[0] % plane[0] == 0 && s.to[1] % plane[1] == 0;
    if (mode == "nearest" &&
        (multiples || (way == "asymmetric" &&
                          (old || word(node, "nearest_mode", "round_prefer_floor") == "floor"))))
        return {at::upsample_nearest2d(x, s.to, s.factors[0], s.factors[1])};
    if (mode == "linear" && (way == "half_pixel" || way == "pytorch_half_pixel"))
        return {at::upsample_bilinear2d(x, s.to, false, s.factors[0], s.factors[1])};
    if (mode == "linear" && way == "align_corners")
        return {at::upsample_bilinear2d(x, s.to, true)};
    bad("resizing by " + mode + " with " + way + " coordinates is not supported");
}

const std::map<std::string, Operator> &table() {
    static const std::map<std::string, Operator> operators = {
        {"Abs", unary<at::abs>},
        {"Add", binary<add>},
        {"And", binary<at::logical_and>},
        {"AveragePool", average_pool},
        {"BatchNormalization", batch_norm},
        {"Cast", cast},
        {"Ceil", unary<at::ceil>},
        {"Clip", clip},
        {"Concat", concat},
        {"Constant", constant},
        {"ConstantOfShape", constant_of_shape},
        {"Conv", conv},
        {"ConvTranspose", conv_transpose},
        {"DepthToSpace", depth_to_space},
        {"Div", binary<divide>},
        {"Dropout", dropout},
        {"Elu", elu},
        {"Equal", binary<equal>},
        {"Erf", unary<at::erf>},
        {"Exp", unary<at::exp>},
        {"Expand", expand},
        {"Flatten", flatten},
        {"Floor", unary<at::floor>},
        {"Gather", gather},
        {"Gemm", gemm},
        {"GlobalAveragePool", unary<global_average>},
        {"GlobalMaxPool", unary<global_max>},
        {"Greater", binary<greater>},
        {"HardSigmoid", hard_sigmoid},
        {"HardSwish", hard_swish},
        {"Identity", unary<identity>},
        {"LeakyRelu", leaky_relu},
        {"Less", binary<less>},
        {"Log", unary<at::log>},
        {"LogSoftmax", soft<log_softmax>},
        {"LpNormalization", lp_normalization},
        {"MatMul", matmul},
        {"Max", fold<at::maximum>},
        {"MaxPool", max_pool},
        {"Min", fold<at::minimum>},
        {"Mish", unary<mish>},
        {"Mul", binary<at::mul>},
        {"Neg", unary<at::neg>},
        {"Not", unary<at::logical_not>},
        {"Or", binary<at::logical_or>},
        {"PRelu", prelu},
        {"Pad", pad},
        {"Pow", binary<power>},
        {"Range", range},
        {"Reciprocal", unary<at::reciprocal>},
        {"ReduceL2", reduce<length_over>},
        {"ReduceMax", reduce<max_over>},
        {"ReduceMean", reduce<mean_over>},
        {"ReduceMin", reduce<min_over>},
        {"ReduceSum", reduce<sum_over>},
        {"Relu", unary<at::relu>},
        {"Reshape", reshape},
        {"Resize", resize},
        {"Round", unary<at::round>},
        {"Shape", shape},
        {"Sigmoid", unary<at::sigmoid>},
        {"Size", size},
        {"Slice", slice},
        {"Softmax", soft<softmax>},
        {"Softplus", [](const OnnxNode &, const Values &in, int) {
             return Values{at::softplus(need(in, 0))};
         }},
        {"SpaceToDepth", space_to_depth},
        {"Split", split},
        {"Sqrt", unary<at::sqrt>},
        {"Squeeze", squeeze},
        {"Sub", binary<subtract>},
        {"Sum", fold<add>},
        {"Tanh", unary<at::tanh>},
        {"Tile", tile},
        {"Transpose", transpose},
        {"Unsqueeze", unsqueeze},
        {"Upsample", resize},
        {"Where", where},
    };
    return operators;
}

} // namespace

Operator find_operator(const std::string &name) {
    auto found = table().find(name);
    return found == table().end() ? nullptr : found->second;
}

int64_t whole(const OnnxNode &node, const char *name, int64_t otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->whole : otherwise;
}

double real(const OnnxNode &node, const char *name, double otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->real : otherwise;
}

std::vector<int64_t> wholes(const OnnxNode &node, const char *name, Sizes otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->wholes : otherwise;
}

std::string word(const OnnxNode &node, const char *name, const char *otherwise) {
    const OnnxAttribute *attribute = find(node, name);
    return attribute ? attribute->text : otherwise;
}

Window window_of(const OnnxNode &node, Sizes kernel, const Sizes &size) {
    Window w;
    w.kernel = wholes(node, "kernel_shape", kernel);
    w.stride = wholes(node, "strides", {1, 1});
    w.dilation = wholes(node, "dilations", {1, 1});
    const Sizes pads = wholes(node, "pads", {0, 0, 0, 0});
    if (w.kernel.size() != 2 || w.stride.size() != 2 || w.dilation.size() != 2 ||
        pads.size() != 4)
        bad("only windows over height and width are supported");
    w.before = {pads[0], pads[1]};
    w.after = {pads[2], pads[3]};
    auto within = [](const Sizes &values, int64_t least) {
        return std::all_of(values.begin(), values.end(),
            [least](int64_t value) { return value >= least && value <= 4096; });
    };
    if (!within(w.kernel, 1) || !within(w.stride, 1) || !within(w.dilation, 1) || !within(pads, 0))
        bad("a window of an impossible size");
    const std::string way = word(node, "auto_pad", "NOTSET");
    if (way == "VALID")
        w.before = w.after = {0, 0};
    if (way != "SAME_UPPER" && way != "SAME_LOWER")
        return w;
    for (size_t i = 0; i < 2; i++) {
        const int64_t steps = (size[i] + w.stride[i] - 1) / w.stride[i];
        const int64_t all = std::max<int64_t>(
            (steps - 1) * w.stride[i] + w.dilation[i] * (w.kernel[i] - 1) + 1 - size[i], 0);
        w.before[i] = way == "SAME_UPPER" ? all / 2 : all - all / 2;
        w.after[i] = all - w.before[i];
    }
    return w;
}

bool clip_bounds(const OnnxNode &node, const Values &in, double *low, double *high) {
    *low = real(node, "min", -HUGE_VAL);
    *high = real(node, "max", HUGE_VAL);
    for (size_t i = 1; i <= 2; i++)
        if (given(in, i)) {
            if (in[i].numel() != 1)
                return false;
            (i == 1 ? *low : *high) = in[i].item<double>();
        }
    return true;
}

} // namespace cloak
