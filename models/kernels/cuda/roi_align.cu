/* RoIAlign on a GPU; see the header. */
#include "models/kernels/cuda/roi_align.h"

#include "models/kernels/cuda/roi_align_thread.h"

using cloak::RoiWork;

namespace {

constexpr int block = 256;

int blocks_for(int64_t threads) {
    return int((threads + block - 1) / block);
}

__device__ int64_t thread_index() {
    return int64_t(blockIdx.x) * block + threadIdx.x;
}

struct AtomicAdd {
    __host__ __device__ void operator()(long long *sum, long long number) const {
#ifdef __CUDA_ARCH__
        atomicAdd(reinterpret_cast<unsigned long long *>(sum), static_cast<unsigned long long>(number));
#else
        *sum += number;
#endif
    }
};

__global__ void forward(RoiWork work, const float *features, float *pooled) {
    const int64_t index = thread_index();
    if (index < work.threads())
        cloak::roi_forward_thread(work, index, features, pooled);
}

__global__ void backward(
    RoiWork work, const float *grad_pooled, const float *greatest, long long *sums) {
    const int64_t index = thread_index();
    if (index < work.threads())
        cloak::roi_backward_thread(
            work, index, grad_pooled, cloak::roi_whole_scale(*greatest), sums, AtomicAdd());
}

__global__ void from_whole(
    const long long *sums, const float *greatest, int64_t count, float *grad_features) {
    const int64_t index = thread_index();
    if (index < count)
        grad_features[index] = cloak::roi_from_whole(sums[index], cloak::roi_whole_scale(*greatest));
}

const char *launched() {
    const cudaError_t problem = cudaGetLastError();
    return problem == cudaSuccess ? nullptr : cudaGetErrorString(problem);
}

} // namespace

extern "C" const char *cloak_cuda_roi_align_forward(const float *features, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *pooled) {
    const RoiWork work = {boxes, scale, channels, height, width, count, bins, samples};
    if (count > 0)
        forward<<<blocks_for(work.threads()), block>>>(work, features, pooled);
    return launched();
}

extern "C" const char *cloak_cuda_roi_align_backward(const float *grad_pooled, const float *greatest, int channels,
    int height, int width, const float *boxes, int count, float scale, int bins, int samples,
    long long *sums, float *grad_features) {
    const RoiWork work = {boxes, scale, channels, height, width, count, bins, samples};
    const int64_t places = int64_t(height) * width * channels;
    if (count > 0)
        backward<<<blocks_for(work.threads()), block>>>(work, grad_pooled, greatest, sums);
    from_whole<<<blocks_for(places), block>>>(sums, greatest, places, grad_features);
    return launched();
}
