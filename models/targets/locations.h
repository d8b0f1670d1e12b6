/* What a detector's graph gives, as tables: a row per location, and what its columns say of a face there.
 */
#ifndef CLOAK_TARGETS_LOCATIONS_H
#define CLOAK_TARGETS_LOCATIONS_H

#include <string>

#include <torch/types.h>

#include "models/targets/descriptor.h"

namespace cloak {

/* A value as locations × columns; in maps there are `sizes` locations at each place. `name` is for the
 * std::runtime_error that is thrown where it cannot be. */
torch::Tensor by_location(
    const torch::Tensor &value, Layout layout, int64_t sizes, const std::string &name);

/* One column of such a table. Throws std::runtime_error where there is none. */
torch::Tensor column_of(const torch::Tensor &table, const OutputColumn &from);

/* The logarithm of a factor, a probability, of which `left` is still to be done. Differentiable. */
torch::Tensor log_factor(const torch::Tensor &table, const OutputColumn &from, Activation left);

/* From the logarithm of a probability to that of its odds. Differentiable. */
torch::Tensor odds_of_log(const torch::Tensor &log_probability);

} // namespace cloak
#endif
