/* RoIAlign on the CPU; see the header. */
#include "models/kernels/roi_align.h"

#include <algorithm>
#include <vector>

namespace {

struct Sample {
    int64_t at[4];
    float weight[4];
};

/* Where one sample reads and with which weights; all zero outside the features. */
Sample make_sample(float y, float x, int height, int width) {
    Sample s = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (y < -1.0f || y > float(height) || x < -1.0f || x > float(width))
        return s;
    y = std::max(y, 0.0f);
    x = std::max(x, 0.0f);
    int y0 = int(y), x0 = int(x), y1, x1;
    if (y0 >= height - 1) {
        y1 = y0 = height - 1;
        y = float(y0);
    } else {
        y1 = y0 + 1;
    }
    if (x0 >= width - 1) {
        x1 = x0 = width - 1;
        x = float(x0);
    } else {
        x1 = x0 + 1;
    }
    float ly = y - float(y0), lx = x - float(x0), hy = 1 - ly, hx = 1 - lx;
    int64_t top = int64_t(y0) * width, bottom = int64_t(y1) * width;
    s = {{top + x0, top + x1, bottom + x0, bottom + x1}, {hy * hx, hy * lx, ly * hx, ly * lx}};
    return s;
}

/* All samples of one box, bin by bin. */
void box_samples(const float *box, float scale, int bins, int samples, int height, int width,
    std::vector<Sample> &out) {
    float x1 = box[0] * scale, y1 = box[1] * scale;
    float roi_w = std::max(box[2] * scale - x1, 1.0f), roi_h = std::max(box[3] * scale - y1, 1.0f);
    float bin_w = roi_w / float(bins), bin_h = roi_h / float(bins);
    out.clear();
    for (int by = 0; by < bins; by++)
        for (int bx = 0; bx < bins; bx++)
            for (int sy = 0; sy < samples; sy++)
                for (int sx = 0; sx < samples; sx++)
                    out.push_back(make_sample(
                        y1 + float(by) * bin_h + (float(sy) + 0.5f) * bin_h / float(samples),
                        x1 + float(bx) * bin_w + (float(sx) + 0.5f) * bin_w / float(samples),
                        height, width));
}

} // namespace

extern "C" void cloak_roi_align_forward(const float *features, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *pooled) {
    const int cells = bins * bins, per_bin = samples * samples;
#pragma omp parallel
    {
        std::vector<Sample> places;
        std::vector<float> sum(static_cast<size_t>(channels));
#pragma omp for
        for (int r = 0; r < count; r++) {
            box_samples(boxes + r * 4, scale, bins, samples, height, width, places);
            float *to = pooled + int64_t(r) * channels * cells;
            for (int cell = 0; cell < cells; cell++) {
                std::fill(sum.begin(), sum.end(), 0.0f);
                for (int k = 0; k < per_bin; k++) {
                    const Sample &s = places[size_t(cell * per_bin + k)];
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
        std::vector<Sample> places;
        float grad[block];
        for (int r = 0; r < count; r++) {
            box_samples(boxes + r * 4, scale, bins, samples, height, width, places);
            const float *g = grad_pooled + int64_t(r) * channels * cells;
            for (int cell = 0; cell < cells; cell++) {
                for (int i = from; i < to; i++)
                    grad[i - from] = g[i * cells + cell] / float(per_bin);
                for (int k = 0; k < per_bin; k++) {
                    const Sample &s = places[size_t(cell * per_bin + k)];
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
