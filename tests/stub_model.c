/* A model that sleeps: the model shim without a model, for tests of the fleet with hundreds of workers.
 *
 * It plays a detector that can be deceived. A photo has one face when the mean of its middle is darker than
 * DARK, and the attack, after it has slept, hands over levels that lift the face's box by LIFT, which makes it
 * lighter than that. So decoding, encoding, verification, receipts and books are the real ones, and the bytes
 * are the same whoever makes them. The sleep is CLOAK_STUB_SECONDS times 0.5 to 1.5, by the photo's pixels.
 * With CLOAK_STUB_KILLS a photo whose middle is darker than DEADLY kills its worker when it is attacked.
 * With CLOAK_STUB_DEVICE it says that it is on that device, which is lost at the first attack.
 * With CLOAK_STUB_SEES_ALL every photo has a face until it was attacked, whatever its pixels: for real photos.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "models/cloak_model.h"

enum { DARK = 104, DEADLY = 40, LIFT = 8 };

struct cloak_model {
    double seconds; /* that an attack takes on average */
    bool sees_all, lost;
    bool attacked; /* since the last look, for sees_all: a worker looks right after it has attacked */
};

cloak_model_params cloak_model_default_params(void) {
    return (cloak_model_params){.size = sizeof(cloak_model_params), .device = "cpu"};
}

cloak_status cloak_model_load(const char *path, const cloak_model_params *params, cloak_model **model,
    cloak_error *error) {
    (void)path, (void)params, (void)error;
    const char *seconds = getenv("CLOAK_STUB_SECONDS");
    *model = cloak_alloc(sizeof **model);
    **model = (struct cloak_model){0};
    (*model)->seconds = seconds ? atof(seconds) : 0.5;
    (*model)->sees_all = getenv("CLOAK_STUB_SEES_ALL") != NULL;
    return CLOAK_OK;
}

void cloak_model_free(cloak_model *model) {
    free(model);
}

cloak_model_info cloak_model_describe(const cloak_model *model) {
    (void)model;
    const char *device = getenv("CLOAK_STUB_DEVICE");
    return (cloak_model_info){.name = "stub", .architecture = "none",
        .sha256 = "0000000000000000000000000000000000000000000000000000000000000000", .device = device ? device : "cpu",
        .training = "none", .input_min = 64, .input_max = 64, .score_threshold = 0.05f};
}

/* The mean of the middle quarter, and a number that any pixel of it changes. */
static double middle(const cloak_image *image, unsigned *mark) {
    double sum = 0;
    long count = 0;
    for (int y = image->height * 3 / 8; y < image->height - image->height * 3 / 8; y++)
        for (int x = image->width * 3 / 8; x < image->width - image->width * 3 / 8; x++, count++) {
            unsigned value = image->rgb[3 * ((size_t)y * (size_t)image->width + (size_t)x)];
            sum += value;
            *mark = *mark * 31 + value;
        }
    return count ? sum / (double)count : 255;
}

static void look(cloak_model *model, const cloak_image *image, cloak_detections *out) {
    unsigned mark = 0;
    const bool face = model->sees_all ? !model->attacked : middle(image, &mark) < DARK;
    model->attacked = false;
    *out = (cloak_detections){0};
    if (!face)
        return;
    const float w = (float)image->width, h = (float)image->height;
    out->items = cloak_alloc(sizeof *out->items);
    out->items[out->count++] = (cloak_detection){w / 4, h / 4, w * 3 / 4, h * 3 / 4, 0.9f};
}

cloak_status cloak_model_detect(cloak_model *model, const cloak_image *images, size_t count,
    cloak_detections *out, cloak_error *error) {
    if (model->lost)
        return cloak_fail(error, CLOAK_E_DEVICE, "an illegal memory access was encountered");
    for (size_t i = 0; i < count; i++)
        look(model, &images[i], &out[i]);
    return CLOAK_OK;
}

cloak_status cloak_model_detect_after(cloak_model *model, const cloak_image *image,
    const cloak_transform *transform, cloak_detections *out, cloak_error *error) {
    (void)transform;
    return cloak_model_detect(model, image, 1, out, error);
}

void cloak_detections_free(cloak_detections *detections) {
    free(detections->items);
    *detections = (cloak_detections){0};
}

cloak_attack_params cloak_attack_default_params(void) {
    return (cloak_attack_params){.size = sizeof(cloak_attack_params), .max_steps = 40, .lattice = true};
}

static cloak_status sleep_through(double seconds, const cloak_attack_params *params, cloak_error *error) {
    for (double until = cloak_now() + seconds; cloak_now() < until;) {
        double left = until - cloak_now();
        if (params->stop && params->stop(params->stop_context))
            return cloak_fail(error, CLOAK_E_INTERRUPTED, "stopped");
        cloak_clock_system.sleep(left < 0.05 ? left : 0.05);
    }
    return CLOAK_OK;
}

/* Inside the box that is found, the middle half both ways. */
static void lift(const cloak_image *image, int8_t *levels) {
    const size_t width = (size_t)image->width, x0 = width / 4, x1 = width * 3 / 4;
    for (size_t y = (size_t)image->height / 4; y < (size_t)image->height * 3 / 4; y++)
        memset(levels + 3 * (y * width + x0), LIFT, 3 * (x1 - x0));
}

cloak_status cloak_model_attack(cloak_model *model, const cloak_image *images, size_t count,
    const cloak_attack_params *params, const cloak_attack_result *warm, cloak_attack_result *results,
    cloak_error *error) {
    (void)warm;
    for (size_t i = 0; i < count; i++) {
        unsigned mark = 0;
        const double light = middle(&images[i], &mark);
        if (getenv("CLOAK_STUB_KILLS") && light < DEADLY)
            raise(SIGKILL);
        model->lost = getenv("CLOAK_STUB_DEVICE") != NULL;
        if (model->lost)
            return cloak_fail(error, CLOAK_E_DEVICE, "an illegal memory access was encountered");
        cloak_status status =
            sleep_through(model->seconds * (0.5 + (double)(mark % 1000) / 1000), params, error);
        if (status != CLOAK_OK)
            return status; /* workers attack one photo at a time: nothing to free */
        const size_t size = (size_t)images[i].width * (size_t)images[i].height * 3;
        results[i] = (cloak_attack_result){.grid_width = images[i].width, .grid_height = images[i].height,
            .levels = cloak_alloc(size), .max_change = LIFT, .steps = 1, .success = true};
        lift(&images[i], results[i].levels);
        model->attacked = true;
    }
    return CLOAK_OK;
}

void cloak_attack_result_free(cloak_attack_result *result) {
    free(result->levels);
    cloak_detections_free(&result->found);
    *result = (cloak_attack_result){0};
}

cloak_status cloak_model_apply(const cloak_image *image, const cloak_attack_result *result, uint8_t *out,
    cloak_error *error) {
    (void)error;
    const size_t size = (size_t)image->width * (size_t)image->height * 3;
    for (size_t i = 0; i < size; i++) {
        int value = image->rgb[i] + result->levels[i];
        out[i] = (uint8_t)(value > 255 ? 255 : value);
    }
    return CLOAK_OK;
}
