/* What a GPU is. */
#ifndef CLOAK_KERNELS_CUDA_ABOUT_H
#define CLOAK_KERNELS_CUDA_ABOUT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether its cores multiply bfloat16: compute capability 8.0 and later. False for a GPU that is not there. */
bool cloak_cuda_has_bfloat16(int device);

#ifdef __cplusplus
}
#endif
#endif
