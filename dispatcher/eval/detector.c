/* cloak eval detector: AP and recall of the detector on labelled photos, for all faces and by their
 * height, and what it sees where there is no face.
 *
 * The ranges of height stand in for WIDER FACE's easy, medium and hard, which are defined by how
 * often a proposal method finds a photo's faces and come as lists of the official validation set.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "dispatcher/eval/curve.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"

enum { BANDS = 4 };

static const cloak_eval_band bands[BANDS] = {
    {"50+", {50, INFINITY}}, {"30-50", {30, 50}}, {"10-30", {10, 30}}, {"30+", {30, INFINITY}}};

/* Photos whose labels hold no box at all: all that is found in them is false. */
typedef struct {
    size_t photos, photos_with_detections, detections;
    double best_score; /* 0 when nothing was found */
} Faceless;

typedef struct {
    cloak_ap all, by_height[BANDS];
    Faceless faceless;
    double seconds;
} Sums;

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

static void add_photo(Sums *sums, const cloak_detections *found, const cloak_eval_photo *photo) {
    cloak_eval_add(&sums->all, found, photo);
    cloak_eval_add_bands(sums->by_height, bands, BANDS, found, photo);
    if (photo->truth->count)
        return;
    sums->faceless.photos++;
    sums->faceless.photos_with_detections += found->count > 0;
    sums->faceless.detections += found->count;
    if (found->count)
        sums->faceless.best_score = fmax(sums->faceless.best_score, (double)found->items[0].score);
}

static cloak_status measure(
    const cloak_eval_set *set, FILE *per_photo, Sums *sums, cloak_error *error) {
    for (size_t i = 0; i < set->count; i++) {
        cloak_eval_photo photo;
        cloak_detections found = {0};
        cloak_status status = cloak_eval_set_photo(set, i, &photo, error);
        if (status != CLOAK_OK)
            return status;
        cloak_image image = {photo.photo.rgb, photo.photo.width, photo.photo.height};
        double start = cloak_now();
        status = cloak_model_detect(set->model, &image, 1, &found, error);
        sums->seconds += cloak_now() - start;
        if (status == CLOAK_OK) {
            add_photo(sums, &found, &photo);
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

/* A number between 0 and 1 for the tables; NaN, as without faces, is a dash. */
static void print_number(double value) {
    if (isnan(value))
        fprintf(stderr, "      -");
    else
        fprintf(stderr, "  %.3f", value);
}

static void print_heights(const Sums *sums) {
    fprintf(stderr, "\n  faces by height in pixels (AP, recall)\n     ");
    for (int b = 0; b < BANDS; b++)
        fprintf(stderr, "%16s", bands[b].word);
    fprintf(stderr, "\n  IoU");
    for (int b = 0; b < BANDS; b++)
        fprintf(stderr, "%10llu faces", (unsigned long long)sums->by_height[b].faces);
    fprintf(stderr, "\n");
    for (int i = 0; i < CLOAK_AP_IOUS; i++) {
        fprintf(stderr, "  %s", cloak_ap_iou_word(i));
        for (int b = 0; b < BANDS; b++) {
            fprintf(stderr, "  ");
            print_number(cloak_ap_average(&sums->by_height[b], i));
            print_number(cloak_ap_recall(&sums->by_height[b], i));
        }
        fprintf(stderr, "\n");
    }
}

static void print_table(const cloak_eval_set *set, const Sums *sums) {
    const Faceless *none = &sums->faceless;
    fprintf(stderr, "\n  IoU      AP  recall   (%zu photos, %llu faces, %llu detections)\n",
        set->count, (unsigned long long)sums->all.faces,
        (unsigned long long)cloak_ap_detections(&sums->all));
    for (int i = 0; i < CLOAK_AP_IOUS; i++) {
        fprintf(stderr, "  %s ", cloak_ap_iou_word(i));
        print_number(cloak_ap_average(&sums->all, i));
        fprintf(stderr, " ");
        print_number(cloak_ap_recall(&sums->all, i));
        fprintf(stderr, "\n");
    }
    if (sums->all.faces)
        print_heights(sums);
    fprintf(stderr, "\n");
    if (none->photos)
        fprintf(stderr,
            "  %zu photos without a face: %zu detections in %zu of them, best score %.3f\n",
            none->photos, none->detections, none->photos_with_detections, none->best_score);
    fprintf(stderr, "  %.3f s per photo\n", sums->seconds / (double)set->count);
}

static void add_curves(cJSON *to, const cloak_ap *ap) {
    cloak_eval_curve(to, "ap", ap, cloak_ap_average);
    cloak_eval_curve(to, "recall", ap, cloak_ap_recall);
}

static void print_json(const cloak_eval_set *set, const Sums *sums) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "photos", (double)set->count);
    cJSON_AddNumberToObject(object, "faces", (double)sums->all.faces);
    cJSON_AddNumberToObject(object, "detections", (double)cloak_ap_detections(&sums->all));
    add_curves(object, &sums->all);
    cJSON *heights = cJSON_AddObjectToObject(object, "by_height");
    for (int b = 0; b < BANDS; b++) {
        cJSON *band = cJSON_AddObjectToObject(heights, bands[b].word);
        cJSON_AddNumberToObject(band, "faces", (double)sums->by_height[b].faces);
        add_curves(band, &sums->by_height[b]);
    }
    cJSON *none = cJSON_AddObjectToObject(object, "faceless");
    cJSON_AddNumberToObject(none, "photos", (double)sums->faceless.photos);
    cJSON_AddNumberToObject(
        none, "photos_with_detections", (double)sums->faceless.photos_with_detections);
    cJSON_AddNumberToObject(none, "detections", (double)sums->faceless.detections);
    cloak_eval_number(none, "best_score", sums->faceless.best_score);
    cloak_eval_number(object, "seconds_per_photo", sums->seconds / (double)set->count);
    cloak_eval_report(object);
}

/* Opens a file that an option names; NULL when it names none. */
static bool open_output(const char *path, FILE **file) {
    *file = path ? fopen(path, "we") : NULL;
    if (path && !*file)
        fprintf(stderr, "cloak eval detector: cannot write %s\n", path);
    return !path || *file;
}

/* Closes it; what could not be written is an error, unless there was one before. */
static cloak_status close_output(
    const char *path, FILE *file, cloak_status status, cloak_error *error) {
    if (!file)
        return status;
    bool failed = ferror(file) != 0;
    failed |= fclose(file) != 0;
    if (failed && status == CLOAK_OK)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "cannot write %s", path);
    return status;
}

static cloak_status evaluate(const cloak_eval_options *options, FILE *per_photo, FILE *curve,
    Sums *sums, cloak_error *error) {
    cloak_eval_set set;
    cloak_status status = cloak_eval_set_open(options, &set, error);
    if (status != CLOAK_OK)
        return status;
    status = measure(&set, per_photo, sums, error);
    if (status == CLOAK_OK) {
        print_table(&set, sums);
        if (options->json)
            print_json(&set, sums);
        if (curve)
            cloak_eval_draw(curve, &sums->all, set.count);
    }
    cloak_eval_set_close(&set);
    return status;
}

int cloak_eval_detector(int argc, char **argv) {
    cloak_eval_options o = CLOAK_EVAL_OPTIONS_DEFAULT;
    const char *per_photo = NULL, *curve = NULL;
    const cloak_option table[] = {CLOAK_EVAL_OPTIONS(o),
        {"per-photo", "FILE", NULL, CLOAK_OPTION_TEXT, &per_photo, 0, 0,
            "write each photo's detections there, as JSON lines"},
        {"curve", "FILE.svg", NULL, CLOAK_OPTION_TEXT, &curve, 0, 0,
            "draw the precision-recall curves there"},
        {0}};
    FILE *lines = NULL, *picture = NULL;
    cloak_error error = {0};
    Sums sums = {0};
    int code = 0;
    if (!cloak_verb_parse("eval detector --photos DIR --labels FILE [OPTIONS]",
            "AP and recall of the detector at IoU 0.3 … 1.0; every detection above 0.05 counts.\n\n"
            "Once more by the faces' height in the photo's own pixels (50 and more, 30 to 50, 10\n"
            "to 30, 30 and more): faces of other heights are ignored then, found or not, and so\n"
            "are detections of other heights that find no face.",
            table, argc, argv, 0, &code))
        return code;
    if (!open_output(per_photo, &lines))
        return CLOAK_EXIT_USAGE;
    if (!open_output(curve, &picture)) {
        (void)close_output(per_photo, lines, CLOAK_OK, &error);
        return CLOAK_EXIT_USAGE;
    }
    cloak_status status = evaluate(&o, lines, picture, &sums, &error);
    status = close_output(per_photo, lines, status, &error);
    status = close_output(curve, picture, status, &error);
    cloak_ap_free(&sums.all);
    for (int b = 0; b < BANDS; b++)
        cloak_ap_free(&sums.by_height[b]);
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("eval detector", &error);
}
