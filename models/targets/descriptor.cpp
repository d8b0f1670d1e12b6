/* Descriptors; see the header. */
#include "models/targets/descriptor.h"

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>

#include <cjson/cJSON.h>

extern "C" {
#include "common/base/file.h"
}

namespace cloak {

namespace {

constexpr size_t max_file = size_t(1) << 20;
constexpr int max_heads = 16, max_factors = 4, max_levels = 16, max_sizes = 64, max_also = 7, max_side = 8192,
              max_stages = 4, max_window = 256;

/* An object of the file and where it is, for error texts. */
struct Object {
    const cJSON *json;
    std::string where;

    [[noreturn]] void bad(const char *key, const std::string &what) const {
        throw std::runtime_error(where + key + " " + what);
    }

    const cJSON *get(const char *key) const {
        return cJSON_GetObjectItemCaseSensitive(json, key);
    }

    /* Misspelt keys must not be passed over. */
    void allow(std::initializer_list<const char *> keys) const {
        if (!cJSON_IsObject(json))
            throw std::runtime_error(where + " must be an object");
        const cJSON *item;
        cJSON_ArrayForEach(item, json) {
            bool known = false;
            for (const char *key : keys)
                known = known || !strcmp(key, item->string);
            if (!known)
                bad(item->string, "is no key that this version knows (models/targets/README.md)");
        }
    }

    double number(const char *key, double otherwise, double low, double high) const {
        const cJSON *item = get(key);
        if (!item)
            return otherwise;
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high)) {
            char range[64];
            snprintf(range, sizeof range, "must be a number from %g to %g", low, high);
            bad(key, range);
        }
        return item->valuedouble;
    }

    int whole(const char *key, int otherwise, int low, int high) const {
        const double value = number(key, otherwise, low, high);
        if (value != std::floor(value))
            bad(key, "must be a whole number");
        return int(value);
    }

    bool flag(const char *key) const {
        const cJSON *item = get(key);
        if (item && !cJSON_IsBool(item))
            bad(key, "must be true or false");
        return cJSON_IsTrue(item);
    }

    std::string text(const char *key, const char *otherwise) const {
        const cJSON *item = get(key);
        if (!item && otherwise)
            return otherwise;
        if (!cJSON_IsString(item) || strlen(item->valuestring) > 1000)
            bad(key, "must be a text");
        return item->valuestring;
    }

    /* Which of the words it is. */
    size_t choice(const char *key, std::initializer_list<const char *> words, int otherwise) const {
        if (!get(key) && otherwise >= 0)
            return size_t(otherwise);
        const std::string given = text(key, nullptr);
        std::string list;
        size_t i = 0;
        for (const char *word : words) {
            if (given == word)
                return i;
            list += (i++ ? ", " : "") + std::string(word);
        }
        bad(key, "must be one of " + list);
    }

    /* The objects of a list of `low` to `high`. */
    std::vector<Object> objects(const char *key, int low, int high) const {
        const cJSON *array = get(key), *item;
        const int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : -1;
        if (count < low || count > high)
            bad(key, "must be a list of " + std::to_string(low) + " to " + std::to_string(high));
        std::vector<Object> list;
        cJSON_ArrayForEach(item, array) list.push_back(
            {item, where + key + "[" + std::to_string(list.size()) + "]."});
        return list;
    }

    std::vector<float> numbers(const char *key, int low, int high, double least, double most) const {
        const cJSON *array = get(key), *item;
        const int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : -1;
        std::vector<float> list;
        if (count < low || count > high)
            bad(key, "must be a list of " + std::to_string(low) + " to " + std::to_string(high) +
                         " numbers");
        cJSON_ArrayForEach(item, array) {
            if (!cJSON_IsNumber(item) || !(item->valuedouble >= least && item->valuedouble <= most))
                bad(key, "holds something that cannot be");
            list.push_back(float(item->valuedouble));
        }
        return list;
    }
};

OutputColumn read_column(const Object &object) {
    return {object.text("output", nullptr), object.whole("column", 0, 0, 10000)};
}

ScoreFactor read_factor(const Object &object) {
    object.allow({"output", "column", "activation"});
    return {read_column(object),
        Activation(object.choice("activation", {"none", "sigmoid", "softmax"}, 0))};
}

/* Further sizes of the input. */
void read_also(const Object &input, Descriptor &d) {
    const cJSON *array = input.get("also"), *item;
    const int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : -1;
    if (!d.long_side || count < 1 || count > max_also)
        input.bad("also", "must be a list of 1 to " + std::to_string(max_also) +
                              " long sides, beside long_side");
    cJSON_ArrayForEach(item, array) {
        const bool native = cJSON_IsString(item) && !strcmp(item->valuestring, "native");
        const double side = cJSON_IsNumber(item) ? item->valuedouble : 0;
        if (!native && !(side >= 16 && side <= max_side && side == std::floor(side)))
            input.bad("also", "holds neither a long side in pixels nor \"native\"");
        d.also.push_back(native ? Descriptor::native : int(side));
    }
}

void read_input(const Object &input, Descriptor &d) {
    input.allow({"name", "long_side", "also", "width", "height", "align", "square", "stretch", "enlarge", "pad",
        "colour", "mean", "std"});
    d.input = input.text("name", "");
    d.long_side = input.whole("long_side", 0, 16, max_side);
    d.width = input.whole("width", 0, 16, max_side);
    d.height = input.whole("height", 0, 16, max_side);
    if ((d.long_side > 0) == (d.width > 0) || (d.width > 0) != (d.height > 0))
        input.bad("long_side", "or width and height must be given, and not both");
    if (input.get("also"))
        read_also(input, d);
    d.align = input.whole("align", 1, 1, 1024);
    d.square = input.flag("square");
    d.enlarge = input.flag("enlarge");
    d.stretch = input.flag("stretch");
    if (d.square && !d.also.empty())
        input.bad("also", "and square exclude each other");
    if (d.stretch && d.square)
        input.bad("stretch", "and square exclude each other");
    d.pad = float(input.number("pad", 0, -1000, 1000));
    d.bgr = input.choice("colour", {"RGB", "BGR"}, 0) == 1;
    if (input.get("mean")) {
        const std::vector<float> list = input.numbers("mean", 3, 3, -1000, 1000);
        std::copy(list.begin(), list.end(), d.mean.begin());
    }
    if (input.get("std")) {
        const std::vector<float> list = input.numbers("std", 3, 3, 1e-6, 1e6);
        std::copy(list.begin(), list.end(), d.std.begin());
    }
}

void read_box(const Object &box, DetectorHead &head) {
    box.allow({"kind", "output", "of", "unit", "variances"});
    head.kind = BoxKind(box.choice(
        "kind", {"corners", "centre", "distance", "offset_exp", "offset_linear"}, -1));
    head.unit_input = box.choice("unit", {"pixels", "input"}, 0) == 1;
    if (box.get("variances")) {
        const std::vector<float> list = box.numbers("variances", 2, 2, 1e-6, 1e6);
        std::copy(list.begin(), list.end(), head.variances.begin());
    }
    if (!box.get("of")) {
        for (int i = 0; i < 4; i++)
            head.box[size_t(i)] = {box.text("output", nullptr), i};
        return;
    }
    size_t i = 0;
    for (const Object &pair : box.objects("of", 4, 4)) {
        const cJSON *name = cJSON_GetArrayItem(pair.json, 0),
                    *column = cJSON_GetArrayItem(pair.json, 1);
        if (!cJSON_IsString(name) || !cJSON_IsNumber(column) || !(column->valuedouble >= 0) ||
            column->valuedouble > 10000)
            pair.bad("", "must be [\"OUTPUT\", COLUMN]");
        head.box[i++] = {name->valuestring, int(column->valuedouble)};
    }
}

DetectorHead read_head(const Object &object) {
    DetectorHead head;
    object.allow({"score", "power", "box", "anchors", "layout"});
    for (const Object &factor : object.objects("score", 1, max_factors))
        head.score.push_back(read_factor(factor));
    head.power = float(object.number("power", 1, 0.01, 10));
    head.layout = Layout(object.choice("layout", {"rows", "columns", "maps"}, 0));
    read_box({object.get("box"), object.where + "box."}, head);
    const bool absolute = head.kind == BoxKind::corners || head.kind == BoxKind::centre;
    if (absolute && !object.get("anchors"))
        return head;
    for (const Object &level : object.objects("anchors", 1, max_levels)) {
        AnchorLevel anchor;
        level.allow({"stride", "sizes", "offset"});
        anchor.stride = float(level.number("stride", 0, 1, 1024));
        if (!level.get("stride"))
            level.bad("stride", "is missing");
        anchor.offset = float(level.number("offset", 0.5, -16, 16));
        anchor.sizes = {anchor.stride};
        if (level.get("sizes"))
            anchor.sizes = level.numbers("sizes", 1, max_sizes, 0.01, 8192);
        head.anchors.push_back(anchor);
    }
    return head;
}

CascadeStage read_stage(const Object &object) {
    CascadeStage stage;
    object.allow({"input", "size", "score", "box", "threshold", "nms"});
    stage.input = object.text("input", nullptr);
    stage.size = object.whole("size", 0, 4, max_window);
    if (!stage.size)
        object.bad("size", "is missing");
    stage.score = read_factor({object.get("score"), object.where + "score."});
    stage.box = object.text("box", nullptr);
    stage.threshold = float(object.number("threshold", 0.5, 0.01, 0.99));
    stage.nms = float(object.number("nms", 0.7, 0.05, 1));
    return stage;
}

void read_cascade(const Object &object, Descriptor &d) {
    Cascade &cascade = d.cascade;
    object.allow({"least_face", "shrink", "stride", "level_nms", "stages"});
    for (const Object &stage : object.objects("stages", 2, max_stages))
        cascade.stages.push_back(read_stage(stage));
    const int size = cascade.stages[0].size;
    cascade.least_face = object.whole("least_face", size, size, max_side);
    cascade.shrink = float(object.number("shrink", 0.709, 0.3, 0.95));
    cascade.stride = object.whole("stride", 2, 1, size);
    cascade.level_nms = float(object.number("level_nms", 0.5, 0.05, 1));
    d.threshold = cascade.stages.back().threshold;
}

Descriptor read(const cJSON *json) {
    const Object object = {json, ""};
    Descriptor d;
    object.allow({"format", "name", "licence", "training", "threshold", "nms", "heads", "cascade",
        "input", "source", "tested", "brief"});
    if (object.text("format", nullptr) != "cloakfleet.target/1")
        object.bad("format", "must be cloakfleet.target/1");
    d.name = object.text("name", nullptr);
    if (d.name.empty() || d.name.size() > 32 ||
        d.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") != std::string::npos)
        object.bad("name", "must be 1 to 32 of a-z 0-9 . _ -");
    d.licence = object.text("licence", nullptr);
    d.training = object.text("training", "");
    d.untested = object.get("tested") && !object.flag("tested");
    read_input({object.get("input"), "input."}, d);
    if (object.get("cascade")) {
        for (const char *key : {"heads", "threshold", "nms", "brief"})
            if (object.get(key))
                object.bad(key, "is not for a cascade, whose stages say this");
        if (!d.input.empty())
            object.bad("input.name", "is not for a cascade, whose stages say this");
        read_cascade({object.get("cascade"), "cascade."}, d);
        return d;
    }
    d.threshold = float(object.number("threshold", 0.5, 0.01, 0.99));
    d.brief = object.flag("brief");
    d.nms = float(object.number("nms", 0.4, 0.05, 1));
    for (const Object &head : object.objects("heads", 1, max_heads))
        d.heads.push_back(read_head(head));
    return d;
}

} // namespace

Descriptor read_descriptor(const std::string &path) {
    void *block = nullptr;
    size_t length = 0;
    cloak_error error;
    if (cloak_file_read(path.c_str(), max_file, &block, &length, &error) != CLOAK_OK)
        throw std::runtime_error(std::string(error.text) +
                                 " (a descriptor is needed beside the ONNX file; "
                                 "models/targets/README.md says how to write one)");
    std::unique_ptr<void, decltype(&free)> owner(block, &free);
    std::unique_ptr<cJSON, decltype(&cJSON_Delete)> json(
        cJSON_ParseWithLength(static_cast<const char *>(block), length), &cJSON_Delete);
    if (!cJSON_IsObject(json.get()))
        throw std::runtime_error(path + ": is not a JSON object");
    try {
        return read(json.get());
    } catch (const std::exception &problem) {
        throw std::runtime_error(path + ": " + problem.what());
    }
}

} // namespace cloak
