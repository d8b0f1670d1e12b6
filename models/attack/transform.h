/* What may happen to a photo between its delivery and a detector: the changes that a cloak is to
 * survive, as text and as numbers. */
#ifndef CLOAK_ATTACK_TRANSFORM_H
#define CLOAK_ATTACK_TRANSFORM_H

#include <string>
#include <vector>

namespace cloak {

/* One chain of changes, applied in this order. The text is its parts with + between them, or "raw"
 * for none: x0.6 (shrunk to 0.6 of its size), blur1 (Gaussian, sigma in pixels), jpeg75 (at that
 * quality with halved chroma), view1.25 (the detector looks at 1.25 times its own input size). */
struct Transform {
    float shrink = 1; /* 0.1 … 1 */
    float blur = 0;   /* 0 … 16 pixels */
    int quality = 0;  /* 1 … 100; 0: no JPEG */
    float view = 1;   /* 0.25 … 4 */

    bool raw() const {
        return shrink == 1 && blur == 0 && quality == 0 && view == 1;
    }
};

/* Reads transforms with commas between them, at most 64; none from an empty text. Throws
 * std::invalid_argument that names the part it does not understand, and what there is. */
std::vector<Transform> read_transforms(const std::string &text);

/* The transform a little off: each part scaled by a draw from its own range around 1, so that what
 * survives does so in between as well. `uniform` gives numbers from 0 to 1. */
template <typename Uniform> Transform jittered(Transform t, Uniform uniform) {
    auto factor = [&uniform](float spread) { return 1 + spread * (2 * float(uniform()) - 1); };
    const float view = factor(0.12f), shrink = factor(0.15f), blur = factor(0.3f);
    const float quality = 10 * (2 * float(uniform()) - 1);
    t.view *= view;
    if (t.shrink < 1)
        t.shrink = t.shrink * shrink < 1 ? t.shrink * shrink : 1;
    t.blur *= blur;
    if (t.quality > 0) {
        const int moved = t.quality + int(quality);
        t.quality = moved < 30 ? 30 : moved > 98 ? 98 : moved;
    }
    return t;
}

} // namespace cloak
#endif
