/* Cascades; see the header.
 *
 * DESIGN. The first network looks at the whole photo at many sizes and fires all over the background: that it is
 * silent nowhere says nothing. So a face is found when the whole cascade says so, and this is what is reported.
 * The steps, and the whole numbers that boxes are cut off to, are those of facenet-pytorch, the program that
 * most people run it with: sizes are made by averaging (torch's "area"), boxes without doubles are moved by what
 * the network says, made square and cut out for the next one.
 *
 * The loss is on the scores of the further stages, at those boxes alone that overlap with what the last stage
 * still takes for a face, or nearly: the squared hinge of dense_target.cpp. Boxes count as fixed, so that a
 * stage's gradient goes straight to the pixels; each stage's is divided by its mean absolute value before the
 * sum. On the first stage there is none: it fires at dozens of places around a face, and killing them all is the
 * hard way. 8 photos with 36 faces, 8/255, at most 40 steps: 6 faces left after 28.5 steps with its loss
 * alone; 10 photos with 41: 3 left after 17.9 steps, 44.3 dB, with all three, 2 after 15.7, 45.4 dB, without its
 * own, and 3 after 15.3, 46.5 dB, with the last one's alone, of whose faces more come back after JPEG 75 (21
 * against 17).
 *
 * What breaks it: an early stage that is silent by a hair. What comes after it then sees no face and gives no
 * gradient, until the face is back.
 */
#include "models/targets/cascade_target.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <stdexcept>

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "models/detector/boxes.h"
#include "models/detector/odds.h"
#include "models/kernels/nms.h"
#include "models/targets/locations.h"

namespace cloak {

namespace {

using Boxes = std::vector<CascadeBox>;

/* Boxes that a look follows at most: what one size proposes, and all of them. */
constexpr int max_candidates = 5000, max_boxes = 4000;
constexpr size_t batch = 512; /* boxes that a network looks at together */

/* A place counts when it overlaps so with a face: networks of this kind are trained to be silent below 0.3. */
constexpr float least_overlap = 0.3f;

torch::Tensor averaged(const torch::Tensor &pixels, int64_t height, int64_t width) {
    return at::adaptive_avg_pool2d(pixels, {height, width});
}

/* Adds the gradient of averaged pixels to that of the pixels. */
void average_back(const torch::Tensor &grad, const torch::Tensor &pixels, torch::Tensor gradient) {
    gradient += at::_adaptive_avg_pool2d_backward(grad.contiguous(), pixels);
}

/* A box's edges are whatever a network says. */
int whole_between(float value, int low, int high) {
    return value >= float(high) ? high : value > float(low) ? int(value) : low;
}

torch::Tensor part_of(const torch::Tensor &photo, const std::array<int, 4> &place) {
    return photo.slice(2, place[1], place[3]).slice(3, place[0], place[2]);
}

/* Some of the places, each averaged to the size that a network takes. */
torch::Tensor cut_out(const torch::Tensor &photo, const std::vector<std::array<int, 4>> &places,
    size_t from, size_t to, int size) {
    std::vector<torch::Tensor> cuts;
    for (size_t i = from; i < to; i++)
        cuts.push_back(averaged(part_of(photo, places[i]), size, size));
    return at::cat(cuts);
}

/* Greedy suppression; the surest first. */
Boxes suppressed(const Boxes &boxes, float overlap, int limit) {
    std::vector<float> edges, odds;
    for (const CascadeBox &box : boxes) {
        edges.insert(edges.end(), box.edge.begin(), box.edge.end());
        odds.push_back(box.odds);
    }
    std::vector<int32_t> kept(boxes.size());
    const int count = cloak_nms(edges.data(), odds.data(), nullptr, int(boxes.size()), overlap,
        limit, kept.data());
    Boxes left;
    for (int i = 0; i < count; i++)
        left.push_back(boxes[size_t(kept[size_t(i)])]);
    return left;
}

void sort(Boxes &boxes) {
    std::stable_sort(boxes.begin(), boxes.end(),
        [](const CascadeBox &a, const CascadeBox &b) { return a.odds > b.odds; });
}

/* Suppression by the share of the smaller box that both cover, in whole pixels: how the last stage does it. */
Boxes without_parts(Boxes boxes, float share) {
    sort(boxes);
    auto area = [](const CascadeBox &a) {
        return (a.edge[2] - a.edge[0] + 1) * (a.edge[3] - a.edge[1] + 1);
    };
    Boxes left;
    for (const CascadeBox &a : boxes) {
        auto covers = [&](const CascadeBox &b) {
            const float w = std::min(a.edge[2], b.edge[2]) - std::max(a.edge[0], b.edge[0]) + 1,
                        h = std::min(a.edge[3], b.edge[3]) - std::max(a.edge[1], b.edge[1]) + 1;
            return std::max(w, 0.0f) * std::max(h, 0.0f) > share * std::min(area(a), area(b));
        };
        if (left.size() < size_t(max_boxes) && std::none_of(left.begin(), left.end(), covers))
            left.push_back(a);
    }
    return left;
}

/* Moves a box as a network says; `more`: pixels that its size is more than the difference of its edges. */
void move(CascadeBox &box, float more) {
    const float w = box.edge[2] - box.edge[0] + more, h = box.edge[3] - box.edge[1] + more;
    for (size_t i = 0; i < 4; i++)
        box.edge[i] += box.off[i] * (i % 2 ? h : w);
}

void make_square(CascadeBox &box) {
    const float w = box.edge[2] - box.edge[0], h = box.edge[3] - box.edge[1], side = std::max(w, h);
    box.edge[0] += w * 0.5f - side * 0.5f;
    box.edge[1] += h * 0.5f - side * 0.5f;
    box.edge[2] = box.edge[0] + side;
    box.edge[3] = box.edge[1] + side;
}

std::array<float, 4> row_of(const torch::Tensor &edges, int64_t row) {
    const float *at = edges.data_ptr<float>() + row * 4;
    return {at[0], at[1], at[2], at[3]};
}

bool overlaps_any(const CascadeBox &box, const Boxes &faces) {
    return std::any_of(faces.begin(), faces.end(), [&box](const CascadeBox &face) {
        return box_iou(box.edge.data(), face.edge.data()) >= least_overlap;
    });
}

} // namespace

CascadeTarget::CascadeTarget(
    const Descriptor &says, const OnnxFile &file, const torch::Device &device)
    : OnnxTarget(says, file) {
    for (const CascadeStage &stage : says.cascade.stages)
        graphs_.push_back(std::make_unique<Graph>(file, stage.input,
            std::vector<std::string>{stage.score.from.output, stage.box}, device));
    try_out();
}

/* A grey photo brings no box as far as the last stage. */
void CascadeTarget::try_out() const {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < graphs_.size(); i++) {
        const int64_t size = descriptor().cascade.stages[i].size;
        see(i, i ? torch::zeros({2, 3, size, size}) : torch::zeros({1, 3, size + 9, size + 14}));
    }
}

CascadeTarget::Seen CascadeTarget::see(size_t i, const torch::Tensor &pixels) const {
    const CascadeStage &stage = descriptor().cascade.stages[i];
    const OutputColumn &from = stage.score.from;
    const Layout layout = i ? Layout::rows : Layout::maps;
    const Values values = graphs_[i]->run(pixels, Precision::exact);
    Seen seen;
    seen.odds = odds_of_log(
        log_factor(by_location(values[0], layout, 1, from.output), from, stage.score.activation))
                    .contiguous();
    seen.edges = by_location(values[1].detach(), layout, 1, stage.box).contiguous();
    const int64_t count = seen.odds.size(0);
    if (i && count != pixels.size(0))
        throw std::runtime_error("\"" + from.output + "\" has " + std::to_string(count) +
                                 " rows for " + std::to_string(pixels.size(0)) + " boxes");
    if (seen.edges.size(0) != count || seen.edges.size(1) != 4)
        throw std::runtime_error("\"" + stage.box + "\" is not 4 numbers for each of the " +
                                 std::to_string(count) + " locations of \"" + from.output + "\"");
    if (!i)
        seen.columns = std::max<int64_t>(values[0].size(3), 1);
    return seen;
}

/* What the first stage proposes at one size: the windows that it looked through, in whole pixels of the input. */
std::vector<CascadeBox> CascadeTarget::propose_at(double scale, const torch::Tensor &photo) const {
    const Cascade &cascade = descriptor().cascade;
    const CascadeStage &stage = cascade.stages[0];
    auto scaled = [scale](int64_t side) { return int64_t(double(side) * scale + 1); };
    const Seen seen = see(0, averaged(photo, scaled(photo.size(2)), scaled(photo.size(3))));
    const float *odds = seen.odds.data_ptr<float>(), least = log_odds(stage.threshold);
    auto place = [scale](int64_t pixel) { return std::floor(float(pixel) / float(scale)); };
    Boxes boxes;
    for (int64_t row = 0; row < seen.odds.size(0); row++) {
        if (!(odds[row] >= least))
            continue;
        const int64_t x = row % seen.columns * cascade.stride, y = row / seen.columns * cascade.stride;
        boxes.push_back({{place(x + 1), place(y + 1), place(x + stage.size), place(y + stage.size)},
            odds[row], row_of(seen.edges, row)});
    }
    sort(boxes);
    boxes.resize(std::min(boxes.size(), size_t(max_candidates)));
    return suppressed(boxes, cascade.level_nms, max_candidates);
}

std::vector<CascadeBox> CascadeTarget::propose(const torch::Tensor &photo) const {
    const Cascade &cascade = descriptor().cascade;
    const CascadeStage &stage = cascade.stages[0];
    const double shrink = double(cascade.shrink);
    double scale = double(stage.size) / cascade.least_face,
           side = double(std::min(photo.size(2), photo.size(3))) * scale;
    Boxes all;
    for (; side >= stage.size; scale *= shrink, side *= shrink) {
        const Boxes here = propose_at(scale, photo);
        all.insert(all.end(), here.begin(), here.end());
    }
    all = suppressed(all, stage.nms, max_boxes);
    for (CascadeBox &box : all) {
        move(box, 0);
        make_square(box);
    }
    return all;
}

/* What a further stage leaves of boxes; `cuts` becomes what it was asked about and what it said. */
std::vector<CascadeBox> CascadeTarget::refine(size_t i, const torch::Tensor &photo,
    const std::vector<CascadeBox> &boxes, float caution, Cuts &cuts) const {
    const CascadeStage &stage = descriptor().cascade.stages[i];
    const int width = int(photo.size(3)), height = int(photo.size(2));
    for (const CascadeBox &box : boxes) {
        const std::array<int, 4> place = {whole_between(box.edge[0], 1, width + 1) - 1,
            whole_between(box.edge[1], 1, height + 1) - 1, whole_between(box.edge[2], 0, width),
            whole_between(box.edge[3], 0, height)};
        if (place[2] > place[0] && place[3] > place[1]) {
            cuts.boxes.push_back(box);
            cuts.places.push_back(place);
        }
    }
    for (size_t from = 0; from < cuts.places.size(); from += batch) {
        const size_t to = std::min(from + batch, cuts.places.size());
        const Seen seen = see(i, cut_out(photo, cuts.places, from, to, stage.size));
        for (size_t k = from; k < to; k++) {
            cuts.boxes[k].odds = seen.odds.data_ptr<float>()[k - from];
            cuts.boxes[k].off = row_of(seen.edges, int64_t(k - from));
        }
    }
    Boxes left;
    const bool last = i + 1 == graphs_.size();
    const float least = log_odds(stage.threshold) - (last ? caution : 0);
    std::copy_if(cuts.boxes.begin(), cuts.boxes.end(), std::back_inserter(left),
        [least](const CascadeBox &box) { return box.odds > least; });
    if (!last)
        left = suppressed(left, stage.nms, max_boxes);
    for (CascadeBox &box : left) {
        move(box, 1);
        if (!last)
            make_square(box);
    }
    return last ? without_parts(left, stage.nms) : left;
}

CascadeTarget::Way CascadeTarget::go(const torch::Tensor &photo, float caution) const {
    torch::NoGradGuard no_grad;
    Way way;
    way.found = propose(photo);
    way.cuts.resize(graphs_.size() - 1);
    for (size_t i = 1; i < graphs_.size(); i++)
        way.found = refine(i, photo, way.found, caution, way.cuts[i - 1]);
    return way;
}

/* The gradient of a further stage's loss with respect to the photo. */
torch::Tensor CascadeTarget::push(size_t i, const torch::Tensor &photo, const Cuts &cuts,
    const std::vector<CascadeBox> &faces, const Ask &ask) const {
    const CascadeStage &stage = descriptor().cascade.stages[i];
    const float floor = ask.loss_floor(stage.threshold);
    std::vector<std::array<int, 4>> places;
    std::vector<float> slopes;
    for (size_t k = 0; k < cuts.boxes.size(); k++) {
        const CascadeBox &box = cuts.boxes[k];
        if (box.odds > floor && overlaps_any(box, faces)) {
            places.push_back(cuts.places[k]);
            slopes.push_back(ask.loss->surest_most ? box.odds - floor : 1);
        }
    }
    torch::Tensor gradient = torch::zeros_like(photo);
    for (size_t from = 0; from < places.size(); from += batch) {
        const size_t to = std::min(from + batch, places.size());
        const torch::Tensor leaf = cut_out(photo, places, from, to, stage.size).requires_grad_(),
                            weights = torch::tensor(std::vector<float>(
                                slopes.begin() + long(from), slopes.begin() + long(to)));
        torch::Tensor grad;
        {
            torch::AutoGradMode with_gradient(true);
            grad = torch::autograd::grad({see(i, leaf).odds}, {leaf}, {weights})[0];
        }
        for (size_t k = from; k < to; k++)
            average_back(grad.narrow(0, int64_t(k - from), 1), part_of(photo, places[k]),
                part_of(gradient, places[k]));
    }
    return gradient;
}

torch::Tensor CascadeTarget::differentiate(
    const torch::Tensor &photo, const Way &way, const Ask &ask) const {
    const float floor = ask.loss_floor(descriptor().threshold);
    Boxes faces;
    for (const CascadeBox &box : way.cuts.back().boxes)
        if (box.odds > floor)
            faces.push_back(box);
    torch::Tensor sum = torch::zeros_like(photo);
    for (size_t i = 1; i < graphs_.size(); i++) {
        const torch::Tensor part = push(i, photo, way.cuts[i - 1], faces, ask);
        const double size = part.abs().mean().item<double>();
        if (size > 0)
            sum += part / size;
    }
    return sum;
}

Look CascadeTarget::look(const torch::Tensor &input, const InputShape &shape, int photo_width,
    int photo_height, const Ask &ask) const {
    torch::NoGradGuard no_grad;
    torch::Tensor photo = input.detach().slice(2, 0, shape.height).slice(3, 0, shape.width);
    if (descriptor().bgr)
        photo = photo.flip(1);
    const Way way = go(photo, ask.caution);
    const float sx = float(photo_width) / float(shape.width),
                sy = float(photo_height) / float(shape.height);
    Look result;
    for (const CascadeBox &f : way.found) {
        float box[4] = {f.edge[0] * sx, f.edge[1] * sy, f.edge[2] * sx, f.edge[3] * sy};
        clip_box(box, float(photo_width), float(photo_height));
        if (box[2] > box[0] && box[3] > box[1]) /* a network may say anything of its edges */
            result.found.push_back({box[0], box[1], box[2], box[3], probability_of(f.odds)});
    }
    if (!ask.loss || result.found.empty())
        return result;
    torch::Tensor gradient = differentiate(photo, way, ask);
    if (descriptor().bgr)
        gradient = gradient.flip(1);
    result.gradient = torch::zeros_like(input);
    result.gradient.slice(2, 0, shape.height).slice(3, 0, shape.width).copy_(gradient);
    return result;
}

} // namespace cloak
