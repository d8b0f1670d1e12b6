/* cloak eval attack: what the attack alone does to the detector's AP and recall. The perturbation is
 * judged on the 8-bit lattice, at the photo's own size, before any encoding; with `--lattice off` in
 * the loop, on the real numbers that published tables are about. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"

typedef struct {
    cloak_ap before, after;
    double seconds, psnr;
    long steps, clean;
    cloak_ap after_transform[CLOAK_TRANSFORMS_MAX]; /* simulated */
} Sums;

static const struct {
    const char *name;
    unsigned bit;
} ingredients[] = {{"momentum", CLOAK_WITHOUT_MOMENTUM}, {"decay", CLOAK_WITHOUT_DECAY},
    {"leak", CLOAK_WITHOUT_LEAK}, {"objectness", CLOAK_WITHOUT_OBJECTNESS},
    {"surest-most", CLOAK_WITHOUT_SUREST_MOST}, {"overdrive", CLOAK_WITHOUT_OVERDRIVE},
    {"patience", CLOAK_WITHOUT_PATIENCE}, {"gentle", CLOAK_WITHOUT_GENTLE},
    {"masking", CLOAK_WITHOUT_MASKING}};

/* Reads an option that is one of two words: `*second` says whether it is that one. */
static bool read_choice(const char *option, const char *value, const char *first,
    const char *other, bool *second) {
    *second = strcmp(value, other) == 0;
    if (*second || strcmp(value, first) == 0)
        return true;
    fprintf(stderr, "cloak eval attack: --%s is %s or %s, not '%s'\n", option, first, other, value);
    return false;
}

/* Reads names with commas between them. */
static bool read_without(const char *text, unsigned *without) {
    for (*without = 0; *text;) {
        size_t length = strcspn(text, ","), i = 0, known = sizeof ingredients / sizeof *ingredients;
        while (i < known && (strlen(ingredients[i].name) != length ||
                                strncmp(ingredients[i].name, text, length) != 0))
            i++;
        if (i == known) {
            fprintf(stderr, "cloak eval attack: --without does not know '%.*s'; it knows",
                (int)length, text);
            for (i = 0; i < known; i++)
                fprintf(stderr, " %s", ingredients[i].name);
            fprintf(stderr, "\n");
            return false;
        }
        *without |= ingredients[i].bit;
        text += length + (text[length] == ',');
    }
    return true;
}

static cloak_status look_after(const cloak_eval_set *set, const cloak_attack_params *params,
    const cloak_image *image, const cloak_eval_photo *photo, Sums *sums, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; status == CLOAK_OK && i < params->transform_count; i++) {
        cloak_detections found = {0};
        status = cloak_model_detect_after(
            set->model, image, &params->transforms[i], &found, error);
        if (status == CLOAK_OK)
            cloak_eval_add(&sums->after_transform[i], &found, photo);
        cloak_detections_free(&found);
    }
    return status;
}

static cloak_status attack_photo(const cloak_eval_set *set, const cloak_attack_params *params,
    const cloak_eval_photo *photo, Sums *sums, cloak_error *error) {
    size_t bytes = (size_t)photo->photo.width * (size_t)photo->photo.height * 3;
    uint8_t *cloaked = cloak_try_alloc(bytes);
    cloak_image image = {photo->photo.rgb, photo->photo.width, photo->photo.height};
    cloak_detections before = {0}, after = {0};
    cloak_attack_result result = {0};
    if (!cloaked)
        return cloak_fail(error, CLOAK_E_DEVICE, "%s: out of memory", photo->key);
    cloak_attack_params for_this = *params;
    for_this.clean = &before;
    double start = cloak_now();
    cloak_status status = cloak_model_detect(set->model, &image, 1, &before, error);
    if (status == CLOAK_OK)
        status = cloak_model_attack(set->model, &image, 1, &for_this, NULL, &result, error);
    if (status == CLOAK_OK && params->lattice)
        status = cloak_model_apply(&image, &result, cloaked, error);
    sums->seconds += cloak_now() - start;
    image.rgb = cloaked;
    if (status == CLOAK_OK && params->lattice)
        status = cloak_model_detect(set->model, &image, 1, &after, error);
    if (status == CLOAK_OK && params->lattice)
        status = look_after(set, params, &image, photo, sums, error);
    if (status == CLOAK_OK) {
        const cloak_detections *left = params->lattice ? &after : &result.found;
        cloak_eval_add(&sums->before, &before, photo);
        cloak_eval_add(&sums->after, left, photo);
        if (params->lattice)
            sums->psnr += cloak_photo_psnr(photo->photo.rgb, cloaked, bytes);
        sums->steps += result.steps;
        sums->clean += left->count == 0;
    }
    cloak_attack_result_free(&result);
    cloak_detections_free(&before);
    cloak_detections_free(&after);
    free(cloaked);
    return status;
}

static cloak_status measure(const cloak_eval_set *set, const cloak_attack_params *params,
    Sums *sums, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < set->count && status == CLOAK_OK; i++) {
        cloak_eval_photo photo;
        status = cloak_eval_set_photo(set, i, &photo, error);
        if (status == CLOAK_OK)
            status = attack_photo(set, params, &photo, sums, error);
        cloak_photo_free(&photo.photo);
        if (i % 10 == 9)
            fprintf(stderr, "  %zu of %zu photos, recall %.3f -> %.3f\n", i + 1, set->count,
                cloak_ap_recall(&sums->before, CLOAK_AP_IOU_50),
                cloak_ap_recall(&sums->after, CLOAK_AP_IOU_50));
    }
    return status;
}

static void print(const cloak_eval_set *set, const cloak_attack_params *params,
    const char *without, const Sums *s) {
    const double n = (double)set->count;
    fprintf(stderr, "\n  IoU   AP before  after   recall before  after   (%zu photos, %llu faces)\n",
        set->count, (unsigned long long)s->before.faces);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        fprintf(stderr, "  %s       %.3f  %.3f           %.3f  %.3f\n", cloak_ap_iou_word(i),
            cloak_ap_average(&s->before, i), cloak_ap_average(&s->after, i),
            cloak_ap_recall(&s->before, i), cloak_ap_recall(&s->after, i));
    fprintf(stderr, "  %ld photos clean, %.1f steps and %.2f s per photo", s->clean,
        (double)s->steps / n, s->seconds / n);
    if (params->lattice)
        fprintf(stderr, ", %.1f dB\n", s->psnr / n);
    else
        fprintf(stderr, "; off the lattice: no file can hold this\n");
    for (size_t i = 0; i < params->transform_count; i++)
        fprintf(stderr, "  after %-16s recall %.3f, AP %.3f\n", params->transforms[i].name,
            cloak_ap_recall(&s->after_transform[i], CLOAK_AP_IOU_50),
            cloak_ap_average(&s->after_transform[i], CLOAK_AP_IOU_50));
    if (!set->options->json)
        return;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "photos", n);
    cJSON_AddNumberToObject(object, "faces", (double)s->before.faces);
    cloak_eval_number(object, "eps", (double)params->eps);
    cJSON_AddNumberToObject(object, "steps", params->max_steps);
    cloak_eval_number(object, "steps_mean", (double)s->steps / n);
    cloak_eval_number(object, "seconds_per_photo", s->seconds / n);
    cJSON_AddBoolToObject(object, "lattice", params->lattice);
    cJSON_AddStringToObject(object, "precision", params->full_precision ? "full" : "mixed");
    cJSON_AddStringToObject(object, "without", without);
    if (params->lattice)
        cloak_eval_number(object, "psnr_db", s->psnr / n);
    else
        cJSON_AddNullToObject(object, "psnr_db");
    cJSON_AddNumberToObject(object, "clean_photos", (double)s->clean);
    cloak_eval_before_after(object, &s->before, &s->after);
    cJSON *transforms = cJSON_AddObjectToObject(object, "transforms");
    for (size_t i = 0; i < params->transform_count; i++) {
        cJSON *entry = cJSON_AddObjectToObject(transforms, params->transforms[i].name);
        cloak_eval_curve(entry, "ap", &s->after_transform[i], cloak_ap_average);
        cloak_eval_curve(entry, "recall", &s->after_transform[i], cloak_ap_recall);
    }
    cloak_eval_report(object);
}

int cloak_eval_attack(int argc, char **argv) {
    cloak_eval_options o = CLOAK_EVAL_OPTIONS_DEFAULT;
    cloak_attack_params params = cloak_attack_default_params();
    const char *lattice = "on", *precision = "mixed", *without = "", *names = "";
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    double eps = 0.01, region = (double)params.region;
    long steps = 10, restarts = 0, polish = 0, seed = 0;
    const cloak_option table[] = {CLOAK_EVAL_OPTIONS(o),
        {"eps", "E", NULL, CLOAK_OPTION_EPS, &eps, 0, 0,
            "largest change of a channel: 0.01 of full scale, or 3/255"},
        {"steps", "N", NULL, CLOAK_OPTION_INT, &steps, 1, 10000, "passes, at most"},
        {"restarts", "N", NULL, CLOAK_OPTION_INT, &restarts, 0, 100, "random starts after that"},
        {"polish", "N", NULL, CLOAK_OPTION_INT, &polish, 0, 20,
            "looks spent on shrinking a success while it stays one"},
        {"region", "X", NULL, CLOAK_OPTION_REAL, &region, 1, 1000,
            "pixels within X times a face's box may change"},
        {"lattice", "on|off", NULL, CLOAK_OPTION_TEXT, &lattice, 0, 0,
            "off: levels are not rounded, as in published tables"},
        {"precision", "mixed|full", NULL, CLOAK_OPTION_TEXT, &precision, 0, 0,
            "full: every look in float, also where bfloat16 is faster"},
        {"without", "NAMES", NULL, CLOAK_OPTION_TEXT, &without, 0, 0,
            "left out: momentum,decay,leak,objectness,surest-most,overdrive,patience,gentle,masking"},
        {"transforms", "NAMES", NULL, CLOAK_OPTION_TEXT, &names, 0, 0,
            "to survive besides, on the lattice: jpeg75,x0.6,x0.6+jpeg75,view0.75 and their kin, simulated"},
        {"seed", "N", NULL, CLOAK_OPTION_INT, &seed, 0, 9007199254740991.0, "of random starts"},
        {0}};
    cloak_eval_set set;
    cloak_error error = {0};
    Sums sums = {0};
    int code = 0;
    if (!cloak_verb_parse("eval attack --photos DIR --labels FILE [OPTIONS]",
            "AP and recall before and after the attack, on rounded pixels before encoding.", table,
            argc, argv, 0, &code))
        return code;
    if (!read_choice("lattice", lattice, "off", "on", &params.lattice) ||
        !read_choice("precision", precision, "mixed", "full", &params.full_precision) ||
        !read_without(without, &params.without))
        return CLOAK_EXIT_USAGE;
    params.eps = (float)eps;
    params.max_steps = (int)steps;
    params.restarts = (int)restarts;
    params.polish = (int)polish;
    params.region = (float)region;
    params.seed = (uint64_t)seed;
    params.transforms = transforms;
    cloak_status status =
        cloak_transforms_parse(names, transforms, &params.transform_count, &error);
    if (status == CLOAK_OK)
        status = cloak_eval_set_open(&o, &set, &error);
    if (status == CLOAK_OK) {
        status = measure(&set, &params, &sums, &error);
        if (status == CLOAK_OK)
            print(&set, &params, without, &sums);
        cloak_eval_set_close(&set);
    }
    cloak_ap_free(&sums.before);
    cloak_ap_free(&sums.after);
    for (size_t i = 0; i < CLOAK_TRANSFORMS_MAX; i++)
        cloak_ap_free(&sums.after_transform[i]);
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("eval attack", &error);
}
