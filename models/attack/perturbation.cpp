/* A step of the attack.
 *
 * DESIGN. The perturbation is real numbers, so that small moves add up; what the photo gets is their rounding.
 * Momentum; a step along the sign, or in proportion where the budget is ample; projection onto the budget, which
 * falls to nothing towards the region's border and is smaller where the photo is smooth. With transforms the
 * perturbation fades where it is not needed.
 */
#include "models/attack/perturbation.h"

#include <algorithm>
#include <cmath>

#include "models/attack/texture.h"

namespace cloak {

namespace {

constexpr float momentum = 0.75f, first_step = 0.5f, step_decay = 0.97f, last_step = 0.1f;

/* Enlarging from the grid to the photo softens the perturbation to about half; the grid may hold
 * more, and the photo's pixels are bounded afterwards. 20 photos with up to 12 faces (59), eps 0.01, 40
 * steps: recall .119 with twice the bound, .068 with four times. Photos that are easy need none of it and
 * would be changed by more than they have to, so it grows with the steps: 24 photos with up to 12 faces at
 * 5/255, 44.0 dB and 6.8 steps instead of 40.7 dB and 7.2. */
constexpr float overdrive = 4, overdrive_steps = 12;

/* Steps along the sign use the budget up everywhere in the region at once. Where the budget is ample,
 * a pixel's first steps are in proportion to its gradient instead, and whole from `gentle` times the
 * mean on, which falls to nothing in gentle_steps: most photos are clean before that. 16 photos with up
 * to 12 faces at 5/255: 41.0 dB instead of 38.3 for 7.2 steps instead of 6.6. Below ample_levels it costs
 * faces. With transforms it stays: what one of them pushes hard is not undone by the noise of all others.
 * 8 such photos at 8/255, eight transforms: recall .041 on average instead of .130. With several targets
 * it stays for the same reason, and with diversity: 12 photos, 8/255, 38.0 dB and 8.8 steps instead of 36.2 and
 * 10.6.
 *
 * Where it stays, the mean is the highest so far. What is left at the end is little, and steps of full length
 * against it lift what the other targets or transforms had stopped seeing. 16 photos, four targets at 8/255:
 * 9.7 steps and 38.7 dB instead of 13.9 and 37.1; 6 photos, three transforms: 32.5 steps and 36.6 dB
 * instead of 50.5 and 35.5. */
constexpr float gentle = 6, gentle_steps = 12, ample_levels = 4, gentle_in_transforms = 8,
                gentle_jointly = 4;

/* What of the budget a smooth place may use (texture.h). 16 photos at 5/255: as many faces hidden, in as many
 * steps, with .3 and without it; the worst face's SSIM .943 instead of .938. 40 photos with transforms and .15, by
 * their receipts: .902, with .2 and without caution .900. */
constexpr float texture_least = 0.3f, texture_least_in_transforms = 0.15f;

} // namespace

Perturbation::Perturbation(const uint8_t *rgb, int width, int height, int grid_width, int grid_height,
    const PgdSettings &settings, bool alone)
    : plane_(size_t(grid_width) * size_t(grid_height)), settings_(settings), alone_(alone) {
    const bool enlarged = grid_width < width;
    reach_ = settings.eps_levels * (settings.overdrive && enlarged ? overdrive : 1);
    reach_ = std::min(reach_, 127.0f); /* what an int8 holds */
    for (auto *planes : {&delta_, &rounded_, &velocity_})
        planes->assign(plane_ * 3, 0.0f);
    levels_.assign(plane_ * 3, 0);
    if (settings.masking && settings.eps_levels >= ample_levels)
        shares_ = texture_shares(rgb, width, height, grid_width, grid_height,
            settings.transforms.empty() ? texture_least : texture_least_in_transforms);
}

void Perturbation::begin(const int8_t *warm) {
    std::fill(velocity_.begin(), velocity_.end(), 0.0f);
    highest_mean_ = 0;
    for (size_t i = 0; i < plane_; i++)
        for (size_t c = 0; c < 3; c++) {
            const float value = warm ? float(warm[i * 3 + c]) : 0;
            delta_[c * plane_ + i] = std::min(std::max(value, -reach_), reach_);
        }
}

void Perturbation::begin_anywhere(const std::vector<float> &mask, Random &random) {
    begin(nullptr);
    for (size_t i = 0; i < plane_; i++)
        for (size_t c = 0; c < 3; c++)
            delta_[c * plane_ + i] = (random.next() & 1 ? 1.0f : -1.0f) * (reach_ * mask[i] * 0.5f);
}

void Perturbation::round() {
#pragma omp parallel for
    for (size_t i = 0; i < plane_; i++)
        for (size_t c = 0; c < 3; c++) {
            const float value = delta_[c * plane_ + i];
            const float level = settings_.lattice ? std::nearbyint(value) : value;
            rounded_[c * plane_ + i] = level;
            levels_[i * 3 + c] = int8_t(level);
        }
}

/* The bound of the values at a step. */
float Perturbation::reach_at(int t) const {
    const float least = std::min(settings_.eps_levels, reach_);
    return least + (reach_ - least) * std::min(float(t) / overdrive_steps, 1.0f);
}

/* The size of the momentum from which on a step is whole; 0: every step is. */
float Perturbation::gentle_until(int t, const std::vector<float> &mask) {
    const float share = alone_                         ? gentle * (1 - float(t) / gentle_steps)
                        : settings_.transforms.empty() ? gentle_jointly
                                                       : gentle_in_transforms;
    if (share <= 0 || settings_.eps_levels < ample_levels || !settings_.gentle)
        return 0;
    double sum = 0, count = 0;
    for (size_t i = 0; i < plane_; i++)
        if (mask[i] > 0) {
            count += 3;
            for (size_t c = 0; c < 3; c++)
                sum += double(std::fabs(velocity_[c * plane_ + i]));
        }
    const float mean = count > 0 ? float(sum / count) : 0;
    highest_mean_ = alone_ ? mean : std::max(highest_mean_, mean);
    return share * highest_mean_;
}

void Perturbation::step(
    int t, const std::vector<float> &gradient, const std::vector<float> &mask, float fade) {
    const float decayed = settings_.decay ? std::pow(step_decay, float(t)) : 1;
    const float reach = reach_at(t);
    const float length = reach * std::max(first_step * decayed, last_step);
    const float kept = settings_.momentum ? momentum : 0;
#pragma omp parallel for simd
    for (size_t at = 0; at < velocity_.size(); at++)
        velocity_[at] = kept * velocity_[at] + gradient[at];
    const float whole = gentle_until(t, mask);
#pragma omp parallel for
    for (size_t i = 0; i < plane_; i++) {
        const float texture = shares_.empty() ? 1 : shares_[i];
        const float bound = reach * mask[i] * texture, stays = 1 - fade * (1 - texture);
        for (size_t c = 0; c < 3; c++) {
            const size_t at = c * plane_ + i;
            const float v = velocity_[at];
            float share = v > 0 ? 1 : v < 0 ? -1 : 0;
            if (whole > 0)
                share = std::min(std::max(v / whole, -1.0f), 1.0f);
            const float move = -length * share;
            delta_[at] = std::min(std::max(delta_[at] * stays + move, -bound), bound);
        }
    }
}

} // namespace cloak
