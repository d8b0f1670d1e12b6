/* What NVIDIA's driver says of the machine's GPUs, for the metrics. */
#ifndef CLOAK_REPORT_GPU_H
#define CLOAK_REPORT_GPU_H

#include "common/report/metrics.h"

/* Sets memory and load of each GPU, of the first 16; nothing where there is no driver. Asks the driver, which takes a
 * millisecond or so. Any thread. */
void cloak_gpu_measure(cloak_metrics *metrics);

#endif
