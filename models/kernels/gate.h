/* The gradient of a rectifier: it passes where the rectifier passed, and nowhere else. */
#ifndef CLOAK_KERNELS_GATE_H
#define CLOAK_KERNELS_GATE_H

#include <cstdint>

extern "C" {

/* `out[i]` is `grad[i]` where 0 < `result[i]`, and `result[i]` < 6 with `six` (ReLU6), else 0.
 * `result` is what the rectifier gave, so never negative. `out` may be `grad`. */
void gate_float(const float *grad, const float *result, bool six, int64_t count, float *out);

/* The same in bfloat16, which is a float's upper half. */
void gate_bfloat16(
    const uint16_t *grad, const uint16_t *result, bool six, int64_t count, uint16_t *out);
}
#endif
