/* Small ONNX files for tests, made with the format's own classes. */
#ifndef CLOAK_TESTS_ONNX_MODELS_H
#define CLOAK_TESTS_ONNX_MODELS_H

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>
#include <vector>

#include <onnx/onnx_pb.h>

/* A node of the graph, named after its operator and its place. */
inline onnx::NodeProto *add_node(onnx::GraphProto &graph, const char *op,
    std::initializer_list<const char *> inputs, std::initializer_list<const char *> outputs) {
    onnx::NodeProto *node = graph.add_node();
    node->set_op_type(op);
    node->set_name(std::string(op) + std::to_string(graph.node_size()));
    for (const char *name : inputs)
        node->add_input(name);
    for (const char *name : outputs)
        node->add_output(name);
    return node;
}

inline void add_ints(onnx::NodeProto *node, const char *name, std::initializer_list<int64_t> values) {
    onnx::AttributeProto *attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INTS);
    for (int64_t value : values)
        attribute->add_ints(value);
}

inline void add_whole_attribute(onnx::NodeProto *node, const char *name, int64_t value) {
    onnx::AttributeProto *attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(value);
}

/* A constant of floats. */
inline void add_floats(onnx::GraphProto &graph, const std::string &name,
    std::initializer_list<int64_t> shape, const std::vector<float> &values) {
    onnx::TensorProto *tensor = graph.add_initializer();
    for (int64_t size : shape)
        tensor->add_dims(size);
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    tensor->set_raw_data(std::string(
        reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float)));
}

inline void add_whole(onnx::GraphProto &graph, const char *name, std::initializer_list<int64_t> values) {
    onnx::TensorProto *tensor = graph.add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::INT64);
    tensor->add_dims(int64_t(values.size()));
    for (int64_t value : values)
        tensor->add_int64_data(value);
}

/* A cascade of three networks, `p`, `r` and `o`, whose windows are 12, 24 and 48 pixels wide. Each says what
 * the middle two thirds of its window are brighter than the rim: its logit is 60 times that (levels as shares of
 * 128) less 2. Boxes stay where they are, but the last network moves their left and right edges by `shift`. */
inline onnx::ModelProto cascade_model(float shift) {
    onnx::ModelProto model;
    model.set_ir_version(7);
    model.add_opset_import()->set_version(11);
    onnx::GraphProto &graph = *model.mutable_graph();
    graph.set_name("cascade");
    int64_t side = 12;
    for (const std::string stage : {"p", "r", "o"}) {
        const int64_t rim = side / 6, inner = side - 2 * rim;
        const float middle = float(3 * inner * inner), border = float(3 * side * side) - middle;
        std::vector<float> weights;
        for (int64_t i = 0; i < 3 * side * side; i++) {
            const int64_t x = i % side, y = i / side % side;
            auto inside = [&](int64_t at) { return at >= rim && at < side - rim; };
            weights.push_back(inside(x) && inside(y) ? 60 / middle : -60 / border);
        }
        const float moved = stage == "o" ? shift : 0;
        graph.add_input()->set_name(stage);
        add_floats(graph, stage + "_w", {1, 3, side, side}, weights);
        add_floats(graph, stage + "_b", {1}, {-2});
        add_floats(graph, stage + "_none", {4, 3, side, side},
            std::vector<float>(size_t(12 * side * side), 0.0f));
        add_floats(graph, stage + "_shift", {4}, {moved, 0, moved, 0});
        const std::string face = stage + "_face", box = stage + "_box",
                          rows = stage == "p" ? "" : "_map";
        for (const auto &[weight, bias, out] :
            {std::array<std::string, 3>{"_w", "_b", face}, {"_none", "_shift", box}}) {
            onnx::NodeProto *conv = add_node(graph, "Conv",
                {stage.c_str(), (stage + weight).c_str(), (stage + bias).c_str()},
                {(out + rows).c_str()});
            if (stage == "p")
                add_ints(conv, "strides", {2, 2});
            else
                add_node(graph, "Flatten", {(out + rows).c_str()}, {out.c_str()});
            graph.add_output()->set_name(out);
        }
        side *= 2;
    }
    return model;
}

/* Its descriptor, with the stages' thresholds. */
inline std::string cascade_descriptor(const char *p, const char *r, const char *o) {
    auto stage = [](const char *name, const char *size, const char *threshold) {
        return std::string("{\"input\": \"") + name + "\", \"size\": " + size +
               ", \"score\": {\"output\": \"" + name +
               "_face\", \"activation\": \"sigmoid\"}, \"box\": \"" + name +
               "_box\", \"threshold\": " + threshold + ", \"nms\": 0.7}";
    };
    return "{\"format\": \"cloakfleet.target/1\", \"name\": \"cascade\", \"licence\": \"ours\","
           " \"input\": {\"long_side\": 640, \"mean\": [127.5, 127.5, 127.5], \"std\": [128, 128, 128]},"
           " \"cascade\": {\"least_face\": 20, \"shrink\": 0.709, \"stride\": 2, \"level_nms\": 0.5,"
           " \"stages\": [" +
           stage("p", "12", p) + ", " + stage("r", "24", r) + ", " + stage("o", "48", o) + "]}}";
}

/* A dense detector of bright places: for each 8 × 8 pixels its logit is 80 times their mean (levels less 127.5, as
 * shares of 128) less 2, and its box 16 pixels wide and high. */
inline onnx::ModelProto dense_model() {
    onnx::ModelProto model;
    model.set_ir_version(7);
    model.add_opset_import()->set_version(11);
    onnx::GraphProto &graph = *model.mutable_graph();
    graph.set_name("dense");
    graph.add_input()->set_name("x");
    std::vector<float> weights(5 * 3 * 64, 0.0f);
    std::fill_n(weights.begin() + 4 * 3 * 64, 3 * 64, 80.0f / (3 * 64));
    add_floats(graph, "w", {5, 3, 8, 8}, weights);
    add_floats(graph, "b", {5}, {1, 1, 1, 1, -2});
    add_ints(add_node(graph, "Conv", {"x", "w", "b"}, {"y"}), "strides", {8, 8});
    graph.add_output()->set_name("y");
    return model;
}

/* Its descriptor. */
inline std::string dense_descriptor(const std::string &threshold) {
    return "{\"format\": \"cloakfleet.target/1\", \"name\": \"dense\", \"licence\": \"ours\","
           " \"input\": {\"long_side\": 160, \"align\": 8, \"mean\": [127.5, 127.5, 127.5], \"std\": [128, 128, 128]},"
           " \"threshold\": " + threshold + ", \"heads\": [{\"layout\": \"maps\","
           " \"score\": [{\"output\": \"y\", \"column\": 4, \"activation\": \"sigmoid\"}],"
           " \"box\": {\"kind\": \"distance\", \"output\": \"y\"},"
           " \"anchors\": [{\"stride\": 8}]}]}";
}

#endif
