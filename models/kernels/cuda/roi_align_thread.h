/* What one GPU thread of RoIAlign does. Plain functions of an index, so that a test can do on the CPU what
 * a grid does on a GPU (tests/model/kernels.cpp).
 *
 * DESIGN. A thread is one channel of one cell of one box, channels next to each other: the map is
 * channels-last, so that neighbouring threads read neighbouring floats. Backwards, threads meet in a place of
 * the map. Sums of floats would come out in another order each time, and with them other bytes of a photo: so
 * they add whole numbers, scaled by the greatest of the gradients. 64 bits hold the sum of a million of them with 40
 * bits each.
 */
#ifndef CLOAK_KERNELS_CUDA_ROI_ALIGN_THREAD_H
#define CLOAK_KERNELS_CUDA_ROI_ALIGN_THREAD_H

#include <cmath>

#include "models/kernels/roi_align_sample.h"

namespace cloak {

/* As in roi_align.h; `count` boxes. */
struct RoiWork {
    const float *boxes;
    float scale;
    int channels, height, width, count, bins, samples;

    CLOAK_EVERYWHERE int64_t threads() const {
        return int64_t(count) * bins * bins * channels;
    }
};

/* Which box, cell and channel a thread is. */
struct RoiThread {
    int box, cell, channel;
    RoiGrid grid;
};

CLOAK_EVERYWHERE RoiThread roi_thread(const RoiWork &work, int64_t index) {
    const int cells = work.bins * work.bins;
    const int64_t place = index / work.channels;
    RoiThread thread = {int(place / cells), int(place % cells), int(index % work.channels), {}};
    thread.grid = roi_grid(work.boxes + int64_t(thread.box) * 4, work.scale, work.bins);
    return thread;
}

/* Where a thread's number is among those pooled. */
CLOAK_EVERYWHERE int64_t roi_pooled_at(const RoiWork &work, const RoiThread &thread) {
    return (int64_t(thread.box) * work.channels + thread.channel) * work.bins * work.bins + thread.cell;
}

CLOAK_EVERYWHERE void roi_forward_thread(
    const RoiWork &work, int64_t index, const float *features, float *pooled) {
    const RoiThread thread = roi_thread(work, index);
    const int per_bin = work.samples * work.samples;
    float sum = 0;
    for (int k = 0; k < per_bin; k++) {
        const RoiSample s = roi_sample_of(
            thread.grid, thread.cell, k, work.bins, work.samples, work.height, work.width);
        const float *f = features + thread.channel;
        sum += s.weight[0] * f[s.at[0] * work.channels] + s.weight[1] * f[s.at[1] * work.channels] +
               s.weight[2] * f[s.at[2] * work.channels] + s.weight[3] * f[s.at[3] * work.channels];
    }
    pooled[roi_pooled_at(work, thread)] = sum / float(per_bin);
}

/* What a gradient is multiplied with to become a whole number of at most 40 bits, when none is greater than
 * `greatest`; 0 for what cannot be added up: not a number, or infinite. */
CLOAK_EVERYWHERE double roi_whole_scale(float greatest) {
    if (!(greatest <= 3e38f))
        return 0;
    return greatest > 0 ? ldexp(1.0, 39 - ilogb(greatest)) : 1;
}

/* Adds a thread's gradient to `sums`, height × width × channels whole numbers, by `add(sum, number)`. */
template <typename Add>
CLOAK_EVERYWHERE void roi_backward_thread(const RoiWork &work, int64_t index, const float *grad_pooled,
    double whole_scale, long long *sums, Add add) {
    const RoiThread thread = roi_thread(work, index);
    const int per_bin = work.samples * work.samples;
    const float grad = grad_pooled[roi_pooled_at(work, thread)] / float(per_bin);
    if (grad == 0 || whole_scale == 0)
        return;
    for (int k = 0; k < per_bin; k++) {
        const RoiSample s = roi_sample_of(
            thread.grid, thread.cell, k, work.bins, work.samples, work.height, work.width);
        for (int corner = 0; corner < 4; corner++)
            add(sums + s.at[corner] * work.channels + thread.channel,
                llrint(double(s.weight[corner] * grad) * whole_scale));
    }
}

/* What a sum stands for. */
CLOAK_EVERYWHERE float roi_from_whole(long long sum, double whole_scale) {
    return whole_scale > 0 ? float(double(sum) / whole_scale) : NAN;
}

} // namespace cloak
#endif
