/* The model shim: a face detector and the attack on it behind a C interface. Pixels in, pixels and
 * scores out; it knows nothing of files, jobs or queues.
 *
 * Conventions. Functions return CLOAK_OK or a status with `error` filled; outputs are unaltered on
 * failure. No C++ exception passes through. Images are 8-bit RGB, interleaved, rows from the top
 * without padding. Boxes are in pixels of the given image: x1, y1 inclusive edge, x2, y2 exclusive.
 * Pointers that come in are borrowed for the call; results are the caller's and are freed with the
 * function named beside them. A model is used by one thread at a time; different models by
 * different threads, but they share the process's compute threads.
 * Parameter structs begin with `size`: set by *_default_params, so that a caller compiled against
 * an older, shorter struct keeps working.
 */
#ifndef CLOAK_MODEL_H
#define CLOAK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/base/transform.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cloak_model cloak_model;

typedef struct {
    size_t size;
    const char *device; /* "cpu", "cuda" or "cuda:N"; default "cpu" */
    int threads;        /* compute threads; 0 = one per core this process may use */
    int detail;         /* long side of the detector's input in pixels; 0 = the model's own */
} cloak_model_params;

/* What a model says of itself. Strings are borrowed and live as long as the model. */
typedef struct {
    const char *name;
    const char *architecture;
    const char *sha256; /* of the weight file, hex */
    const char *device;
    const char *training; /* summary written by whoever trained it */
    int input_min, input_max; /* the detector's input: short side at most, long side at most */
    float score_threshold;    /* detections above it are reported and count as found */
} cloak_model_info;

typedef struct {
    const uint8_t *rgb; /* height × width × 3 */
    int width, height;
} cloak_image;

/* Same layout as cloak_box of common/report. */
typedef struct {
    float x1, y1, x2, y2, score;
} cloak_detection;

typedef struct {
    size_t count;
    cloak_detection *items; /* by falling score */
} cloak_detections;

/* The encoder in the loop: turns the pixels of a photo of width × height into what a viewer of the
 * encoded file would see, into `decoded` (same size). Returns CLOAK_OK or fails the attack. */
typedef cloak_status (*cloak_codec)(void *context, const cloak_image *image, uint8_t *decoded,
    cloak_error *error);

/* What the attack can be told to do without (docs/evaluating.md says what each is). */
enum {
    CLOAK_WITHOUT_MOMENTUM = 1,
    CLOAK_WITHOUT_DECAY = 2,        /* all steps as long as the first */
    CLOAK_WITHOUT_LEAK = 4,         /* the true gradient of the box head */
    CLOAK_WITHOUT_OBJECTNESS = 8,   /* no loss on proposals */
    CLOAK_WITHOUT_SUREST_MOST = 16, /* every proposal that the loss pushes down counts alike */
    CLOAK_WITHOUT_OVERDRIVE = 32,   /* the grid holds no more than the photo may change by */
    CLOAK_WITHOUT_PATIENCE = 64,    /* the region does not grow around what resists */
    CLOAK_WITHOUT_GENTLE = 128,     /* whole steps from the first on, also where the budget is ample */
    CLOAK_WITHOUT_MASKING = 256,    /* smooth places may change as much as busy ones, and do not fade */
    CLOAK_WITHOUT_FADING = 512,     /* with transforms and masking: what nothing pushes stays */
    CLOAK_WITHOUT_CAUTION = 1024,   /* with transforms: what is just below a threshold is not found */
};

enum { CLOAK_OTHERS_MAX = 16 };

/* Asked once per step; true ends the attack with CLOAK_E_INTERRUPTED. */
typedef bool (*cloak_stop)(void *context);

typedef struct {
    size_t size;
    float eps;        /* budget as a fraction of full scale; floor(255·eps) levels on the lattice */
    int max_steps;    /* forward-and-backward passes per start; default 40 */
    int restarts;     /* random starts after a failed one; default 0 */
    float region;     /* only pixels within this multiple of a face box may change (at least 64
                       * grid pixels a side); default 3 */
    float margin;     /* logits below the threshold that the loss pushes for; default 1 */
    uint64_t seed;    /* of the random starts */
    cloak_codec codec; /* NULL: the pixels themselves are judged */
    void *codec_context;
    cloak_stop stop; /* NULL: never */
    void *stop_context;
    bool lattice; /* default true; false: up to 255·eps levels that are not whole, which no file can
                   * hold: only for comparison with published tables. No codec then, and no levels */
    const cloak_detections *clean; /* what cloak_model_detect found on each of the images, as many
                                    * as there are images, and what the others found, too; NULL: the
                                    * attack looks for itself */
    unsigned without;    /* CLOAK_WITHOUT_…, to see what an ingredient is worth; default 0 */
    bool full_precision; /* every look in float; default false: where the device multiplies
                          * bfloat16, looks on the way are in that, and the last is in float */
    const cloak_transform *transforms; /* what the cloak is to survive besides, borrowed for the
                                        * call. Success is then that nothing is found after any of
                                        * them either, nor up to .7 logits below the thresholds (caution),
                                        * and `found` is what is found so, after all of them */
    size_t transform_count;            /* default 0, at most CLOAK_TRANSFORMS_MAX */
    cloak_model *const *others; /* further models that must find nothing either, on the same grid;
                                 * borrowed for the call, and used by it alone meanwhile */
    size_t other_count;         /* default 0, at most CLOAK_OTHERS_MAX */
    int polish; /* looks spent on shrinking a success while it stays one; default 0, at most 20 */
    float diversity; /* share of looks on the way for which the detector's scale is drawn from 0.6 to 1.4
                      * (input diversity, Xie et al. 2019): what is learned so holds at other sizes, too,
                      * and against more detectors. Transforms have it without asking; default 0, at most 1 */
} cloak_attack_params;

/* A perturbation on the attack grid and what became of it. Free with cloak_attack_result_free. */
typedef struct {
    int grid_width, grid_height;
    int8_t *levels;      /* grid_height × grid_width × 3, in 8-bit levels; NULL off the lattice */
    int max_change;      /* levels by which a photo's pixel changes at most: floor(255·eps) */
    int steps;           /* used; with transforms without those that judge all of them at once */
    int restarts;        /* random starts used */
    bool success;        /* nothing above the threshold is left on the rounded image; with transforms
                          * see there */
    float residual_score; /* highest score left, 0 when none is; with transforms it may be below the threshold */
    cloak_detections found; /* what was left in the loop's best look */
    double look_seconds[1 + CLOAK_OTHERS_MAX]; /* spent on looks of the model, then of each other */
} cloak_attack_result;

cloak_model_params cloak_model_default_params(void);

/* Loads a detector: a safetensors file whose metadata names the architecture (models/weights/README.md), or an ONNX
 * file, .onnx, with a descriptor beside it (models/targets/README.md). A file that cannot be read or does not fit is
 * CLOAK_E_USAGE, a device that is not there CLOAK_E_DEVICE. `*model` is freed with cloak_model_free. */
CLOAK_MUST_CHECK cloak_status cloak_model_load(const char *path, const cloak_model_params *params,
    cloak_model **model, cloak_error *error);

/* Frees a model. NULL is fine. */
void cloak_model_free(cloak_model *model);

cloak_model_info cloak_model_describe(const cloak_model *model);

/* Detects faces in `count` images of any sizes; `out` has room for `count` results, each freed
 * with cloak_detections_free. All or none are filled. Memory or device trouble is CLOAK_E_DEVICE. */
CLOAK_MUST_CHECK cloak_status cloak_model_detect(cloak_model *model, const cloak_image *images,
    size_t count, cloak_detections *out, cloak_error *error);

/* As cloak_model_detect on one image, after a transform, which is simulated: no file is written.
 * Boxes are in the image's own pixels. */
CLOAK_MUST_CHECK cloak_status cloak_model_detect_after(cloak_model *model, const cloak_image *image,
    const cloak_transform *transform, cloak_detections *out, cloak_error *error);

void cloak_detections_free(cloak_detections *detections);

cloak_attack_params cloak_attack_default_params(void);

/* Size of the attack grid for an image of this size: the detector's input, or the image itself
 * where that is smaller. */
void cloak_model_grid(const cloak_model *model, int width, int height, int *grid_width,
    int *grid_height);

/* Vanishing PGD on `count` images. `warm` is NULL or holds `count` earlier results of the same
 * images to continue from (a result whose levels are NULL starts from zero). An image without a
 * detection succeeds with zero steps and zero levels. `results` has room for `count`; all or none
 * are filled. Same image, parameters, build, device, kind of processor and number of threads give
 * the same levels, whatever else is in the batch; on a GPU not where an ONNX graph resizes linearly, pads with
 * what is there or gathers a place twice. */
CLOAK_MUST_CHECK cloak_status cloak_model_attack(cloak_model *model, const cloak_image *images,
    size_t count, const cloak_attack_params *params, const cloak_attack_result *warm,
    cloak_attack_result *results, cloak_error *error);

void cloak_attack_result_free(cloak_attack_result *result);

/* Adds a perturbation to an image: `out` is height × width × 3 and may be the image itself. The
 * grid is enlarged smoothly (bilinear) to the image's size, bounded, rounded and clipped. Any
 * thread. */
CLOAK_MUST_CHECK cloak_status cloak_model_apply(const cloak_image *image,
    const cloak_attack_result *result, uint8_t *out, cloak_error *error);

#ifdef __cplusplus
}
#endif
#endif
