/* Vanishing projected gradient descent (Madry et al. 2018, with momentum as in Dong et al. 2018).
 */
#ifndef CLOAK_ATTACK_PGD_H
#define CLOAK_ATTACK_PGD_H

#include <cstdint>
#include <functional>
#include <vector>

#include "models/attack/target.h"
#include "models/attack/transform.h"

namespace cloak {

struct PgdSettings {
    float eps_levels = 0; /* in 8-bit levels; a whole number on the lattice */
    bool lattice = true;  /* false: levels are not rounded, and the result holds none */
    bool brief = true;    /* false: every look is exact */
    int max_steps = 40, restarts = 0, polish = 0;
    float region = 3, diversity = 0;
    LossSettings loss;
    bool momentum = true, decay = true, overdrive = true, patience = true, gentle = true,
         masking = true, fading = true, caution = true; /* see cloak_model.h */
    uint64_t seed = 0;
    const std::vector<Found> *clean = nullptr; /* what is on the photo, if known; borrowed */
    /* Turns the perturbed photo into what a viewer sees of the encoded file; empty: nothing does.
     */
    std::function<void(const uint8_t *rgb, uint8_t *decoded)> codec;
    std::vector<cloak_transform>
        transforms;                   /* that the cloak is to survive besides; may be empty */
    std::function<void()> check_stop; /* throws to end the attack */
};

struct PgdResult {
    std::vector<int8_t> levels; /* grid_height × grid_width × 3; empty off the lattice */
    int steps = 0, restarts = 0;
    bool success = false;
    float residual_score = 0;
    std::vector<Found> found; /* at the best look */
    std::vector<double> look_seconds; /* spent on each target's looks */
};

/* Size of the attack grid: the first target's input where the photo is larger, else the photo. */
void attack_grid(const Target &first, int width, int height, int *grid_width, int *grid_height);

/* Attacks one photo against all targets. `warm` is NULL or grid levels to start from. */
PgdResult attack(const std::vector<const Target *> &targets, const uint8_t *rgb, int width,
    int height, const PgdSettings &settings, const int8_t *warm);

} // namespace cloak
#endif
