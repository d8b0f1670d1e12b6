/* ONNX files and descriptors that somebody broke: every one is refused with a text, or works; none
 * crashes, hangs or takes memory without bound. Bytes are changed at random with fixed seeds, and fields
 * on purpose. Under AddressSanitizer this is the same program. */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include "models/cloak_model.h"
#include "tests/model/onnx_models.h"

namespace {

std::string folder;
long loaded, refused;

[[noreturn]] void die(const std::string &what) {
    fprintf(stderr, "%s\n", what.c_str());
    exit(1);
}

void write_file(const std::string &name, const std::string &bytes) {
    std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
}

void add_constant(onnx::GraphProto &graph, const char *name, std::initializer_list<int64_t> shape) {
    int64_t count = 1;
    for (int64_t size : shape)
        count *= size;
    std::vector<float> values;
    for (int64_t i = 0; i < count; i++)
        values.push_back(0.1f * float(i % 7) - 0.25f);
    add_floats(graph, name, shape, values);
}

/* A small detector with most of what detectors are made of. */
onnx::ModelProto small_model() {
    onnx::ModelProto model;
    model.set_ir_version(7);
    model.add_opset_import()->set_version(11);
    onnx::GraphProto &graph = *model.mutable_graph();
    graph.set_name("small");
    graph.add_input()->set_name("x");
    add_constant(graph, "w1", {4, 3, 3, 3});
    add_constant(graph, "b1", {4});
    add_constant(graph, "w2", {4, 1, 3, 3});
    add_constant(graph, "w3", {4, 4, 2, 2});
    add_constant(graph, "w4", {5, 8, 1, 1});
    add_constant(graph, "n", {4});
    add_constant(graph, "scales", {4});
    const float scales[] = {1, 1, 2, 2};
    graph.mutable_initializer(6)->set_raw_data(scales, sizeof scales);
    add_whole(graph, "rows", {1, -1, 5});
    add_whole(graph, "zero", {0});
    add_ints(add_node(graph, "Conv", {"x", "w1", "b1"}, {"c1"}), "pads", {1, 1, 1, 1});
    add_node(graph, "Relu", {"c1"}, {"r1"});
    onnx::NodeProto *pool = add_node(graph, "MaxPool", {"r1"}, {"p1"});
    add_ints(pool, "kernel_shape", {2, 2});
    add_ints(pool, "strides", {2, 2});
    onnx::NodeProto *depthwise = add_node(graph, "Conv", {"p1", "w2"}, {"c2"});
    add_ints(depthwise, "pads", {1, 1, 1, 1});
    add_whole_attribute(depthwise, "group", 4);
    add_node(graph, "BatchNormalization", {"c2", "n", "n", "n", "b1"}, {"n2"});
    add_ints(add_node(graph, "ConvTranspose", {"n2", "w3"}, {"u1"}), "strides", {2, 2});
    add_node(graph, "Resize", {"p1", "", "scales"}, {"u2"});
    add_whole_attribute(add_node(graph, "Concat", {"u1", "u2"}, {"both"}), "axis", 1);
    add_node(graph, "Conv", {"both", "w4"}, {"maps"});
    add_ints(add_node(graph, "Transpose", {"maps"}, {"last"}), "perm", {0, 2, 3, 1});
    add_node(graph, "Shape", {"last"}, {"size"});
    add_node(graph, "Gather", {"size", "zero"}, {"batch"});
    add_node(graph, "Reshape", {"last", "rows"}, {"table"});
    add_node(graph, "Sigmoid", {"table"}, {"y"});
    graph.add_output()->set_name("y");
    return model;
}

const char descriptor[] =
    "{\"format\": \"cloakfleet.target/1\", \"name\": \"small\", \"licence\": \"ours\","
    " \"input\": {\"long_side\": 32, \"align\": 4, \"mean\": [127, 127, 127], \"std\": [64, 64, 64]},"
    " \"threshold\": 0.6, \"nms\": 0.4, \"heads\": [{\"score\": [{\"output\": \"y\", \"column\": 4}],"
    " \"box\": {\"kind\": \"offset_exp\", \"output\": \"y\", \"variances\": [0.1, 0.2]},"
    " \"anchors\": [{\"stride\": 1, \"sizes\": [4], \"offset\": 0.5}]}]}";

/* Loads what lies in the folder, and looks with it. */
void attempt(const char *what) {
    cloak_model_params params = cloak_model_default_params();
    params.threads = 1;
    cloak_model *model = nullptr;
    cloak_error error = {};
    const cloak_status status = cloak_model_load((folder + "/m.onnx").c_str(), &params, &model, &error);
    if (status != CLOAK_OK) {
        refused++;
        if (!error.text[0] || (status != CLOAK_E_USAGE && status != CLOAK_E_DEVICE))
            die(std::string(what) + ": refused without a word: " + error.text);
        return;
    }
    loaded++;
    static const uint8_t grey[24 * 20 * 3] = {128};
    const cloak_image image = {grey, 24, 20};
    cloak_detections found = {0, nullptr};
    if (cloak_model_detect(model, &image, 1, &found, &error) != CLOAK_OK && !error.text[0])
        die(std::string(what) + ": failed without a word");
    cloak_detections_free(&found);
    cloak_model_free(model);
}

void expect(const char *what, const onnx::ModelProto &model, const char *text) {
    cloak_model_params params = cloak_model_default_params();
    cloak_model *loaded_model = nullptr;
    cloak_error error = {};
    write_file("m.onnx", model.SerializeAsString());
    const cloak_status status =
        cloak_model_load((folder + "/m.onnx").c_str(), &params, &loaded_model, &error);
    if (status == CLOAK_OK || !strstr(error.text, text))
        die(std::string(what) + " should say \"" + text + "\", but: " +
            (status == CLOAK_OK ? "it loads" : error.text));
}

std::string mangled(std::string bytes, std::mt19937 &random) {
    auto at = [&](size_t size) { return size_t(random()) % size; };
    static const unsigned char edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (int changes = 1 + int(at(4)); changes > 0 && bytes.size() > 8; changes--) {
        const size_t place = at(bytes.size());
        switch (at(5)) {
        case 0:
            bytes[place] = char(random());
            break;
        case 1:
            bytes[place] = char(edges[at(sizeof edges)]);
            break;
        case 2:
            bytes.erase(place, 1 + at(8));
            break;
        case 3:
            bytes.insert(place, std::string(1 + at(9), char(edges[at(sizeof edges)])));
            break;
        case 4:
            bytes[place] = char(bytes[place] ^ (1 << at(8)));
            break;
        }
    }
    return bytes;
}

/* Tries a file broken in many ways, and leaves it whole. */
void mangle(const char *name, const std::string &bytes, int rounds) {
    for (int i = 0; i < rounds; i++) {
        std::mt19937 random{unsigned(i)};
        write_file(name, mangled(bytes, random));
        attempt((std::string(name) + ", seed " + std::to_string(i)).c_str());
    }
    write_file(name, bytes);
}

void change_fields() {
    auto with = [](const std::function<void(onnx::GraphProto &)> &change) {
        onnx::ModelProto model = small_model();
        change(*model.mutable_graph());
        return model;
    };
    expect("a lost constant", with([](onnx::GraphProto &g) { g.mutable_initializer(0)->set_name("lost"); }),
        "which nothing makes");
    expect("a circle", with([](onnx::GraphProto &g) { g.mutable_node(0)->set_input(0, "both"); }),
        "circle");
    expect("a huge constant",
        with([](onnx::GraphProto &g) { g.mutable_initializer(0)->set_dims(0, int64_t(1) << 62); }),
        "larger than the file");
    expect("a negative size", with([](onnx::GraphProto &g) { g.mutable_initializer(0)->set_dims(0, -4); }),
        "larger than the file");
    expect("a huge window", with([](onnx::GraphProto &g) {
        g.mutable_node(2)->mutable_attribute(0)->set_ints(0, int64_t(1) << 40);
    }),
        "impossible size");
    expect("huge padding", with([](onnx::GraphProto &g) {
        g.mutable_node(0)->mutable_attribute(0)->set_ints(0, int64_t(1) << 40);
    }),
        "impossible size");
    expect("a weight's bytes missing",
        with([](onnx::GraphProto &g) { g.mutable_initializer(0)->set_raw_data("abc"); }),
        "another number of bytes");
    expect("weights elsewhere", with([](onnx::GraphProto &g) {
        g.mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
    }),
        "lies in another file");
    expect("a scale without end", with([](onnx::GraphProto &g) {
        const float scales[] = {1, 1, 1e30f, 2};
        g.mutable_initializer(6)->set_raw_data(scales, sizeof scales);
    }),
        "a scale outside");
    expect("another place's value", with([](onnx::GraphProto &g) { g.mutable_node(1)->set_input(0, "x"); }),
        "node");
    expect("too many nodes", with([](onnx::GraphProto &g) {
        for (int i = 0; i < 10001; i++)
            add_node(g, "Relu", {"x"}, {});
    }),
        "more than 10000 nodes");
    expect("the lowest number divided by -1", with([](onnx::GraphProto &g) {
        add_whole(g, "lowest", {INT64_MIN, INT64_MIN, INT64_MIN});
        add_whole(g, "minus", {-1});
        add_node(g, "Div", {"lowest", "minus"}, {"turned"});
        g.mutable_node(12)->set_input(1, "turned"); /* as a shape */
    }),
        "(Reshape)");
    expect("norms of two dimensions", with([](onnx::GraphProto &g) { g.mutable_initializer(5)->add_dims(1); }),
        "one number per channel");
    expect("a sum that is larger than the product", with([](onnx::GraphProto &g) {
        add_constant(g, "square", {2, 2});
        add_constant(g, "more", {3, 2, 2});
        add_node(g, "Gemm", {"square", "square", "more"}, {"product"});
        g.mutable_node(0)->set_input(0, "product");
    }),
        "does not fit the product");
    /* Each is 1 MB, the product 64 MB, but either repeated for the other's batch 4 GB. */
    expect("products of many", with([](onnx::GraphProto &g) {
        add_constant(g, "rows1", {4096, 1, 1, 64});
        add_constant(g, "columns1", {1, 4096, 64, 1});
        add_node(g, "MatMul", {"rows1", "columns1"}, {"product"});
        g.mutable_node(0)->set_input(0, "product");
    }),
        "elements");
    expect("a wide margin around few places", with([](onnx::GraphProto &g) {
        onnx::AttributeProto *pads = g.mutable_node(0)->mutable_attribute(0);
        for (int i = 0; i < 4; i++)
            pads->set_ints(i, 4096 - (i == 3)); /* uneven: made of the input itself */
        add_ints(g.mutable_node(0), "strides", {4096, 4096});
    }),
        "too large");
    /* Doubling 40 times would be a terabyte. */
    expect("growth", with([](onnx::GraphProto &g) {
        std::string from = "x";
        for (int i = 0; i < 40; i++) {
            const std::string to = "g" + std::to_string(i);
            add_node(g, "Concat", {from.c_str(), from.c_str()}, {to.c_str()});
            from = to;
        }
        g.mutable_node(0)->set_input(0, from);
    }),
        "elements");
}

/* What a descriptor of a cascade must not say. */
void change_cascade(const std::string &json) {
    const onnx::ModelProto model = cascade_model(0);
    auto says = [&](const char *what, const std::string &from, const std::string &to, const char *text) {
        std::string changed = json;
        const size_t place = changed.find(from);
        if (place == std::string::npos)
            die(std::string(what) + ": the descriptor has no " + from);
        write_file("m.json", changed.replace(place, from.size(), to));
        expect(what, model, text);
    };
    says("heads beside a cascade", "\"cascade\": {", "\"heads\": [], \"cascade\": {", "heads is not for a cascade");
    says("a threshold beside a cascade", "\"cascade\": {", "\"threshold\": 0.5, \"cascade\": {",
        "threshold is not for a cascade");
    says("sizes without end", "\"shrink\": 0.709", "\"shrink\": 1", "cascade.shrink must be");
    says("an enlarged photo", "\"least_face\": 20", "\"least_face\": 3", "cascade.least_face must be");
    says("no step", "\"stride\": 2", "\"stride\": 0", "cascade.stride must be");
    says("no stage", "\"stages\": [", "\"stages\": [{}], \"stride\": [", "must be a list of 2 to 4");
    says("a window that does not fit", "\"size\": 24", "\"size\": 25", "locations");
    says("a huge window", "\"size\": 48", "\"size\": 4800", "size must be a number from 4 to 256");
    says("no window", "\"size\": 48, ", "", "size is missing");
    says("another stage's input", "\"input\": \"r\"", "\"input\": \"o\"", "another input of the graph");
    says("an output that is not there", "o_box", "o_bax", "no value \"o_bax\"");
    says("scores as boxes", "p_box", "p_face", "is not 4 numbers");
    says("a column too many", "\"output\": \"r_face\"", "\"output\": \"r_face\", \"column\": 1", "column 1 is asked for");
    says("rows where maps belong", "\"output\": \"r_face\"", "\"output\": \"r_face_map\"", "dimensions");
}

} // namespace

int main() {
    char path[] = "/tmp/cloak-hostile-XXXXXX";
    if (!mkdtemp(path))
        die("no temporary folder");
    folder = path;
#ifndef __SANITIZE_ADDRESS__ /* which reserves terabytes of addresses */
    const rlimit limit = {rlim_t(8) << 30, rlim_t(8) << 30};
    setrlimit(RLIMIT_AS, &limit);
    const int rounds = 4000;
#else
    const int rounds = 1200;
#endif
    const std::string model = small_model().SerializeAsString(), json = descriptor;
    write_file("m.json", json);
    write_file("m.onnx", model);
    attempt("the model as it is");
    if (loaded != 1)
        die("the small model does not load");
    change_fields();
    mangle("m.onnx", model, rounds);
    mangle("m.json", json, rounds);
    const std::string cascade = cascade_descriptor("0.6", "0.7", "0.7");
    change_cascade(cascade);
    write_file("m.onnx", cascade_model(0).SerializeAsString());
    mangle("m.json", cascade, rounds / 2);
    write_file("m.json", cascade);
    mangle("m.onnx", cascade_model(0).SerializeAsString(), rounds / 2);
    rusage used = {};
    getrusage(RUSAGE_SELF, &used);
    printf("%ld loaded, %ld refused; %ld MiB at most\n", loaded, refused, used.ru_maxrss >> 10);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what was freed */
    if (used.ru_maxrss >> 10 > 1024)
        die("broken files took more than 1 GiB");
#endif
    for (const char *name : {"/m.json", "/m.onnx"})
        unlink((folder + name).c_str());
    rmdir(path);
    return 0;
}
