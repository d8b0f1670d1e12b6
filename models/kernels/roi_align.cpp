/* RoIAlign on the CPU; see the header. */
#include "models/kernels/roi_align.h"

#include <algorithm>
#include <vector>

#include "models/kernels/roi_align_sample.h"

using cloak::RoiSample;

/* All samples of one box, bin by bin. */
static void box_samples(const float *box, float scale, int bins, int samples, int height, int width,
    std::vector<RoiSample> &out) {
    const cloak::RoiGrid grid = cloak::roi_grid(box, scale, bins);
    out.clear();
    for (int cell = 0; cell < bins * bins; cell++)
        for (int k = 0; k < samples * samples; k++)
            out.push_back(cloak::roi_sample_of(grid, cell, k, bins, samples, height, width));
}

extern "C" void cloak_roi_align_forward(const float *features, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *pooled) {
    const int cells = bins * bins, per_bin = samples * samples;
#pragma omp parallel
    {
        std::vector<RoiSample> places;
        std::vector<float> sum(static_cast<size_t>(channels));
#pragma omp for
        for (int r = 0; r < count; r++) {
            box_samples(boxes + r * 4, scale, bins, samples, height, width, places);
            float *to = pooled + int64_t(r) * channels * cells;
            for (int cell = 0; cell < cells; cell++) {
                std::fill(sum.begin(), sum.end(), 0.0f);
                for (int k = 0; k < per_bin; k++) {
                    const RoiSample &s = places[size_t(cell * per_bin + k)];
                    const float *a = features + s.at[0] * channels,
                                *b = features + s.at[1] * channels,
                                *c = features + s.at[2] * channels,
                                *d = features + s.at[3] * channels;
                    for (int i = 0; i < channels; i++)
                        sum[size_t(i)] += s.weight[0] * a[i] + s.weight[1] * b[i] +
                                          s.weight[2] * c[i] + s.weight[3] * d[i];
                }
                for (int i = 0; i < channels; i++)
                    to[i * cells + cell] = sum[size_t(i)] / float(per_bin);
            }
        }
    }
}

extern "C" void cloak_roi_align_backward(const float *grad_pooled, int channels, int height,
    int width, const float *boxes, int count, float scale, int bins, int samples,
    float *grad_features) {
    const int cells = bins * bins, per_bin = samples * samples, block = 16;
    const int blocks = (channels + block - 1) / block;
#pragma omp parallel for
    for (int part = 0; part < blocks; part++) {
        const int from = part * block, to = std::min(channels, from + block);
        std::vector<RoiSample> places;
        float grad[block];
        for (int r = 0; r < count; r++) {
            box_samples(boxes + r * 4, scale, bins, samples, height, width, places);
            const float *g = grad_pooled + int64_t(r) * channels * cells;
            for (int cell = 0; cell < cells; cell++) {
                for (int i = from; i < to; i++)
                    grad[i - from] = g[i * cells + cell] / float(per_bin);
                for (int k = 0; k < per_bin; k++) {
                    const RoiSample &s = places[size_t(cell * per_bin + k)];
                    for (int corner = 0; corner < 4; corner++) {
                        float *at = grad_features + s.at[corner] * channels;
                        for (int i = from; i < to; i++)
                            at[i] += s.weight[corner] * grad[i - from];
                    }
                }
            }
        }
    }
}
