/* The attack's loop.
 *
 * DESIGN. The perturbation lives on the attack grid as real numbers; every look is at its rounding
 * to 8-bit levels, applied to the photo, rounded and clipped there, and brought to the target's
 * input (kernels/resample.h): success in the loop is success on the lattice. With a codec the look
 * is at the decoded file, and the gradient passes through encoder and decoder as if they were the
 * identity (backward pass differentiable approximation, Athalye et al. 2018), which a good encoder
 * nearly is.
 *
 * Looks on the way are brief (detector/precision.h), the last one is exact: a success is one by the
 * detector that anybody runs.
 *
 * A step: each target that finds something contributes its gradient, divided by its mean absolute
 * value so that none dominates; momentum; a step along the sign, with transforms from a perturbation
 * that fades where it is not needed; projection onto the budget, which falls to nothing towards the
 * region's border. The region is laid around what is found on the clean photo
 * and grows around what turns up outside of it, and around what resists.
 * The best perturbation seen (lowest sum of scores: one face may be found in several pieces) is kept
 * for the photos that resist.
 *
 * What breaks it: a target whose gradient vanishes while it still finds something. The step is then
 * taken along the momentum alone, and the bound on steps ends the loop.
 */
#include "models/attack/pgd.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "models/attack/eye.h"
#include "models/attack/region.h"
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

/* With transforms, a look that finds nothing lets the perturbation fade by this share where smoothness shows
 * it, and less where texture hides it: what nothing pushes any more is not kept for having been needed once
 * (less after a success is from Rony et al. 2019). 40 photos at 8/255 with eight transforms, with this and a
 * least share of .2 below: 37.6 dB instead of 35.7, the worst face's SSIM .902 instead of .887; it costs what is
 * hardest: .157 of the faces are found after 0.6x and JPEG 75 instead of .078. */
constexpr float fading = 0.08f;

/* What of the budget a smooth place may use (texture.h). 16 photos at 5/255: as many faces hidden, in as many
 * steps, with .3 and without it; the worst face's SSIM .943 instead of .938. */
constexpr float texture_least = 0.3f, texture_least_in_transforms = 0.2f;

/* From this look of a start on, the region grows around all that is still found, not only around
 * what turns up outside of it: a detection at the region's soft edge, or in a corner of the photo,
 * is out of reach otherwise. A further start, or round with an encoder, begins without. */
constexpr int patience = 8;

/* A trial where nothing was left is looked at again as often as one where this share was. */
constexpr float still_urgent = 0.2f;

/* SplitMix64 (Steele et al. 2014): the same stream on every machine. */
uint64_t next_random(uint64_t &state) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Of several targets, one that finds nothing is not asked again for so many steps: at full weight it
 * would only be in the way of the others. What the rest weigh is what is left of what they found on the
 * clean photo, and a little more, so that the hardest counts most. Six photos that resist, four targets at
 * 5/255, at most 40 steps: 180 steps before these weights and gentle steps throughout, two photos failed;
 * 142 steps with them, one failed. */
constexpr int rest = 3;
constexpr float least_weight = 0.2f;

/* Input diversity: the detector's scale at some of the looks on the way, drawn anew each time. */
constexpr float least_view = 0.6f, most_view = 1.4f;

/* A target in the loop, at one of its sizes. */
struct Watch {
    size_t target;
    std::unique_ptr<Eye> eye;
    bool brief;           /* its brief looks are still a guide */
    bool looked = false, sure = false; /* at the photo as it is now; and exactly */
    int resting = 0;      /* steps for which it is still left alone */
    float clean_sum = 0;  /* of the scores at its first look; 0: none yet */
    double seconds = 0;   /* that its looks took */
};

/* A watch and what happens to the photo before it looks. */
struct Trial {
    size_t watch;
    cloak_transform transform;
    float left = 1; /* sum of scores at its last look, as a share of the clean photo's */
    int age = 1;    /* steps since then */
};

class Loop {
  public:
    Loop(const std::vector<const Target *> &targets, const uint8_t *rgb, int width, int height,
        const PgdSettings &settings);
    PgdResult run(const int8_t *warm);

  private:
    void search(const int8_t *warm);
    void watch(size_t target, std::unique_ptr<Eye> eye);
    void lay_region();
    void start(const int8_t *warm, int attempt);
    void compose();
    void forget();
    double uniform();
    cloak_transform varied();
    float weight_of(const Watch &watch, float sum) const;
    void look_at(
        Watch &watch, const cloak_transform &transform, Precision precision, bool want_gradient);
    bool look(bool want_gradient, bool everyone);
    bool look_exactly();
    bool confirm(bool want_gradient);
    void widen(int t);
    bool approach(int attempt, int *steps);
    Trial &most_urgent(size_t watch);
    bool sweep(int steps);
    bool approach_transforms(int attempt, int *steps);
    void keep_best(int steps);
    void settle();
    float reach_at(int t) const;
    float gentle_until(int t);
    float fading_now() const;
    void step(int t);
    void polish(int steps);

    int width_, height_, grid_width_ = 0, grid_height_ = 0;
    float highest_mean_ = 0; /* of the momentum's size, in this start */
    float reach_ = 0; /* bound of the grid's values in levels, once it has grown */
    const uint8_t *rgb_;
    const PgdSettings &settings_;
    std::vector<Watch> watches_;
    std::vector<Trial> trials_; /* none without transforms */
    std::unique_ptr<Region> region_;
    uint64_t random_;
    /* Planes of the grid: perturbation, its rounding, momentum, summed gradient, one gradient. */
    std::vector<float> delta_, rounded_, velocity_, gradient_, part_;
    std::vector<float> shares_; /* of the budget by texture; empty: whole everywhere */
    std::vector<int8_t> levels_;
    std::vector<uint8_t> perturbed_, decoded_;
    std::vector<Found> found_; /* by all targets at this look */
    float clean_sum_ = 0; /* of the scores on the clean photo */
    float score_ = 0, sum_ = 0; /* highest score and sum of scores */
    bool varied_ = false; /* some of that at another scale: no measure of the photo as it is */
    PgdResult best_;
    float best_sum_ = HUGE_VALF;
    std::vector<float> best_delta_;
};

Loop::Loop(const std::vector<const Target *> &targets, const uint8_t *rgb, int width, int height,
    const PgdSettings &settings)
    : width_(width), height_(height), rgb_(rgb), settings_(settings), random_(settings.seed) {
    attack_grid(*targets.front(), width, height, &grid_width_, &grid_height_);
    const bool enlarged = grid_width_ < width;
    reach_ = settings.eps_levels * (settings.overdrive && enlarged ? overdrive : 1);
    reach_ = std::min(reach_, 127.0f); /* what an int8 holds */
    for (size_t i = 0; i < targets.size(); i++)
        for (int which : distinct_inputs(*targets[i], width, height))
            watch(i, std::make_unique<Eye>(
                         *targets[i], which, width, height, grid_width_, grid_height_));
    best_.look_seconds.assign(targets.size(), 0);
    region_ = std::make_unique<Region>(grid_width_, grid_height_, width, height, settings.region);
    const size_t cells = size_t(grid_width_) * size_t(grid_height_) * 3;
    for (auto *planes : {&delta_, &rounded_, &velocity_, &gradient_, &part_})
        planes->assign(cells, 0.0f);
    levels_.assign(cells, 0);
    if (settings.masking && settings.eps_levels >= ample_levels)
        shares_ = texture_shares(rgb, width, height, grid_width_, grid_height_,
            settings.transforms.empty() ? texture_least : texture_least_in_transforms);
    if (settings_.codec) {
        perturbed_.resize(size_t(width) * size_t(height) * 3);
        decoded_.resize(perturbed_.size());
    }
}

/* Adds a watch and what it is to look through. */
void Loop::watch(size_t target, std::unique_ptr<Eye> eye) {
    if (!settings_.transforms.empty())
        trials_.push_back({watches_.size(), cloak_transform_raw()});
    for (const cloak_transform &transform : settings_.transforms)
        if (!is_raw(transform))
            trials_.push_back({watches_.size(), transform});
    watches_.push_back({target, std::move(eye), false});
}

/* Around all faces of the clean photo, not around what an earlier attempt left. Where nobody says
 * what they are, with a codec its work on the photo is looked at. */
void Loop::lay_region() {
    if (settings_.clean) {
        found_ = *settings_.clean;
    } else { /* delta is zero */
        look_exactly();
    }
    region_->add(found_);
    for (const Found &f : found_)
        clean_sum_ += f.score;
    clean_sum_ = std::max(clean_sum_, 0.05f);
}

void Loop::start(const int8_t *warm, int attempt) {
    const size_t plane = size_t(grid_width_) * size_t(grid_height_);
    std::fill(velocity_.begin(), velocity_.end(), 0.0f);
    highest_mean_ = 0;
    for (Watch &watch : watches_)
        watch.brief = settings_.brief && watch.eye->has_brief();
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            float value = 0;
            if (attempt > 0)
                value = next_random(random_) & 1 ? 1.0f : -1.0f;
            else if (warm)
                value = float(warm[i * 3 + c]);
            float bound = attempt > 0 ? reach_ * region_->mask()[i] * 0.5f : reach_;
            delta_[c * plane + i] = attempt > 0 ? value * bound
                                                : std::min(std::max(value, -bound), bound);
        }
}

/* Rounds the perturbation, and encodes what it makes of the photo where there is a codec. */
void Loop::compose() {
    const size_t plane = size_t(grid_width_) * size_t(grid_height_);
    for (Watch &watch : watches_)
        watch.looked = watch.sure = false;
#pragma omp parallel for
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            const float value = delta_[c * plane + i];
            const float level = settings_.lattice ? std::nearbyint(value) : value;
            rounded_[c * plane + i] = level;
            levels_[i * 3 + c] = int8_t(level);
        }
    if (settings_.codec) {
        view_apply(watches_.front().eye->view(), rgb_, levels_.data(), settings_.eps_levels,
            perturbed_.data());
        settings_.codec(perturbed_.data(), decoded_.data());
    }
}

void Loop::forget() {
    found_.clear();
    score_ = sum_ = 0;
    varied_ = false;
    std::fill(gradient_.begin(), gradient_.end(), 0.0f);
}

/* From 0 to 1. */
double Loop::uniform() {
    return double(next_random(random_) >> 11) * 0x1p-53;
}

/* How a target is to look on the way: as it is, or at another scale. */
cloak_transform Loop::varied() {
    cloak_transform seen = cloak_transform_raw();
    if (settings_.diversity > 0 && uniform() < double(settings_.diversity))
        seen.view = least_view + (most_view - least_view) * float(uniform());
    return seen;
}

/* What a target's gradient counts, whose scores' sum is now `sum`. */
float Loop::weight_of(const Watch &watch, float sum) const {
    if (watches_.size() == 1 || !trials_.empty())
        return 1;
    return least_weight + (watch.clean_sum > 0 ? std::min(sum / watch.clean_sum, 1.0f) : 0);
}

/* Adds what one target finds, and its gradient. */
void Loop::look_at(
    Watch &watch, const cloak_transform &transform, Precision precision, bool want_gradient) {
    const Scene scene = {rgb_, rounded_.data(), settings_.eps_levels, settings_.lattice,
        settings_.codec ? decoded_.data() : nullptr};
    bool has_gradient = false;
    const auto start = std::chrono::steady_clock::now();
    std::vector<Found> found = watch.eye->look(scene, transform, precision,
        want_gradient ? &settings_.loss : nullptr, part_, &has_gradient);
    watch.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    found_.insert(found_.end(), found.begin(), found.end());
    float sum = 0;
    for (const Found &f : found) {
        score_ = std::max(score_, f.score);
        sum += f.score;
    }
    sum_ += sum;
    if (watch.clean_sum == 0)
        watch.clean_sum = sum;
    const float weight = weight_of(watch, sum);
    if (has_gradient)
        for (size_t i = 0; i < part_.size(); i++)
            gradient_[i] += weight * part_[i];
}

/* Looks at the photo through every target as it is, or, on the way, through those that do not rest and
 * perhaps at another scale; true when none finds anything. */
bool Loop::look(bool want_gradient, bool everyone) {
    compose();
    forget();
    for (Watch &watch : watches_) {
        if (watch.resting > 0 && !everyone) {
            watch.resting--;
            continue;
        }
        const size_t before = found_.size();
        const cloak_transform seen = everyone ? cloak_transform_raw() : varied();
        look_at(
            watch, seen, watch.brief ? Precision::brief : Precision::exact, want_gradient);
        watch.looked = is_raw(seen);
        varied_ = varied_ || (!watch.looked && found_.size() > before);
        watch.sure = watch.looked && !watch.brief;
        watch.resting = found_.size() == before && watches_.size() > 1 ? rest : 0;
    }
    return found_.empty();
}

bool Loop::look_exactly() {
    compose();
    forget();
    return confirm(false);
}

/* Has those look exactly who have not yet. Who finds something where its brief look found nothing is not
 * asked briefly again in this start. */
bool Loop::confirm(bool want_gradient) {
    for (Watch &watch : watches_) {
        if (watch.sure)
            continue;
        const size_t before = found_.size();
        look_at(watch, cloak_transform_raw(), Precision::exact, want_gradient);
        watch.sure = true;
        if (found_.size() == before)
            continue;
        watch.resting = 0;
        if (watch.looked) {
            watch.brief = false;
            best_sum_ = HUGE_VALF; /* what brief looks have seen does not compare */
        }
    }
    return found_.empty();
}

void Loop::widen(int t) {
    if (t < patience || !settings_.patience)
        region_->add_outsiders(found_);
    else
        region_->add(found_);
}

void Loop::keep_best(int steps) {
    if (sum_ < best_sum_ && !varied_) {
        best_sum_ = sum_;
        best_delta_ = delta_;
        best_.residual_score = score_;
        if (settings_.lattice)
            best_.levels = levels_;
        best_.found = found_;
        best_.success = found_.empty();
    }
    best_.steps = steps;
}

/* What is said of a photo that resists comes from an exact look, too. */
void Loop::settle() {
    delta_ = best_delta_;
    look_exactly();
    best_sum_ = HUGE_VALF;
    keep_best(best_.steps);
}

/* The bound of the grid's values at a step. */
float Loop::reach_at(int t) const {
    const float least = std::min(settings_.eps_levels, reach_);
    return least + (reach_ - least) * std::min(float(t) / overdrive_steps, 1.0f);
}

/* The size of the momentum from which on a step is whole; 0: every step is. */
float Loop::gentle_until(int t) {
    const bool fades = trials_.empty() && watches_.size() == 1 && settings_.diversity <= 0;
    const float share = fades             ? gentle * (1 - float(t) / gentle_steps)
                        : trials_.empty() ? gentle_jointly
                                          : gentle_in_transforms;
    if (share <= 0 || settings_.eps_levels < ample_levels || !settings_.gentle)
        return 0;
    const size_t plane = size_t(grid_width_) * size_t(grid_height_);
    const std::vector<float> &mask = region_->mask();
    double sum = 0, count = 0;
    for (size_t i = 0; i < plane; i++)
        if (mask[i] > 0) {
            count += 3;
            for (size_t c = 0; c < 3; c++)
                sum += double(std::fabs(velocity_[c * plane + i]));
        }
    const float mean = count > 0 ? float(sum / count) : 0;
    highest_mean_ = fades ? mean : std::max(highest_mean_, mean);
    return share * highest_mean_;
}

/* The share by which the perturbation fades at this step where no texture hides it. */
float Loop::fading_now() const {
    return trials_.empty() || !found_.empty() || !settings_.fading ? 0 : fading;
}

void Loop::step(int t) {
    const size_t plane = size_t(grid_width_) * size_t(grid_height_);
    const float decayed = settings_.decay ? std::pow(step_decay, float(t)) : 1;
    const float reach = reach_at(t);
    const float length = reach * std::max(first_step * decayed, last_step);
    const float kept = settings_.momentum ? momentum : 0;
    const std::vector<float> &mask = region_->mask();
#pragma omp parallel for simd
    for (size_t at = 0; at < velocity_.size(); at++)
        velocity_[at] = kept * velocity_[at] + gradient_[at];
    const float whole = gentle_until(t), fades = fading_now();
#pragma omp parallel for
    for (size_t i = 0; i < plane; i++) {
        const float texture = shares_.empty() ? 1 : shares_[i];
        const float bound = reach * mask[i] * texture, stays = 1 - fades * (1 - texture);
        for (size_t c = 0; c < 3; c++) {
            const size_t at = c * plane + i;
            const float v = velocity_[at];
            float share = v > 0 ? 1 : v < 0 ? -1 : 0;
            if (whole > 0)
                share = std::min(std::max(v / whole, -1.0f), 1.0f);
            const float move = -length * share;
            delta_[at] = std::min(std::max(delta_[at] * stays + move, -bound), bound);
        }
    }
}

/* One start's steps, until nobody finds anything in an exact look; true then. */
bool Loop::approach(int attempt, int *steps) {
    for (int t = 0; t <= settings_.max_steps; t++) {
        const bool more = t < settings_.max_steps;
        if (settings_.check_stop)
            settings_.check_stop();
        const bool clean = look(more, t == 0 || !more) && confirm(more);
        keep_best(*steps);
        best_.restarts = attempt;
        if (clean)
            return true;
        if (more) {
            widen(t);
            step(t);
            ++*steps;
        }
    }
    return false;
}

/* What a target is to look through next: where much was left, or nobody has looked for long. */
Trial &Loop::most_urgent(size_t watch) {
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

/* An exact look through every trial, none of them jittered; true when nothing is found. */
bool Loop::sweep(int steps) {
    std::vector<Found> all;
    float sum = 0, score = 0;
    compose();
    for (Trial &trial : trials_) {
        if (settings_.check_stop)
            settings_.check_stop();
        forget();
        look_at(watches_[trial.watch], trial.transform, Precision::exact, false);
        trial.left = sum_ / clean_sum_;
        trial.age = 1;
        all.insert(all.end(), found_.begin(), found_.end());
        sum += sum_;
        score = std::max(score, score_);
    }
    found_ = all;
    sum_ = sum;
    score_ = score;
    keep_best(steps);
    return found_.empty();
}

/* As `approach`, with one look per target and step, each through the transform that is most urgent,
 * a little off. A sweep passes the verdict once nothing was left at any trial's last look. */
bool Loop::approach_transforms(int attempt, int *steps) {
    const Precision precision = settings_.brief ? Precision::brief : Precision::exact;
    for (int t = 0; t < settings_.max_steps; t++) {
        if (settings_.check_stop)
            settings_.check_stop();
        auto clean = [](const Trial &trial) { return trial.left == 0; };
        best_.restarts = attempt;
        if (std::all_of(trials_.begin(), trials_.end(), clean) && sweep(*steps))
            return true;
        compose();
        forget();
        for (size_t i = 0; i < watches_.size(); i++) {
            Trial &trial = most_urgent(i);
            const float before = sum_;
            const cloak_transform transform =
                jittered(trial.transform, [this]() { return uniform(); });
            look_at(watches_[i], transform, precision, true);
            trial.left = (sum_ - before) / clean_sum_;
        }
        widen(t);
        step(t);
        ++*steps;
    }
    return sweep(*steps);
}

/* Shrinks a success while it stays one: bisects the factor, with exact looks. */
void Loop::polish(int steps) {
    const std::vector<float> whole = best_delta_;
    float fails = 0, holds = 1;
    for (int i = 0; i < settings_.polish; i++) {
        const float factor = (fails + holds) / 2;
        for (size_t j = 0; j < whole.size(); j++)
            delta_[j] = whole[j] * factor;
        best_sum_ = HUGE_VALF;
        const PgdResult before = best_;
        const bool clean =
            trials_.empty() ? look_exactly() : sweep(steps);
        if (trials_.empty())
            keep_best(steps);
        if (!clean)
            best_ = before;
        (clean ? holds : fails) = factor;
    }
}

/* Start after start until one succeeds. */
void Loop::search(const int8_t *warm) {
    int steps = 0;
    lay_region();
    if (found_.empty() && !warm && !settings_.codec) {
        keep_best(0);
        return;
    }
    for (int attempt = 0; attempt <= settings_.restarts; attempt++) {
        start(warm, attempt);
        for (Trial &trial : trials_)
            trial.left = 1;
        if (trials_.empty() ? approach(attempt, &steps) : approach_transforms(attempt, &steps)) {
            polish(steps);
            return;
        }
    }
    if ((settings_.brief || settings_.diversity > 0 || watches_.size() > 1) && trials_.empty())
        settle();
}

PgdResult Loop::run(const int8_t *warm) {
    search(warm);
    for (const Watch &watch : watches_)
        best_.look_seconds[watch.target] += watch.seconds;
    return best_;
}

} // namespace

void attack_grid(const Target &first, int width, int height, int *grid_width, int *grid_height) {
    InputShape shape = first.input_shape(width, height, 1, 0);
    bool smaller = shape.width >= width;
    *grid_width = smaller ? width : shape.width;
    *grid_height = smaller ? height : shape.height;
}

PgdResult attack(const std::vector<const Target *> &targets, const uint8_t *rgb, int width,
    int height, const PgdSettings &settings, const int8_t *warm) {
    return Loop(targets, rgb, width, height, settings).run(warm);
}

} // namespace cloak
