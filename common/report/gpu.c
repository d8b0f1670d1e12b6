/* GPUs by NVML, the library that comes with NVIDIA's driver (its reference manual names the functions and structs). It
 * is looked for at run time, since most machines have none, so the four declarations that are needed stand here. */
#include "common/report/gpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

enum { MOST_GPUS = 16, SUCCESS = 0 };

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    unsigned gpu, memory; /* per cent of the last sample period */
} Utilization;

static struct {
    int (*init)(void);
    int (*count)(unsigned *count);
    int (*handle)(unsigned index, void **device);
    int (*memory)(void *device, Memory *memory);
    int (*utilization)(void *device, Utilization *utilization);
} nvml;

static bool there;

/* The library stays loaded: it is asked until the process ends. */
static void load(void) {
    static const struct {
        const char *name;
        void *place;
    } functions[] = {{"nvmlInit_v2", &nvml.init}, {"nvmlDeviceGetCount_v2", &nvml.count},
        {"nvmlDeviceGetHandleByIndex_v2", &nvml.handle}, {"nvmlDeviceGetMemoryInfo", &nvml.memory},
        {"nvmlDeviceGetUtilizationRates", &nvml.utilization}};
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!(*(void **)functions[i].place = dlsym(library, functions[i].name)))
            return; /* a driver of before 2012 */
    there = nvml.init() == SUCCESS;
}

void cloak_gpu_measure(cloak_metrics *metrics) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    unsigned count = 0;
    pthread_once(&once, load);
    if (!there || nvml.count(&count) != SUCCESS)
        return;
    for (unsigned i = 0; i < count && i < MOST_GPUS; i++) {
        char label[8];
        void *device;
        Memory memory = {0};
        Utilization utilization = {0};
        snprintf(label, sizeof label, "%u", i);
        if (nvml.handle(i, &device) != SUCCESS)
            continue; /* not ours to look at */
        if (nvml.memory(device, &memory) == SUCCESS) {
            cloak_metrics_set(metrics, CLOAK_METRIC_GPU_USED, label, (double)memory.used);
            cloak_metrics_set(metrics, CLOAK_METRIC_GPU_TOTAL, label, (double)memory.total);
        }
        if (nvml.utilization(device, &utilization) == SUCCESS)
            cloak_metrics_set(metrics, CLOAK_METRIC_GPU_BUSY, label, utilization.gpu / 100.0);
    }
}
