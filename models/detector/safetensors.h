/* Reads a safetensors file: an 8-byte little-endian header length, a JSON header, raw tensors. */
#ifndef CLOAK_DETECTOR_SAFETENSORS_H
#define CLOAK_DETECTOR_SAFETENSORS_H

#include <map>
#include <string>
#include <vector>

#include <torch/types.h>

namespace cloak {

/* Stands for any size but 0 in the shape that a caller expects. */
constexpr int64_t any_size = -1;

struct Weights {
    std::map<std::string, torch::Tensor> tensors; /* float32, own memory */
    std::map<std::string, std::string> metadata;
    std::string sha256; /* of the whole file, hex */
    torch::Device device = torch::kCPU; /* where layers put what they make of them */

    /* The tensor of this name; throws std::runtime_error that names it when it is missing, has
     * another shape or holds a value that is not finite. */
    const torch::Tensor &at(const std::string &name, const std::vector<int64_t> &shape) const;
    bool has(const std::string &name) const {
        return tensors.count(name) != 0;
    }
};

/* Reads F16, BF16 and F32 tensors as float32. Throws std::runtime_error with the file's name and
 * what is wrong; every offset is checked against the file before it is used. */
Weights read_safetensors(const std::string &path);

} // namespace cloak
#endif
