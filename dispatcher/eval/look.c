/* cloak eval look: looks once more at what was delivered, with the detectors that its receipts name, and says where
 * more is seen than the receipt says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/install.h"
#include "common/base/text.h"
#include "common/photo/srgb.h"
#include "common/report/delivery.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"
#include "intake/intake.h"
#include "models/views.h"

enum { READ_SECONDS = 120 };

/* By so much a score may be above the receipt's, or above the threshold below which a receipt says 0: processors round
 * differently. */
static const double SLACK = 0.01;

typedef struct {
    const char *model, *device;
    long threads;
    bool json;
} Options;

typedef struct {
    const Options *options;
    cloak_store *store;
    cloak_intake *intake;
    cloak_model *model;
    cloak_target_set set; /* what `targets` names */
    char *targets;
    char **keys; /* of the photos that have a receipt */
    size_t count;
    size_t photos, residual, worse; /* worse: photos that show more than their receipt says */
} Look;

static cloak_model_params params_of(const Options *o) {
    cloak_model_params params = cloak_model_default_params();
    params.device = o->device;
    params.threads = (int)o->threads;
    return params;
}

/* Has the targets at hand that a receipt names: those of the photo before, nearly always. */
static cloak_status take_targets(Look *look, const char *names, cloak_error *error) {
    const cloak_model_params params = params_of(look->options);
    cloak_target_list list = {0};
    if (look->targets && strcmp(look->targets, names) == 0)
        return CLOAK_OK;
    cloak_status status = *names ? cloak_targets_parse(names, &list, error) : CLOAK_OK;
    if (status != CLOAK_OK) /* a text that is none */
        return CLOAK_E_PERMANENT;
    cloak_target_set_free(&look->set);
    look->set.own = look->model;
    free(look->targets);
    look->targets = NULL;
    status = cloak_target_set_load(&list, look->model, &params, &look->set, error);
    if (status == CLOAK_OK)
        look->targets = cloak_strdup(names);
    cloak_targets_free(&list);
    return status;
}

static void worse(Look *look, const char *key, const char *what) {
    char *shown = cloak_text_encode(key);
    fprintf(stderr, "  %s: %s\n", shown, what);
    look->worse++;
    free(shown);
}

/* --- against the receipt --------------------------------------------------------------------- */

/* Whether a score is more than a receipt's, which has 0 for what is not above the threshold. */
static bool is_more(double score, double said, const cloak_model *model) {
    return score > fmax(said, (double)cloak_model_describe(model).score_threshold) + SLACK;
}

/* The score of entry i of a receipt's "NAME:SCORE,…"; NaN where there is none. */
static double score_of(const char *list, size_t i) {
    for (; list && i > 0; i--) {
        list = strchr(list, ',');
        list = list ? list + 1 : NULL;
    }
    const char *colon = list ? strchr(list, ':') : NULL;
    return colon ? strtod(colon + 1, NULL) : (double)NAN;
}

/* Adds a detector that sees more to a text, which is freed for the longer one. */
static char *with_finder(char *text, const cloak_model *model, double score, double said) {
    char *longer = cloak_format("%s%s%s finds a face at %.3f, and the receipt says %.3f", text, *text ? "; " : "",
        cloak_model_describe(model).name, score, isnan(said) ? 0 : said);
    free(text);
    return longer;
}

/* Each detector's surest face with what the receipt says of it. Older receipts say of ours only what is surest of
 * all. */
static void compare(Look *look, const char *key, const cloak_record *record, const cloak_findings *found) {
    const double own = (double)cloak_findings_best_own(found),
                 said = isnan(record->model_after) ? record->residual_score : record->model_after;
    char *text = cloak_strdup("");
    look->photos++;
    look->residual += found->all.count > 0;
    if (is_more(own, said, look->model))
        text = with_finder(text, look->model, own, said);
    for (size_t i = 0; i < look->set.count; i++) {
        const double its = score_of(record->targets_after, i);
        if (is_more((double)found->best[i], its, look->set.others[i]))
            text = with_finder(text, look->set.others[i], (double)found->best[i], its);
    }
    if (*text)
        worse(look, key, text);
    free(text);
}

/* The file is read where workers read photos, too: it may be anybody's. `*bytes` are freed once they are decoded. */
static cloak_status look_with(
    Look *look, const char *key, const cloak_record *record, void **bytes, size_t length, cloak_error *error) {
    cloak_photo photo = {0};
    cloak_findings found = {0};
    void *core = NULL;
    size_t core_length = 0;
    uint8_t *room = NULL;
    const char *ours = cloak_model_describe(look->model).sha256;
    if (!record->model_sha256 || strcmp(record->model_sha256, ours) != 0)
        return cloak_fail(error, CLOAK_E_USAGE,
            "%s was hidden from the model %s (SHA-256 %.12s…), and this one is %.12s…: name that by --model", key,
            record->model ? record->model : "?", record->model_sha256 ? record->model_sha256 : "?", ours);
    cloak_status status = take_targets(look, record->targets ? record->targets : "", error);
    if (status == CLOAK_OK)
        status = cloak_intake_photo(look->intake, *bytes, length, key, record->album ? record->album : "",
            CLOAK_METADATA_NONE, &photo, &core, &core_length, error);
    free(core);
    free(*bytes);
    *bytes = NULL;
    if (status == CLOAK_OK) {
        const uint8_t *seen = cloak_srgb_see(&photo, photo.rgb, &room);
        status = seen ? cloak_views_detect(&look->set, &photo, seen, photo.rgb, &found, NULL, error)
                      : cloak_fail(error, CLOAK_E_DEVICE, "%s: out of memory", key);
    }
    if (status == CLOAK_OK)
        compare(look, key, record, &found);
    free(room);
    cloak_findings_free(&found);
    cloak_photo_free(&photo);
    return status;
}

/* What is wrong with this photo alone is told of it, and the others are looked at. */
static cloak_status look_at(Look *look, const char *key, cloak_error *error) {
    cloak_record record = {0};
    void *bytes = NULL;
    size_t length = 0;
    cloak_status status = cloak_delivery_take(look->store, key, NULL, &record, &bytes, &length, error);
    if (status == CLOAK_OK)
        status = look_with(look, key, &record, &bytes, length, error);
    free(bytes);
    cloak_record_free(&record);
    if (status != CLOAK_E_PERMANENT)
        return status;
    worse(look, key, error->text);
    return CLOAK_OK;
}

/* --- the album ------------------------------------------------------------------------------- */

static cloak_status visit(void *context, const char *key, const cloak_store_info *info, const char *problem) {
    Look *look = context;
    (void)info;
    if (problem) { /* what cannot be read cannot be said to be fine */
        worse(look, key, problem);
        return CLOAK_OK;
    }
    if (!cloak_receipt_is_key(key))
        return CLOAK_OK;
    look->keys = cloak_realloc(look->keys, (look->count + 1) * sizeof *look->keys);
    look->keys[look->count++] = cloak_format("%.*s", (int)(strlen(key) - strlen(CLOAK_RECEIPT_ENDING)), key);
    return CLOAK_OK;
}

static cloak_status look_at_all(Look *look, const char *out, cloak_error *error) {
    const cloak_model_params params = params_of(look->options);
    char *model = look->options->model ? cloak_strdup(look->options->model) : cloak_install_model();
    cloak_status status = cloak_store_open(out, &look->store, error);
    if (status == CLOAK_OK)
        status = cloak_store_list(look->store, visit, look, error);
    if (status == CLOAK_OK && look->count == 0 && look->worse == 0)
        status = cloak_fail(error, CLOAK_E_USAGE, "%s has no receipts (NAME" CLOAK_RECEIPT_ENDING ")", out);
    if (status == CLOAK_OK)
        status = cloak_model_load(model, &params, &look->model, error);
    free(model);
    look->intake = cloak_intake_new(READ_SECONDS, NULL, NULL);
    for (size_t i = 0; i < look->count && status == CLOAK_OK; i++) {
        status = look_at(look, look->keys[i], error);
        if (i % 100 == 99)
            fprintf(stderr, "  %zu of %zu photos looked at\n", i + 1, look->count);
    }
    return status;
}

static void close_look(Look *look) {
    cloak_target_set_free(&look->set);
    cloak_intake_free(look->intake);
    cloak_model_free(look->model);
    cloak_store_close(look->store);
    for (size_t i = 0; i < look->count; i++)
        free(look->keys[i]);
    free(look->keys);
    free(look->targets);
}

int cloak_eval_look(int argc, char **argv) {
    Options o = {.device = "cpu"};
    const cloak_option table[] = {CLOAK_EVAL_MODEL_OPTIONS(o), {0}};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("eval look OUT",
            "Looks once more at every photo below OUT (a folder or s3://BUCKET/FOLDER) that has a receipt, with our own\n"
            "detector and the targets that the receipt names. Exit code 1 where a photo is not the one that its receipt\n"
            "describes, cannot be read, or shows more than it says.",
            table, argc, argv, 1, &code))
        return code;
    Look look = {.options = &o};
    cloak_status status = look_at_all(&look, argv[0], &error);
    if (status == CLOAK_OK) {
        fprintf(stderr, "  %zu photos looked at, a face found in %zu; %zu are not as their receipts say\n", look.photos,
            look.residual, look.worse);
        if (o.json)
            printf("{\"photos\":%zu,\"residual\":%zu,\"worse\":%zu}\n", look.photos, look.residual, look.worse);
        code = look.worse ? CLOAK_EXIT_FAILURE : CLOAK_EXIT_OK;
    }
    close_look(&look);
    return status == CLOAK_OK ? code : cloak_verb_fail("eval look", &error);
}
