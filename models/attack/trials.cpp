/* See trials.h. */
#include "models/attack/trials.h"

#include <algorithm>

namespace cloak {

namespace {

/* A trial where nothing was left is looked at again as often as one where this share was. One face at .2 of five sure
 * ones is .04, and with .2 here it was looked at hardly more often than where nothing is left. Eight transforms at
 * 8/255, 12 photos in which something was still found after one of them: with the detector at 0.75x in 10 with .2, in 5
 * with .05, which took three quarters of the time. */
constexpr float still_urgent = 0.05f;

} // namespace

void Trials::add(size_t watch, const std::vector<cloak_transform> &transforms) {
    trials_.push_back({watch, cloak_transform_raw()});
    for (const cloak_transform &transform : transforms)
        if (!is_raw(transform))
            trials_.push_back({watch, transform});
}

void Trials::forget() {
    for (Trial &trial : trials_)
        trial.looked(1);
}

Trial &Trials::most_urgent(size_t watch) {
    Trial *best = nullptr;
    float most = -1;
    for (Trial &trial : trials_) {
        if (trial.watch != watch)
            continue;
        const float urgency = (trial.left + still_urgent) * float(trial.age++);
        if (urgency > most) {
            most = urgency;
            best = &trial;
        }
    }
    return *best;
}

float Trials::most_left() const {
    float most = 0;
    for (const Trial &trial : trials_)
        most = std::max(most, trial.left);
    return most;
}

} // namespace cloak
