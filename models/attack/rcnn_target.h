/* The Faster R-CNN as a target. */
#ifndef CLOAK_ATTACK_RCNN_TARGET_H
#define CLOAK_ATTACK_RCNN_TARGET_H

#include "models/attack/target.h"
#include "models/detector/faster_rcnn.h"

namespace cloak {

class RcnnTarget : public Target {
  public:
    /* `detector` is borrowed and must outlive the target. */
    explicit RcnnTarget(const FasterRcnn &detector) : detector_(detector) {}
    InputShape input_shape(int photo_width, int photo_height, float scale, int which) const override;
    bool has_brief() const override {
        return detector_.has_brief();
    }
    const float *mean() const override {
        return detector_.config().mean.data();
    }
    const float *std() const override {
        return detector_.config().std.data();
    }
    Look look(const torch::Tensor &input, const InputShape &shape, int photo_width,
        int photo_height, const Ask &ask) const override;

  private:
    torch::Tensor differentiate(const torch::Tensor &input, const Dense &dense,
        const Proposals &proposals, const Verdict &verdict, const Ask &ask) const;

    const FasterRcnn &detector_;
};

} // namespace cloak
#endif
