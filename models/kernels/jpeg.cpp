/* JPEG's losses and their gradient; see the header. */
#include "models/kernels/jpeg.h"

#include <algorithm>
#include <cmath>

namespace cloak {

namespace {

/* Passes at least so much of a coefficient's gradient: what lies on a multiple now could leave it.
 */
constexpr float least_slope = 0.1f;

/* ITU-T T.81, tables K.1 and K.2, by rows. */
const uint8_t luma_steps[64] = {16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14,
    13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100,
    103, 99};
const uint8_t chroma_steps[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

/* JFIF's colours: rows Y, Cb, Cr of red, green, blue; and back. */
const float to_ycc[3][3] = {{0.299f, 0.587f, 0.114f}, {-0.168735892f, -0.331264108f, 0.5f},
    {0.5f, -0.418687589f, -0.081312411f}};
const float to_rgb[3][3] = {{1, 0, 1.402f}, {1, -0.344136286f, -0.714136286f}, {1, 1.772f, 0}};

struct Cosines {
    float by_frequency[8][8], by_place[8][8]; /* [frequency][place] and [place][frequency] */

    Cosines() {
        for (int k = 0; k < 8; k++)
            for (int n = 0; n < 8; n++) {
                const double scale = k ? 0.5 : std::sqrt(0.125);
                by_frequency[k][n] = float(scale * std::cos((2 * n + 1) * k * M_PI / 16));
                by_place[n][k] = by_frequency[k][n];
            }
    }
};
const Cosines cosines;

/* to = left · from · leftᵀ, given leftᵀ as well. */
inline void both_sides(const float left[8][8], const float left_t[8][8], float block[8][8]) {
    float half[8][8] = {};
    for (int k = 0; k < 8; k++)
        for (int j = 0; j < 8; j++)
            for (int x = 0; x < 8; x++)
                half[k][x] += left[k][j] * block[j][x];
    for (int k = 0; k < 8; k++) {
        float row[8] = {};
        for (int j = 0; j < 8; j++)
            for (int x = 0; x < 8; x++)
                row[x] += half[k][j] * left_t[j][x];
        std::copy(row, row + 8, block[k]);
    }
}

inline void load(const float *from, int stride, float block[8][8]) {
    for (int y = 0; y < 8; y++)
        std::copy(from + int64_t(y) * stride, from + int64_t(y) * stride + 8, block[y]);
}

inline void store(const float block[8][8], float *to, int stride) {
    for (int y = 0; y < 8; y++)
        std::copy(block[y], block[y] + 8, to + int64_t(y) * stride);
}

/* Calls `change` with the place of each block's first sample, on all threads. */
template <typename Change> void each_block(int width, int height, Change change) {
#pragma omp parallel for
    for (int row = 0; row < height; row += 8)
        for (int column = 0; column < width; column += 8)
            change(size_t(row) * size_t(width) + size_t(column));
}

inline float to_byte(float value) {
    return std::min(std::max(std::nearbyint(value), 0.0f), 255.0f);
}

inline int padded(int size, int to) {
    return (size + to - 1) / to * to;
}

/* The two samples, of `count`, that a pixel between them is made of, the nearer one first. */
inline void neighbours(int at, int count, int *near, int *far) {
    *near = std::min(at / 2, count - 1);
    *far = std::min(std::max(at / 2 + (at & 1 ? 1 : -1), 0), count - 1);
}

} // namespace

Jpeg::Jpeg(int width, int height, int quality, bool halved)
    : width_(width), height_(height), halved_(halved) {
    const int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality, mcu = halved ? 16 : 8;
    for (int c = 0; c < 3; c++) {
        Component &component = components_[c];
        const int shrunk = c > 0 && halved ? 2 : 1;
        component.width = padded(width, mcu) / shrunk;
        component.height = padded(height, mcu) / shrunk;
        for (int i = 0; i < 64; i++) {
            const int step = ((c ? chroma_steps : luma_steps)[i] * scale + 50) / 100;
            component.steps[i] = float(std::min(std::max(step, 1), 255));
        }
        component.samples.resize(size_t(component.width) * size_t(component.height));
        component.slopes.resize(component.samples.size());
    }
}

/* Pixels beyond the right and lower edges repeat the last ones. */
void Jpeg::to_components(const float *rgb) {
    const int64_t plane = int64_t(width_) * height_;
    const int step = halved_ ? 2 : 1;
    Component &luma = components_[0];
#pragma omp parallel for
    for (int block = 0; block < luma.height / step; block++) {
        std::vector<float> rows(size_t(luma.width) * size_t(step) * 2);
        for (int s = 0; s < step; s++) {
            const int y = block * step + s;
            const float *from = rgb + int64_t(std::min(y, height_ - 1)) * width_;
            float *to[3] = {&luma.samples[size_t(y) * size_t(luma.width)],
                &rows[size_t(s) * size_t(luma.width)],
                &rows[size_t(step + s) * size_t(luma.width)]};
            for (int c = 0; c < 3; c++) {
                const float *m = to_ycc[c];
                for (int x = 0; x < width_; x++)
                    to[c][x] = std::nearbyint(
                        m[0] * from[x] + m[1] * from[plane + x] + m[2] * from[2 * plane + x]);
                std::fill(to[c] + width_, to[c] + luma.width, to[c][width_ - 1]);
            }
            for (int x = 0; x < luma.width; x++)
                to[0][x] -= 128;
        }
        for (int c = 1; c < 3; c++) {
            Component &chroma = components_[c];
            const float *top = &rows[size_t((c - 1) * step) * size_t(luma.width)];
            const float *bottom = top + (step - 1) * luma.width;
            float *to = &chroma.samples[size_t(block) * size_t(chroma.width)];
            for (int x = 0; x < chroma.width; x++)
                to[x] = halved_ ? std::floor(0.25f * (top[2 * x] + top[2 * x + 1] + bottom[2 * x] +
                                                         bottom[2 * x + 1] + float(1 + (x & 1))))
                                : top[x];
        }
    }
}

void Jpeg::quantise(Component &component) {
    const int stride = component.width;
    each_block(stride, component.height, [&component, stride](size_t at) {
        float block[8][8], slopes[8][8];
        load(&component.samples[at], stride, block);
        both_sides(cosines.by_frequency, cosines.by_place, block);
        for (int k = 0; k < 8; k++)
            for (int l = 0; l < 8; l++) {
                const float step = component.steps[k * 8 + l], value = block[k][l] / step;
                const float whole = std::nearbyint(value), off = value - whole;
                block[k][l] = whole * step;
                slopes[k][l] = std::max(3 * off * off, least_slope);
            }
        both_sides(cosines.by_place, cosines.by_frequency, block);
        store(block, &component.samples[at], stride);
        store(slopes, &component.slopes[at], stride);
    });
#pragma omp parallel for
    for (size_t i = 0; i < component.samples.size(); i++)
        component.samples[i] = to_byte(component.samples[i] + 128) - 128;
}

/* Chroma is enlarged with weights of 3/4 and 1/4, which viewers call fancy upsampling. Halves are
 * rounded up and down in turn, as libjpeg does it. */
void Jpeg::from_components(float *out) {
    const int64_t plane = int64_t(width_) * height_;
#pragma omp parallel
    {
        std::vector<float> rows(size_t(width_) * 2), sum(size_t(components_[1].width));
#pragma omp for
        for (int y = 0; y < height_; y++) {
            for (int c = 1; c < 3; c++) {
                const Component &chroma = components_[c];
                float *to = &rows[size_t(c - 1) * size_t(width_)];
                auto row = [&chroma](int at) {
                    return &chroma.samples[size_t(at) * size_t(chroma.width)];
                };
                if (!halved_) {
                    std::copy(row(y), row(y) + width_, to);
                    continue;
                }
                int near, far;
                neighbours(y, (height_ + 1) / 2, &near, &far);
                const float *a = row(near), *b = row(far);
                const int used = (width_ + 1) / 2;
                for (int x = 0; x < used; x++)
                    sum[size_t(x)] = 0.75f * a[x] + 0.25f * b[x];
                for (int x = 0; x < width_; x++) {
                    neighbours(x, used, &near, &far);
                    to[x] = std::floor(0.75f * sum[size_t(near)] + 0.25f * sum[size_t(far)] +
                                       (x & 1 ? 7.0f : 8.0f) / 16);
                }
            }
            const float *luma = &components_[0].samples[size_t(y) * size_t(components_[0].width)];
            const float *cb = rows.data(), *cr = cb + width_;
            for (int c = 0; c < 3; c++) {
                float *to = out + c * plane + int64_t(y) * width_;
                for (int x = 0; x < width_; x++)
                    to[x] = to_byte(luma[x] + 128 + to_rgb[c][1] * cb[x] + to_rgb[c][2] * cr[x]);
            }
        }
    }
}

void Jpeg::forward(const float *rgb, float *out) {
    to_components(rgb);
    for (Component &component : components_)
        quantise(component);
    from_components(out);
}

/* One row of pixels' share in the gradient of one chroma component, added where it was read from.
 */
static void collect_halved(const std::vector<float> &row, int y, int height, int width, float *sum,
    std::vector<float> &to, int stride) {
    const int used = (width + 1) / 2;
    int near, far;
    std::fill(sum, sum + used, 0.0f);
    for (int x = 0; x < width; x++) {
        neighbours(x, used, &near, &far);
        sum[near] += 0.75f * row[size_t(x)];
        sum[far] += 0.25f * row[size_t(x)];
    }
    neighbours(y, (height + 1) / 2, &near, &far);
    float *a = &to[size_t(near) * size_t(stride)], *b = &to[size_t(far) * size_t(stride)];
    for (int x = 0; x < used; x++) {
        a[x] += 0.75f * sum[x];
        b[x] += 0.25f * sum[x];
    }
}

/* From the pixels' gradient to that of the components' samples. */
void Jpeg::collect(const float *grad, std::vector<float> *to) const {
    const int64_t plane = int64_t(width_) * height_;
    const int stride = components_[1].width;
    /* Two rows of pixels read three rows of chroma: every third pair can go side by side. */
    const int step = halved_ ? 2 : 1, phases = halved_ ? 3 : 1;
    for (int phase = 0; phase < phases; phase++) {
#pragma omp parallel for
        for (int pair = phase; pair < (height_ + step - 1) / step; pair += phases) {
            std::vector<float> row(static_cast<size_t>(width_)), sum(row.size());
            for (int y = step * pair; y < std::min(step * (pair + 1), height_); y++) {
                const float *g = grad + int64_t(y) * width_;
                float *luma = &to[0][size_t(y) * size_t(components_[0].width)];
                for (int x = 0; x < width_; x++)
                    luma[x] = g[x] + g[plane + x] + g[2 * plane + x];
                for (int c = 1; c < 3; c++) {
                    for (int x = 0; x < width_; x++)
                        row[size_t(x)] = to_rgb[0][c] * g[x] + to_rgb[1][c] * g[plane + x] +
                                         to_rgb[2][c] * g[2 * plane + x];
                    if (halved_)
                        collect_halved(row, y, height_, width_, sum.data(), to[c], stride);
                    else
                        std::copy(row.begin(), row.end(), &to[c][size_t(y) * size_t(stride)]);
                }
            }
        }
    }
}

/* Through the blocks of one component, in place. */
void Jpeg::through_blocks(const Component &component, std::vector<float> &grad) const {
    const int stride = component.width;
    each_block(stride, component.height, [&component, &grad, stride](size_t at) {
        float block[8][8], slopes[8][8];
        load(&grad[at], stride, block);
        load(&component.slopes[at], stride, slopes);
        both_sides(cosines.by_frequency, cosines.by_place, block);
        for (int k = 0; k < 8; k++)
            for (int l = 0; l < 8; l++)
                block[k][l] *= slopes[k][l];
        both_sides(cosines.by_place, cosines.by_frequency, block);
        store(block, &grad[at], stride);
    });
}

void Jpeg::backward(const float *grad, float *out) {
    const int64_t plane = int64_t(width_) * height_;
    const int chroma_width = components_[1].width;
    std::vector<float> by_component[3];
    for (int c = 0; c < 3; c++)
        by_component[c].assign(components_[c].samples.size(), 0.0f);
    collect(grad, by_component);
    for (int c = 0; c < 3; c++)
        through_blocks(components_[c], by_component[c]);
    /* The edges' repetitions are left out: they are few, and nobody's face. */
    const float share = halved_ ? 0.25f : 1.0f;
#pragma omp parallel for
    for (int y = 0; y < height_; y++) {
        const float *luma = &by_component[0][size_t(y) * size_t(components_[0].width)];
        const size_t line = size_t(halved_ ? y / 2 : y) * size_t(chroma_width);
        const float *cb = &by_component[1][line], *cr = &by_component[2][line];
        for (int c = 0; c < 3; c++) {
            float *to = out + c * plane + int64_t(y) * width_;
            const float blue = to_ycc[1][c] * share, red = to_ycc[2][c] * share;
            for (int x = 0; x < width_; x++) {
                const int at = halved_ ? x / 2 : x;
                to[x] = to_ycc[0][c] * luma[x] + blue * cb[at] + red * cr[at];
            }
        }
    }
}

} // namespace cloak
