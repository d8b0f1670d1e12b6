/* The attack's random numbers: SplitMix64 (Steele et al. 2014), the same stream on every machine. */
#ifndef CLOAK_ATTACK_RANDOM_H
#define CLOAK_ATTACK_RANDOM_H

#include <cstdint>

namespace cloak {

class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {
    }

    uint64_t next() {
        uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

    /* From 0 to 1, 1 excluded. */
    double uniform() {
        return double(next() >> 11) * 0x1p-53;
    }

  private:
    uint64_t state_;
};

} // namespace cloak
#endif
