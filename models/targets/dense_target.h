/* A detector that looks once at the whole photo as a target: what its graph gives, and the vanishing loss on
 * it. */
#ifndef CLOAK_TARGETS_DENSE_TARGET_H
#define CLOAK_TARGETS_DENSE_TARGET_H

#include <memory>
#include <vector>

#include "models/targets/graph.h"
#include "models/targets/onnx_target.h"

namespace cloak {

class DenseTarget : public OnnxTarget {
  public:
    /* Tries the detector on a small grey picture, so that what does not fit is found here. Throws
     * std::runtime_error that says what is wrong. */
    DenseTarget(const Descriptor &says, const OnnxFile &file, const torch::Device &device);

    bool has_brief() const override {
        return descriptor().brief && graph_->has_brief();
    }
    Look look(const torch::Tensor &input, const InputShape &shape, int photo_width,
        int photo_height, const Ask &ask) const override;

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

    void build(const OnnxFile &file, const torch::Device &device);
    void try_out();
    torch::Tensor feed(const torch::Tensor &input, const InputShape &shape) const;
    std::vector<Seen> see(
        const torch::Tensor &input, const InputShape &shape, Precision precision) const;
    void find(const std::vector<Seen> &seen, const InputShape &shape, int photo_width,
        int photo_height, float caution, std::vector<Found> &found) const;

    std::unique_ptr<Graph> graph_;
    std::vector<Head> heads_;
};

} // namespace cloak
#endif
