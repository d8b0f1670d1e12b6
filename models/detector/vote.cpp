/* Box voting; see the header. */
#include "models/detector/vote.h"

#include "models/detector/boxes.h"

namespace cloak {

std::vector<float> vote_boxes(const std::vector<float> &boxes, const std::vector<float> &scores,
    const int32_t *kept, int count, float least) {
    std::vector<float> placed;
    placed.reserve(size_t(count) * 4);
    for (int k = 0; k < count; k++) {
        const float *own = &boxes[size_t(kept[k]) * 4];
        float sum[4] = {0, 0, 0, 0}, total = 0;
        for (size_t i = 0; i < scores.size(); i++) {
            const float *box = &boxes[i * 4];
            const float iou = box_iou(own, box);
            if (!(iou >= least))
                continue;
            const float weight = scores[i] * iou * iou;
            for (int j = 0; j < 4; j++)
                sum[j] += weight * box[j];
            total += weight;
        }
        for (float edge : sum)
            placed.push_back(edge / total);
    }
    return placed;
}

} // namespace cloak
