/* Where a photo may change: boxes around faces on the attack grid, with soft edges. */
#ifndef CLOAK_ATTACK_REGION_H
#define CLOAK_ATTACK_REGION_H

#include <vector>

#include "models/attack/target.h"

namespace cloak {

class Region {
  public:
    Region(int grid_width, int grid_height, int photo_width, int photo_height, float scale);

    /* Adds `scale` times the box of each face, but at least 64 grid pixels a side, feathered
     * towards its border. */
    void add(const std::vector<Found> &faces);

    /* Adds those of `faces` whose centre has less than half of the budget so far: what turns up
     * outside of the region, not what moves within it. */
    void add_outsiders(const std::vector<Found> &faces);

    /* grid_height × grid_width shares of the budget, 0 … 1. */
    const std::vector<float> &mask() const {
        return mask_;
    }

  private:
    int width_, height_;
    float to_grid_x_, to_grid_y_, scale_;
    std::vector<float> mask_;
};

} // namespace cloak
#endif
