/* Operators that go over an image: convolutions, pooling, resizing. */
#include "models/targets/operators/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

namespace cloak {

using namespace onnx_arguments;

namespace {

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
    }
    limit(to);
    limit({x.size(0), x.size(1), plane[0] + w.before[0] + w.after[0], plane[1] + w.before[1] + w.after[1]});
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
    plane_of(x);
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
    if (w.dilation != Sizes{1, 1})
        bad("an average over a window with holes is not supported");
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

/* Whether the nearest pixel is the one that comes of rounding down what is asked for divided by a whole factor.
 * Coordinates and rounding as ONNX has them. */
bool is_repeated(const std::string &way, const std::string &rounding, double factor) {
    if (factor == 1)
        return true; /* nothing lies in between */
    if (factor != std::floor(factor))
        return way == "asymmetric" && rounding == "floor";
    if (way == "half_pixel" || way == "pytorch_half_pixel")
        return rounding == "round_prefer_floor" || rounding == "round_prefer_ceil";
    return way == "asymmetric" && (rounding == "floor" || (rounding == "round_prefer_floor" && factor == 2));
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
        Tensor values = in[place].to(torch::kCPU, torch::kFloat64).contiguous();
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
    const std::string rounding = old ? "floor" : word(node, "nearest_mode", "round_prefer_floor");
    if (mode == "nearest" && is_repeated(way, rounding, s.factors[0]) && is_repeated(way, rounding, s.factors[1]))
        return {at::upsample_nearest2d(x, s.to, s.factors[0], s.factors[1])};
    if (mode == "nearest")
        bad("resizing to the nearest pixel by " + way + " coordinates and " + rounding + " is not supported with this factor");
    if (mode == "linear" && (way == "half_pixel" || way == "pytorch_half_pixel"))
        return {at::upsample_bilinear2d(x, s.to, false, s.factors[0], s.factors[1])};
    if (mode == "linear" && way == "align_corners")
        return {at::upsample_bilinear2d(x, s.to, true)};
    bad("resizing by " + mode + " with " + way + " coordinates is not supported");
}

} // namespace

void add_windows(OperatorTable &table) {
    table.insert({
        {"AveragePool", average_pool},
        {"Conv", conv},
        {"ConvTranspose", conv_transpose},
        {"GlobalAveragePool", unary<global_average>},
        {"GlobalMaxPool", unary<global_max>},
        {"MaxPool", max_pool},
        {"Resize", resize},
        {"Upsample", resize},
    });
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

} // namespace cloak
