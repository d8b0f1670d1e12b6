/* Where a change is seen least: people overlook in busy places what they see on smooth ones
 * (perceptual masking; Legge and Foley 1980). */
#ifndef CLOAK_ATTACK_TEXTURE_H
#define CLOAK_ATTACK_TEXTURE_H

#include <cstdint>
#include <vector>

namespace cloak {

/* For each cell of the attack grid a share of the budget, from `least` on smooth places to 1 where
 * the photo's own brightness varies by enough levels. `rgb` is interleaved, width × height. */
std::vector<float> texture_shares(
    const uint8_t *rgb, int width, int height, int grid_width, int grid_height, float least);

} // namespace cloak
#endif
