/* Devices; see the header. */
#include "models/detector/device.h"

#include <stdexcept>

#include <ATen/Context.h>
#include <torch/cuda.h>

#ifdef CLOAK_CUDA
#include "models/kernels/cuda/about.h"
#endif

namespace cloak {

namespace {

/* The number in "cuda:N", 0 for "cuda"; -1 for anything else. */
int number_of(const std::string &name) {
    if (name == "cuda")
        return 0;
    const size_t digits = name.size() > 5 ? name.size() - 5 : 0;
    if (name.compare(0, 5, "cuda:") != 0 || digits < 1 || digits > 2 ||
        name.find_first_not_of("0123456789", 5) != std::string::npos)
        return -1;
    return std::stoi(name.substr(5));
}

#ifdef CLOAK_CUDA

/* Algorithms are not chosen by what was fastest today, and float means float. */
void compute_alike() {
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
}

torch::Device find_gpu(int number) {
    const int count = int(torch::cuda::device_count());
    if (count == 0)
        throw std::runtime_error("no GPU is to be seen: is its driver loaded and new enough for this build's CUDA "
                                 "(nvidia-smi), and is it not hidden by CUDA_VISIBLE_DEVICES or PrivateDevices=?");
    if (number >= count)
        throw std::runtime_error("the GPUs here are cuda:0 to cuda:" + std::to_string(count - 1));
    compute_alike();
    return torch::Device(torch::kCUDA, c10::DeviceIndex(number));
}

bool gpu_has_bfloat16(int number) {
    return cloak_cuda_has_bfloat16(number);
}

#else

bool gpu_has_bfloat16(int) { /* no GPU comes here, but what tests put in its place */
    return true;
}

torch::Device find_gpu(int) {
    throw std::runtime_error("this build runs on the CPU: use --device cpu, or build for GPUs "
                             "(docs/operating.md)");
}

#endif

} // namespace

torch::Device find_device(const std::string &name) {
    if (name == "cpu")
        return torch::kCPU;
    const int number = number_of(name);
    if (number < 0)
        throw std::runtime_error("\"" + name + "\" is no device: cpu, cuda or cuda:0 to cuda:99");
    try {
        return find_gpu(number);
    } catch (const std::runtime_error &problem) {
        throw std::runtime_error(name + ": " + problem.what());
    }
}

bool has_bfloat16(const torch::Device &device) {
    if (!device.is_cpu())
        return gpu_has_bfloat16(device.index());
#ifdef __x86_64__
    static const bool has = __builtin_cpu_supports("avx512bf16");
    return has;
#else
    return false;
#endif
}

torch::Tensor on_host(const torch::Tensor &tensor) {
    return tensor.to(torch::kCPU, torch::kFloat32).contiguous();
}

} // namespace cloak
