/* A cascade of networks as a target (MTCNN; Zhang et al. 2016): its verdict is that of the whole cascade, its
 * loss is on the scores of all stages but the first at the boxes that lead to a face. */
#ifndef CLOAK_TARGETS_CASCADE_TARGET_H
#define CLOAK_TARGETS_CASCADE_TARGET_H

#include <array>
#include <memory>
#include <vector>

#include "models/targets/graph.h"
#include "models/targets/onnx_target.h"

namespace cloak {

struct CascadeBox {
    std::array<float, 4> edge; /* left, top, right, bottom, in pixels of the input */
    float odds;
    std::array<float, 4> off; /* by how much a stage would move the edges, in shares of the size */
};

class CascadeTarget : public OnnxTarget {
  public:
    /* Tries every stage on grey, so that what does not fit is found here. Throws std::runtime_error that
     * says what is wrong. */
    CascadeTarget(const Descriptor &says, const OnnxFile &file, const torch::Device &device);

    bool has_brief() const override { /* networks as small as these need their digits */
        return false;
    }
    Look look(const torch::Tensor &input, const InputShape &shape, int photo_width,
        int photo_height, const Ask &ask) const override;

  private:
    /* What a stage says of its input, by location. */
    struct Seen {
        torch::Tensor odds;
        torch::Tensor edges; /* locations × 4, without gradient */
        int64_t columns = 1; /* of the first stage's locations */
    };
    /* Boxes cut out of the photo for a further stage. */
    struct Cuts {
        std::vector<CascadeBox> boxes;
        std::vector<std::array<int, 4>> places; /* left, top, right, bottom, whole pixels */
    };
    /* All that one look comes by. */
    struct Way {
        std::vector<Cuts> cuts; /* by further stage */
        std::vector<CascadeBox> found;
    };

    void try_out() const;
    Seen see(size_t stage, const torch::Tensor &pixels) const;
    std::vector<CascadeBox> propose_at(double scale, const torch::Tensor &photo) const;
    std::vector<CascadeBox> propose(const torch::Tensor &photo) const;
    std::vector<CascadeBox> refine(size_t stage, const torch::Tensor &photo,
        const std::vector<CascadeBox> &boxes, float caution, Cuts &cuts) const;
    Way go(const torch::Tensor &photo, float caution) const; /* the last stage's caution; the others only prepare */
    torch::Tensor push(size_t stage, const torch::Tensor &photo, const Cuts &cuts,
        const std::vector<CascadeBox> &faces, const Ask &ask) const;
    torch::Tensor differentiate(
        const torch::Tensor &photo, const Way &way, const Ask &ask) const;

    std::vector<std::unique_ptr<Graph>> graphs_; /* by stage */
};

} // namespace cloak
#endif
