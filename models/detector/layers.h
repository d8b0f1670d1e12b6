/* The layers that a detector is made of, frozen: no weight wants a gradient, and a batch norm is
 * folded into the convolution before it at load.
 *
 * Tensors are channels-last: oneDNN and cuDNN then read them as they are. Float is what a verdict is passed
 * on; bfloat16 is for finding one's way: on GPUs and processors that multiply it (AVX512-BF16), layers take it
 * as well and are faster. A layer computes in the type of what it is given, but for gradients that
 * come from few places: those are in float.
 *
 * The load functions check what they read against what the architecture says and throw
 * std::runtime_error that names the tensor, so that a file that does not fit fails at load and not
 * at the first photo. */
#ifndef CLOAK_DETECTOR_LAYERS_H
#define CLOAK_DETECTOR_LAYERS_H

#include <array>
#include <string>

#include "models/detector/safetensors.h"

namespace cloak {

/* A parameter in the types that layers compute in. */
struct Parameter {
    torch::Tensor exact, brief; /* float; bfloat16, undefined where that is not multiplied */

    Parameter &operator=(torch::Tensor value);
    const torch::Tensor &like(const torch::Tensor &x) const {
        return x.scalar_type() == torch::kFloat32 ? exact : brief;
    }
};

/* Which passes a layer is there for. */
enum class Passes { forward, both };

/* A convolution with what follows it. The activation changes the convolution's own output in place:
 * the convolution's gradient reads its weight or taps, and the activation's gradient its result,
 * so nothing that a backward pass needs is lost. Differentiable in `x` alone. */
struct Conv {
    enum Activation { none, relu, relu6 };
    using Pair = std::array<int64_t, 2>; /* of height and width */
    Parameter weight, bias;
    Pair stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
    int64_t groups = 1;
    Activation activation = none;
    /* The weight as what a gradient's places are convolved with, kernel·kernel·inputs × outputs × 1 × 1,
     * in float: for gradients that come from few places; undefined where they come from all or none, and on
     * GPUs, which take the whole map. */
    torch::Tensor taps;

    torch::Tensor operator()(const torch::Tensor &x) const;

    /* Moves it to a GPU. */
    void move_to(const torch::Device &device);

    int64_t outputs() const {
        return weight.exact.size(0);
    }
};

/* What an architecture says of a convolution. Kernels are square and odd, padded to keep the size;
 * `outputs` may be any_size; a depthwise convolution has one filter per input. */
struct ConvShape {
    int64_t inputs, outputs, kernel, stride = 1;
    Conv::Activation activation = Conv::none;
    bool depthwise = false;
};

/* The convolution `prefix`.weight/.bias without batch norm: a layer of the pyramid or of what
 * proposes boxes, to which a gradient comes from few places, if any. One image at a time. */
Conv load_conv(const Weights &weights, const std::string &prefix, const ConvShape &shape,
    Passes passes);

/* The convolution `conv`.weight with the batch norm `norm`.weight/.bias/.running_* behind it. */
Conv load_folded(const Weights &weights, const std::string &conv, const std::string &norm,
    const ConvShape &shape);

/* A fully connected layer: rows of `inputs` numbers to rows of `outputs`, computed on the CPU as a convolution
 * of 1 × 1, so that no BLAS with threads of its own stands beside oneDNN. No autograd. */
struct Linear {
    Parameter weight, bias;
    torch::Tensor taps; /* as Conv's; undefined without a backward pass, and on GPUs */

    torch::Tensor operator()(const torch::Tensor &x) const;

    /* From the gradient of what comes out (rows of `outputs`) to that of what went in. */
    torch::Tensor backward(const torch::Tensor &grad) const;

    int64_t outputs() const {
        return weight.exact.size(0);
    }
};

/* The layer `prefix`.weight/.bias; `outputs` may be any_size. */
Linear load_linear(const Weights &weights, const std::string &prefix, int64_t inputs,
    int64_t outputs, Passes passes);

} // namespace cloak
#endif
