/* See trials.h. */
#include "models/attack/trials.h"

#include <algorithm>

namespace cloak {

namespace {

/* A trial where nothing was left is looked at again as often as one where this share was. */
constexpr float still_urgent = 0.2f;

} // namespace

void Trials::add(size_t watch, const std::vector<cloak_transform> &transforms) {
    trials_.push_back({watch, cloak_transform_raw()});
    for (const cloak_transform &transform : transforms)
        if (!is_raw(transform))
            trials_.push_back({watch, transform});
}

void Trials::forget() {
    for (Trial &trial : trials_)
        trial.left = 1;
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
    best->age = 1;
    return *best;
}

float Trials::most_left() const {
    float most = 0;
    for (const Trial &trial : trials_)
        most = std::max(most, trial.left);
    return most;
}

} // namespace cloak
