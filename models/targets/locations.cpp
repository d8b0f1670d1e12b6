/* Tables of locations; see the header. */
#include "models/targets/locations.h"

#include <stdexcept>

#include <ATen/ATen.h>

namespace cloak {

torch::Tensor by_location(
    const torch::Tensor &value, Layout layout, int64_t sizes, const std::string &name) {
    torch::Tensor x = value;
    if (layout == Layout::maps) {
        if (x.dim() != 4 || x.size(0) != 1 || x.size(1) % sizes)
            throw std::runtime_error("\"" + name + "\" is not 1 × (sizes · columns) × height × width");
        return x.view({sizes, x.size(1) / sizes, x.size(2), x.size(3)})
            .permute({2, 3, 0, 1})
            .reshape({x.size(2) * x.size(3) * sizes, x.size(1) / sizes});
    }
    while (x.dim() > 2 && x.size(0) == 1)
        x = x.squeeze(0);
    if (x.dim() == 1)
        x = x.unsqueeze(1);
    if (x.dim() != 2)
        throw std::runtime_error("\"" + name + "\" has " + std::to_string(value.dim()) +
                                 " dimensions that are not locations and columns");
    return layout == Layout::columns ? x.t() : x;
}

torch::Tensor column_of(const torch::Tensor &table, const OutputColumn &from) {
    if (from.column >= table.size(1))
        throw std::runtime_error("\"" + from.output + "\" has " + std::to_string(table.size(1)) +
                                 " columns; column " + std::to_string(from.column) +
                                 " is asked for");
    return table.select(1, from.column);
}

torch::Tensor log_factor(const torch::Tensor &table, const OutputColumn &from, Activation left) {
    if (left == Activation::softmax) {
        column_of(table, from);
        return at::log_softmax(table, 1).select(1, from.column);
    }
    const torch::Tensor x = column_of(table, from);
    if (left == Activation::sigmoid)
        return at::log_sigmoid(x);
    return at::log(at::clamp(x, 1e-12, 1));
}

torch::Tensor odds_of_log(const torch::Tensor &log_probability) {
    const torch::Tensor x = at::clamp(log_probability, c10::nullopt, -1e-12);
    return x - at::log(-at::expm1(x));
}

} // namespace cloak
