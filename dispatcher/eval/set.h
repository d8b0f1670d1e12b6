/* An evaluation set: photos of a folder with their ground truth, and what is measured on them. */
#ifndef CLOAK_EVAL_SET_H
#define CLOAK_EVAL_SET_H

#include <cjson/cJSON.h>

#include "common/base/options.h"
#include "common/photo/photo.h"
#include "common/report/ap.h"
#include "common/report/labels.h"
#include "common/store/store.h"
#include "models/cloak_model.h"

typedef struct {
    const char *photos, *labels, *model, *device;
    long threads, detail, limit, max_faces;
    bool json;
} cloak_eval_options;

#define CLOAK_EVAL_OPTIONS_DEFAULT {NULL, NULL, NULL, "cpu", 0, 0, 0, -1, false}

/* Of everything that looks at photos with a detector. */
#define CLOAK_EVAL_MODEL_OPTIONS(o)                                                                                    \
    {"model", "FILE", "CLOAK_MODEL", CLOAK_OPTION_TEXT, &(o).model, 0, 0, "our own detector"},                         \
        {"device", "NAME", "CLOAK_DEVICE", CLOAK_OPTION_TEXT, &(o).device, 0, 0, "cpu or cuda:N"},                     \
        {"threads", "N", NULL, CLOAK_OPTION_INT, &(o).threads, 0, 1024, "compute threads, 0 for all cores"}, {         \
        "json", NULL, NULL, CLOAK_OPTION_FLAG, &(o).json, 0, 0, "one JSON object as the last line of stdout"           \
    }

#define CLOAK_EVAL_OPTIONS(o)                                                                                          \
    {"photos", "DIR", NULL, CLOAK_OPTION_TEXT, &(o).photos, 0, 0, "folder of photos"},                                 \
        {"labels", "FILE", NULL, CLOAK_OPTION_TEXT, &(o).labels, 0, 0,                                                 \
            "ground truth: WIDER FACE bbx_gt or COCO JSON"},                                                           \
        {"detail", "N", NULL, CLOAK_OPTION_INT, &(o).detail, 0, 8192,                                                  \
            "long side of the detector's input, 0 for the model's own"},                                               \
        {"limit", "N", NULL, CLOAK_OPTION_INT, &(o).limit, 0, 1e9,                                                     \
            "only N photos, evenly spaced over the sorted list"},                                                      \
        {"max-faces", "N", NULL, CLOAK_OPTION_INT, &(o).max_faces, 0, 1e9,                                             \
            "only photos with at most N labelled faces"},                                                              \
        CLOAK_EVAL_MODEL_OPTIONS(o)

typedef struct {
    const cloak_eval_options *options;
    cloak_store *store;
    cloak_labels *labels;
    cloak_model *model;
    char **keys; /* of the photos that are measured */
    size_t count;
} cloak_eval_set;

/* One photo of the set, decoded. `truth` is borrowed from the set. */
typedef struct {
    const char *key;
    cloak_photo photo;
    const cloak_truth *truth;
} cloak_eval_photo;

/* Lists the photos, loads labels and model. Photos that the labels do not name are left out and
 * counted on stderr. Close with cloak_eval_set_close. */
CLOAK_MUST_CHECK cloak_status cloak_eval_set_open(
    const cloak_eval_options *options, cloak_eval_set *set, cloak_error *error);

/* Decodes photo i; free with cloak_photo_free(&photo->photo). */
CLOAK_MUST_CHECK cloak_status cloak_eval_set_photo(
    const cloak_eval_set *set, size_t i, cloak_eval_photo *photo, cloak_error *error);

/* Adds a photo's detections to a histogram. */
void cloak_eval_add(
    cloak_ap *ap, const cloak_detections *found, const cloak_eval_photo *photo);

/* Faces of a range of heights in the photo, and what the range is called. */
typedef struct {
    const char *word;
    cloak_ap_heights heights;
} cloak_eval_band;

/* The same for each of `count` bands. */
void cloak_eval_add_bands(cloak_ap *by_height, const cloak_eval_band *bands, size_t count,
    const cloak_detections *found, const cloak_eval_photo *photo);

/* Adds {"0.3":…, …} under `name`. */
void cloak_eval_curve(cJSON *to, const char *name, const cloak_ap *ap,
    double (*measure)(const cloak_ap *, int));

/* Adds "ap" and "recall", each with "before" and "after". */
void cloak_eval_before_after(cJSON *to, const cloak_ap *before, const cloak_ap *after);

/* Prints the report as one line on stdout and frees it. */
void cloak_eval_report(cJSON *report);

/* A number with four decimals, null when it is not one. */
void cloak_eval_number(cJSON *to, const char *name, double value);

void cloak_eval_set_close(cloak_eval_set *set);

int cloak_eval_detector(int argc, char **argv);
int cloak_eval_attack(int argc, char **argv);
int cloak_eval_survival(int argc, char **argv);
int cloak_eval_look(int argc, char **argv);

#endif
