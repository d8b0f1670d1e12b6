/* What targets from ONNX files have in common; see the header. */
#include "models/targets/onnx_target.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <c10/util/Exception.h>

#include "models/targets/cascade_target.h"
#include "models/targets/dense_target.h"

namespace cloak {

OnnxTarget::OnnxTarget(const Descriptor &says, const OnnxFile &file)
    : descriptor_(says), sha256_(file.sha256) {
    for (size_t c = 0; c < 3; c++) {
        const size_t fed = says.bgr ? 2 - c : c;
        mean_[c] = says.mean[fed] / 255;
        std_[c] = says.std[fed] / 255;
    }
}

InputShape OnnxTarget::input_shape(
    int photo_width, int photo_height, float scale, int which) const {
    if (descriptor_.width)
        return {descriptor_.width, descriptor_.height, descriptor_.width, descriptor_.height};
    const float long_photo = float(std::max(photo_width, photo_height));
    const int also = which ? descriptor_.also[size_t(which) - 1] : descriptor_.long_side;
    float factor = also == Descriptor::native ? 1 : float(also) / long_photo;
    if (factor > 1 && !descriptor_.enlarge)
        factor = 1;
    factor *= one_square_ ? std::min(scale, 1.0f) : scale;
    auto scaled = [factor](int side) {
        return std::min(std::max(1, int(std::lround(float(side) * factor))), 1 << 14);
    };
    const int w = scaled(photo_width), h = scaled(photo_height), a = descriptor_.align;
    auto padded = [a](int side) { return (side + a - 1) / a * a; };
    if (descriptor_.square) {
        const int side = padded(std::max({w, h, scale == 1 || one_square_ ? descriptor_.long_side : 1}));
        return {w, h, side, side};
    }
    if (descriptor_.stretch)
        return {padded(w), padded(h), padded(w), padded(h)};
    return {w, h, padded(w), padded(h)};
}

std::unique_ptr<OnnxTarget> load_onnx_target(
    const std::string &path, int long_side, const torch::Device &device) {
    const std::string suffix = ".onnx";
    if (path.size() <= suffix.size() ||
        path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0)
        throw std::runtime_error(path + ": the file's name must end in .onnx");
    Descriptor says = read_descriptor(path.substr(0, path.size() - suffix.size()) + ".json");
    const bool cascade = !says.cascade.stages.empty();
    if (long_side && says.long_side && !cascade)
        says.long_side = long_side;
    const OnnxFile file = read_onnx(path);
    try {
        if (cascade)
            return std::make_unique<CascadeTarget>(says, file, device);
        return std::make_unique<DenseTarget>(says, file, device);
    } catch (const c10::Error &problem) {
        throw std::runtime_error(path + ": " + problem.what_without_backtrace());
    } catch (const std::runtime_error &problem) {
        throw std::runtime_error(path + ": " + problem.what());
    }
}

} // namespace cloak
