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
 * detector that anybody runs. With transforms it is a little more, by caution, and passed by a sweep
 * through all of them.
 *
 * Each target that finds something contributes its gradient to a step (perturbation.h), divided by its
 * mean absolute value so that none dominates. The region is laid around what is found on the clean photo
 * and grows around what turns up outside of it, and around what resists. The best perturbation seen
 * (lowest sum of scores: one face may be found in several pieces) is kept for the photos that resist.
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
#include "models/attack/perturbation.h"
#include "models/attack/random.h"
#include "models/attack/region.h"
#include "models/attack/trials.h"

namespace cloak {

namespace {

/* From this look of a start on, the region grows around all that is still found, not only around
 * what turns up outside of it: a detection at the region's soft edge, or in a corner of the photo,
 * is out of reach otherwise. A further start, or round with an encoder, begins without. */
constexpr int patience = 8;

/* With transforms, what is so many logits below a target's threshold counts as found: coding lifts scores a
 * little, and a real resampler is not quite the one in the loop. 40 photos at 8/255, eight transforms: without it
 * 12 of the photos still showed something after 0.6x and JPEG 75 and 22 with the detector at 0.75x, with it (and the
 * sweep's gradient, and smooth places' share of .15 instead of .2, see perturbation.cpp) 7 and 13. */
constexpr float caution = 0.7f;

/* With transforms, a look that finds nothing lets the perturbation fade by this share where smoothness shows
 * it, and less where texture hides it: what nothing pushes any more is not kept for having been needed once
 * (less after a success is from Rony et al. 2019). The more is left through another transform, the less; as
 * much as this and it stays. */
constexpr float fading = 0.1f, fading_until = 0.3f;

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
    cloak_transform varied();
    float weight_of(const Watch &watch, float sum) const;
    void look_at(
        Watch &watch, const cloak_transform &transform, Precision precision, bool want_gradient);
    bool look(bool want_gradient, bool everyone);
    bool look_exactly();
    bool confirm(bool want_gradient);
    void widen(int t);
    bool approach(int attempt, int *steps);
    void look_through(
        Trial &trial, const cloak_transform &transform, Precision precision, bool want_gradient);
    bool sweep(bool want_gradient, int steps);
    void look_around();
    float fade() const;
    bool approach_transforms(int attempt, int *steps);
    void keep_best(int steps);
    void settle();
    void polish(int steps);

    const uint8_t *rgb_;
    const PgdSettings &settings_;
    std::vector<Watch> watches_;
    Trials trials_;
    const bool transformed_; /* by some of which the cloak is to survive: there are trials */
    std::unique_ptr<Region> region_;
    std::unique_ptr<Perturbation> perturbation_;
    Random random_;
    std::vector<float> gradient_, part_; /* planes of the grid: summed over the looks, and of one */
    std::vector<uint8_t> perturbed_, decoded_;
    std::vector<Found> found_; /* by all targets at this look */
    float caution_ = 0;   /* of all looks; 0 until the region is laid around what is found without */
    float clean_sum_ = 0; /* of the scores on the clean photo */
    float score_ = 0, sum_ = 0; /* highest score and sum of scores */
    bool varied_ = false; /* some of that at another scale: no measure of the photo as it is */
    PgdResult best_;
    float best_sum_ = HUGE_VALF;
    std::vector<float> best_delta_;
};

Loop::Loop(const std::vector<const Target *> &targets, const uint8_t *rgb, int width, int height,
    const PgdSettings &settings)
    : rgb_(rgb), settings_(settings), transformed_(!settings.transforms.empty()),
      random_(settings.seed) {
    int grid_width = 0, grid_height = 0;
    attack_grid(*targets.front(), width, height, &grid_width, &grid_height);
    for (size_t i = 0; i < targets.size(); i++)
        for (int which : distinct_inputs(*targets[i], width, height))
            watch(i, std::make_unique<Eye>(
                         *targets[i], which, width, height, grid_width, grid_height));
    best_.look_seconds.assign(targets.size(), 0);
    region_ = std::make_unique<Region>(grid_width, grid_height, width, height, settings.region);
    perturbation_ = std::make_unique<Perturbation>(rgb, width, height, grid_width, grid_height, settings,
        watches_.size() == 1 && !transformed_ && settings.diversity <= 0);
    for (auto *planes : {&gradient_, &part_})
        planes->assign(size_t(grid_width) * size_t(grid_height) * 3, 0.0f);
    if (settings_.codec) {
        perturbed_.resize(size_t(width) * size_t(height) * 3);
        decoded_.resize(perturbed_.size());
    }
}

/* Adds a watch and what it is to look through. */
void Loop::watch(size_t target, std::unique_ptr<Eye> eye) {
    if (transformed_)
        trials_.add(watches_.size(), settings_.transforms);
    watches_.push_back({target, std::move(eye), false});
}

/* Around all faces of the clean photo, not around what an earlier attempt left. Where nobody says
 * what they are, with a codec its work on the photo is looked at. */
void Loop::lay_region() {
    if (settings_.clean) {
        found_ = *settings_.clean;
    } else { /* delta is zero */
        compose();
        look_exactly();
    }
    region_->add(found_);
    for (const Found &f : found_)
        clean_sum_ += f.score;
    clean_sum_ = std::max(clean_sum_, 0.05f);
    caution_ = transformed_ && settings_.caution ? caution : 0;
}

void Loop::start(const int8_t *warm, int attempt) {
    trials_.forget();
    for (Watch &watch : watches_)
        watch.brief = settings_.brief && watch.eye->has_brief();
    if (attempt > 0)
        perturbation_->begin_anywhere(region_->mask(), random_);
    else
        perturbation_->begin(warm);
}

/* Rounds the perturbation, and encodes what it makes of the photo where there is a codec. */
void Loop::compose() {
    for (Watch &watch : watches_)
        watch.looked = watch.sure = false;
    perturbation_->round();
    if (settings_.codec) {
        view_apply(watches_.front().eye->view(), rgb_, perturbation_->levels().data(),
            settings_.eps_levels, perturbed_.data());
        settings_.codec(perturbed_.data(), decoded_.data());
    }
}

void Loop::forget() {
    found_.clear();
    score_ = sum_ = 0;
    varied_ = false;
    std::fill(gradient_.begin(), gradient_.end(), 0.0f);
}

/* How a target is to look on the way: as it is, or at another scale. */
cloak_transform Loop::varied() {
    cloak_transform seen = cloak_transform_raw();
    if (settings_.diversity > 0 && random_.uniform() < double(settings_.diversity))
        seen.view = least_view + (most_view - least_view) * float(random_.uniform());
    return seen;
}

/* What a target's gradient counts, whose scores' sum is now `sum`. */
float Loop::weight_of(const Watch &watch, float sum) const {
    if (watches_.size() == 1 || transformed_)
        return 1;
    return least_weight + (watch.clean_sum > 0 ? std::min(sum / watch.clean_sum, 1.0f) : 0);
}

/* Adds what one target finds, and its gradient. */
void Loop::look_at(
    Watch &watch, const cloak_transform &transform, Precision precision, bool want_gradient) {
    const Scene scene = {rgb_, perturbation_->rounded().data(), settings_.eps_levels, settings_.lattice,
        settings_.codec ? decoded_.data() : nullptr};
    bool has_gradient = false;
    const auto start = std::chrono::steady_clock::now();
    const Ask ask = {precision, caution_, want_gradient ? &settings_.loss : nullptr};
    std::vector<Found> found = watch.eye->look(scene, transform, ask, part_, &has_gradient);
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

/* Has everybody look exactly at what is composed; true when nobody finds anything. */
bool Loop::look_exactly() {
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
        best_delta_ = perturbation_->values();
        best_.residual_score = score_;
        if (settings_.lattice)
            best_.levels = perturbation_->levels();
        best_.found = found_;
        best_.success = found_.empty();
    }
    best_.steps = steps;
}

/* What is said of a photo that resists comes from an exact look, too. */
void Loop::settle() {
    perturbation_->set(best_delta_);
    compose();
    look_exactly();
    best_sum_ = HUGE_VALF;
    keep_best(best_.steps);
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
            perturbation_->step(t, gradient_, region_->mask(), 0);
            ++*steps;
        }
    }
    return false;
}

/* Has a trial's target look, through its transform or one near it. */
void Loop::look_through(
    Trial &trial, const cloak_transform &transform, Precision precision, bool want_gradient) {
    const float before = sum_;
    look_at(watches_[trial.watch], transform, precision, want_gradient);
    trial.looked((sum_ - before) / clean_sum_);
}

/* An exact look through every trial at what is composed, none of them jittered; true when nothing is found. */
bool Loop::sweep(bool want_gradient, int steps) {
    forget();
    for (Trial &trial : trials_) {
        if (settings_.check_stop)
            settings_.check_stop();
        look_through(trial, trial.transform, Precision::exact, want_gradient);
    }
    keep_best(steps);
    return found_.empty();
}

/* The share by which the perturbation fades at this step. */
float Loop::fade() const {
    if (!settings_.fading || !found_.empty())
        return 0;
    return fading * std::max(0.0f, 1 - trials_.most_left() / fading_until);
}

/* One look of each target, through the transform that is most urgent, a little off. */
void Loop::look_around() {
    const Precision precision = settings_.brief ? Precision::brief : Precision::exact;
    compose();
    forget();
    for (size_t i = 0; i < watches_.size(); i++) {
        Trial &trial = trials_.most_urgent(i);
        const cloak_transform transform =
            jittered(trial.transform, [this]() { return random_.uniform(); });
        look_through(trial, transform, precision, true);
    }
}

/* As `approach`, with one look per target and step. Once nothing was left at any trial's last look, a sweep
 * judges what was looked at; where it finds something, the step is along the sweep's gradient instead. */
bool Loop::approach_transforms(int attempt, int *steps) {
    for (int t = 0; t < settings_.max_steps; t++) {
        if (settings_.check_stop)
            settings_.check_stop();
        best_.restarts = attempt;
        look_around();
        ++*steps;
        if (trials_.most_left() == 0 && sweep(true, *steps))
            return true;
        widen(t);
        perturbation_->step(t, gradient_, region_->mask(), fade());
    }
    compose();
    return sweep(false, *steps);
}

/* Shrinks a success while it stays one: bisects the factor, with exact looks. */
void Loop::polish(int steps) {
    const std::vector<float> whole = best_delta_;
    float fails = 0, holds = 1;
    for (int i = 0; i < settings_.polish; i++) {
        const float factor = (fails + holds) / 2;
        std::vector<float> shrunk = whole;
        for (float &value : shrunk)
            value *= factor;
        perturbation_->set(shrunk);
        best_sum_ = HUGE_VALF;
        const PgdResult before = best_;
        compose();
        const bool clean = transformed_ ? sweep(false, steps) : look_exactly();
        if (!transformed_)
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
        if (transformed_ ? approach_transforms(attempt, &steps) : approach(attempt, &steps)) {
            polish(steps);
            return;
        }
    }
    const bool brief = settings_.brief && std::any_of(watches_.begin(), watches_.end(),
                                              [](const Watch &w) { return w.eye->has_brief(); });
    if ((brief || settings_.diversity > 0 || watches_.size() > 1) && !transformed_)
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
