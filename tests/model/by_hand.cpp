/* Targets on networks that can be reckoned by hand (onnx_models.h). A cascade: what it finds, that every stage has
 * a say, where the last one puts the box, and that a cloak defeats it. A cascade and a dense target: with transforms,
 * what is just below a threshold counts. */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "models/cloak_model.h"
#include "models/detector/boxes.h"
#include "models/detector/odds.h"
#include "tests/model/onnx_models.h"

namespace {

constexpr int width = 160, height = 120, left = 70, top = 40, side = 38;
std::string folder;

[[noreturn]] void die(const std::string &what) {
    fprintf(stderr, "%s\n", what.c_str());
    exit(1);
}

/* A grey picture with a square that is twelve levels brighter: a face to these networks. */
std::vector<uint8_t> picture() {
    std::vector<uint8_t> rgb(size_t(width * height * 3), 122);
    for (int y = top; y < top + side; y++)
        for (int x = left; x < left + side; x++)
            for (int c = 0; c < 3; c++)
                rgb[size_t((y * width + x) * 3 + c)] = 134;
    return rgb;
}

cloak_model *load(const onnx::ModelProto &file, const std::string &descriptor) {
    const std::string path = folder + "/target.onnx";
    std::ofstream(path, std::ios::binary) << file.SerializeAsString();
    std::ofstream(folder + "/target.json") << descriptor;
    cloak_model_params params = cloak_model_default_params();
    params.threads = 1;
    cloak_model *model = nullptr;
    cloak_error error = {};
    if (cloak_model_load(path.c_str(), &params, &model, &error) != CLOAK_OK)
        die(error.text);
    return model;
}

std::vector<cloak_detection> found_by(cloak_model *model, const std::vector<uint8_t> &rgb) {
    const cloak_image image = {rgb.data(), width, height};
    cloak_detections found = {0, nullptr};
    cloak_error error = {};
    if (cloak_model_detect(model, &image, 1, &found, &error) != CLOAK_OK)
        die(error.text);
    std::vector<cloak_detection> list(found.items, found.items + found.count);
    cloak_detections_free(&found);
    return list;
}

std::vector<cloak_detection> found_with(float shift, const char *p, const char *r, const char *o) {
    cloak_model *model = load(cascade_model(shift), cascade_descriptor(p, r, o));
    std::vector<cloak_detection> found = found_by(model, picture());
    cloak_model_free(model);
    return found;
}

/* The square fills two thirds of a window. The first stage's locations are 9 pixels apart at the size that fits. */
void finds_the_square_once() {
    const std::vector<cloak_detection> found = found_with(0, "0.6", "0.7", "0.7");
    if (found.size() != 1)
        die(std::to_string(found.size()) + " boxes instead of 1");
    const float rim = side / 4.0f, want[] = {left - rim, top - rim, left + side + rim, top + side + rim};
    const float both = cloak::box_iou(want, &found[0].x1);
    if (!(both >= 0.6f))
        die("the box overlaps with the square's window by " + std::to_string(both));
    /* 60 × 12/128 − 2 is what a window says that fits exactly */
    const float best = 1 / (1 + std::exp(-3.625f));
    if (!(found[0].score > 0.8f && found[0].score <= best + 1e-4f))
        die("its score is " + std::to_string(found[0].score));
}

void every_stage_has_a_say() {
    const char *const sure = "0.98"; /* more than any window says */
    if (!found_with(0, sure, "0.7", "0.7").empty())
        die("the first stage has no say");
    if (!found_with(0, "0.6", sure, "0.7").empty())
        die("the second stage has no say");
    if (!found_with(0, "0.6", "0.7", sure).empty())
        die("the last stage has no say");
}

void the_last_stage_moves_the_box() {
    const cloak_detection still = found_with(0, "0.6", "0.7", "0.7")[0],
                          moved = found_with(0.1f, "0.6", "0.7", "0.7")[0];
    const float by = 0.1f * (still.x2 - still.x1 + 1);
    if (std::fabs(moved.x1 - still.x1 - by) > 0.01f || std::fabs(moved.x2 - still.x2 - by) > 0.01f ||
        moved.y1 != still.y1 || moved.y2 != still.y2)
        die("its left edge moves by " + std::to_string(moved.x1 - still.x1) + " instead of " +
            std::to_string(by));
}

/* Six levels on either side make the square as bright as what is around it. */
void a_cloak_defeats_it() {
    cloak_model *model = load(cascade_model(0), cascade_descriptor("0.6", "0.7", "0.7"));
    std::vector<uint8_t> rgb = picture();
    const cloak_image image = {rgb.data(), width, height};
    cloak_attack_params params = cloak_attack_default_params();
    params.eps = 6.0f / 255;
    params.max_steps = 20;
    cloak_attack_result result = {};
    cloak_error error = {};
    if (cloak_model_attack(model, &image, 1, &params, nullptr, &result, &error) != CLOAK_OK)
        die(error.text);
    if (!result.success || result.steps < 1)
        die("the cloak fails: " + std::to_string(result.residual_score) + " after " +
            std::to_string(result.steps) + " steps");
    std::vector<uint8_t> cloaked(rgb.size());
    if (cloak_model_apply(&image, &result, cloaked.data(), &error) != CLOAK_OK)
        die(error.text);
    if (!found_by(model, cloaked).empty())
        die("it still finds the square after the cloak");
    for (size_t i = 0; i < rgb.size(); i++)
        if (std::abs(rgb[i] - cloaked[i]) > 6)
            die("a pixel changes by more than the budget");
    cloak_attack_result_free(&result);
    cloak_model_free(model);
}

/* A target by its threshold. */
using Loader = cloak_model *(*)(const std::string &threshold);

cloak_model *load_cascade(const std::string &threshold) {
    return load(cascade_model(0), cascade_descriptor("0.6", "0.7", threshold.c_str()));
}

cloak_model *load_dense(const std::string &threshold) {
    return load(dense_model(), dense_descriptor(threshold));
}

/* The score of the surest box when the threshold is this one; 0 without any. */
float surest(Loader load_at, const std::string &threshold, const std::vector<uint8_t> &rgb) {
    cloak_model *model = load_at(threshold);
    const std::vector<cloak_detection> found = found_by(model, rgb);
    cloak_model_free(model);
    return found.empty() ? 0 : found[0].score;
}

/* The picture cloaked against a target at a threshold, with one transform in the loop. It starts from no changes
 * instead of from nothing: where nothing is found and there is no start, it would end at once. */
std::vector<uint8_t> cloaked_at(Loader load_at, const std::string &threshold, unsigned without) {
    cloak_model *model = load_at(threshold);
    std::vector<uint8_t> rgb = picture();
    const cloak_image image = {rgb.data(), width, height};
    cloak_attack_params params = cloak_attack_default_params();
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    cloak_attack_result warm = {}, result = {};
    cloak_error error = {};
    params.eps = 6.0f / 255;
    params.without = without;
    params.transforms = transforms;
    if (cloak_transforms_parse("jpeg95", transforms, &params.transform_count, &error) != CLOAK_OK)
        die(error.text);
    cloak_model_grid(model, width, height, &warm.grid_width, &warm.grid_height);
    std::vector<int8_t> none(size_t(warm.grid_width * warm.grid_height * 3), 0);
    warm.levels = none.data();
    if (cloak_model_attack(model, &image, 1, &params, &warm, &result, &error) != CLOAK_OK ||
        cloak_model_apply(&image, &result, rgb.data(), &error) != CLOAK_OK)
        die(error.text);
    cloak_attack_result_free(&result);
    cloak_model_free(model);
    return rgb;
}

/* `above` and `below` are thresholds .66 logits apart, less than the caution of .7, and the square's score is in the
 * middle: at the upper one nothing is found as it is, and yet it is cloaked until nothing is at the lower one
 * either. */
void what_is_just_below_the_threshold_counts(const char *name, Loader load_at) {
    const float score = surest(load_at, "0.7", picture()), odds = cloak::log_odds(score);
    auto threshold = [odds](float more) { return std::to_string(cloak::probability_of(odds + more)); };
    const std::string above = threshold(0.33f), below = threshold(-0.33f);
    if (surest(load_at, above, picture()) > 0 || !(surest(load_at, below, picture()) > 0))
        die(std::string(name) + ": the thresholds are wrong");
    if (surest(load_at, below, cloaked_at(load_at, above, 0)) > 0)
        die(std::string(name) + ": what is just below the threshold stays");
    if (!(surest(load_at, below, cloaked_at(load_at, above, CLOAK_WITHOUT_CAUTION)) > 0))
        die(std::string(name) + ": it is defeated without caution, too");
}

} // namespace

int main() {
    char path[] = "/tmp/cloak-by-hand-XXXXXX";
    if (!mkdtemp(path))
        die("no temporary folder");
    folder = path;
    finds_the_square_once();
    every_stage_has_a_say();
    the_last_stage_moves_the_box();
    a_cloak_defeats_it();
    what_is_just_below_the_threshold_counts("cascade", load_cascade);
    what_is_just_below_the_threshold_counts("dense", load_dense);
    for (const char *name : {"/target.json", "/target.onnx"})
        unlink((folder + name).c_str());
    rmdir(path);
    printf("targets find, decide and are defeated\n");
    return 0;
}
