/* Maps that are zero nearly everywhere; see the header. */
#include "models/kernels/places.h"

#include <algorithm>
#include <cstring>
#include <vector>

/* Whether any of these is not zero; a zero's sign does not count. */
static bool holds_something(const float *values, int count) {
    uint32_t any = 0;
    for (int i = 0; i < count; i++) {
        uint32_t bits;
        std::memcpy(&bits, &values[i], sizeof bits);
        any |= bits;
    }
    return any << 1 != 0;
}

int64_t cloak_find_places(
    const float *map, int64_t count, int channels, int64_t most, int32_t *found) {
    std::vector<uint8_t> holds(size_t(count), 0);
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        holds[size_t(i)] = holds_something(map + i * channels, channels);
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!holds[size_t(i)])
            continue;
        if (n == most)
            return most + 1;
        found[n++] = int32_t(i);
    }
    return n;
}

void cloak_add_windows(const float *taps, const int32_t *places, int64_t count, int kernel,
    int height, int width, int channels, float *map) {
    constexpr int block = 16;
    const int reach = kernel / 2;
#pragma omp parallel for
    for (int first = 0; first < channels; first += block) {
        const int last = std::min(first + block, channels);
        for (int64_t i = 0; i < count; i++) {
            const float *tap = taps + i * kernel * kernel * channels;
            const int top = places[i] / width - reach, left = places[i] % width - reach;
            for (int y = top; y < top + kernel; y++)
                for (int x = left; x < left + kernel; x++, tap += channels) {
                    if (y < 0 || y >= height || x < 0 || x >= width)
                        continue;
                    float *to = map + (int64_t(y) * width + x) * channels;
                    for (int c = first; c < last; c++)
                        to[c] += tap[c];
                }
        }
    }
}
