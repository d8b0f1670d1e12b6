/* What a cloak is to survive: which target looks through which transform next. */
#ifndef CLOAK_ATTACK_TRIALS_H
#define CLOAK_ATTACK_TRIALS_H

#include <vector>

#include "models/attack/transform.h"

namespace cloak {

/* A target in the loop, and what happens to the photo before it looks. */
struct Trial {
    size_t watch;
    cloak_transform transform;
    float left = 1; /* sum of scores at its last look, as a share of the clean photo's */
    int age = 1;    /* steps since then */

    void looked(float share) {
        left = share;
        age = 1;
    }
};

class Trials {
  public:
    /* The target is to look at the photo as it is, and through each of these. */
    void add(size_t watch, const std::vector<cloak_transform> &transforms);

    /* As if nobody had looked through any yet: a further start. */
    void forget();

    /* What a target is to look through now: where much was left, or nobody has looked for long. Its caller
     * looks, and tells it what was left. */
    Trial &most_urgent(size_t watch);

    /* The most that was left at any's last look; 0: nothing is found any more. */
    float most_left() const;

    /* For a look through all of them, which tells each what was left. */
    std::vector<Trial>::iterator begin() {
        return trials_.begin();
    }
    std::vector<Trial>::iterator end() {
        return trials_.end();
    }

  private:
    std::vector<Trial> trials_;
};

} // namespace cloak
#endif
