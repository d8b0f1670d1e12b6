/* The perturbation on the attack grid, and how a step moves it. */
#ifndef CLOAK_ATTACK_PERTURBATION_H
#define CLOAK_ATTACK_PERTURBATION_H

#include <cstdint>
#include <vector>

#include "models/attack/pgd.h"
#include "models/attack/random.h"

namespace cloak {

/* Planes of the grid (three, one for each channel) unless said otherwise. Not for several threads. */
class Perturbation {
  public:
    /* Of a photo (interleaved 8-bit RGB, width × height), which is read here alone. `settings` is borrowed.
     * `alone`: one target looks at the photo as it is, and nothing else is asked of the perturbation. */
    Perturbation(const uint8_t *rgb, int width, int height, int grid_width, int grid_height,
        const PgdSettings &settings, bool alone);

    /* Begins at nothing, or at `warm` (grid levels, interleaved), within the bound. */
    void begin(const int8_t *warm);

    /* Begins at half of the bound, up or down at random. `mask` as for step(). */
    void begin_anywhere(const std::vector<float> &mask, Random &random);

    /* Momentum, a step along its sign, projection onto the budget. `t` counts from the start's first step;
     * `mask` is each cell's share of the budget (region.h). By `fade` the values shrink where the
     * photo is smooth; not where the budget is the same on all of it (no masking, or a small one). */
    void step(int t, const std::vector<float> &gradient, const std::vector<float> &mask, float fade);

    /* Rounds the real numbers to what the photo is to get; rounded() and levels() are of the last time. */
    void round();
    const std::vector<float> &rounded() const {
        return rounded_;
    }
    const std::vector<int8_t> &levels() const { /* interleaved */
        return levels_;
    }

    const std::vector<float> &values() const { /* in levels, not rounded */
        return delta_;
    }
    void set(const std::vector<float> &values) {
        delta_ = values;
    }

  private:
    float reach_at(int t) const;
    float gentle_until(int t, const std::vector<float> &mask);

    size_t plane_;
    const PgdSettings &settings_;
    bool alone_;
    float reach_;            /* bound of the values in levels, once it has grown */
    float highest_mean_ = 0; /* of the momentum's size, in this start */
    std::vector<float> delta_, rounded_, velocity_;
    std::vector<float> shares_; /* one plane: of the budget by texture; empty: whole everywhere */
    std::vector<int8_t> levels_;
};

} // namespace cloak
#endif
