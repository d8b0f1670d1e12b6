/* cloak eval detector: AP and recall of the detector on labelled photos. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"

/* One line of --per-photo: what a fresh look at the file finds. */
static void write_photo(FILE *to, const char *key, const cloak_detections *found) {
    char *name = cloak_text_encode(key);
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "key", name);
    cJSON_AddNumberToObject(line, "detections", (double)found->count);
    cJSON_AddNumberToObject(line, "best_score", found->count ? found->items[0].score : 0);
    cJSON *boxes = cJSON_AddArrayToObject(line, "boxes");
    for (size_t i = 0; i < found->count; i++) {
        const cloak_detection *d = &found->items[i];
        const float row[5] = {d->x1, d->y1, d->x2, d->y2, d->score};
        cJSON_AddItemToArray(boxes, cJSON_CreateFloatArray(row, 5));
    }
    char *text = cJSON_PrintUnformatted(line);
    fprintf(to, "%s\n", text ? text : "{}");
    free(text);
    cJSON_Delete(line);
    free(name);
}

static cloak_status measure(const cloak_eval_set *set, FILE *per_photo, cloak_ap *ap,
    double *seconds, cloak_error *error) {
    for (size_t i = 0; i < set->count; i++) {
        cloak_eval_photo photo;
        cloak_detections found = {0};
        cloak_status status = cloak_eval_set_photo(set, i, &photo, error);
        if (status != CLOAK_OK)
            return status;
        cloak_image image = {photo.photo.rgb, photo.photo.width, photo.photo.height};
        double start = cloak_now();
        status = cloak_model_detect(set->model, &image, 1, &found, error);
        *seconds += cloak_now() - start;
        if (status == CLOAK_OK) {
            cloak_eval_add(ap, &found, &photo);
            if (per_photo)
                write_photo(per_photo, photo.key, &found);
        }
        cloak_detections_free(&found);
        cloak_photo_free(&photo.photo);
        if (status != CLOAK_OK)
            return status;
        if (i % 20 == 19)
            fprintf(stderr, "  %zu of %zu photos\n", i + 1, set->count);
    }
    return CLOAK_OK;
}

static void print(const cloak_eval_set *set, const cloak_ap *ap, double seconds) {
    cJSON *object = cJSON_CreateObject();
    fprintf(stderr, "\n  IoU      AP  recall   (%zu photos, %llu faces)\n", set->count,
        (unsigned long long)ap->faces);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        fprintf(stderr, "  %s   %.3f   %.3f\n", cloak_ap_iou_word(i), cloak_ap_average(ap, i),
            cloak_ap_recall(ap, i));
    fprintf(stderr, "  %.3f s per photo\n", seconds / (double)set->count);
    if (set->options->json) {
        cJSON_AddNumberToObject(object, "photos", (double)set->count);
        cJSON_AddNumberToObject(object, "faces", (double)ap->faces);
        cloak_eval_curve(object, "ap", ap, cloak_ap_average);
        cloak_eval_curve(object, "recall", ap, cloak_ap_recall);
        cloak_eval_number(object, "seconds_per_photo", seconds / (double)set->count);
        char *text = cJSON_PrintUnformatted(object);
        printf("%s\n", text ? text : "{}");
        free(text);
    }
    cJSON_Delete(object);
}

int cloak_eval_detector(int argc, char **argv) {
    cloak_eval_options o = CLOAK_EVAL_OPTIONS_DEFAULT;
    const char *per_photo = NULL;
    const cloak_option table[] = {CLOAK_EVAL_OPTIONS(o),
        {"per-photo", "FILE", NULL, CLOAK_OPTION_TEXT, &per_photo, 0, 0,
            "write each photo's detections there, as JSON lines"},
        {0}};
    cloak_eval_set set;
    cloak_ap ap;
    cloak_error error = {0};
    double seconds = 0;
    int code = 0;
    if (!cloak_verb_parse("eval detector --photos DIR --labels FILE [OPTIONS]",
            "AP and recall of the detector at IoU 0.3 … 1.0; every detection above 0.05 counts.",
            table, argc, argv, 0, &code))
        return code;
    FILE *file = per_photo ? fopen(per_photo, "we") : NULL;
    if (per_photo && !file) {
        fprintf(stderr, "cloak eval detector: cannot write %s\n", per_photo);
        return CLOAK_EXIT_USAGE;
    }
    cloak_ap_init(&ap);
    cloak_status status = cloak_eval_set_open(&o, &set, &error);
    if (status == CLOAK_OK) {
        status = measure(&set, file, &ap, &seconds, &error);
        if (status == CLOAK_OK)
            print(&set, &ap, seconds);
        cloak_eval_set_close(&set);
    }
    cloak_ap_free(&ap);
    if (file && fclose(file) != 0 && status == CLOAK_OK)
        status = cloak_fail(&error, CLOAK_E_TRANSIENT, "cannot write %s", per_photo);
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("eval detector", &error);
}
