/* RoIAlign on maps; see the header. */
#include "models/detector/pooling.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include <ATen/ATen.h>

#include "models/kernels/roi_align.h"
#ifdef CLOAK_CUDA
#include "models/kernels/cuda/roi_align.h"
#endif

namespace cloak {

namespace {
constexpr int samples = 2; /* per bin, in each direction */
} // namespace

int pooling_level(const float *box) {
    float side = std::sqrt((box[2] - box[0]) * (box[3] - box[1]));
    int level = int(std::floor(4.0f + std::log2(side / 224.0f) + 1e-6f));
    return std::min(std::max(level, 2), 5) - 2;
}

#ifdef CLOAK_CUDA

/* What a GPU's queue says. */
static void check(const char *problem) {
    if (problem)
        throw std::runtime_error(std::string("RoIAlign on the GPU: ") + problem);
}

static torch::Tensor boxes_on(const torch::Device &device, const float *boxes, int count) {
    return at::from_blob(const_cast<float *>(boxes), {count, 4}, torch::kFloat32).to(device);
}

static void pool_on_gpu(const torch::Tensor &plain, const float *boxes, int count, int stride, int bins,
    const torch::Tensor &pooled) {
    const c10::DeviceGuard here(plain.device());
    check(cloak_cuda_roi_align_forward(plain.data_ptr<float>(), int(plain.size(3)), int(plain.size(1)),
        int(plain.size(2)), boxes_on(plain.device(), boxes, count).data_ptr<float>(), count,
        1.0f / float(stride), bins, samples, pooled.data_ptr<float>()));
}

static torch::Tensor pool_back_on_gpu(const torch::Tensor &map, const float *boxes, int count, int stride,
    int bins, const torch::Tensor &grad_pooled) {
    const c10::DeviceGuard here(map.device());
    const int channels = int(map.size(1)), height = int(map.size(2)), width = int(map.size(3));
    const torch::Tensor greatest = grad_pooled.abs().max();
    const torch::Tensor sums = at::zeros({height, width, channels}, map.options().dtype(torch::kInt64));
    torch::Tensor to = at::empty({1, height, width, channels}, map.options().dtype(torch::kFloat32));
    static_assert(sizeof(long long) == sizeof(int64_t), "the same numbers by two names");
    check(cloak_cuda_roi_align_backward(grad_pooled.data_ptr<float>(), greatest.data_ptr<float>(), channels,
        height, width, boxes_on(map.device(), boxes, count).data_ptr<float>(), count, 1.0f / float(stride),
        bins, samples, reinterpret_cast<long long *>(sums.data_ptr<int64_t>()), to.data_ptr<float>()));
    return to.permute({0, 3, 1, 2});
}

#endif

void pool_boxes(const torch::Tensor &map, const float *boxes, int count, int stride, int bins,
    const torch::Tensor &pooled) {
    torch::Tensor plain = map.detach().to(torch::kFloat32).permute({0, 2, 3, 1}).contiguous();
#ifdef CLOAK_CUDA
    if (plain.is_cuda())
        return pool_on_gpu(plain, boxes, count, stride, bins, pooled);
#endif
    cloak_roi_align_forward(plain.data_ptr<float>(), int(plain.size(3)), int(plain.size(1)),
        int(plain.size(2)), boxes, count, 1.0f / float(stride), bins, samples, pooled.data_ptr<float>());
}

torch::Tensor pool_boxes_backward(const torch::Tensor &map, const float *boxes, int count, int stride,
    int bins, const torch::Tensor &grad_pooled) {
#ifdef CLOAK_CUDA
    if (map.is_cuda())
        return pool_back_on_gpu(map, boxes, count, stride, bins, grad_pooled);
#endif
    torch::Tensor to = torch::zeros({1, map.size(2), map.size(3), map.size(1)});
    cloak_roi_align_backward(grad_pooled.data_ptr<float>(), int(map.size(1)), int(map.size(2)),
        int(map.size(3)), boxes, count, 1.0f / float(stride), bins, samples, to.data_ptr<float>());
    return to.permute({0, 3, 1, 2});
}

} // namespace cloak
