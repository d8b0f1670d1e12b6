/* Faster R-CNN on frozen weights: dense part, proposals, second stage; see the header. */
#include "models/detector/faster_rcnn.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>

#include "models/detector/boxes.h"
#include "models/detector/device.h"
#include "models/detector/odds.h"
#include "models/detector/pooling.h"
#include "models/detector/vote.h"
#include "models/kernels/nms.h"

namespace cloak {

namespace {
constexpr int bins = 7, pooled_levels = 4;
const float rpn_weights[4] = {1, 1, 1, 1}, head_weights[4] = {10, 10, 5, 5};
} // namespace

bool FasterRcnn::has_brief() const {
    return has_bfloat16(device_);
}

/* What maps and pooled RoIs are computed in. */
torch::ScalarType FasterRcnn::computed_in(Precision precision) const {
    return precision == Precision::brief && has_brief() ? torch::kBFloat16 : torch::kFloat32;
}

FasterRcnn::FasterRcnn(const std::string &path, int detail, const torch::Device &device)
    : device_(device) {
    Weights weights = read_safetensors(path);
    weights.device = device;
    sha256_ = weights.sha256;
    try {
        config_ = parse_config(weights.metadata);
        if (detail > 0) { /* the short side's bound grows alike */
            config_.input_min = std::max(1, config_.input_min * detail / config_.input_max);
            config_.input_max = detail;
        }
        backbone_ = std::make_unique<Backbone>(weights, config_);
        load_anchors();
        load_heads(weights);
    } catch (const std::runtime_error &problem) {
        throw std::runtime_error(path + ": " + problem.what());
    }
}

void FasterRcnn::load_heads(const Weights &weights) {
    const int64_t channels = config_.fpn_channels, per_place = int64_t(anchors_[0].size() / 4);
    rpn_conv_ = load_conv(weights, "rpn.head.conv.0.0", {channels, any_size, 3, 1, Conv::relu},
        Passes::both);
    const int64_t width = rpn_conv_.outputs();
    rpn_objectness_ = load_conv(weights, "rpn.head.cls_logits", {width, per_place, 1}, Passes::both);
    rpn_deltas_ =
        load_conv(weights, "rpn.head.bbox_pred", {width, 4 * per_place, 1}, Passes::forward);
    const std::string box = "roi_heads.box_";
    fc6_ = load_linear(weights, box + "head.fc6", channels * bins * bins, any_size, Passes::both);
    fc7_ = load_linear(weights, box + "head.fc7", fc6_.outputs(), any_size, Passes::both);
    score_ = load_linear(weights, box + "predictor.cls_score", fc7_.outputs(), 2, Passes::forward);
    box_ = load_linear(weights, box + "predictor.bbox_pred", fc7_.outputs(), 8, Passes::forward);
    if (config_.box_refine > 0)
        refinement_ = std::make_unique<Refinement>(
            weights, channels, backbone_->early_channels(), config_.box_refine);
}

void FasterRcnn::load_anchors() {
    for (const auto &sizes : config_.anchor_sizes) {
        std::vector<float> level;
        for (float ratio : config_.anchor_ratios)
            for (float size : sizes) {
                float h = std::sqrt(ratio), w = 1 / h;
                for (float edge : {-w * size / 2, -h * size / 2, w * size / 2, h * size / 2})
                    level.push_back(std::nearbyint(edge));
            }
        if (level.empty() || (!anchors_.empty() && level.size() != anchors_[0].size()))
            throw std::runtime_error("anchor_sizes must have as many sizes on every level, and "
                                     "at least one");
        anchors_.push_back(level);
    }
}

InputSize FasterRcnn::input_size(int width, int height, float bounds) const {
    /* As torchvision computes it: "size / tensor" is the reciprocal in float32 times the size, and
     * whether that rounds up or down decides on a row or column of pixels. */
    float scale = std::min((1.0f / float(std::min(width, height))) * float(config_.input_min) * bounds,
        (1.0f / float(std::max(width, height))) * float(config_.input_max) * bounds);
    InputSize size;
    size.width = std::max(1, int(double(width) * double(scale)));
    size.height = std::max(1, int(double(height) * double(scale)));
    size.padded_width = (size.width + 31) / 32 * 32;
    size.padded_height = (size.height + 31) / 32 * 32;
    return size;
}

Dense FasterRcnn::dense(const torch::Tensor &input, Precision precision) const {
    Dense dense;
    std::vector<torch::Tensor> maps = (*backbone_)(
        input.to(device_, computed_in(precision)), refinement_ ? &dense.early : nullptr);
    for (const torch::Tensor &map : maps) {
        torch::Tensor hidden = rpn_conv_(map);
        dense.objectness.push_back(rpn_objectness_(hidden));
        dense.deltas.push_back(rpn_deltas_(hidden));
    }
    for (auto *levels : {&dense.objectness, &dense.deltas}) /* each waits for a GPU: when all is under way */
        for (torch::Tensor &level : *levels)
            level = level.to(torch::kCPU);
    maps.resize(pooled_levels);
    dense.features = maps;
    return dense;
}

/* One candidate of the first stage. */
struct Candidate {
    float box[4];
    float score;
    int level;
};

/* The best anchors of one level, decoded and clipped. */
static void level_candidates(const torch::Tensor &objectness, const torch::Tensor &deltas,
    const std::vector<float> &anchors, int level, int limit, float min_size, const InputSize &size,
    std::vector<Candidate> &out) {
    const int per_place = int(anchors.size() / 4);
    const int h = int(objectness.size(2)), w = int(objectness.size(3)), area = h * w;
    const int stride_y = size.padded_height / h, stride_x = size.padded_width / w;
    const float *o = objectness.data_ptr<float>(), *d = deltas.data_ptr<float>();
    std::vector<int> order(size_t(area * per_place)); /* in torchvision's order: y, x, anchor */
    std::iota(order.begin(), order.end(), 0);
    std::vector<float> logits(order.size(), -HUGE_VALF);
    for (int a = 0; a < per_place; a++)
        for (int place = 0; place < area; place++)
            if (float logit = o[a * area + place]; logit == logit) /* sorting wants an order */
                logits[size_t(place * per_place + a)] = logit;
    const size_t keep = std::min(order.size(), size_t(limit));
    auto better = [&logits](int a, int b) {
        const float x = logits[size_t(a)], y = logits[size_t(b)];
        return x > y || (x == y && a < b);
    };
    const auto end = order.begin() + int64_t(keep);
    if (keep > 0)
        std::nth_element(order.begin(), end - 1, order.end(), better);
    std::sort(order.begin(), end, better);
    for (size_t k = 0; k < keep; k++) {
        int i = order[k], a = i % per_place, place = i / per_place;
        float x = float(place % w * stride_x), y = float(place / w * stride_y);
        const float *base = &anchors[size_t(a) * 4];
        float anchor[4] = {base[0] + x, base[1] + y, base[2] + x, base[3] + y}, delta[4];
        for (int j = 0; j < 4; j++)
            delta[j] = d[(a * 4 + j) * area + place];
        Candidate c;
        decode_box(anchor, delta, rpn_weights, c.box);
        clip_box(c.box, float(size.width), float(size.height));
        if (c.box[2] - c.box[0] < min_size || c.box[3] - c.box[1] < min_size)
            continue;
        c.score = probability_of(logits[size_t(i)]);
        c.level = level;
        out.push_back(c);
    }
}

Proposals FasterRcnn::propose(const Dense &dense, const InputSize &size) const {
    torch::NoGradGuard no_grad;
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < dense.objectness.size(); i++)
        level_candidates(on_host(dense.objectness[i]), on_host(dense.deltas[i]), anchors_[i], int(i),
            config_.rpn_pre_nms, config_.rpn_min_size, size, candidates);
    std::vector<float> boxes, scores;
    std::vector<int32_t> groups, kept(size_t(config_.rpn_post_nms));
    for (const Candidate &c : candidates) {
        boxes.insert(boxes.end(), c.box, c.box + 4);
        scores.push_back(c.score);
        groups.push_back(c.level);
    }
    int n = cloak_nms(boxes.data(), scores.data(), groups.data(), int(candidates.size()),
        config_.rpn_nms, config_.rpn_post_nms, kept.data());

    Proposals proposals;
    const int channels = config_.fpn_channels;
    proposals.pooled = torch::empty({n, channels, bins, bins}, device_);
    for (int level = 0; level < pooled_levels; level++) {
        const int before = proposals.count();
        for (int k = 0; k < n; k++) {
            const float *box = &boxes[size_t(kept[size_t(k)]) * 4];
            if (pooling_level(box) == level)
                proposals.boxes.insert(proposals.boxes.end(), box, box + 4);
        }
        const int count = proposals.count() - before;
        proposals.level_count.push_back(count);
        if (!count)
            continue;
        pool_boxes(dense.features[size_t(level)], &proposals.boxes[size_t(before) * 4], count,
            4 << level, bins, proposals.pooled.narrow(0, before, count));
    }
    return proposals;
}

/* Margins and hidden layers of pooled RoIs into the verdict; returns their box deltas. */
torch::Tensor FasterRcnn::head(
    const torch::Tensor &pooled, Precision precision, Verdict *verdict) const {
    verdict->hidden6 = at::relu(fc6_(pooled.flatten(1).to(computed_in(precision))));
    verdict->hidden7 = at::relu(fc7_(verdict->hidden6));
    /* The last layers are small, and read by hand. */
    torch::Tensor x = verdict->hidden7.to(torch::kFloat32);
    torch::Tensor scores = score_(x);
    verdict->margin = on_host(scores.select(1, 1) - scores.select(1, 0));
    return on_host(box_(x));
}

Verdict FasterRcnn::judge(const Dense &dense, const Proposals &proposals, const InputSize &size,
    Precision precision, float caution) const {
    torch::NoGradGuard no_grad;
    Verdict verdict;
    if (proposals.count() == 0) { /* a photo so narrow that every anchor is clipped to a sliver */
        verdict.margin = torch::empty({0});
        return verdict;
    }
    const torch::Tensor deltas = head(proposals.pooled, precision, &verdict);
    const float *m = verdict.margin.data_ptr<float>(), *d = deltas.data_ptr<float>();
    float least = config_.score_threshold; /* to the bit, where there is no caution */
    if (caution > 0)
        least = probability_of(log_odds(least) - caution);
    std::vector<float> boxes, scores, placed;
    for (int i = 0; i < proposals.count(); i++) {
        float box[4], score = probability_of(m[i]);
        if (!(score > least))
            continue;
        decode_box(&proposals.boxes[size_t(i) * 4], d + i * 8 + 4, head_weights, box);
        clip_box(box, float(size.width), float(size.height));
        if (box[2] - box[0] < 1e-2f || box[3] - box[1] < 1e-2f)
            continue;
        boxes.insert(boxes.end(), box, box + 4);
        scores.push_back(score);
    }
    std::vector<int32_t> kept(size_t(config_.max_detections));
    int n = cloak_nms(boxes.data(), scores.data(), nullptr, int(scores.size()), config_.box_nms,
        config_.max_detections, kept.data());
    if (config_.box_vote > 0)
        placed = vote_boxes(boxes, scores, kept.data(), n, config_.box_vote);
    else
        for (int k = 0; k < n; k++)
            placed.insert(placed.end(), &boxes[size_t(kept[size_t(k)]) * 4],
                &boxes[size_t(kept[size_t(k)]) * 4] + 4);
    if (refinement_)
        (*refinement_)(dense.features, dense.early, float(size.width), float(size.height), placed);
    for (int k = 0; k < n; k++) {
        const float *box = &placed[size_t(k) * 4], score = scores[size_t(kept[size_t(k)])];
        verdict.detections.push_back({box[0], box[1], box[2], box[3], score});
    }
    return verdict;
}

torch::Tensor FasterRcnn::margins_backward(const Verdict &verdict, const std::vector<int> &rows,
    const torch::Tensor &weights, float leak) const {
    torch::NoGradGuard no_grad;
    const torch::Tensor index =
        torch::tensor(std::vector<int64_t>(rows.begin(), rows.end())).to(device_);
    auto slopes = [&index, leak](const torch::Tensor &hidden) {
        return hidden.index_select(0, index).gt(0).to(torch::kFloat32).mul_(1 - leak).add_(leak);
    };
    const torch::Tensor by_class = score_.weight.exact.flatten(1);
    torch::Tensor direction = (by_class.select(0, 1) - by_class.select(0, 0)).unsqueeze(0);
    torch::Tensor grad = weights.to(device_).unsqueeze(1).mul(direction).mul_(slopes(verdict.hidden7));
    grad = fc7_.backward(grad).mul_(slopes(verdict.hidden6));
    return fc6_.backward(grad).view({int64_t(rows.size()), config_.fpn_channels, bins, bins});
}

std::vector<torch::Tensor> FasterRcnn::pool_backward(const Proposals &proposals,
    const std::vector<int> &rows, const torch::Tensor &grad_pooled, const Dense &dense) const {
    std::vector<torch::Tensor> grads(pooled_levels);
    torch::Tensor grad = grad_pooled.contiguous();
    size_t next = 0;
    int end = 0;
    for (int level = 0; level < pooled_levels; level++) {
        end += proposals.level_count[size_t(level)];
        const size_t first = next;
        std::vector<float> boxes;
        for (; next < rows.size() && rows[next] < end; next++)
            boxes.insert(boxes.end(), &proposals.boxes[size_t(rows[next]) * 4],
                &proposals.boxes[size_t(rows[next]) * 4] + 4);
        if (next == first)
            continue;
        const torch::Tensor &map = dense.features[size_t(level)];
        grads[size_t(level)] = pool_boxes_backward(map, boxes.data(), int(next - first), 4 << level,
            bins, grad.narrow(0, int64_t(first), int64_t(next - first)))
                                   .to(map.scalar_type());
    }
    return grads;
}

} // namespace cloak
