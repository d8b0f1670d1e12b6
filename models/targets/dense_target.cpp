/* Dense targets; see the header.
 *
 * DESIGN. A location's score is a product of probabilities to a power. The loss wants its log-odds, and
 * wants them where the score is 1 to seven digits, too: so the logits before the graph's last sigmoid or
 * softmax are read, and all is reckoned in logarithms. The loss is that of rcnn_target.cpp: the squared
 * hinge on the log-odds above the threshold less a margin, at its mean slope; there are no proposals.
 *
 * Small networks lose their gradient in bfloat16: one photo of 180 px of face at 8/255 took YuNet from .93 to
 * .76 in 20 steps of it, and to nothing in 4 steps of float. So all looks are in float, brief ones too, unless the
 * descriptor says that the detector bears it.
 */
#include "models/targets/dense_target.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <ATen/ATen.h>
#include <torch/autograd.h>

#include "models/detector/boxes.h"
#include "models/detector/odds.h"
#include "models/kernels/nms.h"
#include "models/targets/locations.h"

namespace cloak {

namespace {

constexpr int max_candidates = 5000, max_found = 1000;
constexpr float max_exponent = 8; /* a box of exp(8) times its anchor is as large as any */

/* The node that makes a value, or NULL. */
const OnnxNode *maker_of(const OnnxFile &file, const std::string &value) {
    for (const OnnxNode &node : file.nodes)
        for (const std::string &output : node.outputs)
            if (output == value)
                return &node;
    return nullptr;
}

/* Reads the logits instead of what a last sigmoid or softmax over the columns makes of them. */
void step_back(const OnnxFile &file, Layout layout, ScoreFactor &factor) {
    const OnnxNode *maker = maker_of(file, factor.from.output);
    if (factor.activation != Activation::none || !maker || maker->inputs.size() != 1)
        return;
    if (maker->op == "Sigmoid") {
        factor.activation = Activation::sigmoid;
    } else if (maker->op == "Softmax") {
        const int64_t axis = whole(*maker, "axis", file.opset < 13 ? 1 : -1);
        if (layout != Layout::rows || (axis != -1 && axis != 2))
            return;
        factor.activation = Activation::softmax;
    } else {
        return;
    }
    factor.from.output = maker->inputs[0];
}

/* What one of a head's outputs says, by location. */
torch::Tensor table(const torch::Tensor &value, const DetectorHead &head, const std::string &name) {
    int64_t sizes = 1;
    for (const AnchorLevel &level : head.anchors)
        sizes = std::max(sizes, int64_t(level.sizes.size()));
    return by_location(value, head.layout, sizes, name);
}

/* Columns and rows of anchors of an input. */
int64_t across(int padded, float stride) {
    return int64_t(std::ceil(double(padded) / double(stride)));
}

struct Anchor {
    float x, y, size, stride;
};

Anchor anchor_at(const std::vector<AnchorLevel> &levels, const InputShape &shape, int64_t row) {
    for (const AnchorLevel &level : levels) {
        const int64_t columns = across(shape.padded_width, level.stride),
                      rows = across(shape.padded_height, level.stride),
                      sizes = int64_t(level.sizes.size());
        if (row >= columns * rows * sizes) {
            row -= columns * rows * sizes;
            continue;
        }
        const int64_t place = row / sizes;
        return {(float(place % columns) + level.offset) * level.stride,
            (float(place / columns) + level.offset) * level.stride, level.sizes[size_t(row % sizes)],
            level.stride};
    }
    return {0, 0, 1, 1};
}

int64_t anchor_count(const std::vector<AnchorLevel> &levels, const InputShape &shape) {
    int64_t count = 0;
    for (const AnchorLevel &level : levels)
        count += across(shape.padded_width, level.stride) *
                 across(shape.padded_height, level.stride) * int64_t(level.sizes.size());
    return count;
}

void from_centre(float x, float y, float w, float h, float box[4]) {
    box[0] = x - w / 2;
    box[1] = y - h / 2;
    box[2] = x + w / 2;
    box[3] = y + h / 2;
}

/* A location's box in pixels of the input. */
void place_box(const DetectorHead &head, const InputShape &shape, int64_t row, const float n[4],
    float box[4]) {
    const float unit_x = head.unit_input ? float(shape.padded_width) : 1,
                unit_y = head.unit_input ? float(shape.padded_height) : 1;
    const Anchor a = anchor_at(head.anchors, shape, row);
    const float v0 = head.variances[0] * a.size, v1 = head.variances[1];
    auto grown = [&](float x) { return a.size * std::exp(std::min(x * v1, max_exponent)); };
    switch (head.kind) {
    case BoxKind::corners:
        box[0] = n[0] * unit_x;
        box[1] = n[1] * unit_y;
        box[2] = n[2] * unit_x;
        box[3] = n[3] * unit_y;
        break;
    case BoxKind::centre:
        from_centre(n[0] * unit_x, n[1] * unit_y, n[2] * unit_x, n[3] * unit_y, box);
        break;
    case BoxKind::distance:
        box[0] = a.x - n[0] * a.stride;
        box[1] = a.y - n[1] * a.stride;
        box[2] = a.x + n[2] * a.stride;
        box[3] = a.y + n[3] * a.stride;
        break;
    case BoxKind::offset_exp:
        from_centre(a.x + n[0] * v0, a.y + n[1] * v0, grown(n[2]), grown(n[3]), box);
        break;
    case BoxKind::offset_linear:
        from_centre(a.x + n[0], a.y + n[1], n[2], n[3], box);
        break;
    }
}

} // namespace

DenseTarget::DenseTarget(const Descriptor &says, const OnnxFile &file, const torch::Device &device)
    : OnnxTarget(says, file) {
    build(file, device);
    try_out();
}

void DenseTarget::build(const OnnxFile &file, const torch::Device &device) {
    std::vector<std::string> wanted;
    auto place_of = [&wanted](const std::string &name) {
        auto at = std::find(wanted.begin(), wanted.end(), name);
        if (at == wanted.end())
            at = wanted.insert(at, name);
        return size_t(at - wanted.begin());
    };
    for (const DetectorHead &says : descriptor().heads) {
        Head head = {says, {}, {}, {}};
        for (ScoreFactor &factor : head.says.score) {
            step_back(file, says.layout, factor);
            head.score.push_back(place_of(factor.from.output));
            head.activation.push_back(factor.activation);
        }
        for (const OutputColumn &from : says.box)
            head.box.push_back(place_of(from.output));
        heads_.push_back(head);
    }
    graph_ = std::make_unique<Graph>(file, descriptor().input, wanted, device);
}

/* Whatever size a photo has, its way through the graph is the same. Exported squares often are the only size that a
 * graph takes (its reshapes know the number of locations), and transforms ask for others. */
void DenseTarget::try_out() {
    torch::NoGradGuard no_grad;
    auto look_at_scale = [this](float scale) {
        const InputShape shape = input_shape(96, 64, scale, 0);
        std::vector<Found> found;
        find(see(torch::zeros({1, 3, shape.padded_height, shape.padded_width}), shape, Precision::exact), shape, 96, 64, 0, found);
    };
    look_at_scale(1);
    if (!descriptor().square)
        return;
    try {
        look_at_scale(0.5f);
    } catch (const std::exception &) { /* c10::Error is one */
        one_square_ = true;
    }
}

/* What the graph is given: channels in its order, padding at its level. */
torch::Tensor DenseTarget::feed(const torch::Tensor &input, const InputShape &shape) const {
    torch::Tensor x = input;
    torch::Tensor level = torch::empty({1, 3, 1, 1});
    bool plain = true;
    for (size_t c = 0; c < 3; c++) {
        const float value = (descriptor().pad / 255 - mean()[c]) / std()[c];
        level.data_ptr<float>()[c] = value;
        plain = plain && value == 0;
    }
    if (!plain && (shape.width < shape.padded_width || shape.height < shape.padded_height)) {
        torch::Tensor padding =
            level.expand({1, 3, shape.padded_height, shape.padded_width}).clone();
        padding.slice(2, 0, shape.height).slice(3, 0, shape.width).zero_();
        x = x + padding;
    }
    return descriptor().bgr ? x.flip(1) : x;
}

std::vector<DenseTarget::Seen> DenseTarget::see(
    const torch::Tensor &input, const InputShape &shape, Precision precision) const {
    const Values values = graph_->run(feed(input, shape), precision);
    std::vector<Seen> seen;
    for (const Head &head : heads_) {
        Seen s;
        for (size_t i = 0; i < head.score.size(); i++) {
            const OutputColumn &from = head.says.score[i].from;
            torch::Tensor factor = log_factor(
                table(values[head.score[i]], head.says, from.output), from, head.activation[i]);
            if (s.odds.defined() && s.odds.sizes() != factor.sizes())
                throw std::runtime_error(
                    "\"" + from.output + "\" has another number of locations than what it is "
                                         "multiplied with");
            s.odds = s.odds.defined() ? s.odds + factor : factor;
        }
        s.odds = odds_of_log(s.odds * double(head.says.power));
        torch::NoGradGuard no_grad;
        const int64_t count = s.odds.size(0);
        for (size_t i = 0; i < 4; i++) {
            const OutputColumn &from = head.says.box[i];
            s.numbers[i] =
                column_of(table(values[head.box[i]].detach(), head.says, from.output), from)
                    .contiguous();
            if (s.numbers[i].size(0) != count)
                throw std::runtime_error("\"" + from.output + "\" has " +
                                         std::to_string(s.numbers[i].size(0)) +
                                         " locations, the scores have " + std::to_string(count));
        }
        if (!head.says.anchors.empty() && anchor_count(head.says.anchors, shape) != count)
            throw std::runtime_error(
                "\"" + head.says.score[0].from.output + "\" has " + std::to_string(count) +
                " locations for an input of " + std::to_string(shape.padded_width) + " × " +
                std::to_string(shape.padded_height) + "; the anchors make " +
                std::to_string(anchor_count(head.says.anchors, shape)));
        seen.push_back(s);
    }
    return seen;
}

/* Adds the boxes above the threshold, or at most `caution` logits below it, without doubles. */
void DenseTarget::find(const std::vector<Seen> &seen, const InputShape &shape, int photo_width,
    int photo_height, float caution, std::vector<Found> &found) const {
    const float least = log_odds(descriptor().threshold) - caution;
    std::vector<Found> all;
    for (size_t h = 0; h < heads_.size(); h++) {
        const torch::Tensor odds = seen[h].odds.detach().contiguous();
        const float *o = odds.data_ptr<float>();
        for (int64_t row = 0; row < odds.size(0); row++) {
            if (!(o[row] > least))
                continue;
            float numbers[4], box[4] = {0, 0, 0, 0};
            for (size_t i = 0; i < 4; i++)
                numbers[i] = seen[h].numbers[i].data_ptr<float>()[row];
            place_box(heads_[h].says, shape, row, numbers, box);
            const bool inside = std::min(box[2], float(shape.width)) > std::max(box[0], 0.0f) &&
                                std::min(box[3], float(shape.height)) > std::max(box[1], 0.0f);
            if (inside) /* clipped only after suppression, as detectors' own programs do */
                all.push_back({box[0], box[1], box[2], box[3], probability_of(o[row])});
        }
    }
    std::stable_sort(all.begin(), all.end(),
        [](const Found &a, const Found &b) { return a.score > b.score; });
    if (all.size() > size_t(max_candidates))
        all.resize(size_t(max_candidates));
    std::vector<float> boxes, scores;
    for (const Found &f : all) {
        boxes.insert(boxes.end(), {f.x1, f.y1, f.x2, f.y2});
        scores.push_back(f.score);
    }
    std::vector<int32_t> kept(all.size());
    const int count = cloak_nms(boxes.data(), scores.data(), nullptr, int(all.size()),
        descriptor().nms, max_found, kept.data());
    const float sx = float(photo_width) / float(shape.width),
                sy = float(photo_height) / float(shape.height);
    for (int i = 0; i < count; i++) {
        const Found &f = all[size_t(kept[size_t(i)])];
        float box[4] = {f.x1 * sx, f.y1 * sy, f.x2 * sx, f.y2 * sy};
        clip_box(box, float(photo_width), float(photo_height));
        found.push_back({box[0], box[1], box[2], box[3], f.score});
    }
}

Look DenseTarget::look(const torch::Tensor &input, const InputShape &shape, int photo_width,
    int photo_height, const Ask &ask) const {
    Look result;
    const LossSettings *loss = ask.loss;
    torch::AutoGradMode mode(loss != nullptr);
    torch::Tensor leaf = loss ? input.detach().requires_grad_() : input;
    const std::vector<Seen> seen =
        see(leaf, shape, descriptor().brief ? ask.precision : Precision::exact);
    find(seen, shape, photo_width, photo_height, ask.caution, result.found);
    if (!loss || result.found.empty())
        return result;
    const float floor = ask.loss_floor(descriptor().threshold);
    std::vector<torch::Tensor> outputs, slopes;
    double sum = 0, count = 0;
    for (const Seen &s : seen) {
        torch::Tensor above = at::relu(s.odds.detach() - double(floor));
        count += above.gt(0).sum().item<double>();
        if (!loss->surest_most)
            above = above.gt(0).to(torch::kFloat32);
        sum += above.sum().item<double>();
        outputs.push_back(s.odds);
        slopes.push_back(above);
    }
    for (torch::Tensor &slope : slopes)
        slope = slope * (count / std::max(sum, 1e-12));
    result.gradient = torch::autograd::grad(outputs, {leaf}, slopes)[0];
    return result;
}

} // namespace cloak
