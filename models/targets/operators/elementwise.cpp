/* Operators that go element by element, sums and products. */
#include "models/targets/operators/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/ExpandUtils.h>

namespace cloak {

using namespace onnx_arguments;

namespace {

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
    const Tensor turns = b.eq(-1); /* the processor faults where the lowest number is divided by -1 */
    return at::where(turns, at::neg(a), at::div(a, b.masked_fill(turns, 1), "trunc"));
}
Tensor power(const Tensor &a, const Tensor &b) {
    return at::pow(a, b.to(a.device()));
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
    return {at::where(in[0].to(in[1].device(), torch::kBool), in[1], in[2])};
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
        return {x.to(torch::kCPU, torch::kInt64)}; /* whole numbers are the host's */
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
    for (size_t i = 1; i < 5; i++)
        if (need(in, i).dim() != 1 || x.dim() < 2 || need(in, i).size(0) != x.size(1))
            bad("one number per channel is needed of each kind");
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
        const Sizes batch = at::infer_size(Sizes(left.begin(), left.end() - 2),
            Sizes(right.begin(), right.end() - 2));
        auto limit_each = [&batch](int64_t rows, int64_t columns) {
            Sizes shape = batch;
            shape.insert(shape.end(), {rows, columns});
            limit(shape);
        };
        limit_each(left[left.size() - 2], right.back());
        if (left.size() > 2) /* torch may repeat either side for the other's batch */
            limit_each(left[left.size() - 2], left.back());
        if (right.size() > 2)
            limit_each(right[right.size() - 2], right.back());
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
    if (given(in, 2)) {
        if (at::infer_size(in[2].sizes(), product.sizes()) != product.sizes().vec())
            bad("what is added does not fit the product");
        product = product + in[2].to(product.scalar_type()) * real(node, "beta", 1);
    }
    return {product};
}

} // namespace

void add_elementwise(OperatorTable &table) {
    table.insert({
        {"Abs", unary<at::abs>},
        {"Add", binary<add>},
        {"And", binary<at::logical_and>},
        {"BatchNormalization", batch_norm},
        {"Cast", cast},
        {"Ceil", unary<at::ceil>},
        {"Clip", clip},
        {"Div", binary<divide>},
        {"Dropout", dropout},
        {"Elu", elu},
        {"Equal", binary<equal>},
        {"Erf", unary<at::erf>},
        {"Exp", unary<at::exp>},
        {"Floor", unary<at::floor>},
        {"Gemm", gemm},
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
        {"Min", fold<at::minimum>},
        {"Mish", unary<mish>},
        {"Mul", binary<at::mul>},
        {"Neg", unary<at::neg>},
        {"Not", unary<at::logical_not>},
        {"Or", binary<at::logical_or>},
        {"PRelu", prelu},
        {"Pow", binary<power>},
        {"Reciprocal", unary<at::reciprocal>},
        {"ReduceL2", reduce<length_over>},
        {"ReduceMax", reduce<max_over>},
        {"ReduceMean", reduce<mean_over>},
        {"ReduceMin", reduce<min_over>},
        {"ReduceSum", reduce<sum_over>},
        {"Relu", unary<at::relu>},
        {"Round", unary<at::round>},
        {"Sigmoid", unary<at::sigmoid>},
        {"Softmax", soft<softmax>},
        {"Softplus", [](const OnnxNode &, const Values &in, int) {
             return Values{at::softplus(need(in, 0))};
         }},
        {"Sqrt", unary<at::sqrt>},
        {"Sub", binary<subtract>},
        {"Sum", fold<add>},
        {"Tanh", unary<at::tanh>},
        {"Where", where},
    });
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
