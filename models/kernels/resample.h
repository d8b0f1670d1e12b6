/* The way between a photo's pixels, the attack grid and the detector's input, as bilinear maps with
 * half-pixel centres (what torch calls align_corners=False without antialiasing).
 *
 *   grid --enlarge (U)--> bound, add to the photo, round --> photo' --shrink or enlarge (D)--> input
 *
 * DESIGN. The loop must see exactly what the detector will see of the delivered pixels, at a price
 * that does not grow with the photo. D reads at most four photo pixels per input pixel, so only
 * those are computed: cost follows the input's size, and the result equals, bit for bit, applying
 * the perturbation to the whole photo and resizing it. Enlarging softens; so the grid may hold more
 * than the budget, and the bound is kept where it counts, on the photo's own pixels. Backwards,
 * bounding, rounding and clipping count as
 * the identity (straight-through estimator, Bengio et al. 2013) and D·U is separable.
 *
 * No torch types; sizes are checked by the caller.
 */
#ifndef CLOAK_KERNELS_RESAMPLE_H
#define CLOAK_KERNELS_RESAMPLE_H

#include <cstdint>
#include <vector>

#include "models/kernels/separable.h"

namespace cloak {

/* For each output position two input positions and the weight of the second. */
struct Taps {
    std::vector<int> first, second;
    std::vector<float> weight;
    bool identity = false;
};

Taps make_taps(int in, int out);

/* All maps of one photo. Sizes in pixels. */
struct View {
    View(int width, int height, int grid_width, int grid_height, int input_width,
        int input_height);

    int width, height, grid_width, grid_height, input_width, input_height;
    Taps enlarge_x, enlarge_y; /* grid -> photo */
    Taps sample_x, sample_y;   /* photo -> input */
    SparseRows back_x, back_y; /* transposed D·U: grid row <- input entries */
};

/* Input of the detector from a photo and a perturbation (`delta`: 3 planes of the grid in levels;
 * NULL for none) that changes no pixel by more than `bound` levels, rounded to whole ones on the
 * `lattice`. `out`: 3 planes of input_height rows of `stride` floats, scaled to
 * (value/255 - mean)/std. */
void view_forward(const View &view, const uint8_t *rgb, const float *delta, float bound,
    bool lattice, const float mean[3], const float std[3], float *out, int stride, int64_t plane);

/* Gradient with respect to the perturbation (3 planes of the grid, overwritten) from the gradient
 * with respect to the detector's input, in the same layout as above. */
void view_backward(const View &view, const float *grad, int stride, int64_t plane,
    const float std[3], float *grad_delta);

/* The whole photo with a perturbation (NULL for none; all as in view_forward) as three planes of
 * height × width floats: what view_forward samples. */
void view_photo(const View &view, const uint8_t *rgb, const float *delta, float bound, bool lattice,
    float *out);

/* Gradient with respect to the perturbation (overwritten) from that of view_photo's planes. */
void view_photo_backward(const View &view, const float *grad, float *grad_delta);

/* Adds the perturbation (levels, interleaved int8 on the grid) to a whole photo; `bound` as above. */
void view_apply(const View &view, const uint8_t *rgb, const int8_t *levels, float bound, uint8_t *out);

} // namespace cloak
#endif
