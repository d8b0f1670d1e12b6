/* Faster R-CNN (Ren et al. 2015) for faces on frozen weights: torchvision's architecture, parameter
 * names and numbers, arranged so that the attack can take it apart.
 *
 * One image at a time: the same photo gives the same result whatever else is in a batch.
 */
#ifndef CLOAK_DETECTOR_FASTER_RCNN_H
#define CLOAK_DETECTOR_FASTER_RCNN_H

#include <memory>
#include <vector>

#include "models/detector/backbone.h"
#include "models/detector/config.h"
#include "models/detector/precision.h"
#include "models/detector/refine.h"

namespace cloak {

struct Detection {
    float x1, y1, x2, y2, score; /* in input pixels */
};

/* The input's place in its padded tensor. */
struct InputSize {
    int width, height;               /* of the resized photo */
    int padded_width, padded_height; /* multiples of 32 */
};

/* The dense half: what the attack differentiates. */
struct Dense {
    std::vector<torch::Tensor> features;   /* four maps for pooling, strides 4 … 32 */
    std::vector<torch::Tensor> objectness; /* five levels, 1 × anchors × h × w, logits */
    std::vector<torch::Tensor> deltas;     /* five levels, 1 × 4·anchors × h × w */
    torch::Tensor early;                   /* the body's map of stride 2, if boxes are refined */
};

/* Boxes that the second stage looks at, and what it pools for them. */
struct Proposals {
    std::vector<float> boxes;     /* n × 4 in input pixels, grouped by level */
    std::vector<int> level_count; /* boxes per level, four levels */
    torch::Tensor pooled;         /* n × channels × 7 × 7, on the device */
    int count() const {
        return int(boxes.size() / 4);
    }
};

/* The head's verdict on the proposals. */
struct Verdict {
    torch::Tensor margin; /* n: face logit minus background logit */
    /* n × units: the box head's hidden layers, rectified, in what they were computed in, on the device; undefined
     * where n is 0. */
    torch::Tensor hidden6, hidden7;
    std::vector<Detection> detections;
};

class FasterRcnn {
  public:
    /* Throws std::runtime_error that says what is wrong with the file. */
    FasterRcnn(const std::string &path, int detail, const torch::Device &device);

    const DetectorConfig &config() const {
        return config_;
    }
    const std::string &sha256() const {
        return sha256_;
    }

    /* The size at which the detector looks at a photo, as torchvision's transform computes it;
     * `scale`: with so many times its own bounds. */
    InputSize input_size(int width, int height, float scale) const;

    /* Whether a brief look computes in less than float. */
    bool has_brief() const;

    /* `input` is the host's, float; the maps are the device's, in what `precision` computes in, but for objectness
     * and deltas, which are the host's. Differentiable in the input. */
    Dense dense(const torch::Tensor &input, Precision precision) const;

    /* Proposals by test-time rules, pooled. No gradients. */
    Proposals propose(const Dense &dense, const InputSize &size) const;

    /* Margins of all proposals and the final detections: those above the threshold, or at most
     * `caution` logits below it. No gradients. */
    Verdict judge(const Dense &dense, const Proposals &proposals, const InputSize &size,
        Precision precision, float caution) const;

    /* Gradient with respect to the pooled RoIs `rows`, on the device, of the sum of weights[i] × margin[rows[i]]
     * (`weights`: the host's). Where a hidden unit was off in that verdict, `leak` (0 … 1) of the gradient passes
     * nevertheless; 0 is the true gradient. */
    torch::Tensor margins_backward(const Verdict &verdict, const std::vector<int> &rows,
        const torch::Tensor &weights, float leak) const;

    /* Gradient of the four pooled maps (like them, zero where no RoI reads) from the gradient of the
     * pooled RoIs `rows` of `proposals`. Undefined tensors stand for levels without RoIs. */
    std::vector<torch::Tensor> pool_backward(const Proposals &proposals,
        const std::vector<int> &rows, const torch::Tensor &grad_pooled, const Dense &dense) const;

  private:
    torch::ScalarType computed_in(Precision precision) const;
    torch::Tensor head(const torch::Tensor &pooled, Precision precision, Verdict *verdict) const;
    void load_anchors();
    void load_heads(const Weights &weights);

    DetectorConfig config_;
    std::string sha256_;
    torch::Device device_;
    std::unique_ptr<Backbone> backbone_;
    Conv rpn_conv_, rpn_objectness_, rpn_deltas_;
    std::vector<std::vector<float>> anchors_; /* by level: anchors × 4, centred on 0 */
    Linear fc6_, fc7_, score_, box_;
    std::unique_ptr<Refinement> refinement_; /* of models that have one */
};

} // namespace cloak
#endif
