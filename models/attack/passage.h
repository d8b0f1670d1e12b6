/* The way of a photo's pixels through a transform into a detector's input, and of a gradient back.
 */
#ifndef CLOAK_ATTACK_PASSAGE_H
#define CLOAK_ATTACK_PASSAGE_H

#include <memory>
#include <vector>

#include "models/attack/target.h"
#include "models/attack/transform.h"
#include "models/kernels/jpeg.h"
#include "models/kernels/separable.h"

namespace cloak {

class Passage {
  public:
    /* `target` is borrowed; `which` of its inputs. */
    Passage(const Target &target, int which, const cloak_transform &transform, int width,
        int height);

    /* What the target sees of a photo: three planes of width × height, whole levels. */
    torch::Tensor forward(const float *photo);

    /* From the gradient of the input that `forward` gave last to that of the photo (three planes,
     * overwritten). Rounding and clipping count as the identity. */
    void backward(const torch::Tensor &grad, float *photo);

    const InputShape &shape() const {
        return shape_;
    }

  private:
    /* A linear stage from one size to another. */
    struct Stage {
        int in_width, in_height, out_width, out_height;
        SparseRows x, y;

        void forward(const float *in, std::vector<float> &out) const;
        void backward(const float *in, int64_t stride, int64_t plane, float *out) const;
    };

    void add_stage(SparseRows x, SparseRows y);

    const Target &target_;
    int width_, height_;        /* of the photo, and after each stage so far */
    std::vector<Stage> stages_; /* each rounded to whole levels */
    std::unique_ptr<Jpeg> jpeg_;
    Stage last_; /* to the input; not rounded */
    InputShape shape_;
};

} // namespace cloak
#endif
