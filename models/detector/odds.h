/* Log-odds (logits), which a network's last layer gives, and probabilities. */
#ifndef CLOAK_DETECTOR_ODDS_H
#define CLOAK_DETECTOR_ODDS_H

#include <cmath>

namespace cloak {

inline float log_odds(float probability) {
    return std::log(probability / (1 - probability));
}

inline float probability_of(float logit) {
    return 1 / (1 + std::exp(-logit));
}

} // namespace cloak
#endif
