/* The attack's loop against targets that can be reckoned by hand: who is asked when, what counts as a success, and
 * what is kept. A target here is a meter: it sees a face in a box while the box's mean is above a level. */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#include <ATen/ATen.h>

#include "models/attack/eye.h"
#include "models/attack/pgd.h"
#include "models/attack/trials.h"

using namespace cloak;

#undef CHECK /* torch's */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

namespace {

constexpr int width = 96, height = 64;
constexpr float grey = 128;

struct Box {
    int x1, y1, x2, y2;
};

constexpr Box middle = {40, 24, 56, 40};

/* What a meter was asked, and whether it found anything. */
struct Asked {
    Precision precision;
    int width;
    bool found;
};

/* A face in each box whose mean is above `level` of 255; with `sign` -1, below. Its threshold is one half. */
class Meter : public Target {
  public:
    explicit Meter(float level, std::vector<Box> boxes = {middle}, float sign = 1)
        : level_(level), sign_(sign), boxes_(std::move(boxes)) {}

    bool one_at_a_time = false; /* it is blind to all boxes but the first in which it sees a face */
    bool brief = false;         /* its brief looks are off by this much: */
    float off = 0;
    int side = 1000;      /* longest side of its input; a smaller photo is not enlarged */
    int most_width = 1 << 20; /* it sees nothing in inputs that are wider */
    mutable std::vector<Asked> asked;

    InputShape input_shape(int photo_width, int photo_height, float scale, int) const override {
        const float by = std::min(1.0f, float(side) / float(std::max(photo_width, photo_height))) * scale;
        const int w = int(std::lround(float(photo_width) * by)), h = int(std::lround(float(photo_height) * by));
        return {w, h, w, h};
    }
    const float *mean() const override {
        static const float none[3] = {0, 0, 0};
        return none;
    }
    const float *std() const override {
        static const float ones[3] = {1, 1, 1};
        return ones;
    }
    bool has_brief() const override {
        return brief;
    }

    Look look(const torch::Tensor &input, const InputShape &shape, int photo_width, int, const Ask &ask) const override {
        Look seen;
        torch::Tensor gradient = at::zeros_like(input);
        const float by = float(shape.width) / float(photo_width);
        for (const Box &box : boxes_) {
            const float surplus = look_into(input, gradient, box, by, ask);
            if (surplus <= -ask.caution || shape.width > most_width)
                continue;
            seen.found.push_back({float(box.x1), float(box.y1), float(box.x2), float(box.y2), probability_of(surplus)});
            if (one_at_a_time)
                break;
        }
        if (ask.loss && !seen.found.empty())
            seen.gradient = gradient;
        asked.push_back({ask.precision, shape.width, !seen.found.empty()});
        return seen;
    }

  private:
    /* How far a box is above the level, which is the face's log-odds; and that number's gradient where there is a face. */
    float look_into(const torch::Tensor &input, torch::Tensor &gradient, const Box &box, float by, const Ask &ask) const {
        using at::indexing::Slice;
        auto to_input = [by](int at) { return int(std::lround(float(at) * by)); };
        const auto rows = Slice(to_input(box.y1), to_input(box.y2)), columns = Slice(to_input(box.x1), to_input(box.x2));
        const torch::Tensor inside = input.index({Slice(), Slice(), rows, columns});
        float surplus = sign_ * (inside.mean().item<float>() * 255 - level_);
        if (ask.precision == Precision::brief)
            surplus -= off;
        if (surplus > -ask.caution)
            gradient.index({Slice(), Slice(), rows, columns}).fill_(sign_ * 255 / float(inside.numel()));
        return surplus;
    }

    float level_, sign_;
    std::vector<Box> boxes_;
};

std::vector<uint8_t> plain(int w = width, int h = height) {
    return std::vector<uint8_t>(size_t(w * h * 3), uint8_t(grey));
}

/* Without masking, which leaves a smooth photo little of the budget. */
PgdSettings within(float eps, int steps) {
    PgdSettings settings;
    settings.eps_levels = eps;
    settings.max_steps = steps;
    settings.masking = false;
    return settings;
}

PgdResult attacked(const std::vector<const Target *> &targets, const PgdSettings &settings,
    const std::vector<uint8_t> &photo = plain(), const int8_t *warm = nullptr) {
    return attack(targets, photo.data(), width, height, settings, warm);
}

/* What a target finds in an exact look at a result. */
size_t left_for(const Target &target, const PgdResult &result, float eps,
    const cloak_transform &transform = cloak_transform_raw(), const std::vector<uint8_t> &photo = plain()) {
    const size_t plane = size_t(width * height);
    std::vector<float> delta(plane * 3), gradient;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            delta[c * plane + i] = float(result.levels[i * 3 + c]);
    bool has_gradient;
    Eye eye(target, 0, width, height, width, height);
    return eye.look({photo.data(), delta.data(), eps, true, nullptr}, transform, {Precision::exact}, gradient, &has_gradient)
        .size();
}

int largest(const std::vector<int8_t> &levels) {
    int most = 0;
    for (int8_t level : levels)
        most = std::max(most, std::abs(int(level)));
    return most;
}

long sum_of(const std::vector<int8_t> &levels) {
    long sum = 0;
    for (int8_t level : levels)
        sum += std::abs(long(level));
    return sum;
}

/* The first `count` of a row of boxes in the middle of the photo. */
std::vector<Box> row_of(int count) {
    std::vector<Box> boxes;
    for (int i = 0; i < count; i++)
        boxes.push_back({24 + 8 * i, 28, 32 + 8 * i, 36});
    return boxes;
}

cloak_transform change(float shrink, float view) {
    cloak_transform transform = cloak_transform_raw();
    transform.shrink = shrink;
    transform.view = view;
    return transform;
}

/* --- one target ------------------------------------------------------------------------------- */

void a_photo_without_faces_costs_one_look() {
    const Meter meter(grey + 1);
    const PgdResult result = attacked({&meter}, within(4, 10));
    CHECK(result.success && result.steps == 0 && result.found.empty());
    CHECK(meter.asked.size() == 1 && largest(result.levels) == 0);
}

void a_face_vanishes_within_the_budget_and_nothing_else_changes() {
    const Meter meter(grey - 2.5f);
    const PgdResult result = attacked({&meter}, within(4, 10));
    CHECK(result.success && result.steps > 0 && result.residual_score == 0);
    CHECK(left_for(meter, result, 4) == 0);
    CHECK(largest(result.levels) <= 4);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const bool inside = x >= middle.x1 && x < middle.x2 && y >= middle.y1 && y < middle.y2;
            const int8_t level = result.levels[size_t((y * width + x) * 3)];
            CHECK(inside ? level < 0 : level == 0); /* where there is no gradient there is no step */
        }
    const PgdResult again = attacked({&meter}, within(4, 10), plain(), result.levels.data());
    CHECK(again.success && again.steps == 0 && again.levels == result.levels);
}

void of_a_face_that_resists_the_best_is_kept() {
    const Meter meter(grey - 5);
    PgdSettings settings = within(4, 3);
    settings.restarts = 2;
    const PgdResult result = attacked({&meter}, settings);
    CHECK(!result.success && result.steps == 9 && result.restarts == 2);
    CHECK(result.found.size() == 1 && left_for(meter, result, 4) == 1);
    CHECK(std::fabs(result.residual_score - probability_of(1)) < 1e-3f); /* four of the five levels */
    CHECK(attacked({&meter}, settings).levels == result.levels);
}

void a_smooth_place_has_less_of_the_budget() {
    const Meter meter(grey - 2.5f);
    PgdSettings settings = within(4, 20);
    settings.masking = true;
    CHECK(!attacked({&meter}, settings).success);
    std::vector<uint8_t> textured = plain();
    for (size_t i = 0; i < textured.size(); i += 3) /* a chequered photo of the same mean */
        for (size_t c = 0; c < 3; c++)
            textured[i + c] = uint8_t(grey + ((i / 3 + i / 3 / width) % 2 ? 30 : -30));
    CHECK(attacked({&meter}, settings, textured).success);
}

void only_an_exact_look_is_a_verdict() {
    Meter meter(grey - 3.5f);
    meter.brief = true;
    meter.off = 2;
    const PgdResult result = attacked({&meter}, within(4, 20));
    CHECK(result.success && left_for(meter, result, 4) == 0);
    size_t at = 0, brief_before = 0;
    for (; at < meter.asked.size() && !(meter.asked[at].precision == Precision::exact && meter.asked[at].found && at > 0); at++)
        brief_before += meter.asked[at].precision == Precision::brief;
    CHECK(brief_before > 1 && at < meter.asked.size()); /* the first exact look that caught a brief one */
    for (; at < meter.asked.size() - 1; at++)           /* the last is left_for()'s */
        CHECK(meter.asked[at].precision == Precision::exact);
}

void who_says_stop_is_heeded() {
    const Meter meter(grey - 50);
    PgdSettings settings = within(4, 1000);
    int calls = 0;
    settings.check_stop = [&calls] {
        if (++calls == 4)
            throw std::runtime_error("stop");
    };
    try {
        attacked({&meter}, settings);
        CHECK(!"it went on");
    } catch (const std::runtime_error &) {
        CHECK(calls == 4 && meter.asked.size() < 6);
    }
}

/* The encoder leaves half of every change. */
void what_counts_is_the_decoded_file() {
    const Meter meter(grey - 2.5f);
    PgdSettings settings = within(8, 20);
    const long without = sum_of(attacked({&meter}, settings).levels);
    const std::vector<uint8_t> photo = plain();
    settings.codec = [&photo](const uint8_t *rgb, uint8_t *decoded) {
        for (size_t i = 0; i < photo.size(); i++)
            decoded[i] = uint8_t(photo[i] + (int(rgb[i]) - photo[i]) / 2);
    };
    const PgdResult result = attacked({&meter}, settings);
    CHECK(result.success && sum_of(result.levels) > without);
    CHECK(result.levels[size_t((32 * width + 48) * 3)] <= -6); /* of which three are left */
}

void polish_shrinks_a_success_while_it_is_one() {
    const Meter meter(grey - 2.5f);
    PgdSettings settings = within(16, 20);
    const PgdResult rough = attacked({&meter}, settings);
    settings.polish = 6;
    const PgdResult fine = attacked({&meter}, settings);
    CHECK(rough.success && fine.success && fine.residual_score == 0 && fine.found.empty());
    CHECK(sum_of(fine.levels) < sum_of(rough.levels) && left_for(meter, fine, 16) == 0);
}

/* The photo is twice as large as the input: the grid is the input's, and may hold more than a pixel may change, which
 * makes up for what enlarging softens, here between a box that must be darker and one that must be brighter. */
void on_an_enlarged_grid_pixels_keep_the_bound() {
    constexpr int w = 2 * width, h = 2 * height;
    const std::vector<uint8_t> photo = plain(w, h);
    for (bool overdrive : {true, false}) {
        Meter bright(grey - 5, {{64, 48, 96, 80}}), dark(grey + 5, {{96, 48, 128, 80}}, -1); /* all of it is used */
        bright.side = dark.side = width;
        PgdSettings settings = within(3, 20);
        settings.overdrive = overdrive;
        const PgdResult result = attack({&bright, &dark}, photo.data(), w, h, settings, nullptr);
        CHECK(result.levels.size() == size_t(width * height * 3));
        CHECK(overdrive ? largest(result.levels) > 3 : largest(result.levels) == 3);
        std::vector<uint8_t> changed(photo.size());
        view_apply(View(w, h, width, height, width, height), photo.data(), result.levels.data(), 3, changed.data());
        int most = 0;
        for (size_t i = 0; i < photo.size(); i++)
            most = std::max(most, std::abs(int(changed[i]) - int(photo[i])));
        CHECK(most == 3 && changed[0] == photo[0]);
    }
}

/* --- several targets -------------------------------------------------------------------------- */

void who_finds_nothing_rests_and_is_asked_at_the_end() {
    const Meter easy(grey - 1.5f);
    Meter hard(grey - 3.5f, row_of(6));
    hard.one_at_a_time = true;
    const PgdResult result = attacked({&easy, &hard}, within(4, 60));
    CHECK(result.success && result.steps > 8);
    CHECK(easy.asked.size() < hard.asked.size() / 2 + 3);
    CHECK(easy.asked.back().precision == Precision::exact && !easy.asked.back().found);
    CHECK(left_for(easy, result, 4) == 0 && left_for(hard, result, 4) == 0);
}

/* What hides from the one is what the other finds: it does so while it rests, and no success may be made of that. */
void what_a_resting_target_would_find_is_no_success() {
    const Meter bright(grey - 2.5f, row_of(6)), dark(grey - 1.5f, {row_of(6).back()}, -1);
    const PgdResult result = attacked({&bright, &dark}, within(4, 12));
    CHECK(!result.success && result.residual_score > 0);
    CHECK(result.found.size() == left_for(bright, result, 4) + left_for(dark, result, 4)); /* nothing is kept back */
}

void the_region_grows_around_what_turns_up() {
    const Meter meter(grey - 2.5f), aside(grey - 2.5f, {{2, 2, 10, 10}});
    PgdSettings settings = within(4, 20);
    const std::vector<Found> clean = {{40, 24, 56, 40, 0.9f}}; /* what is said to be there */
    settings.clean = &clean;
    const PgdResult result = attacked({&meter, &aside}, settings);
    CHECK(result.success && left_for(aside, result, 4) == 0);
    CHECK(result.levels[size_t((5 * width + 5) * 3)] < 0);
}

void with_diversity_the_verdict_is_on_the_photo_as_it_is() {
    const Meter meter(grey - 2.5f, row_of(6));
    PgdSettings settings = within(4, 40);
    settings.diversity = 1;
    const PgdResult result = attacked({&meter}, settings);
    CHECK(result.success && left_for(meter, result, 4) == 0);
    CHECK(std::any_of(meter.asked.begin(), meter.asked.end(), [](const Asked &a) { return a.width != width; }));
    meter.asked.pop_back(); /* left_for()'s */
    CHECK(meter.asked.back().width == width && meter.asked.back().precision == Precision::exact);
}

/* --- transforms ------------------------------------------------------------------------------- */

void a_success_holds_through_every_transform() {
    const Meter meter(grey - 1.5f), other(grey - 2.5f, row_of(3));
    PgdSettings settings = within(6, 60);
    settings.transforms = {cloak_transform_raw(), change(0.5f, 1), change(1, 0.75f)};
    const PgdResult result = attacked({&meter, &other}, settings);
    CHECK(result.success);
    for (const Meter *each : {&meter, &other}) {
        CHECK(each->asked.size() > 3);
        for (size_t i = each->asked.size() - 3; i < each->asked.size(); i++) /* the sweep: as it is, and through both */
            CHECK(each->asked[i].precision == Precision::exact && !each->asked[i].found);
        for (const cloak_transform &transform : settings.transforms)
            CHECK(left_for(*each, result, 6, transform) == 0);
    }
}

/* A face that shows only where the photo is shrunk is hidden there, too, though nobody has said that it is there. */
void what_shows_only_through_a_transform_is_hidden() {
    const Meter meter(grey - 2.5f);
    Meter small(grey - 2.5f, {{2, 2, 14, 14}});
    small.most_width = width * 3 / 4;
    PgdSettings settings = within(6, 60);
    const cloak_transform shrunk = change(0.5f, 1);
    PgdResult result = attacked({&meter, &small}, settings);
    CHECK(result.success && left_for(small, result, 6, shrunk) == 1);
    settings.transforms = {shrunk};
    result = attacked({&meter, &small}, settings);
    CHECK(result.success && left_for(small, result, 6, shrunk) == 0 && left_for(meter, result, 6) == 0);
}

void where_much_is_left_is_looked_at_most_and_everything_at_times() {
    Trials trials;
    trials.add(0, {cloak_transform_raw(), change(0.5f, 1), change(1, 0.5f)});
    trials.add(1, {change(0.25f, 1)});
    CHECK(trials.end() - trials.begin() == 5); /* each target as it is, once, and through its own */
    trials.forget();
    CHECK(trials.most_left() == 1);
    int looks[5] = {0};
    for (int i = 0; i < 60; i++) {
        Trial &trial = trials.most_urgent(0);
        CHECK(trial.watch == 0);
        looks[&trial - &*trials.begin()]++;
        trial.looked(trial.transform.shrink < 1 ? 0.5f : 0);
    }
    CHECK(looks[1] > 40 && looks[0] >= 3 && looks[2] >= 3 && looks[3] == 0);
    CHECK(trials.most_left() == 1); /* of the target that nobody asked */
}

} // namespace

int main() {
    a_photo_without_faces_costs_one_look();
    a_face_vanishes_within_the_budget_and_nothing_else_changes();
    of_a_face_that_resists_the_best_is_kept();
    a_smooth_place_has_less_of_the_budget();
    only_an_exact_look_is_a_verdict();
    who_says_stop_is_heeded();
    what_counts_is_the_decoded_file();
    polish_shrinks_a_success_while_it_is_one();
    on_an_enlarged_grid_pixels_keep_the_bound();
    who_finds_nothing_rests_and_is_asked_at_the_end();
    what_a_resting_target_would_find_is_no_success();
    the_region_grows_around_what_turns_up();
    with_diversity_the_verdict_is_on_the_photo_as_it_is();
    a_success_holds_through_every_transform();
    what_shows_only_through_a_transform_is_hidden();
    where_much_is_left_is_looked_at_most_and_everything_at_times();
    std::puts("the attack's loop keeps its word");
    return 0;
}
