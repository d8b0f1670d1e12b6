/* cloak eval attack: what the attack alone does to the detector's AP and recall. The perturbation is
 * judged on the 8-bit lattice, at the photo's own size, before any encoding; with `--lattice off` in
 * the loop, on the real numbers that published tables are about. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"
#include "models/target_set.h"

enum { BANDS = 4 };

/* Finer than the detector's where faces are small: those are what resists. Smaller ones are in none. */
static const cloak_eval_band bands[BANDS] = {
    {"8-16", {8, 16}}, {"16-30", {16, 30}}, {"30-50", {30, 50}}, {"50+", {50, INFINITY}}};

typedef struct {
    cloak_ap before, after, by_height_before[BANDS], by_height_after[BANDS];
    double seconds, psnr, look_seconds[1 + CLOAK_TARGETS_MAX]; /* by detector, ours first */
    long steps, clean;
    cloak_ap after_transform[CLOAK_TRANSFORMS_MAX]; /* simulated */
    cloak_ap target_before[CLOAK_TARGETS_MAX], target_after[CLOAK_TARGETS_MAX];
} Sums;

/* What is attacked, and on what. */
typedef struct {
    cloak_eval_set set;
    cloak_target_set targets;
    Sums sums;
} Run;

static const struct {
    const char *name;
    unsigned bit;
} ingredients[] = {{"momentum", CLOAK_WITHOUT_MOMENTUM}, {"decay", CLOAK_WITHOUT_DECAY},
    {"leak", CLOAK_WITHOUT_LEAK}, {"objectness", CLOAK_WITHOUT_OBJECTNESS},
    {"surest-most", CLOAK_WITHOUT_SUREST_MOST}, {"overdrive", CLOAK_WITHOUT_OVERDRIVE},
    {"patience", CLOAK_WITHOUT_PATIENCE}, {"gentle", CLOAK_WITHOUT_GENTLE},
    {"masking", CLOAK_WITHOUT_MASKING}, {"fading", CLOAK_WITHOUT_FADING},
    {"caution", CLOAK_WITHOUT_CAUTION}};

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

static void add_own(
    cloak_ap *own, cloak_ap by_height[BANDS], const cloak_detections *found, const cloak_eval_photo *photo) {
    cloak_eval_add(own, found, photo);
    cloak_eval_add_bands(by_height, bands, BANDS, found, photo);
}

/* Adds what each model finds on a picture: the own one to `own` and `by_height`, the others to theirs. */
static cloak_status look(const Run *run, const cloak_image *image, const cloak_eval_photo *photo,
    cloak_ap *own, cloak_ap by_height[BANDS], cloak_ap *others, cloak_detections *all, cloak_error *error) {
    cloak_findings findings = {0};
    cloak_status status = cloak_target_set_detect(&run->targets, image, NULL, &findings, error);
    if (status != CLOAK_OK)
        return status;
    add_own(own, by_height, &findings.own, photo);
    for (size_t i = 0, from = findings.own.count; i < run->targets.count; i++) {
        cloak_detections found = {findings.found[i], findings.all.items + from};
        cloak_eval_add(&others[i], &found, photo);
        from += findings.found[i];
    }
    *all = findings.all;
    findings.all = (cloak_detections){0};
    cloak_findings_free(&findings);
    return CLOAK_OK;
}

static cloak_status look_after(Run *run, const cloak_attack_params *params,
    const cloak_image *image, const cloak_eval_photo *photo, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; status == CLOAK_OK && i < params->transform_count; i++) {
        cloak_detections found = {0};
        status = cloak_model_detect_after(
            run->set.model, image, &params->transforms[i], &found, error);
        if (status == CLOAK_OK)
            cloak_eval_add(&run->sums.after_transform[i], &found, photo);
        cloak_detections_free(&found);
    }
    return status;
}

static cloak_status attack_photo(Run *run, const cloak_attack_params *params,
    const cloak_eval_photo *photo, cloak_error *error) {
    size_t bytes = (size_t)photo->photo.width * (size_t)photo->photo.height * 3;
    uint8_t *cloaked = cloak_try_alloc(bytes);
    cloak_image image = {photo->photo.rgb, photo->photo.width, photo->photo.height};
    cloak_detections before = {0}, after = {0};
    cloak_attack_result result = {0};
    Sums *sums = &run->sums;
    if (!cloaked)
        return cloak_fail(error, CLOAK_E_DEVICE, "%s: out of memory", photo->key);
    cloak_attack_params for_this = *params;
    for_this.clean = &before;
    for_this.others = run->targets.others;
    for_this.other_count = run->targets.count;
    double start = cloak_now();
    cloak_status status =
        look(run, &image, photo, &sums->before, sums->by_height_before, sums->target_before, &before, error);
    if (status == CLOAK_OK)
        status = cloak_model_attack(run->set.model, &image, 1, &for_this, NULL, &result, error);
    if (status == CLOAK_OK && params->lattice)
        status = cloak_model_apply(&image, &result, cloaked, error);
    sums->seconds += cloak_now() - start;
    image.rgb = cloaked;
    if (status == CLOAK_OK && params->lattice)
        status = look(run, &image, photo, &sums->after, sums->by_height_after, sums->target_after, &after, error);
    if (status == CLOAK_OK && params->lattice)
        status = look_after(run, params, &image, photo, error);
    if (status == CLOAK_OK) {
        const cloak_detections *left = params->lattice ? &after : &result.found;
        if (!params->lattice)
            add_own(&sums->after, sums->by_height_after, left, photo);
        else
            sums->psnr += cloak_photo_psnr(photo->photo.rgb, cloaked, bytes);
        sums->steps += result.steps;
        for (size_t i = 0; i <= run->targets.count; i++)
            sums->look_seconds[i] += result.look_seconds[i];
        sums->clean += left->count == 0;
    }
    cloak_attack_result_free(&result);
    cloak_detections_free(&before);
    cloak_detections_free(&after);
    free(cloaked);
    return status;
}

static cloak_status measure(Run *run, const cloak_attack_params *params, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    const cloak_eval_set *set = &run->set;
    for (size_t i = 0; i < set->count && status == CLOAK_OK; i++) {
        cloak_eval_photo photo;
        status = cloak_eval_set_photo(set, i, &photo, error);
        if (status == CLOAK_OK)
            status = attack_photo(run, params, &photo, error);
        cloak_photo_free(&photo.photo);
        if (i % 10 == 9)
            fprintf(stderr, "  %zu of %zu photos, recall %.3f -> %.3f\n", i + 1, set->count,
                cloak_ap_recall(&run->sums.before, CLOAK_AP_IOU_50),
                cloak_ap_recall(&run->sums.after, CLOAK_AP_IOU_50));
    }
    return status;
}

/* Loose boxes are no reason not to count a face as found: IoU .3. */
enum { TARGET_IOU = 0 };

static void print(const Run *run, const cloak_attack_params *params, const char *without) {
    const cloak_eval_set *set = &run->set;
    const Sums *s = &run->sums;
    const double n = (double)set->count;
    fprintf(stderr, "\n  IoU   AP before  after   recall before  after   (%zu photos, %llu faces)\n",
        set->count, (unsigned long long)s->before.faces);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        fprintf(stderr, "  %s       %.3f  %.3f           %.3f  %.3f\n", cloak_ap_iou_word(i),
            cloak_ap_average(&s->before, i), cloak_ap_average(&s->after, i),
            cloak_ap_recall(&s->before, i), cloak_ap_recall(&s->after, i));
    for (int b = 0; b < BANDS; b++)
        if (s->by_height_before[b].faces)
            fprintf(stderr, "  %5s px: recall %.3f -> %.3f at IoU 0.5 (%llu faces)\n", bands[b].word,
                cloak_ap_recall(&s->by_height_before[b], CLOAK_AP_IOU_50),
                cloak_ap_recall(&s->by_height_after[b], CLOAK_AP_IOU_50),
                (unsigned long long)s->by_height_before[b].faces);
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
    for (size_t i = 0; i < run->targets.count; i++)
        fprintf(stderr, "  %-20s recall %.3f -> %.3f at IoU %s, %.2f s per photo to look\n",
            cloak_model_describe(run->targets.others[i]).name,
            cloak_ap_recall(&s->target_before[i], TARGET_IOU),
            cloak_ap_recall(&s->target_after[i], TARGET_IOU), cloak_ap_iou_word(TARGET_IOU),
            s->look_seconds[i + 1] / n);
    fprintf(stderr, "  our own detector needs %.2f s of it to look\n", s->look_seconds[0] / n);
    if (!set->options->json)
        return;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "photos", n);
    cJSON_AddNumberToObject(object, "faces", (double)s->before.faces);
    cloak_eval_number(object, "eps", (double)params->eps);
    cJSON_AddNumberToObject(object, "steps", params->max_steps);
    cloak_eval_number(object, "steps_mean", (double)s->steps / n);
    cloak_eval_number(object, "seconds_per_photo", s->seconds / n);
    cloak_eval_number(object, "look_seconds", s->look_seconds[0] / n);
    cJSON_AddBoolToObject(object, "lattice", params->lattice);
    cJSON_AddStringToObject(object, "precision", params->full_precision ? "full" : "mixed");
    cJSON_AddStringToObject(object, "without", without);
    if (params->lattice)
        cloak_eval_number(object, "psnr_db", s->psnr / n);
    else
        cJSON_AddNullToObject(object, "psnr_db");
    cJSON_AddNumberToObject(object, "clean_photos", (double)s->clean);
    cloak_eval_before_after(object, &s->before, &s->after);
    cJSON *heights = cJSON_AddObjectToObject(object, "by_height");
    for (int b = 0; b < BANDS; b++) {
        cJSON *band = cJSON_AddObjectToObject(heights, bands[b].word);
        cJSON_AddNumberToObject(band, "faces", (double)s->by_height_before[b].faces);
        cloak_eval_before_after(band, &s->by_height_before[b], &s->by_height_after[b]);
    }
    cJSON *transforms = cJSON_AddObjectToObject(object, "transforms");
    for (size_t i = 0; i < params->transform_count; i++) {
        cJSON *entry = cJSON_AddObjectToObject(transforms, params->transforms[i].name);
        cloak_eval_curve(entry, "ap", &s->after_transform[i], cloak_ap_average);
        cloak_eval_curve(entry, "recall", &s->after_transform[i], cloak_ap_recall);
    }
    cJSON *targets = cJSON_AddObjectToObject(object, "targets");
    for (size_t i = 0; i < run->targets.count; i++) {
        cJSON *entry =
            cJSON_AddObjectToObject(targets, cloak_model_describe(run->targets.others[i]).name);
        cloak_eval_before_after(entry, &s->target_before[i], &s->target_after[i]);
        cloak_eval_number(entry, "look_seconds", s->look_seconds[i + 1] / n);
    }
    cloak_eval_report(object);
}

/* Loads what is to be attacked. */
static cloak_status open_run(
    Run *run, const cloak_eval_options *options, const char *targets, cloak_error *error) {
    cloak_target_list list = {0};
    cloak_model_params params = cloak_model_default_params();
    params.device = options->device;
    params.threads = (int)options->threads;
    cloak_status status = cloak_targets_choose(targets, &list, error);
    if (status == CLOAK_OK)
        status = cloak_eval_set_open(options, &run->set, error);
    if (status == CLOAK_OK)
        status = cloak_target_set_load(&list, run->set.model, &params, &run->targets, error);
    cloak_targets_free(&list);
    return status;
}

static void close_run(Run *run) {
    Sums *sums = &run->sums;
    cloak_target_set_free(&run->targets);
    cloak_eval_set_close(&run->set);
    cloak_ap_free(&sums->before);
    cloak_ap_free(&sums->after);
    for (int b = 0; b < BANDS; b++) {
        cloak_ap_free(&sums->by_height_before[b]);
        cloak_ap_free(&sums->by_height_after[b]);
    }
    for (size_t i = 0; i < CLOAK_TRANSFORMS_MAX; i++)
        cloak_ap_free(&sums->after_transform[i]);
    for (size_t i = 0; i < CLOAK_TARGETS_MAX; i++) {
        cloak_ap_free(&sums->target_before[i]);
        cloak_ap_free(&sums->target_after[i]);
    }
}

int cloak_eval_attack(int argc, char **argv) {
    cloak_eval_options o = CLOAK_EVAL_OPTIONS_DEFAULT;
    cloak_attack_params params = cloak_attack_default_params();
    const char *lattice = "on", *precision = "mixed", *without = "", *names = "",
               *targets = "none";
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    double eps = 0.01, region = (double)params.region, diversity = 0;
    long steps = 10, restarts = 0, polish = 0, seed = 0;
    const cloak_option table[] = {CLOAK_EVAL_OPTIONS(o),
        {"eps", "E", NULL, CLOAK_OPTION_EPS, &eps, 0, 0,
            "largest change of a channel: 0.01 of full scale, or 3/255"},
        {"steps", "N", NULL, CLOAK_OPTION_INT, &steps, 1, 10000, "passes, at most"},
        {"restarts", "N", NULL, CLOAK_OPTION_INT, &restarts, 0, 100, "random starts after that"},
        {"polish", "N", NULL, CLOAK_OPTION_INT, &polish, 0, 20,
            "looks spent on shrinking a success while it stays one"},
        {"diversity", "SHARE", NULL, CLOAK_OPTION_REAL, &diversity, 0, 1,
            "share of looks on the way that are at another scale"},
        {"region", "X", NULL, CLOAK_OPTION_REAL, &region, 1, 1000,
            "pixels within X times a face's box may change"},
        {"lattice", "on|off", NULL, CLOAK_OPTION_TEXT, &lattice, 0, 0,
            "off: levels are not rounded, as in published tables"},
        {"precision", "mixed|full", NULL, CLOAK_OPTION_TEXT, &precision, 0, 0,
            "full: every look in float, also where bfloat16 is faster"},
        {"without", "NAMES", NULL, CLOAK_OPTION_TEXT, &without, 0, 0,
            "left out: momentum,decay,leak,objectness,surest-most,overdrive,patience,gentle,masking,fading,caution"},
        {"transforms", "NAMES", NULL, CLOAK_OPTION_TEXT, &names, 0, 0,
            "to survive besides, on the lattice: jpeg75,x0.6,x0.6+jpeg75,view0.75 and their kin, simulated"},
        {"targets", "NAMES", NULL, CLOAK_OPTION_TEXT, &targets, 0, 0,
            "to be hidden from besides: all that are installed, none, names or FILE.onnx"},
        {"seed", "N", NULL, CLOAK_OPTION_INT, &seed, 0, 9007199254740991.0, "of random starts"},
        {0}};
    Run run = {0};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("eval attack --photos DIR --labels FILE [OPTIONS]",
            "AP and recall before and after the attack, on rounded pixels before encoding.", table,
            argc, argv, 0, &code))
        return code;
    if (!read_choice("lattice", lattice, "off", "on", &params.lattice) ||
        !read_choice("precision", precision, "mixed", "full", &params.full_precision) ||
        !read_without(without, &params.without))
        return CLOAK_EXIT_USAGE;
    if (!params.lattice) /* what is left is then the loop's own word, which is to be by the thresholds */
        params.without |= CLOAK_WITHOUT_CAUTION;
    params.eps = (float)eps;
    params.max_steps = (int)steps;
    params.restarts = (int)restarts;
    params.polish = (int)polish;
    params.region = (float)region;
    params.diversity = (float)diversity;
    params.seed = (uint64_t)seed;
    params.transforms = transforms;
    cloak_status status =
        cloak_transforms_parse(names, transforms, &params.transform_count, &error);
    if (status == CLOAK_OK)
        status = open_run(&run, &o, targets, &error);
    if (status == CLOAK_OK)
        status = measure(&run, &params, &error);
    if (status == CLOAK_OK)
        print(&run, &params, without);
    close_run(&run);
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("eval attack", &error);
}
