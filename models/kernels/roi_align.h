/* RoIAlign (He et al. 2017, Mask R-CNN), as torchvision computes it with aligned=False and a fixed
 * number of samples per bin, on channels-last features: the inner loop runs over channels and
 * vectorises. C linkage and plain pointers, so that tests can call it from anywhere. */
#ifndef CLOAK_KERNELS_ROI_ALIGN_H
#define CLOAK_KERNELS_ROI_ALIGN_H

#include <cstdint>

extern "C" {

/* `features`: height × width × channels. `boxes`: count × (x1, y1, x2, y2) in input pixels, scaled
 * by `scale` to features. `pooled`: count × channels × bins × bins, overwritten. */
void cloak_roi_align_forward(const float *features, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *pooled);

/* The gradient with respect to the features, added to `grad_features` (height × width × channels).
 * Deterministic: each thread owns a block of channels. */
void cloak_roi_align_backward(const float *grad_pooled, int channels, int height, int width,
    const float *boxes, int count, float scale, int bins, int samples, float *grad_features);
}
#endif
