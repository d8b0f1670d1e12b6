/* What ONNX's operators compute, as differentiable operations of torch. Those that face detectors use;
 * meanings and defaults are those of ONNX's operator specification (Operators.md of the ONNX project).
 */
#ifndef CLOAK_TARGETS_OPERATORS_H
#define CLOAK_TARGETS_OPERATORS_H

#include <string>
#include <vector>

#include "models/targets/onnx_file.h"

namespace cloak {

using Values = std::vector<torch::Tensor>; /* undefined: an optional one that is left out */

/* Computes a node's outputs. Throws std::runtime_error or c10::Error where inputs or attributes do
 * not fit, and before it would make a tensor of more than max_elements. */
using Operator = Values (*)(const OnnxNode &node, const Values &in, int opset);

constexpr int64_t max_elements = int64_t(1) << 27;

/* The operator of this name, or NULL. */
Operator find_operator(const std::string &name);

/* An attribute as a whole number, as numbers, as text; the default where the node has none. */
int64_t whole(const OnnxNode &node, const char *name, int64_t otherwise);
double real(const OnnxNode &node, const char *name, double otherwise);
std::vector<int64_t> wholes(
    const OnnxNode &node, const char *name, std::vector<int64_t> otherwise);
std::string word(const OnnxNode &node, const char *name, const char *otherwise);

/* A convolution's or a pooling's window, with all that may be left out filled in, for an input of
 * two dimensions. `before` and `after` are the padding on the left and top, right and bottom. */
struct Window {
    std::vector<int64_t> kernel, stride, dilation, before, after;

    bool symmetric() const {
        return before == after;
    }
};

/* `kernel`: where the node does not say it. `size`: of the input, which automatic padding goes by. */
Window window_of(
    const OnnxNode &node, std::vector<int64_t> kernel, const std::vector<int64_t> &size);

/* The lowest and highest value of a Clip; false where they are not constants. */
bool clip_bounds(const OnnxNode &node, const Values &in, double *low, double *high);

} // namespace cloak
#endif
