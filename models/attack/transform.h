/* Transforms (common/base/transform.h) as the attack's loop goes through them. */
#ifndef CLOAK_ATTACK_TRANSFORM_H
#define CLOAK_ATTACK_TRANSFORM_H

#include <algorithm>

#include "common/base/transform.h"

namespace cloak {

inline bool is_raw(const cloak_transform &t) {
    return t.shrink >= 1 && !(t.blur > 0) && t.quality == 0 && t.whole == 0 && t.view == 1;
}

/* The transform a little off: each part drawn from a range around its value, and the detector's own
 * scale as well, so that what survives does so in between too. A cloak fits the scales that it has
 * seen and little between them. `uniform` gives numbers from 0 to 1. */
template <typename Uniform> cloak_transform jittered(cloak_transform t, Uniform uniform) {
    auto spread = [&uniform](float by) { return by * (2 * float(uniform()) - 1); };
    const float view = spread(0.12f), shrink = spread(0.15f), blur = spread(0.3f),
                quality = spread(10);
    t.view *= 1 + view;
    if (t.shrink < 1)
        t.shrink = std::min(t.shrink * (1 + shrink), 1.0f);
    t.blur *= 1 + blur;
    for (int *of : {&t.quality, &t.whole})
        if (*of > 0)
            *of = std::min(std::max(*of + int(quality), 30), 98);
    return t;
}

} // namespace cloak
#endif
