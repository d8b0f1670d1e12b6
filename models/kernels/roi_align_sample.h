/* Where RoIAlign reads: the arithmetic that both of its kernels share (roi_align.h says what it is). */
#ifndef CLOAK_KERNELS_ROI_ALIGN_SAMPLE_H
#define CLOAK_KERNELS_ROI_ALIGN_SAMPLE_H

#include <cstdint>

#include "models/kernels/everywhere.h"

namespace cloak {

/* Four places of a map, counted row by row, and what each of them weighs. */
struct RoiSample {
    int64_t at[4];
    float weight[4];
};

/* One sample at `y`, `x` of a map; all zero outside of it. */
CLOAK_EVERYWHERE RoiSample roi_sample(float y, float x, int height, int width) {
    RoiSample s = {{0, 0, 0, 0}, {0, 0, 0, 0}};
    if (y < -1.0f || y > float(height) || x < -1.0f || x > float(width))
        return s;
    y = y < 0.0f ? 0.0f : y;
    x = x < 0.0f ? 0.0f : x;
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
    const float ly = y - float(y0), lx = x - float(x0), hy = 1 - ly, hx = 1 - lx;
    const int64_t top = int64_t(y0) * width, bottom = int64_t(y1) * width;
    s = {{top + x0, top + x1, bottom + x0, bottom + x1}, {hy * hx, hy * lx, ly * hx, ly * lx}};
    return s;
}

/* A box on a map, cut into bins. */
struct RoiGrid {
    float x1, y1, bin_w, bin_h;
};

/* `box`: x1, y1, x2, y2 in input pixels, of which a place of the map is 1/scale. */
CLOAK_EVERYWHERE RoiGrid roi_grid(const float *box, float scale, int bins) {
    RoiGrid grid = {box[0] * scale, box[1] * scale, 0, 0};
    const float w = box[2] * scale - grid.x1, h = box[3] * scale - grid.y1;
    grid.bin_w = (w < 1.0f ? 1.0f : w) / float(bins);
    grid.bin_h = (h < 1.0f ? 1.0f : h) / float(bins);
    return grid;
}

/* Sample number `k` of the samples × samples in cell number `cell`, both counted row by row. */
CLOAK_EVERYWHERE RoiSample roi_sample_of(
    const RoiGrid &grid, int cell, int k, int bins, int samples, int height, int width) {
    const float y = grid.y1 + float(cell / bins) * grid.bin_h +
                    (float(k / samples) + 0.5f) * grid.bin_h / float(samples);
    const float x = grid.x1 + float(cell % bins) * grid.bin_w +
                    (float(k % samples) + 0.5f) * grid.bin_w / float(samples);
    return roi_sample(y, x, height, width);
}

} // namespace cloak
#endif
