/* ONNX reader; see the header. */
#include "models/targets/onnx_file.h"

#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>

#include <ATen/ATen.h>
#include <onnx/onnx_pb.h>

extern "C" {
#include "common/base/digest.h"
#include "common/base/file.h"
}

namespace cloak {

namespace {

constexpr size_t max_file = size_t(256) << 20;
constexpr int max_nodes = 10000, max_dims = 8, max_list = 4096, max_ports = 1024;

using Proto = onnx::TensorProto;

/* How a tensor's raw bytes are to be read, and what becomes of them. */
struct ElementType {
    int proto;
    torch::Dtype stored, wanted;
};

const ElementType element_types[] = {
    {Proto::FLOAT, torch::kFloat32, torch::kFloat32},
    {Proto::DOUBLE, torch::kFloat64, torch::kFloat32},
    {Proto::FLOAT16, torch::kFloat16, torch::kFloat32},
    {Proto::BFLOAT16, torch::kBFloat16, torch::kFloat32},
    {Proto::INT64, torch::kInt64, torch::kInt64},
    {Proto::INT32, torch::kInt32, torch::kInt64},
    {Proto::INT8, torch::kInt8, torch::kInt64},
    {Proto::UINT8, torch::kUInt8, torch::kInt64},
    {Proto::BOOL, torch::kBool, torch::kBool},
};

const ElementType &element_type(const std::string &what, int proto) {
    for (const ElementType &type : element_types)
        if (type.proto == proto)
            return type;
    throw std::runtime_error(what + " has an element type that is not supported (" +
                             std::to_string(proto) + " in ONNX's numbering)");
}

std::vector<int64_t> shape_of(const std::string &what, const Proto &proto, int64_t most) {
    std::vector<int64_t> shape;
    int64_t count = 1;
    if (proto.dims_size() > max_dims)
        throw std::runtime_error(what + " has more than 8 dimensions");
    for (int64_t size : proto.dims()) {
        if (size < 0 || size > most)
            throw std::runtime_error(what + " is larger than the file");
        count *= size;
        if (count > most)
            throw std::runtime_error(what + " is larger than the file");
        shape.push_back(size);
    }
    return shape;
}

/* The numbers that a tensor holds one by one instead of as raw bytes. */
template <typename List>
torch::Tensor from_list(const std::string &what, const List &list, int64_t count, torch::Dtype type) {
    if (list.size() != count)
        throw std::runtime_error(what + " holds another number of values than its shape says");
    using Value = typename List::value_type;
    torch::Tensor tensor = torch::empty({count}, c10::CppTypeToScalarType<Value>::value);
    std::copy(list.begin(), list.end(), tensor.template data_ptr<Value>());
    return tensor.to(type);
}

torch::Tensor read_tensor(const std::string &what, const Proto &proto) {
    const ElementType &type = element_type(what, proto.data_type());
    if (proto.data_location() == Proto::EXTERNAL)
        throw std::runtime_error(
            what + " lies in another file; save the model with its weights inside");
    const std::vector<int64_t> shape = shape_of(what, proto, int64_t(max_file));
    int64_t count = 1;
    for (int64_t size : shape)
        count *= size;
    if (proto.has_raw_data()) {
        const std::string &raw = proto.raw_data();
        if (raw.size() != size_t(count) * torch::elementSize(type.stored))
            throw std::runtime_error(what + " holds another number of bytes than its shape says");
        torch::Tensor tensor = torch::empty(shape, type.stored);
        if (count)
            std::memcpy(tensor.data_ptr(), raw.data(), raw.size());
        return tensor.to(type.wanted);
    }
    torch::Tensor values;
    if (type.proto == Proto::FLOAT)
        values = from_list(what, proto.float_data(), count, type.wanted);
    else if (type.proto == Proto::DOUBLE)
        values = from_list(what, proto.double_data(), count, type.wanted);
    else if (type.proto == Proto::INT64)
        values = from_list(what, proto.int64_data(), count, type.wanted);
    else if (type.wanted != torch::kFloat32)
        values = from_list(what, proto.int32_data(), count, type.wanted);
    else
        throw std::runtime_error(what + " holds 16-bit numbers one by one; save the model anew");
    return values.view(shape);
}

OnnxAttribute read_attribute(const std::string &label, const onnx::AttributeProto &proto) {
    const std::string what = label + ", attribute " + proto.name();
    OnnxAttribute attribute;
    if (proto.ints_size() > max_list || proto.floats_size() > max_list)
        throw std::runtime_error(what + " has more than " + std::to_string(max_list) + " numbers");
    attribute.real = proto.has_f() ? double(proto.f()) : double(proto.i());
    attribute.whole = proto.i();
    attribute.text = proto.s();
    attribute.wholes.assign(proto.ints().begin(), proto.ints().end());
    attribute.reals.assign(proto.floats().begin(), proto.floats().end());
    if (proto.has_t())
        attribute.tensor = read_tensor(what, proto.t());
    return attribute;
}

OnnxNode read_node(const onnx::NodeProto &proto, int number) {
    OnnxNode node;
    node.op = proto.op_type();
    node.name = proto.name();
    node.label = "node " + (node.name.empty() ? std::to_string(number) : node.name) + " (" +
                 node.op + ")";
    if (!proto.domain().empty() && proto.domain() != "ai.onnx")
        throw std::runtime_error(node.label + " is of the operator set " + proto.domain() +
                                 ", which is not ONNX's own");
    if (proto.input_size() > max_ports || proto.output_size() > max_ports)
        throw std::runtime_error(node.label + " has more than 1024 inputs or outputs");
    node.inputs.assign(proto.input().begin(), proto.input().end());
    node.outputs.assign(proto.output().begin(), proto.output().end());
    for (const onnx::AttributeProto &attribute : proto.attribute())
        node.attributes[attribute.name()] = read_attribute(node.label, attribute);
    return node;
}

/* Puts the nodes in an order in which each finds what it reads. */
void sort_nodes(OnnxFile &file) {
    std::map<std::string, size_t> maker;
    std::set<std::string> known(file.inputs.begin(), file.inputs.end());
    for (const auto &constant : file.constants)
        known.insert(constant.first);
    for (size_t i = 0; i < file.nodes.size(); i++)
        for (const std::string &output : file.nodes[i].outputs)
            if (!output.empty() && (known.count(output) || !maker.emplace(output, i).second))
                throw std::runtime_error(
                    file.nodes[i].label + " makes \"" + output + "\", which is there already");
    std::vector<int> waits(file.nodes.size(), 0);
    std::vector<std::vector<size_t>> readers(file.nodes.size());
    std::vector<size_t> ready;
    for (size_t i = 0; i < file.nodes.size(); i++) {
        for (const std::string &input : file.nodes[i].inputs) {
            if (input.empty() || known.count(input))
                continue;
            auto from = maker.find(input);
            if (from == maker.end())
                throw std::runtime_error(
                    file.nodes[i].label + " reads \"" + input + "\", which nothing makes");
            readers[from->second].push_back(i);
            waits[i]++;
        }
        if (waits[i] == 0)
            ready.push_back(i);
    }
    std::vector<OnnxNode> sorted;
    for (size_t next = 0; next < ready.size(); next++) {
        for (size_t reader : readers[ready[next]])
            if (--waits[reader] == 0)
                ready.push_back(reader);
        sorted.push_back(file.nodes[ready[next]]);
    }
    if (sorted.size() != file.nodes.size())
        throw std::runtime_error("its nodes read each other in a circle");
    file.nodes = std::move(sorted);
}

OnnxFile read_model(const onnx::ModelProto &model) {
    OnnxFile file;
    const onnx::GraphProto &graph = model.graph();
    for (const onnx::OperatorSetIdProto &set : model.opset_import())
        if (set.domain().empty() || set.domain() == "ai.onnx")
            file.opset = int(std::min<int64_t>(std::max<int64_t>(set.version(), 0), 1000));
    if (file.opset < 7)
        throw std::runtime_error("operator set " + std::to_string(file.opset) +
                                 " is too old; save the model with 7 or a later one");
    if (graph.node_size() < 1)
        throw std::runtime_error("it has no nodes");
    if (graph.node_size() > max_nodes)
        throw std::runtime_error("it has more than " + std::to_string(max_nodes) + " nodes");
    for (const Proto &constant : graph.initializer())
        file.constants[constant.name()] = read_tensor("constant " + constant.name(), constant);
    for (const onnx::ValueInfoProto &input : graph.input())
        if (!file.constants.count(input.name()))
            file.inputs.push_back(input.name());
    for (const onnx::ValueInfoProto &output : graph.output())
        file.outputs.push_back(output.name());
    for (int i = 0; i < graph.node_size(); i++)
        file.nodes.push_back(read_node(graph.node(i), i));
    sort_nodes(file);
    return file;
}

} // namespace

OnnxFile read_onnx(const std::string &path) {
    void *block = nullptr;
    size_t length = 0;
    cloak_error error;
    if (cloak_file_read(path.c_str(), max_file, &block, &length, &error) != CLOAK_OK)
        throw std::runtime_error(error.text);
    std::unique_ptr<void, decltype(&free)> owner(block, &free);
    onnx::ModelProto model;
    if (!model.ParseFromArray(block, int(length)))
        throw std::runtime_error(path + ": is not an ONNX file, or is cut off");
    try {
        OnnxFile file = read_model(model);
        char digest[CLOAK_DIGEST_SIZE];
        cloak_digest_hex(block, length, digest);
        file.sha256 = digest;
        return file;
    } catch (const std::exception &problem) {
        throw std::runtime_error(path + ": " + problem.what());
    }
}

} // namespace cloak
