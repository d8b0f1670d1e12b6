/* A detector from an ONNX file as a target: what it takes, what it gives, and the vanishing loss on it.
 */
#ifndef CLOAK_TARGETS_DENSE_TARGET_H
#define CLOAK_TARGETS_DENSE_TARGET_H

#include <memory>
#include <string>

#include "models/attack/target.h"
#include "models/targets/descriptor.h"
#include "models/targets/graph.h"

namespace cloak {

class DenseTarget : public Target {
  public:
    /* Reads FILE.onnx and the descriptor FILE.json beside it, and tries the detector on a small grey
     * picture, so that what does not fit is found here. `long_side` instead of the descriptor's, or 0.
     * Throws std::runtime_error that says what is wrong where. */
    DenseTarget(const std::string &path, int long_side);

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
    bool has_brief() const override {
        return descriptor_.brief;
    }
    const float *mean() const override {
        return mean_;
    }
    const float *std() const override {
        return std_;
    }
    Look look(const torch::Tensor &input, const InputShape &shape, int photo_width,
        int photo_height, Precision precision, const LossSettings *loss) const override;

    /* The log-odds of a face at every location of every head, head after head, for an input as `look`
     * takes it; differentiable in it. */
    torch::Tensor log_odds(
        const torch::Tensor &input, const InputShape &shape, Precision precision) const;

  private:
    /* A head whose outputs are places in what the graph gives. */
    struct Head {
        DetectorHead says;
        std::vector<size_t> score, box;
        std::vector<Activation> activation; /* what is left to do, by factor */
    };
    /* A head's outputs for one input. */
    struct Seen {
        torch::Tensor odds;                    /* by location */
        std::array<torch::Tensor, 4> numbers; /* of the boxes, without gradient */
    };

    void build(const OnnxFile &file);
    void try_out() const;
    torch::Tensor feed(const torch::Tensor &input, const InputShape &shape) const;
    std::vector<Seen> see(
        const torch::Tensor &input, const InputShape &shape, Precision precision) const;
    void find(const std::vector<Seen> &seen, const InputShape &shape, int photo_width,
        int photo_height, std::vector<Found> &found) const;

    Descriptor descriptor_;
    std::string sha256_;
    float mean_[3], std_[3]; /* of red, green, blue, with values in 0 … 1 */
    std::unique_ptr<Graph> graph_;
    std::vector<Head> heads_;
};

} // namespace cloak
#endif
