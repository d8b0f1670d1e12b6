/* Reading what a node is given: for the operators alone. */
#ifndef CLOAK_TARGETS_ARGUMENTS_H
#define CLOAK_TARGETS_ARGUMENTS_H

#include <map>
#include <string>
#include <vector>

#include "models/targets/operators/operators.h"

namespace cloak {

using OperatorTable = std::map<std::string, Operator>;

/* Each adds the operators of its file. */
void add_elementwise(OperatorTable &table);
void add_shapes(OperatorTable &table);
void add_windows(OperatorTable &table);

namespace onnx_arguments {

using Tensor = torch::Tensor;
using Sizes = std::vector<int64_t>;

[[noreturn]] void bad(const std::string &what);

/* An attribute, or NULL. */
const OnnxAttribute *find(const OnnxNode &node, const char *name);

/* Whether an input is there; the input, which must be. */
bool given(const Values &in, size_t i);
const Tensor &need(const Values &in, size_t i);

/* Refuses a result that nobody's detector has, before it is made. */
void limit(const Sizes &shape);

/* A small tensor of whole numbers as a list, and back. */
Sizes list_of(const Tensor &tensor);
Tensor to_tensor(const Sizes &list);

/* An axis counted from the front. */
int64_t axis_of(int64_t axis, int64_t dims);

/* Axes from an input, as newer operator sets have them, or from an attribute. */
Sizes axes_of(const OnnxNode &node, const Values &in, size_t place, int64_t dims);

/* For operators of one tensor. */
template <Tensor (*compute)(const Tensor &)> Values unary(const OnnxNode &, const Values &in, int) {
    return {compute(need(in, 0))};
}

} // namespace onnx_arguments
} // namespace cloak
#endif
