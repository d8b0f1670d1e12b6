/* A libnvidia-ml.so.1 for a machine that has none, with the few functions that we call: two GPUs, of which the second
 * cannot be looked at. The real one needs a GPU (tests/integration/metrics.py). */
#include <string.h>

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory);
int nvmlDeviceGetUtilizationRates(void *device, unsigned *utilization);

static int gpu;

int nvmlInit_v2(void) {
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = &gpu;
    return index == 0 ? 0 : 4; /* no permission */
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
    static const unsigned long long total_free_used[] = {80ull << 30, 60ull << 30, 20ull << 30};
    memcpy(memory, total_free_used, sizeof total_free_used);
    return device == &gpu ? 0 : 2;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *utilization) {
    utilization[0] = 75;
    utilization[1] = 50;
    return device == &gpu ? 0 : 2;
}
