/* Box refinement: each detection is looked at once more, to place it. A later stage that learnt from the
 * boxes of the one before, as in Cascade R-CNN (Cai and Vasconcelos 2018), but that leaves the scores
 * alone: what is found does not change, only where, so that the attack has no gradient of it. Trained by
 * models/train/refine_boxes.py; the training side's inference is models/train/refine.py. */
#ifndef CLOAK_DETECTOR_REFINE_H
#define CLOAK_DETECTOR_REFINE_H

#include <vector>

#include "models/detector/layers.h"

namespace cloak {

class Refinement {
  public:
    /* `channels`: of the pyramid; `early_channels`: of the map of stride 2; `share`: how much of the way
     * from a box to the refined one a detection goes. Throws std::runtime_error when a tensor is missing
     * or does not fit. */
    Refinement(const Weights &weights, int64_t channels, int64_t early_channels, float share);

    /* Moves `boxes` (n × 4 in input pixels) by what the pyramid's four maps and the early one say, and
     * clips them to `width` × `height`; a box of which nothing would be left stays. Any thread. */
    void operator()(const std::vector<torch::Tensor> &pyramid, const torch::Tensor &early,
        float width, float height, std::vector<float> &boxes) const;

  private:
    Linear fc6_, fc7_, deltas_;
    float share_;
};

} // namespace cloak
#endif
