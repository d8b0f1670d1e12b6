/* The C interface over the detector and the attack; see cloak_model.h. Every entry point catches
 * everything: an exception must not cross into C. */
#include "models/cloak_model.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include <sched.h>

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include "models/attack/eye.h"
#include "models/attack/pgd.h"
#include "models/attack/rcnn_target.h"
#include "models/detector/device.h"
#include "models/detector/faster_rcnn.h"
#include "models/kernels/nms.h"
#include "models/detector/layers.h"
#include "models/targets/onnx_target.h"

struct cloak_model {
    std::string device, name, architecture, sha256, training;
    int input_min = 0, input_max = 0;
    float score_threshold = 0;
    std::unique_ptr<cloak::FasterRcnn> detector; /* of our own architecture; else NULL */
    std::unique_ptr<cloak::Target> target;
};

namespace {

constexpr int max_side = 1 << 16;
constexpr size_t max_others = CLOAK_OTHERS_MAX;

/* A callback of the caller said no; its error is already filled. */
struct CallerStopped {
    cloak_status status;
};

/* Runs `body` and turns what it throws into a status. `code` is for problems that torch or the
 * model file report. */
template <typename Body>
cloak_status guarded(cloak_error *error, cloak_status code, const char *what, Body body) {
    try {
        return body();
    } catch (const CallerStopped &stopped) {
        return stopped.status;
    } catch (const std::bad_alloc &) {
        return cloak_fail(error, CLOAK_E_DEVICE,
            "%s: out of memory (smaller photos, or fewer workers on this machine)", what);
    } catch (const c10::OutOfMemoryError &) {
        return cloak_fail(error, CLOAK_E_DEVICE,
            "%s: the device is out of memory (smaller photos, or fewer workers on it)", what);
    } catch (const c10::Error &problem) {
        return cloak_fail(error, code, "%s: %s", what, problem.what_without_backtrace());
    } catch (const std::exception &problem) {
        return cloak_fail(error, code, "%s: %s", what, problem.what());
    } catch (...) {
        return cloak_fail(error, CLOAK_E_INTERNAL, "%s: unknown exception", what);
    }
}

bool image_ok(const cloak_image &image) {
    return image.rgb && image.width > 0 && image.height > 0 && image.width <= max_side &&
           image.height <= max_side;
}

cloak_status check_images(const cloak_image *images, size_t count, cloak_error *error) {
    for (size_t i = 0; i < count; i++)
        if (!image_ok(images[i]))
            return cloak_fail(error, CLOAK_E_PERMANENT, "image %zu has an impossible size %d × %d",
                i, images[i].width, images[i].height);
    return CLOAK_OK;
}

template <typename T> T *copy_out(const std::vector<T> &from) {
    T *block = static_cast<T *>(malloc(from.size() * sizeof(T) + 1));
    if (!block)
        throw std::bad_alloc();
    if (!from.empty())
        std::memcpy(block, from.data(), from.size() * sizeof(T));
    return block;
}

/* Copies a parameter struct that may be shorter than ours over the defaults. */
template <typename T> T with_defaults(const T *given, T defaults) {
    if (given)
        std::memcpy(&defaults, given, std::min(given->size, sizeof(T)));
    defaults.size = sizeof(T);
    return defaults;
}

std::vector<cloak::Found> from_c(const cloak_detections &detections) {
    static_assert(sizeof(cloak::Found) == sizeof(cloak_detection), "same layout");
    const auto *items = reinterpret_cast<const cloak::Found *>(detections.items);
    return {items, items + detections.count};
}

int usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
    return n > 0 ? n : int(std::max(1u, std::thread::hardware_concurrency()));
}

/* What was found at several sizes: of boxes that overlap by more than half the surest stays. */
std::vector<cloak::Found> without_doubles(std::vector<cloak::Found> all) {
    std::stable_sort(all.begin(), all.end(),
        [](const cloak::Found &a, const cloak::Found &b) { return a.score > b.score; });
    std::vector<float> boxes, scores;
    for (const cloak::Found &f : all) {
        boxes.insert(boxes.end(), {f.x1, f.y1, f.x2, f.y2});
        scores.push_back(f.score);
    }
    std::vector<int32_t> kept(all.size());
    const int count = cloak_nms(boxes.data(), scores.data(), nullptr, int(all.size()), 0.5f,
        int(all.size()), kept.data());
    std::vector<cloak::Found> left;
    for (int i = 0; i < count; i++)
        left.push_back(all[size_t(kept[size_t(i)])]);
    return left;
}

std::vector<cloak::Found> detect_one(
    const cloak_model &model, const cloak_image &image, const cloak_transform &transform) {
    torch::NoGradGuard no_grad;
    std::vector<float> gradient;
    bool has_gradient;
    const cloak::Scene scene = {image.rgb, nullptr, 0, true, image.rgb};
    std::vector<cloak::Found> all;
    const std::vector<int> inputs =
        cloak::distinct_inputs(*model.target, image.width, image.height);
    for (int which : inputs) {
        cloak::Eye eye(
            *model.target, which, image.width, image.height, image.width, image.height);
        std::vector<cloak::Found> found =
            eye.look(scene, transform, {cloak::Precision::exact}, gradient, &has_gradient);
        all.insert(all.end(), found.begin(), found.end());
    }
    return inputs.size() > 1 ? without_doubles(all) : all;
}

cloak_detections to_c(const std::vector<cloak::Found> &found) {
    return {found.size(), reinterpret_cast<cloak_detection *>(copy_out(found))};
}

cloak::PgdSettings make_settings(
    const cloak_attack_params &params, const cloak_image &image, cloak_error *error) {
    cloak::PgdSettings settings;
    settings.eps_levels =
        params.lattice ? std::floor(255.0f * params.eps + 1e-3f) : 255.0f * params.eps;
    settings.lattice = params.lattice;
    settings.max_steps = params.max_steps;
    settings.restarts = params.restarts;
    settings.polish = params.polish;
    settings.diversity = params.diversity;
    settings.region = params.region;
    settings.loss.margin = params.margin;
    auto with = [&params](unsigned ingredient) { return !(params.without & ingredient); };
    settings.loss.leak = with(CLOAK_WITHOUT_LEAK);
    settings.loss.objectness = with(CLOAK_WITHOUT_OBJECTNESS);
    settings.loss.surest_most = with(CLOAK_WITHOUT_SUREST_MOST);
    settings.momentum = with(CLOAK_WITHOUT_MOMENTUM);
    settings.decay = with(CLOAK_WITHOUT_DECAY);
    settings.overdrive = with(CLOAK_WITHOUT_OVERDRIVE);
    settings.gentle = with(CLOAK_WITHOUT_GENTLE);
    settings.masking = with(CLOAK_WITHOUT_MASKING);
    settings.fading = with(CLOAK_WITHOUT_FADING);
    settings.caution = with(CLOAK_WITHOUT_CAUTION);
    settings.patience = with(CLOAK_WITHOUT_PATIENCE);
    settings.seed = params.seed;
    settings.brief = !params.full_precision;
    settings.transforms.assign(params.transforms, params.transforms + params.transform_count);
    if (params.codec)
        settings.codec = [params, image, error](const uint8_t *rgb, uint8_t *decoded) {
            cloak_image view = {rgb, image.width, image.height};
            cloak_status status = params.codec(params.codec_context, &view, decoded, error);
            if (status != CLOAK_OK)
                throw CallerStopped{status};
        };
    if (params.stop)
        settings.check_stop = [params, error]() {
            if (params.stop(params.stop_context))
                throw CallerStopped{cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted")};
        };
    return settings;
}

bool is_onnx(const std::string &path) {
    return path.size() > 5 && path.compare(path.size() - 5, 5, ".onnx") == 0;
}

void load_own(
    cloak_model &model, const char *path, int detail, const torch::Device &device) {
    model.detector = std::make_unique<cloak::FasterRcnn>(path, detail, device);
    model.target = std::make_unique<cloak::RcnnTarget>(*model.detector);
    const cloak::DetectorConfig &config = model.detector->config();
    model.name = config.name;
    model.architecture = "Faster R-CNN, " + config.backbone + ", FPN " +
                         std::to_string(config.fpn_channels) + " channels";
    model.sha256 = model.detector->sha256();
    model.training = config.training;
    model.input_min = config.input_min;
    model.input_max = config.input_max;
    model.score_threshold = config.score_threshold;
}

void load_onnx(
    cloak_model &model, const char *path, int detail, const torch::Device &device) {
    std::unique_ptr<cloak::OnnxTarget> target = cloak::load_onnx_target(path, detail, device);
    const cloak::Descriptor &says = target->descriptor();
    model.name = says.name;
    model.architecture = says.untested ? "ONNX graph, untested descriptor, " : "ONNX graph, ";
    for (int side : says.also)
        model.architecture +=
            "also at " + (side == cloak::Descriptor::native ? "native size" : std::to_string(side)) +
            ", ";
    model.architecture += says.licence;
    model.sha256 = target->sha256();
    model.training = says.training;
    model.input_max = says.long_side ? says.long_side : std::max(says.width, says.height);
    model.input_min = says.long_side ? says.long_side : std::min(says.width, says.height);
    model.score_threshold = says.threshold;
    model.target = std::move(target);
}

cloak_status check_params(const cloak_attack_params &params, cloak_error *error) {
    float levels = std::floor(255.0f * params.eps + 1e-3f);
    if (!params.lattice && params.codec)
        return cloak_fail(error, CLOAK_E_USAGE,
            "an encoder takes whole levels: it cannot be in the loop off the lattice");
    if (!((levels >= 1 || (!params.lattice && params.eps > 0)) && levels <= 63))
        return cloak_fail(error, CLOAK_E_USAGE,
            "eps %g is outside of what can be had: use 1/255 to 63/255", double(params.eps));
    if (params.max_steps < 1 || params.max_steps > 10000 || params.restarts < 0 ||
        params.restarts > 100)
        return cloak_fail(error, CLOAK_E_USAGE, "steps must be 1 to 10000 and restarts 0 to 100");
    if (params.other_count > max_others)
        return cloak_fail(error, CLOAK_E_USAGE, "more than %zu further models", max_others);
    if (params.transform_count > CLOAK_TRANSFORMS_MAX)
        return cloak_fail(error, CLOAK_E_USAGE, "more than %d transforms", CLOAK_TRANSFORMS_MAX);
    if (params.polish < 0 || params.polish > 20)
        return cloak_fail(error, CLOAK_E_USAGE, "polish must be 0 to 20");
    if (!(params.diversity >= 0 && params.diversity <= 1))
        return cloak_fail(error, CLOAK_E_USAGE, "diversity must be 0 to 1");
    if (!(params.region >= 1 && params.region <= 1000))
        return cloak_fail(error, CLOAK_E_USAGE, "region must be 1 to 1000 times a face's box");
    return CLOAK_OK;
}

} // namespace

extern "C" {

cloak_model_params cloak_model_default_params(void) {
    return {sizeof(cloak_model_params), "cpu", 0, 0};
}

cloak_status cloak_model_load(const char *path, const cloak_model_params *given,
    cloak_model **out, cloak_error *error) {
    cloak_model_params params = with_defaults(given, cloak_model_default_params());
    if (params.detail != 0 && (params.detail < 128 || params.detail > 8192))
        return cloak_fail(error, CLOAK_E_USAGE, "detail must be 128 to 8192 pixels, or 0");
    torch::Device device = torch::kCPU;
    const cloak_status status =
        guarded(error, CLOAK_E_DEVICE, "cannot use the device", [&]() {
            device = cloak::find_device(params.device);
            return CLOAK_OK;
        });
    if (status != CLOAK_OK)
        return status;
    return guarded(error, CLOAK_E_USAGE, "cannot load the model", [&]() {
        at::set_num_threads(params.threads > 0 ? params.threads : usable_cores());
        auto model = std::make_unique<cloak_model>();
        model->device = device.str();
        (is_onnx(path) ? load_onnx : load_own)(*model, path, params.detail, device);
        *out = model.release();
        return CLOAK_OK;
    });
}

void cloak_model_free(cloak_model *model) {
    delete model;
}

cloak_model_info cloak_model_describe(const cloak_model *model) {
    return {model->name.c_str(), model->architecture.c_str(), model->sha256.c_str(),
        model->device.c_str(), model->training.c_str(), model->input_min, model->input_max,
        model->score_threshold};
}

cloak_status cloak_model_detect(cloak_model *model, const cloak_image *images, size_t count,
    cloak_detections *out, cloak_error *error) {
    cloak_status status = check_images(images, count, error);
    if (status != CLOAK_OK)
        return status;
    std::vector<cloak_detections> results;
    status = guarded(error, CLOAK_E_DEVICE, "cannot detect faces", [&]() {
        results.reserve(count);
        for (size_t i = 0; i < count; i++) {
            results.push_back(to_c(detect_one(*model, images[i], cloak_transform_raw())));
        }
        return CLOAK_OK;
    });
    if (status != CLOAK_OK) {
        for (cloak_detections &result : results)
            cloak_detections_free(&result);
        return status;
    }
    std::copy(results.begin(), results.end(), out);
    return CLOAK_OK;
}

cloak_status cloak_model_detect_after(cloak_model *model, const cloak_image *image,
    const cloak_transform *transform, cloak_detections *out, cloak_error *error) {
    cloak_status status = check_images(image, 1, error);
    if (status != CLOAK_OK)
        return status;
    return guarded(error, CLOAK_E_DEVICE, "cannot detect faces", [&]() {
        *out = to_c(detect_one(*model, *image, *transform));
        return CLOAK_OK;
    });
}

void cloak_detections_free(cloak_detections *detections) {
    if (!detections)
        return;
    free(detections->items);
    *detections = {0, nullptr};
}

cloak_attack_params cloak_attack_default_params(void) {
    cloak_attack_params params = {};
    params.size = sizeof params;
    params.eps = 5.0f / 255;
    params.max_steps = 40;
    params.region = 3;
    params.margin = 1;
    params.lattice = true;
    return params;
}

void cloak_model_grid(
    const cloak_model *model, int width, int height, int *grid_width, int *grid_height) {
    cloak::attack_grid(*model->target, width, height, grid_width, grid_height);
}

cloak_status cloak_model_attack(cloak_model *model, const cloak_image *images, size_t count,
    const cloak_attack_params *given, const cloak_attack_result *warm,
    cloak_attack_result *out, cloak_error *error) {
    cloak_attack_params params = with_defaults(given, cloak_attack_default_params());
    cloak_status status = check_images(images, count, error);
    if (status == CLOAK_OK)
        status = check_params(params, error);
    if (status != CLOAK_OK)
        return status;
    std::vector<cloak_attack_result> results;
    status = guarded(error, CLOAK_E_DEVICE, "the attack failed", [&]() {
        results.reserve(count);
        std::vector<const cloak::Target *> targets = {model->target.get()};
        for (size_t i = 0; i < params.other_count; i++)
            targets.push_back(params.others[i]->target.get());
        for (size_t i = 0; i < count; i++) {
            const cloak_image &image = images[i];
            cloak_attack_result result = {};
            cloak_model_grid(
                model, image.width, image.height, &result.grid_width, &result.grid_height);
            const int8_t *start = warm ? warm[i].levels : nullptr;
            if (start && (warm[i].grid_width != result.grid_width ||
                             warm[i].grid_height != result.grid_height))
                return cloak_fail(error, CLOAK_E_USAGE,
                    "the earlier result of image %zu has another grid", i);
            cloak::PgdSettings settings = make_settings(params, image, error);
            std::vector<cloak::Found> clean;
            if (params.clean) {
                clean = from_c(params.clean[i]);
                settings.clean = &clean;
            }
            cloak::PgdResult pgd = cloak::attack(
                targets, image.rgb, image.width, image.height, settings, start);
            if (params.lattice)
                result.levels = copy_out(pgd.levels);
            result.found = to_c(pgd.found);
            result.max_change = int(std::floor(255.0f * params.eps + 1e-3f));
            result.steps = pgd.steps;
            result.restarts = pgd.restarts;
            result.success = pgd.success;
            result.residual_score = pgd.residual_score;
            std::copy(pgd.look_seconds.begin(), pgd.look_seconds.end(), result.look_seconds);
            results.push_back(result);
        }
        return CLOAK_OK;
    });
    if (status != CLOAK_OK) {
        for (cloak_attack_result &result : results)
            cloak_attack_result_free(&result);
        return status;
    }
    std::copy(results.begin(), results.end(), out);
    return CLOAK_OK;
}

void cloak_attack_result_free(cloak_attack_result *result) {
    if (!result)
        return;
    free(result->levels);
    cloak_detections_free(&result->found);
    *result = {};
}

cloak_status cloak_model_apply(const cloak_image *image, const cloak_attack_result *result,
    uint8_t *out, cloak_error *error) {
    cloak_status status = check_images(image, 1, error);
    if (status != CLOAK_OK)
        return status;
    if (!result->levels || result->grid_width < 1 || result->grid_height < 1 ||
        result->grid_width > image->width || result->grid_height > image->height)
        return cloak_fail(error, CLOAK_E_USAGE, "the perturbation does not belong to this image");
    return guarded(error, CLOAK_E_DEVICE, "cannot apply the perturbation", [&]() {
        cloak::View view(image->width, image->height, result->grid_width, result->grid_height, 1,
            1);
        cloak::view_apply(view, image->rgb, result->levels, float(result->max_change), out);
        return CLOAK_OK;
    });
}

} // extern "C"
