/* What a GPU is; see the header. */
#include "models/kernels/cuda/about.h"

extern "C" bool cloak_cuda_has_bfloat16(int device) {
    int major = 0;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 8;
}
