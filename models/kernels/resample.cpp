/* Bilinear maps between photo, grid and detector input; see the header. */
#include "models/kernels/resample.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace cloak {

Taps make_taps(int in, int out) {
    Taps taps;
    taps.identity = in == out;
    float scale = float(in) / float(out);
    for (int i = 0; i < out; i++) {
        float at = std::max((float(i) + 0.5f) * scale - 0.5f, 0.0f);
        int first = std::min(int(at), in - 1);
        taps.first.push_back(first);
        taps.second.push_back(std::min(first + 1, in - 1));
        taps.weight.push_back(at - float(first));
    }
    return taps;
}

/* The transpose of sample·enlarge along one axis. */
static SparseRows transpose_product(const Taps &sample, const Taps &enlarge, int grid) {
    std::vector<std::map<int, float>> rows(static_cast<size_t>(grid));
    for (size_t i = 0; i < sample.first.size(); i++) {
        const int photo[2] = {sample.first[i], sample.second[i]};
        const float weight[2] = {1 - sample.weight[i], sample.weight[i]};
        for (int s = 0; s < 2; s++) {
            size_t p = size_t(photo[s]);
            rows[size_t(enlarge.first[p])][int(i)] += weight[s] * (1 - enlarge.weight[p]);
            rows[size_t(enlarge.second[p])][int(i)] += weight[s] * enlarge.weight[p];
        }
    }
    SparseRows sparse;
    for (auto &row : rows) {
        sparse.start.push_back(int(sparse.column.size()));
        for (auto &entry : row)
            if (entry.second != 0) {
                sparse.column.push_back(entry.first);
                sparse.weight.push_back(entry.second);
            }
    }
    sparse.start.push_back(int(sparse.column.size()));
    return sparse;
}

View::View(int w, int h, int gw, int gh, int iw, int ih)
    : width(w), height(h), grid_width(gw), grid_height(gh), input_width(iw), input_height(ih),
      enlarge_x(make_taps(gw, w)), enlarge_y(make_taps(gh, h)), sample_x(make_taps(w, iw)),
      sample_y(make_taps(h, ih)), back_x(transpose_product(sample_x, enlarge_x, gw)),
      back_y(transpose_product(sample_y, enlarge_y, gh)) {
}

/* One colour of one photo pixel after the perturbation. Used by the loop and by apply alike: the
 * two must agree in every bit. */
static inline float perturbed(uint8_t value, float delta, float bound, bool lattice) {
    float to = float(value) + std::min(std::max(delta, -bound), bound);
    return std::min(std::max(lattice ? std::nearbyint(to) : to, 0.0f), 255.0f);
}

/* The two rows of one colour of the grid that a row of the photo lies between. */
struct GridRows {
    const float *top, *bottom;
    float weight;
};

static GridRows grid_rows(const View &v, const float *delta, int y, int c) {
    const float *plane = delta + int64_t(c) * v.grid_width * v.grid_height;
    return {plane + int64_t(v.enlarge_y.first[size_t(y)]) * v.grid_width,
        plane + int64_t(v.enlarge_y.second[size_t(y)]) * v.grid_width,
        v.enlarge_y.weight[size_t(y)]};
}

static inline float enlarged(const View &v, const GridRows &rows, size_t x) {
    const int x0 = v.enlarge_x.first[x], x1 = v.enlarge_x.second[x];
    const float wx = v.enlarge_x.weight[x];
    float a = rows.top[x0] + (rows.top[x1] - rows.top[x0]) * wx;
    float b = rows.bottom[x0] + (rows.bottom[x1] - rows.bottom[x0]) * wx;
    return a + (b - a) * rows.weight;
}

/* One photo row of one colour at the columns that the input samples: 2·input_width values. */
static void sampled_row(const View &v, const uint8_t *rgb, const float *delta, float bound,
    bool lattice, int y, int c, float *row) {
    const uint8_t *source = rgb + int64_t(y) * v.width * 3 + c;
    GridRows rows = {};
    if (delta)
        rows = grid_rows(v, delta, y, c);
    for (int i = 0; i < v.input_width; i++) {
        const int xs[2] = {v.sample_x.first[size_t(i)], v.sample_x.second[size_t(i)]};
        for (int s = 0; s < 2; s++) {
            size_t x = size_t(xs[s]);
            uint8_t value = source[x * 3];
            row[2 * i + s] = !delta ? float(value)
                                    : perturbed(value, enlarged(v, rows, x), bound, lattice);
        }
    }
}

void view_forward(const View &v, const uint8_t *rgb, const float *delta, float bound,
    bool lattice, const float mean[3], const float std_[3], float *out, int stride, int64_t plane) {
#pragma omp parallel
    {
        std::vector<float> rows(size_t(v.input_width) * 4);
        float *top = rows.data(), *bottom = top + 2 * v.input_width;
#pragma omp for collapse(2)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < v.input_height; y++) {
                sampled_row(v, rgb, delta, bound, lattice, v.sample_y.first[size_t(y)], c, top);
                sampled_row(v, rgb, delta, bound, lattice, v.sample_y.second[size_t(y)], c, bottom);
                float wy = v.sample_y.weight[size_t(y)], *row = out + c * plane + y * stride;
                for (int i = 0; i < v.input_width; i++) {
                    float wx = v.sample_x.weight[size_t(i)];
                    float a = top[2 * i] * (1 - wx) + top[2 * i + 1] * wx;
                    float b = bottom[2 * i] * (1 - wx) + bottom[2 * i + 1] * wx;
                    row[i] = ((a * (1 - wy) + b * wy) / 255.0f - mean[c]) / std_[c];
                }
            }
    }
}

void view_backward(const View &v, const float *grad, int stride, int64_t plane,
    const float std_[3], float *grad_delta) {
    separable_apply(v.back_x, v.back_y, 3, grad, v.input_width, stride, plane, grad_delta);
    const int64_t cells = int64_t(v.grid_width) * v.grid_height;
    for (int c = 0; c < 3; c++)
#pragma omp parallel for simd
        for (int64_t i = 0; i < cells; i++)
            grad_delta[c * cells + i] /= 255.0f * std_[c];
}

void view_photo(const View &v, const uint8_t *rgb, const float *delta, float bound, bool lattice,
    float *out) {
    const int64_t plane = int64_t(v.width) * v.height;
#pragma omp parallel for
    for (int y = 0; y < v.height; y++) {
        for (int c = 0; c < 3; c++) {
            const uint8_t *from = rgb + int64_t(y) * v.width * 3 + c;
            float *to = out + c * plane + int64_t(y) * v.width;
            if (!delta) {
                for (int x = 0; x < v.width; x++)
                    to[x] = float(from[int64_t(x) * 3]);
                continue;
            }
            const GridRows rows = grid_rows(v, delta, y, c);
            for (int x = 0; x < v.width; x++)
                to[x] = perturbed(from[int64_t(x) * 3], enlarged(v, rows, size_t(x)), bound, lattice);
        }
    }
}

static SparseRows rows_of(const Taps &taps) {
    SparseRows rows;
    for (size_t i = 0; i < taps.first.size(); i++) {
        rows.start.push_back(int(rows.column.size()));
        rows.column.insert(rows.column.end(), {taps.first[i], taps.second[i]});
        rows.weight.insert(rows.weight.end(), {1 - taps.weight[i], taps.weight[i]});
    }
    rows.start.push_back(int(rows.column.size()));
    return rows;
}

void view_photo_backward(const View &v, const float *grad, float *grad_delta) {
    separable_apply(transposed(rows_of(v.enlarge_x), v.grid_width),
        transposed(rows_of(v.enlarge_y), v.grid_height), 3, grad, v.width, v.width,
        int64_t(v.width) * v.height, grad_delta);
}

void view_apply(const View &v, const uint8_t *rgb, const int8_t *levels, float bound,
    uint8_t *out) {
    const int64_t grid = int64_t(v.grid_width) * v.grid_height;
    std::vector<float> delta(size_t(grid) * 3);
    for (int64_t i = 0; i < grid; i++)
        for (int c = 0; c < 3; c++)
            delta[size_t(c * grid + i)] = float(levels[i * 3 + c]);
#pragma omp parallel for
    for (int y = 0; y < v.height; y++)
        for (int c = 0; c < 3; c++) {
            const GridRows rows = grid_rows(v, delta.data(), y, c);
            for (int x = 0; x < v.width; x++) {
                int64_t at = (int64_t(y) * v.width + x) * 3 + c;
                out[at] = uint8_t(perturbed(rgb[at], enlarged(v, rows, size_t(x)), bound, true));
            }
        }
}

} // namespace cloak
