/* Album settings as struct and as JSON; see the header. */
#include "common/report/settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/alloc.h"
#include "common/report/targets.h"

typedef struct {
    const char *name;
    int eps_levels;
    long max_steps;
    double diversity;
    const char *targets, *survive;
} Preset;

static const Preset presets[] = {
#define X(name, levels, steps, diversity, targets, survive, doc)                                   \
    {name, levels, steps, diversity, targets, survive},
    CLOAK_PRESET_TABLE(X)
#undef X
};

#define X(name, levels, steps, diversity, targets, survive, doc) " " name
static const char preset_names[] = CLOAK_PRESET_TABLE(X);
#undef X

cloak_status cloak_settings_preset(
    const char *preset, const char *targets, cloak_settings *settings, cloak_error *error) {
    cloak_target_list list;
    size_t i = 0, count = sizeof presets / sizeof *presets;
    while (i < count && strcmp(preset, presets[i].name) != 0)
        i++;
    if (i == count)
        return cloak_fail(
            error, CLOAK_E_USAGE, "unknown preset \"%s\"; there are:%s", preset, preset_names);
    cloak_status status =
        cloak_targets_choose(targets ? targets : presets[i].targets, &list, error);
    if (status != CLOAK_OK)
        return status;
    *settings = (cloak_settings){
        .preset = cloak_strdup(preset),
        .eps = presets[i].eps_levels / 255.0,
        .max_steps = presets[i].max_steps,
        .restarts = 0,
        .region = 3,
        .encoder_rounds = 3, /* only photos that resist get so far */
        .polish = 0,
        .diversity = presets[i].diversity,
        .survive = cloak_strdup(presets[i].survive),
        .targets = cloak_targets_text(&list),
        .seed = 0,
        .metadata = cloak_strdup("safe"),
        .labels = cloak_strdup(""),
    };
    cloak_targets_free(&list);
    return CLOAK_OK;
}

static void add_STRING(cJSON *to, const char *name, char *const *value) {
    cJSON_AddStringToObject(to, name, *value ? *value : "");
}

static void add_REAL(cJSON *to, const char *name, const double *value) {
    cJSON_AddNumberToObject(to, name, *value);
}

static void add_INT(cJSON *to, const char *name, const long *value) {
    char digits[24]; /* cJSON itself prints large whole numbers inexactly */
    snprintf(digits, sizeof digits, "%ld", *value);
    cJSON_AddRawToObject(to, name, digits);
}

char *cloak_settings_json(const cloak_settings *settings) {
    cJSON *object = cJSON_CreateObject();
#define X(type, name, doc) add_##type(object, #name, &settings->name);
    CLOAK_SETTINGS_TABLE(X)
#undef X
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    return text ? text : cloak_strdup("{}");
}

static bool take_STRING(const cJSON *item, char **value) {
    if (!cJSON_IsString(item))
        return false;
    *value = cloak_strdup(item->valuestring);
    return true;
}

static bool take_REAL(const cJSON *item, double *value) {
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return false;
    *value = item->valuedouble;
    return true;
}

static bool take_INT(const cJSON *item, long *value) {
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 9007199254740991.0) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *value = (long)item->valuedouble;
    return true;
}

cloak_status cloak_settings_check(const cloak_settings *s, cloak_error *error) {
    const char *problem = NULL;
    if (!(s->eps * 255 + 1e-3 >= 1 && s->eps * 255 <= 63 + 1e-3)) /* whole levels, as the attack */
        problem = "eps must be 1/255 to 63/255";
    else if (s->max_steps < 1 || s->max_steps > 10000)
        problem = "max_steps must be 1 to 10000";
    else if (s->restarts < 0 || s->restarts > 100)
        problem = "restarts must be 0 to 100";
    else if (!(s->region >= 1 && s->region <= 500)) /* later rounds double it */
        problem = "region must be 1 to 500";
    else if (s->encoder_rounds < 0 || s->encoder_rounds > 20)
        problem = "encoder_rounds must be 0 to 20";
    else if (s->polish < 0 || s->polish > 20)
        problem = "polish must be 0 to 20";
    else if (!(s->diversity >= 0 && s->diversity <= 1))
        problem = "diversity must be 0 to 1";
    else if (s->seed < 0)
        problem = "seed must not be negative";
    else if (strcmp(s->metadata, "none") != 0 && strcmp(s->metadata, "safe") != 0 &&
             strcmp(s->metadata, "keep") != 0)
        problem = "metadata must be none, safe or keep";
    if (problem)
        return cloak_fail(error, CLOAK_E_USAGE, "settings: %s", problem);
    cloak_target_list targets;
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    size_t count;
    cloak_status status = cloak_targets_parse(s->targets, &targets, error);
    if (status != CLOAK_OK)
        return status;
    cloak_targets_free(&targets);
    return cloak_transforms_parse(s->survive, transforms, &count, error);
}

cloak_status cloak_settings_parse(
    const char *json, cloak_settings *settings, cloak_error *error) {
    cloak_settings parsed = {0};
    cloak_status status = CLOAK_OK;
    cJSON *object = cJSON_Parse(json);
    int known = 0;
    if (!cJSON_IsObject(object))
        status = cloak_fail(error, CLOAK_E_USAGE, "the album's settings are not a JSON object");
#define X(type, name, doc)                                                                         \
    known++;                                                                                       \
    if (status == CLOAK_OK &&                                                                      \
        !take_##type(cJSON_GetObjectItemCaseSensitive(object, #name), &parsed.name))               \
        status = cloak_fail(                                                                       \
            error, CLOAK_E_USAGE, "the album's settings lack a proper \"%s\"", #name);
    CLOAK_SETTINGS_TABLE(X)
#undef X
    if (status == CLOAK_OK && cJSON_GetArraySize(object) != known)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "the album's settings hold fields that this version does not know: update the worker");
    if (status == CLOAK_OK)
        status = cloak_settings_check(&parsed, error);
    cJSON_Delete(object);
    if (status == CLOAK_OK)
        *settings = parsed;
    else
        cloak_settings_free(&parsed);
    return status;
}

void cloak_settings_free(cloak_settings *settings) {
    free(settings->preset);
    free(settings->survive);
    free(settings->targets);
    free(settings->metadata);
    free(settings->labels);
    *settings = (cloak_settings){0};
}
