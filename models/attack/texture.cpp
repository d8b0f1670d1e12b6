/* Local contrast as a share of the budget; see the header. */
#include "models/attack/texture.h"

#include <algorithm>
#include <cmath>

#include "models/kernels/separable.h"

namespace cloak {

namespace {
/* Of a standard deviation of so many levels, in a Gaussian window of this sigma in grid pixels, the
 * budget is whole. */
constexpr float whole_deviation = 12, window = 2;
} // namespace

std::vector<float> texture_shares(
    const uint8_t *rgb, int width, int height, int grid_width, int grid_height, float least) {
    const size_t cells = size_t(grid_width) * size_t(grid_height);
    std::vector<float> luma(cells), square(cells), mean(cells), shares(cells);
    for (int y = 0; y < grid_height; y++)
        for (int x = 0; x < grid_width; x++) {
            const int64_t px = int64_t(2 * x + 1) * width / (2 * grid_width);
            const int64_t py = int64_t(2 * y + 1) * height / (2 * grid_height);
            const uint8_t *pixel = rgb + (py * width + px) * 3;
            const float value = 0.299f * pixel[0] + 0.587f * pixel[1] + 0.114f * pixel[2];
            luma[size_t(y) * size_t(grid_width) + size_t(x)] = value;
            square[size_t(y) * size_t(grid_width) + size_t(x)] = value * value;
        }
    const SparseRows along = gauss_rows(grid_width, window), down = gauss_rows(grid_height, window);
    separable_apply(along, down, 1, luma.data(), grid_width, grid_width, 0, mean.data());
    separable_apply(along, down, 1, square.data(), grid_width, grid_width, 0, shares.data());
    for (size_t i = 0; i < cells; i++) {
        const float deviation = std::sqrt(std::max(shares[i] - mean[i] * mean[i], 0.0f));
        shares[i] = std::min(std::max(deviation / whole_deviation, least), 1.0f);
    }
    return shares;
}

} // namespace cloak
