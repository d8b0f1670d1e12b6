/* Where a detector computes. Its weights and maps lie there; pixels, boxes, scores and perturbations are
 * always the host's. */
#ifndef CLOAK_DETECTOR_DEVICE_H
#define CLOAK_DETECTOR_DEVICE_H

#include <string>

#include <torch/types.h>

namespace cloak {

/* The device of this name: "cpu", "cuda" or "cuda:N". On GPUs, algorithms are held to those that repeat, from then
 * on. Throws std::runtime_error that says what to do when it is no name of a device, when this build runs on the CPU
 * alone, or when there is no such GPU. */
torch::Device find_device(const std::string &name);

/* Whether layers may be given bfloat16 there: GPUs and processors that multiply it. */
bool has_bfloat16(const torch::Device &device);

/* A tensor as the host reads it: contiguous, float. Differentiable. */
torch::Tensor on_host(const torch::Tensor &tensor);

} // namespace cloak
#endif
