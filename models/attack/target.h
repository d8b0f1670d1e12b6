/* A target: a detector that a cloak must defeat. The attack asks no more of it than this, so that
 * detectors with and without proposals, at any input size, can stand side by side. */
#ifndef CLOAK_ATTACK_TARGET_H
#define CLOAK_ATTACK_TARGET_H

#include <vector>

#include <torch/types.h>

#include "models/detector/odds.h"
#include "models/detector/precision.h"

namespace cloak {

struct Found {
    float x1, y1, x2, y2, score; /* in photo pixels */
};

/* The planes of a target's input: 3 × rows of `stride` floats, the photo in the top left corner. */
struct InputShape {
    int width, height, padded_width, padded_height;
};

/* What a target sees in one input. */
struct Look {
    std::vector<Found> found; /* above the target's threshold, or what caution makes of it, by falling score */
    torch::Tensor gradient;   /* of the loss, like the input; undefined when not asked for */
};

/* What a target's loss is made of. */
struct LossSettings {
    float margin = 1;        /* logits below the threshold that it still pushes for */
    bool leak = true;        /* its gradient passes in part where the true one vanishes */
    bool objectness = true;  /* it pushes proposals down as well, where there are any */
    bool surest_most = true; /* what is surest counts most; false: all alike */
};

/* How a target is asked to look. */
struct Ask {
    Precision precision;
    float caution = 0; /* logits below its threshold from which on it already says what it finds */
    const LossSettings *loss = nullptr; /* borrowed; with it the gradient is wanted as well */

    /* The log-odds down to which the loss pushes a score that `threshold` judges. Only where there is a loss. */
    float loss_floor(float threshold) const {
        return log_odds(threshold) - (loss->margin + caution);
    }
};

class Target {
  public:
    virtual ~Target() = default;

    /* How many inputs it may make of a photo: a detector can be asked at several sizes. */
    virtual int inputs() const {
        return 1;
    }

    /* Its input number `which` for a photo; `scale`: at so many times its own size. */
    virtual InputShape input_shape(
        int photo_width, int photo_height, float scale, int which) const = 0;
    virtual const float *mean() const = 0; /* of each colour, with values in 0 … 1 */
    virtual const float *std() const = 0;

    /* Whether a brief look differs from an exact one, and is faster. */
    virtual bool has_brief() const = 0;

    /* Looks at a padded, normalised input (1 × 3 × padded_height × padded_width, float) of a photo
     * of the given size. A brief look may be a little wrong; only an exact one is a verdict. With a
     * loss, and when anything is found, also differentiates the loss made of that. */
    virtual Look look(const torch::Tensor &input, const InputShape &shape, int photo_width,
        int photo_height, const Ask &ask) const = 0;
};

} // namespace cloak
#endif
