/* Maps, channels-last, that are zero nearly everywhere, as the gradients of a detector's pyramid and of
 * what proposes boxes are: they come from a few anchors and boxes. The gradient of a convolution is then
 * the sum of what these places give. C linkage and plain pointers, so that tests can call it from
 * anywhere. */
#ifndef CLOAK_KERNELS_PLACES_H
#define CLOAK_KERNELS_PLACES_H

#include <cstdint>

extern "C" {

/* Writes which of `count` places (`map`: count × channels) hold anything but zeros of either sign to
 * `found`, in order. Returns how many, or `most` + 1 if there are more than `most`; then the first
 * `most` are written. */
int64_t cloak_find_places(
    const float *map, int64_t count, int channels, int64_t most, int32_t *found);

/* What each place adds to its neighbours. `taps`: count × kernel × kernel × channels, for the windows
 * of kernel × kernel places (odd) around `places` (y · width + x); added to `map` (height × width ×
 * channels), but for what falls off its edges. Deterministic: each thread owns a block of channels. */
void cloak_add_windows(const float *taps, const int32_t *places, int64_t count, int kernel,
    int height, int width, int channels, float *map);
}
#endif
