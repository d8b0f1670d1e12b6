/* A target that looks at a perturbed photo, as it is or after a transform. */
#ifndef CLOAK_ATTACK_EYE_H
#define CLOAK_ATTACK_EYE_H

#include <cstdint>
#include <vector>

#include "models/attack/target.h"
#include "models/attack/transform.h"
#include "models/kernels/resample.h"

namespace cloak {

/* What is looked at: a photo (interleaved 8-bit RGB) and a perturbation of it, three planes of the
 * grid in levels, that changes no pixel by more than `bound`; or, with `decoded`, the pixels of the
 * file that came of both. All borrowed. */
struct Scene {
    const uint8_t *rgb;
    const float *delta;
    float bound;
    bool lattice;
    const uint8_t *decoded;
};

/* Those of a target's inputs for a photo that differ in size: a small photo is not enlarged. */
std::vector<int> distinct_inputs(const Target &target, int width, int height);

/* One target at one of its sizes. */
class Eye {
  public:
    /* `target` is borrowed; `which` of its inputs. Sizes of the photo and of the attack grid. */
    Eye(const Target &target, int which, int width, int height, int grid_width, int grid_height);

    /* Looks at the scene. With a loss, when something is found and its gradient does not vanish,
     * fills `gradient` with that of the loss with respect to the perturbation (three planes of the
     * grid, scaled to a mean absolute value of 1) and says so in `*has_gradient`. With a decoded
     * file the gradient passes through encoder and decoder as if they were the identity. */
    std::vector<Found> look(const Scene &scene, const cloak_transform &transform, const Ask &ask,
        std::vector<float> &gradient, bool *has_gradient);

    bool has_brief() const {
        return target_.has_brief();
    }

    const View &view() const {
        return view_;
    }

  private:
    Look look_raw(const Scene &scene, const Ask &ask, std::vector<float> &gradient);
    Look look_through(const Scene &scene, const cloak_transform &transform, const Ask &ask,
        std::vector<float> &gradient);

    const Target &target_;
    int which_;
    InputShape shape_;
    View view_;
    torch::Tensor input_;
    std::vector<float> photo_; /* planes of the perturbed photo; empty until needed */
};

} // namespace cloak
#endif
