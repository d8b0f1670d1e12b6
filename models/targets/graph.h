/* An ONNX file as a function that can be differentiated: from an image to the values that somebody
 * wants to know. */
#ifndef CLOAK_TARGETS_GRAPH_H
#define CLOAK_TARGETS_GRAPH_H

#include <memory>
#include <string>
#include <vector>

#include "models/detector/layers.h"
#include "models/detector/precision.h"
#include "models/targets/onnx_file.h"
#include "models/targets/operators/operators.h"

namespace cloak {

class Graph {
  public:
    /* Of `input` (empty: the only one) to the values named in `wanted`, outputs or any others. What
     * they do not need is left out; what depends on no input is computed here, once. Throws
     * std::runtime_error that names the node or the value. */
    Graph(const OnnxFile &file, const std::string &input, const std::vector<std::string> &wanted,
        const torch::Device &device);

    /* Whether a brief run computes in less than float. */
    bool has_brief() const;

    /* Values in the order wanted, float. `image` is batch × channels × height × width. Both are the host's. Brief: in
     * bfloat16 where the device multiplies that. With gradients on, differentiable in `image`.
     * Throws std::runtime_error that names the node. One thread at a time per call, any number of
     * calls. */
    Values run(const torch::Tensor &image, Precision precision) const;

  private:
    /* A node, with the nodes behind it that it does the work of. */
    struct Step {
        const OnnxNode *node;
        Operator compute;
        std::vector<int> inputs, outputs; /* slots; -1: left out */
        std::shared_ptr<Conv> conv;       /* instead of `compute`, of the first input alone */
        std::array<int64_t, 4> margins = {0, 0, 0, 0}; /* left, right, top, bottom: padded before */
        int64_t shuffle = 1;              /* its outputs are so many rows and columns of an image */
    };

    int slot(const std::string &name);
    Values inputs_of(const Step &step, const Values &slots) const;
    Values compute(const Step &step, const Values &slots) const;
    void fold(std::vector<Step> &steps);
    void fuse(std::vector<Step> &steps);
    bool make_conv(Step &step) const;
    bool absorb(Step &step, const Step &next) const;
    void find_last_readers();

    void copy_constants();

    const torch::Device device_;
    std::shared_ptr<const OnnxFile> file_; /* that the steps' nodes lie in */
    std::vector<std::string> names_;       /* of the slots */
    std::map<std::string, int> slot_of_;
    Values constants_; /* by slot; the host's */
    Values copies_;    /* the same with those that are computed with on a device that is not the host; else empty */
    std::vector<Step> steps_;
    std::vector<std::vector<int>> last_read_; /* by step: slots that nobody reads after it */
    int input_ = -1;
    std::vector<int> wanted_;
};

} // namespace cloak
#endif
