/* A detector from an ONNX file as a target: what it takes and what it is called. What it makes of its input
 * is the matter of those that derive from this. */
#ifndef CLOAK_TARGETS_ONNX_TARGET_H
#define CLOAK_TARGETS_ONNX_TARGET_H

#include <memory>
#include <string>

#include "models/attack/target.h"
#include "models/targets/descriptor.h"
#include "models/targets/onnx_file.h"

namespace cloak {

class OnnxTarget : public Target {
  public:
    OnnxTarget(const Descriptor &says, const OnnxFile &file);

    const Descriptor &descriptor() const {
        return descriptor_;
    }
    const std::string &sha256() const { /* of the ONNX file */
        return sha256_;
    }

    int inputs() const override {
        return 1 + int(descriptor_.also.size());
    }
    InputShape input_shape(
        int photo_width, int photo_height, float scale, int which) const override;
    const float *mean() const override {
        return mean_;
    }
    const float *std() const override {
        return std_;
    }

  protected:
    /* Its graph takes a square of `long_side` and no other: a photo at a smaller scale is padded to it, at a larger one
     * it is looked at as it is. */
    bool one_square_ = false;

  private:
    Descriptor descriptor_;
    std::string sha256_;
    float mean_[3], std_[3]; /* of red, green, blue, with values in 0 … 1 */
};

/* Reads FILE.onnx and the descriptor FILE.json beside it, and tries what they make. `long_side` instead of the
 * descriptor's, or 0; a cascade keeps its own, since it looks at many sizes anyway. Throws
 * std::runtime_error that says what is wrong where. */
std::unique_ptr<OnnxTarget> load_onnx_target(
    const std::string &path, int long_side, const torch::Device &device);

} // namespace cloak
#endif
