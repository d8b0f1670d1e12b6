/* Gates; see the header. */
#include "models/kernels/gate.h"

#include <cstring>

/* Numbers that are not negative are ordered as their bits are. GCC 12 makes vectors of this; of a
 * choice between floats it made branches, which took 13 of 100 parts of an attack's time. */
void gate_float(const float *grad, const float *result, bool six, int64_t count, float *out) {
    const int32_t top = six ? 0x40c00000 : 0x7f800000; /* 6; infinity */
#pragma omp parallel for simd
    for (int64_t i = 0; i < count; i++) {
        int32_t bits, value;
        std::memcpy(&bits, &result[i], sizeof bits);
        std::memcpy(&value, &grad[i], sizeof value);
        value &= -int32_t((bits > 0) & (bits < top));
        std::memcpy(&out[i], &value, sizeof value);
    }
}

void gate_bfloat16(
    const uint16_t *grad, const uint16_t *result, bool six, int64_t count, uint16_t *out) {
    const uint16_t top = six ? 0x40c0 : 0x7f80; /* 6; infinity */
#pragma omp parallel for simd
    for (int64_t i = 0; i < count; i++) {
        const uint16_t open = uint16_t(-((result[i] > 0) & (result[i] < top)));
        out[i] = grad[i] & open;
    }
}
