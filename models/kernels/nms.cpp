/* Non-maximum suppression on the CPU; see the header. A thousand boxes take well under a
 * millisecond, so that nothing cleverer than the quadratic loop is called for. */
#include "models/kernels/nms.h"

#include <algorithm>
#include <numeric>
#include <vector>

extern "C" int cloak_nms(const float *boxes, const float *scores, const int32_t *groups, int count,
    float threshold, int limit, int32_t *kept) {
    std::vector<int32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
        [scores](int32_t a, int32_t b) { return scores[a] > scores[b]; });
    int n = 0;
    for (int32_t i : order) {
        if (n >= limit)
            break;
        const float *a = boxes + i * 4;
        const float area = (a[2] - a[0]) * (a[3] - a[1]);
        bool suppressed = false;
        for (int k = 0; k < n && !suppressed; k++) {
            if (groups && groups[kept[k]] != groups[i])
                continue;
            const float *b = boxes + kept[k] * 4;
            float w = std::min(a[2], b[2]) - std::max(a[0], b[0]);
            float h = std::min(a[3], b[3]) - std::max(a[1], b[1]);
            if (w <= 0 || h <= 0)
                continue;
            float overlap = w * h;
            suppressed = overlap / (area + (b[2] - b[0]) * (b[3] - b[1]) - overlap) > threshold;
        }
        if (!suppressed)
            kept[n++] = i;
    }
    return n;
}
