/* RoIAlign on a GPU: as in models/kernels/roi_align.h, of which the forward pass gives the same bits. Pointers
 * are the current device's; the work is queued on its default stream, and nobody waits for it. Returns NULL, or what is
 * wrong, in words that live as long as the process. */
#ifndef CLOAK_KERNELS_CUDA_ROI_ALIGN_H
#define CLOAK_KERNELS_CUDA_ROI_ALIGN_H

extern "C" {

const char *cloak_cuda_roi_align_forward(const float *features, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *pooled);

/* `greatest`: the greatest absolute value of `grad_pooled`. `sums`: room for height × width × channels whole
 * numbers, all 0. `grad_features` is overwritten. The same gradients give the same bits, in whatever order
 * threads run. */
const char *cloak_cuda_roi_align_backward(const float *grad_pooled, const float *greatest, int channels,
    int height, int width, const float *boxes, int count, float scale, int bins, int samples,
    long long *sums, float *grad_features);
}

#endif
