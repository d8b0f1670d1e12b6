/* Gates; see the header. */
#include "models/kernels/gate.h"

#include <cmath>

void gate_float(const float *grad, const float *result, bool six, int64_t count, float *out) {
    const float top = six ? 6.0f : HUGE_VALF;
#pragma omp parallel for simd
    for (int64_t i = 0; i < count; i++)
        out[i] = (result[i] > 0) & (result[i] < top) ? grad[i] : 0.0f;
}

/* Numbers that are not negative are ordered as their bits are. */
void gate_bfloat16(
    const uint16_t *grad, const uint16_t *result, bool six, int64_t count, uint16_t *out) {
    const uint16_t top = six ? 0x40c0 : 0x7f80; /* 6; infinity */
#pragma omp parallel for simd
    for (int64_t i = 0; i < count; i++) {
        const uint16_t open = uint16_t(-((result[i] > 0) & (result[i] < top)));
        out[i] = grad[i] & open;
    }
}
