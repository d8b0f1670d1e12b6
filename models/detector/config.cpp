/* Reads the architecture from a model file's metadata; see models/weights/README.md for the keys. */
#include "models/detector/config.h"

#include <cmath>
#include <memory>
#include <stdexcept>

#include <cjson/cJSON.h>

namespace cloak {

namespace {

using Metadata = std::map<std::string, std::string>;

const std::string &text(const Metadata &metadata, const std::string &key) {
    auto found = metadata.find(key);
    if (found == metadata.end())
        throw std::runtime_error("the model file's metadata lacks \"" + key + "\"");
    return found->second;
}

[[noreturn]] void bad(const std::string &key) {
    throw std::runtime_error("the model file's metadata has a bad value for \"" + key + "\"");
}

float number(const Metadata &metadata, const std::string &key, double low, double high) {
    char *end = nullptr;
    const std::string &value = text(metadata, key);
    double parsed = strtod(value.c_str(), &end);
    if (value.empty() || *end || !(parsed >= low && parsed <= high))
        bad(key);
    return float(parsed);
}

std::vector<float> numbers(const cJSON *array, const std::string &key) {
    std::vector<float> list;
    const cJSON *item;
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) > 64)
        bad(key);
    cJSON_ArrayForEach(item, array) {
        if (!cJSON_IsNumber(item) || !std::isfinite(item->valuedouble))
            bad(key);
        list.push_back(float(item->valuedouble));
    }
    return list;
}

std::unique_ptr<cJSON, decltype(&cJSON_Delete)> json(
    const Metadata &metadata, const std::string &key) {
    return {cJSON_Parse(text(metadata, key).c_str()), &cJSON_Delete};
}

std::vector<float> list(const Metadata &metadata, const std::string &key, size_t want) {
    std::vector<float> values = numbers(json(metadata, key).get(), key);
    if (values.empty() || (want && values.size() != want))
        bad(key);
    return values;
}

} // namespace

DetectorConfig parse_config(const Metadata &metadata) {
    DetectorConfig config;
    if (text(metadata, "format") != "cloakfleet.detector/1")
        throw std::runtime_error("the model file has format \"" + text(metadata, "format") +
                                 "\"; this build reads \"cloakfleet.detector/1\"");
    config.name = text(metadata, "name");
    config.backbone = text(metadata, "backbone");
    config.training = text(metadata, "training");
    config.fpn_channels = int(number(metadata, "fpn_channels", 8, 1024));
    auto sizes = json(metadata, "anchor_sizes");
    const cJSON *level;
    if (!cJSON_IsArray(sizes.get()))
        bad("anchor_sizes");
    cJSON_ArrayForEach(level, sizes.get())
        config.anchor_sizes.push_back(numbers(level, "anchor_sizes"));
    if (config.anchor_sizes.size() != 5)
        bad("anchor_sizes");
    config.anchor_ratios = list(metadata, "anchor_ratios", 0);
    config.mean = list(metadata, "mean", 3);
    config.std = list(metadata, "std", 3);
    config.input_min = int(number(metadata, "input_min", 32, 8192));
    config.input_max = int(number(metadata, "input_max", 32, 8192));
    config.score_threshold = number(metadata, "score_threshold", 0.0001, 0.9999);
    config.box_nms = number(metadata, "box_nms", 0, 1);
    if (metadata.count("box_vote"))
        config.box_vote = number(metadata, "box_vote", 0, 1);
    if (metadata.count("box_refine"))
        config.box_refine = number(metadata, "box_refine", 0, 1);
    if (metadata.count("rpn_min_size"))
        config.rpn_min_size = number(metadata, "rpn_min_size", 1e-3, 64);
    config.rpn_nms = number(metadata, "rpn_nms", 0, 1);
    config.max_detections = int(number(metadata, "max_detections", 1, 10000));
    config.rpn_pre_nms = int(number(metadata, "rpn_pre_nms", 1, 10000));
    config.rpn_post_nms = int(number(metadata, "rpn_post_nms", 1, 10000));
    return config;
}

} // namespace cloak
