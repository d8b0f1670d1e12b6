/* Evaluation sets; see the header. */
#include "dispatcher/eval/set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/install.h"
#include "common/report/delivery.h"

typedef struct {
    cloak_eval_set *set;
    size_t unlabelled;
} Listing;

static size_t labelled_faces(const cloak_truth *truth) {
    size_t faces = 0;
    for (size_t i = 0; i < truth->count; i++)
        faces += !truth->ignore || truth->ignore[i] == CLOAK_TRUTH_FACE;
    return faces;
}

static cloak_status visit(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    Listing *listing = context;
    cloak_eval_set *set = listing->set;
    (void)info;
    if (problem || cloak_photo_skip_reason(key))
        return CLOAK_OK;
    const cloak_truth *truth = cloak_labels_find(set->labels, key);
    if (!truth) {
        listing->unlabelled++;
        return CLOAK_OK;
    }
    long most = set->options->max_faces;
    if (most >= 0 && labelled_faces(truth) > (size_t)most)
        return CLOAK_OK;
    set->keys = cloak_realloc(set->keys, (set->count + 1) * sizeof *set->keys);
    set->keys[set->count++] = cloak_strdup(key);
    return CLOAK_OK;
}

/* Keeps `limit` keys, evenly spaced. */
static void thin_out(cloak_eval_set *set) {
    size_t limit = (size_t)set->options->limit, kept = 0;
    if (limit == 0 || limit >= set->count)
        return;
    for (size_t i = 0; i < set->count; i++) {
        if (kept < limit && i == kept * set->count / limit)
            set->keys[kept++] = set->keys[i];
        else
            free(set->keys[i]);
    }
    set->count = kept;
}

cloak_status cloak_eval_set_open(
    const cloak_eval_options *options, cloak_eval_set *set, cloak_error *error) {
    *set = (cloak_eval_set){.options = options};
    Listing listing = {set, 0};
    cloak_model_params params = cloak_model_default_params();
    params.device = options->device;
    params.threads = (int)options->threads;
    params.detail = (int)options->detail;
    if (!options->photos || !options->labels)
        return cloak_fail(error, CLOAK_E_USAGE, "--photos and --labels are needed");
    char *model = options->model ? cloak_strdup(options->model) : cloak_install_model();
    cloak_status status = cloak_photo_init("cloak-eval", error);
    if (status == CLOAK_OK)
        status = cloak_store_open(options->photos, &set->store, error);
    if (status == CLOAK_OK)
        status = cloak_labels_load(options->labels, &set->labels, error);
    if (status == CLOAK_OK)
        status = cloak_store_list(set->store, visit, &listing, error);
    if (status == CLOAK_OK)
        status = cloak_model_load(model, &params, &set->model, error);
    free(model);
    if (status == CLOAK_OK && set->count == 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "no photo below %s has labels in %s", options->photos, options->labels);
    if (status != CLOAK_OK) {
        cloak_eval_set_close(set);
        return status;
    }
    if (listing.unlabelled)
        fprintf(stderr, "  %zu photos without labels left out\n", listing.unlabelled);
    thin_out(set);
    return CLOAK_OK;
}

cloak_status cloak_eval_set_photo(
    const cloak_eval_set *set, size_t i, cloak_eval_photo *photo, cloak_error *error) {
    void *bytes = NULL;
    size_t length = 0;
    *photo = (cloak_eval_photo){.key = set->keys[i]};
    photo->truth = cloak_labels_find(set->labels, photo->key);
    cloak_status status =
        cloak_store_get(set->store, photo->key, CLOAK_PHOTO_FILE_MAX, &bytes, &length, error);
    if (status == CLOAK_OK)
        status = cloak_photo_decode(bytes, length, photo->key, NULL, &photo->photo, error);
    free(bytes);
    return status;
}

void cloak_eval_add(
    cloak_ap *ap, const cloak_detections *found, const cloak_eval_photo *photo) {
    cloak_ap_add(ap, (const cloak_box *)found->items, found->count, photo->truth);
}

void cloak_eval_number(cJSON *to, const char *name, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(to, name, round(value * 1e4) / 1e4);
    else
        cJSON_AddNullToObject(to, name);
}

void cloak_eval_add_bands(cloak_ap *by_height, const cloak_eval_band *bands, size_t count,
    const cloak_detections *found, const cloak_eval_photo *photo) {
    for (size_t b = 0; b < count; b++)
        cloak_ap_add_heights(
            &by_height[b], (const cloak_box *)found->items, found->count, photo->truth, &bands[b].heights);
}

void cloak_eval_curve(cJSON *to, const char *name, const cloak_ap *ap,
    double (*measure)(const cloak_ap *, int)) {
    cJSON *object = cJSON_AddObjectToObject(to, name);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        cloak_eval_number(object, cloak_ap_iou_word(i), measure(ap, i));
}

void cloak_eval_before_after(cJSON *to, const cloak_ap *before, const cloak_ap *after) {
    cJSON *ap = cJSON_AddObjectToObject(to, "ap"), *recall = cJSON_AddObjectToObject(to, "recall");
    cloak_eval_curve(ap, "before", before, cloak_ap_average);
    cloak_eval_curve(ap, "after", after, cloak_ap_average);
    cloak_eval_curve(recall, "before", before, cloak_ap_recall);
    cloak_eval_curve(recall, "after", after, cloak_ap_recall);
}

void cloak_eval_report(cJSON *report) {
    char *text = cJSON_PrintUnformatted(report);
    printf("%s\n", text ? text : "{}");
    free(text);
    cJSON_Delete(report);
}

void cloak_eval_set_close(cloak_eval_set *set) {
    for (size_t i = 0; i < set->count; i++)
        free(set->keys[i]);
    free(set->keys);
    cloak_model_free(set->model);
    cloak_labels_free(set->labels);
    cloak_store_close(set->store);
    *set = (cloak_eval_set){0};
}
