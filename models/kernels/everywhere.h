/* Arithmetic that the CPU's kernels and the GPU's share. */
#ifndef CLOAK_KERNELS_EVERYWHERE_H
#define CLOAK_KERNELS_EVERYWHERE_H

#ifdef __CUDACC__
#define CLOAK_EVERYWHERE __host__ __device__ inline
#else
#define CLOAK_EVERYWHERE inline
#endif

#endif
