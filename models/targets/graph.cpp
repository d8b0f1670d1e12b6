/* Graphs; see the header.
 *
 * DESIGN. A convolution with constant weights becomes the detector's own layer (detector/layers.h): its
 * gradient is taken with respect to what goes in alone, in float or bfloat16, with a batch norm and a
 * ReLU behind it folded in. A transposed convolution whose windows do not overlap is a convolution of
 * 1 × 1 whose channels are dealt out to rows and columns. The rest runs as torch's own operations.
 *
 * On a GPU, what is made of the image lies there, and what is made of its shape on the host: sizes, axes and
 * indices decide what is to be done next, and a GPU is not asked for them. Constants are in both places.
 */
#include "models/targets/graph.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include <ATen/ATen.h>

#include "models/detector/device.h"

namespace cloak {

namespace {

constexpr int64_t max_total = int64_t(1) << 29; /* elements of all values of one run */

/* Runs `body`; what it throws says which node it was. */
template <typename Body> auto at_node(const OnnxNode &node, Body body) {
    try {
        return body();
    } catch (const c10::OutOfMemoryError &) { /* is not the node's fault */
        throw;
    } catch (const c10::Error &problem) {
        const std::string text = problem.what_without_backtrace();
        throw std::runtime_error(node.label + ": " + text.substr(0, text.find('\n')));
    } catch (const std::runtime_error &problem) {
        throw std::runtime_error(node.label + ": " + problem.what());
    }
}

void count_elements(const Values &values, int64_t &total) {
    for (const torch::Tensor &value : values)
        total += value.defined() ? value.numel() : 0;
    if (total > max_total)
        throw std::runtime_error("its values have more than " + std::to_string(max_total) +
                                 " elements altogether");
}

/* Whether an operator's further inputs are numbers that the host reads: scales, bounds. */
bool reads_by_hand(const OnnxNode &node) {
    static const std::set<std::string> operators = {"Clip", "Pad", "Range", "Resize", "Upsample"};
    return operators.count(node.op) != 0;
}

/* Whether a value is one of those that lie where they are computed with: whole numbers are the host's. */
bool is_computed_with(const torch::Tensor &value) {
    return value.defined() && (value.is_floating_point() || value.scalar_type() == torch::kBool);
}

bool is_elsewhere(const torch::Tensor &value) {
    return value.defined() && !value.device().is_cpu();
}

/* oneDNN takes the sizes that it is given on trust. */
void check_fit(const Conv &conv, const std::array<int64_t, 4> &margins, const torch::Tensor &x) {
    const auto weight = conv.weight.exact.sizes();
    if (x.dim() != 4 || !x.is_floating_point() || x.numel() == 0)
        throw std::runtime_error("an image is needed: batch, channels, height, width");
    if (x.size(1) != weight[1] * conv.groups)
        throw std::runtime_error("the input has " + std::to_string(x.size(1)) +
                                 " channels instead of " + std::to_string(weight[1] * conv.groups));
    int64_t count = x.size(0) * weight[0], input = x.size(0) * x.size(1);
    for (size_t i = 0; i < 2; i++) {
        const int64_t padded = x.size(int64_t(i) + 2) + 2 * conv.padding[i] + margins[2 - 2 * i] +
                               margins[3 - 2 * i];
        const int64_t window = conv.dilation[i] * (weight[i + 2] - 1) + 1;
        if (padded < window)
            throw std::runtime_error("the input is smaller than the window");
        count *= (padded - window) / conv.stride[i] + 1;
        input *= padded;
        if (count > max_elements || input > max_elements)
            throw std::runtime_error("its output would be too large");
    }
}

} // namespace

int Graph::slot(const std::string &name) {
    if (name.empty())
        return -1;
    auto found = slot_of_.find(name);
    if (found != slot_of_.end())
        return found->second;
    names_.push_back(name);
    constants_.emplace_back();
    return slot_of_[name] = int(names_.size()) - 1;
}

Graph::Graph(const OnnxFile &file, const std::string &input, const std::vector<std::string> &wanted,
    const torch::Device &device)
    : device_(device), file_(std::make_shared<OnnxFile>(file)) {
    if (input.empty() && file_->inputs.size() != 1)
        throw std::runtime_error("the graph has " + std::to_string(file_->inputs.size()) +
                                 " inputs; name one in the descriptor, input.name");
    const std::string entry = input.empty() ? file_->inputs[0] : input;
    if (std::count(file_->inputs.begin(), file_->inputs.end(), entry) == 0)
        throw std::runtime_error("the graph has no input \"" + entry + "\"");
    for (const auto &constant : file_->constants)
        constants_[size_t(slot(constant.first))] = constant.second;
    input_ = slot(entry);
    std::vector<Step> steps;
    std::set<std::string> needed(wanted.begin(), wanted.end());
    for (size_t i = file_->nodes.size(); i > 0; i--) {
        const OnnxNode &node = file_->nodes[i - 1];
        auto is_needed = [&needed](const std::string &name) { return needed.count(name) != 0; };
        if (std::none_of(node.outputs.begin(), node.outputs.end(), is_needed))
            continue;
        needed.insert(node.inputs.begin(), node.inputs.end());
        Step step = {&node, find_operator(node.op), {}, {}, nullptr};
        if (!step.compute)
            throw std::runtime_error(node.label + ": the operator " + node.op +
                                     " is not supported; if it comes after the scores and boxes, "
                                     "name values before it in the descriptor");
        for (const std::string &name : node.inputs)
            step.inputs.push_back(slot(name));
        for (const std::string &name : node.outputs)
            step.outputs.push_back(slot(name));
        steps.push_back(step);
    }
    std::reverse(steps.begin(), steps.end());
    for (const std::string &name : wanted) {
        if (!slot_of_.count(name))
            throw std::runtime_error("the graph has no value \"" + name + "\"");
        wanted_.push_back(slot_of_[name]);
    }
    fold(steps);
    fuse(steps);
    steps_ = std::move(steps);
    find_last_readers();
    if (!device_.is_cpu())
        copy_constants();
}

void Graph::copy_constants() {
    copies_ = constants_;
    for (Step &step : steps_) {
        if (step.conv)
            step.conv->move_to(device_);
        for (int from : step.inputs)
            if (from >= 0 && is_computed_with(copies_[size_t(from)]))
                copies_[size_t(from)] = copies_[size_t(from)].to(device_);
    }
}

bool Graph::has_brief() const {
    return has_bfloat16(device_);
}

/* Where one is elsewhere, so are all that are real numbers or truths, but for what the host reads. */
Values Graph::inputs_of(const Step &step, const Values &slots) const {
    Values in;
    const bool elsewhere = !reads_by_hand(*step.node) &&
                           std::any_of(step.inputs.begin(), step.inputs.end(), [&slots](int from) {
                               return from >= 0 && is_elsewhere(slots[size_t(from)]);
                           });
    for (int from : step.inputs) {
        if (from < 0) {
            in.emplace_back();
            continue;
        }
        const torch::Tensor &value = slots[size_t(from)];
        in.push_back(value.defined() ? value : (elsewhere ? copies_ : constants_)[size_t(from)]);
        if (!in.back().defined())
            throw std::runtime_error("\"" + names_[size_t(from)] + "\" is another input of the graph");
        if (elsewhere && is_computed_with(in.back()))
            in.back() = in.back().to(device_);
    }
    return in;
}

Values Graph::compute(const Step &step, const Values &slots) const {
    return at_node(*step.node, [&]() {
        Values in = inputs_of(step, slots);
        if (!step.conv)
            return step.compute(*step.node, in, file_->opset);
        check_fit(*step.conv, step.margins, in[0]);
        torch::Tensor x = in[0].to(device_).contiguous(at::MemoryFormat::ChannelsLast);
        if (step.margins != std::array<int64_t, 4>{0, 0, 0, 0})
            x = at::constant_pad_nd(x, step.margins, 0)
                    .contiguous(at::MemoryFormat::ChannelsLast);
        torch::Tensor y = (*step.conv)(x);
        return Values{step.shuffle > 1 ? at::pixel_shuffle(y, step.shuffle) : y};
    });
}

/* Computes what depends on constants alone. */
void Graph::fold(std::vector<Step> &steps) {
    torch::NoGradGuard no_grad;
    std::vector<Step> left;
    int64_t total = 0;
    for (Step &step : steps) {
        auto is_constant = [this](int from) {
            return from < 0 || constants_[size_t(from)].defined();
        };
        if (!std::all_of(step.inputs.begin(), step.inputs.end(), is_constant)) {
            left.push_back(std::move(step));
            continue;
        }
        const Values values = compute(step, constants_);
        count_elements(values, total);
        for (size_t i = 0; i < step.outputs.size() && i < values.size(); i++)
            if (step.outputs[i] >= 0)
                constants_[size_t(step.outputs[i])] = values[i];
    }
    steps = std::move(left);
}

/* Turns a convolution with constant weights into a layer, if it is one of those that layers do. */
bool Graph::make_conv(Step &step) const {
    const bool transposed = step.node->op == "ConvTranspose";
    if ((step.node->op != "Conv" && !transposed) || step.inputs.size() < 2 || step.inputs[0] < 0 ||
        step.inputs[1] < 0)
        return false;
    const bool biased = step.inputs.size() > 2 && step.inputs[2] >= 0;
    torch::Tensor weight = constants_[size_t(step.inputs[1])];
    torch::Tensor bias = biased ? constants_[size_t(step.inputs[2])] : torch::Tensor();
    if (!weight.defined() || weight.dim() != 4 || !weight.numel() || !weight.is_floating_point() ||
        (biased && !bias.defined()))
        return false;
    const std::string way = word(*step.node, "auto_pad", "NOTSET");
    if (way == "SAME_UPPER" || way == "SAME_LOWER")
        return false; /* goes by the input's size */
    const Window w = at_node(*step.node,
        [&]() { return window_of(*step.node, {weight.size(2), weight.size(3)}, {0, 0}); });
    const int64_t groups = whole(*step.node, "group", 1), k = w.kernel[0];
    auto conv = std::make_shared<Conv>();
    if (transposed) {
        const bool apart = w.kernel == w.stride && k == w.kernel[1] && w.symmetric() &&
                           w.before == std::vector<int64_t>{0, 0} &&
                           w.dilation == std::vector<int64_t>{1, 1} && groups == 1 &&
                           wholes(*step.node, "output_padding", {0, 0}) ==
                               std::vector<int64_t>{0, 0} &&
                           !step.node->attributes.count("output_shape");
        if (!apart || k != weight.size(2) || k != weight.size(3))
            return false;
        step.shuffle = k;
        weight = weight.permute({1, 2, 3, 0}).reshape({-1, weight.size(0), 1, 1});
        if (biased && bias.dim() == 1)
            bias = bias.repeat_interleave(k * k);
    } else {
        if (groups < 1 || weight.size(0) % groups || w.kernel[0] != weight.size(2) ||
            w.kernel[1] != weight.size(3))
            throw std::runtime_error(step.node->label + ": its weights do not fit its attributes");
        conv->stride = {w.stride[0], w.stride[1]};
        conv->dilation = {w.dilation[0], w.dilation[1]};
        conv->groups = groups;
        if (w.symmetric())
            conv->padding = {w.before[0], w.before[1]};
        else
            step.margins = {w.before[1], w.after[1], w.before[0], w.after[0]};
    }
    if (biased && (bias.dim() != 1 || bias.size(0) != weight.size(0)))
        throw std::runtime_error(step.node->label + ": its bias does not fit its weights");
    conv->weight = weight;
    conv->bias = biased ? bias : torch::zeros({weight.size(0)});
    step.conv = conv;
    return true;
}

/* Lets a layer do the work of the node that reads it, if it can. */
bool Graph::absorb(Step &step, const Step &next) const {
    Conv &conv = *step.conv;
    const std::string &op = next.node->op;
    if (conv.activation != Conv::none)
        return false;
    if (op == "Relu") {
        conv.activation = Conv::relu;
        return true;
    }
    Values in;
    for (size_t i = 0; i < next.inputs.size(); i++) {
        in.push_back(next.inputs[i] < 0 ? torch::Tensor() : constants_[size_t(next.inputs[i])]);
        if (i > 0 && next.inputs[i] >= 0 && !in[i].defined())
            return false;
    }
    double low, high;
    if (op == "Clip" && clip_bounds(*next.node, in, &low, &high) && low == 0 && high == 6) {
        conv.activation = Conv::relu6;
        return true;
    }
    if (op != "BatchNormalization" || in.size() != 5)
        return false;
    const int64_t channels = conv.outputs() / (step.shuffle * step.shuffle);
    for (size_t i = 1; i < 5; i++)
        if (!in[i].is_floating_point() || in[i].dim() != 1 || in[i].numel() != channels)
            return false;
    const torch::Tensor scale = (in[1] * at::rsqrt(in[4] + real(*next.node, "epsilon", 1e-5)))
                                    .view({-1})
                                    .repeat_interleave(step.shuffle * step.shuffle);
    const torch::Tensor mean = in[3].view({-1}).repeat_interleave(step.shuffle * step.shuffle);
    const torch::Tensor shift = in[2].view({-1}).repeat_interleave(step.shuffle * step.shuffle);
    conv.weight = conv.weight.exact * scale.view({-1, 1, 1, 1});
    conv.bias = (conv.bias.exact - mean) * scale + shift;
    return true;
}

void Graph::fuse(std::vector<Step> &steps) {
    torch::NoGradGuard no_grad;
    std::vector<int> readers(names_.size(), 0), reader(names_.size(), -1);
    for (size_t i = 0; i < steps.size(); i++)
        for (int from : steps[i].inputs)
            if (from >= 0) {
                readers[size_t(from)]++;
                reader[size_t(from)] = int(i);
            }
    for (int slot : wanted_)
        readers[size_t(slot)] += 2; /* must stay as it is */
    std::vector<bool> gone(steps.size(), false);
    for (Step &step : steps) {
        if (step.outputs.empty() || step.outputs[0] < 0 || !make_conv(step))
            continue;
        while (readers[size_t(step.outputs[0])] == 1) {
            const size_t next = size_t(reader[size_t(step.outputs[0])]);
            if (steps[next].inputs[0] != step.outputs[0] || steps[next].outputs.empty() ||
                steps[next].outputs[0] < 0 || !absorb(step, steps[next]))
                break;
            step.outputs[0] = steps[next].outputs[0];
            gone[next] = true;
        }
        step.inputs.resize(1);
    }
    std::vector<Step> left;
    for (size_t i = 0; i < steps.size(); i++)
        if (!gone[i])
            left.push_back(std::move(steps[i]));
    steps = std::move(left);
}

void Graph::find_last_readers() {
    std::vector<int> last(names_.size(), -1);
    for (size_t i = 0; i < steps_.size(); i++)
        for (int from : steps_[i].inputs)
            if (from >= 0)
                last[size_t(from)] = int(i);
    for (int slot : wanted_)
        last[size_t(slot)] = -1;
    last_read_.resize(steps_.size());
    for (size_t slot = 0; slot < last.size(); slot++)
        if (last[slot] >= 0)
            last_read_[size_t(last[slot])].push_back(int(slot));
}

Values Graph::run(const torch::Tensor &image, Precision precision) const {
    Values slots(names_.size());
    const bool brief = precision == Precision::brief && has_brief();
    slots[size_t(input_)] = image.to(device_, brief ? torch::kBFloat16 : torch::kFloat32)
                                .contiguous(at::MemoryFormat::ChannelsLast);
    int64_t total = 0;
    for (size_t i = 0; i < steps_.size(); i++) {
        const Step &step = steps_[i];
        const Values values = compute(step, slots);
        count_elements(values, total);
        for (size_t j = 0; j < step.outputs.size(); j++) {
            if (step.outputs[j] < 0)
                continue;
            if (j >= values.size())
                throw std::runtime_error(step.node->label + ": \"" +
                                         names_[size_t(step.outputs[j])] +
                                         "\" is an output that is not supported");
            slots[size_t(step.outputs[j])] = values[j];
        }
        for (int slot : last_read_[i])
            slots[size_t(slot)] = torch::Tensor();
    }
    Values out;
    for (int slot : wanted_) {
        const torch::Tensor &value =
            slots[size_t(slot)].defined() ? slots[size_t(slot)] : constants_[size_t(slot)];
        if (!value.defined())
            throw std::runtime_error("\"" + names_[size_t(slot)] + "\" is another input of the graph");
        out.push_back(value.to(torch::kCPU, torch::kFloat32));
    }
    return out;
}

} // namespace cloak
