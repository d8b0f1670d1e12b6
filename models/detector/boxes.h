/* Box arithmetic of Faster R-CNN: decoding of regression deltas, clipping, overlap. */
#ifndef CLOAK_DETECTOR_BOXES_H
#define CLOAK_DETECTOR_BOXES_H

#include <algorithm>
#include <cmath>

namespace cloak {

/* Moves and scales `anchor` (x1, y1, x2, y2) by `delta` (dx, dy, dw, dh divided by `weights`);
 * sizes grow at most by 1000/16, as torchvision bounds them. */
inline void decode_box(
    const float anchor[4], const float delta[4], const float weights[4], float box[4]) {
    static const float max_log = std::log(1000.0f / 16.0f);
    float w = anchor[2] - anchor[0], h = anchor[3] - anchor[1];
    float cx = anchor[0] + 0.5f * w + delta[0] / weights[0] * w;
    float cy = anchor[1] + 0.5f * h + delta[1] / weights[1] * h;
    float half_w = 0.5f * std::exp(std::min(delta[2] / weights[2], max_log)) * w;
    float half_h = 0.5f * std::exp(std::min(delta[3] / weights[3], max_log)) * h;
    box[0] = cx - half_w;
    box[1] = cy - half_h;
    box[2] = cx + half_w;
    box[3] = cy + half_h;
}

inline void clip_box(float box[4], float width, float height) {
    box[0] = std::min(std::max(box[0], 0.0f), width);
    box[1] = std::min(std::max(box[1], 0.0f), height);
    box[2] = std::min(std::max(box[2], 0.0f), width);
    box[3] = std::min(std::max(box[3], 0.0f), height);
}

/* Intersection over union; 0 where both are empty. */
inline float box_iou(const float a[4], const float b[4]) {
    float w = std::min(a[2], b[2]) - std::max(a[0], b[0]);
    float h = std::min(a[3], b[3]) - std::max(a[1], b[1]);
    if (!(w > 0 && h > 0))
        return 0;
    float both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]);
    return w * h / (both - w * h);
}

} // namespace cloak
#endif
