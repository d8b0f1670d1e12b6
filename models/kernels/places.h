/* Maps that are zero nearly everywhere, channels-last: the gradient of what finds faces is, on all but the
 * few places whose anchors could become one. A convolution's gradient is then that of these places alone. C
 * linkage and plain pointers, so that tests can call it from anywhere. */
#ifndef CLOAK_KERNELS_PLACES_H
#define CLOAK_KERNELS_PLACES_H

#include <cstdint>

extern "C" {

/* Writes which of `count` places (`map`: count × channels) hold anything but zeros to `found`, in order. Returns how
 * many, or `most` + 1 as soon as there are more than `most`; `found` has room for `most`. */
int64_t cloak_find_places(
    const float *map, int64_t count, int channels, int64_t most, int32_t *found);

/* What each place adds to its neighbours. `taps`: count × kernel × kernel × channels, for the windows of
 * kernel × kernel places (odd) around `places`; added to `map` (height × width × channels), but for what falls off
 * its edges. Deterministic: each thread owns a block of channels. */
void cloak_add_windows(const float *taps, const int32_t *places, int64_t count, int kernel,
    int height, int width, int channels, float *map);
}
#endif
