/* Sets of targets; see the header. */
#include "models/target_set.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

cloak_status cloak_target_set_load(const cloak_target_list *list, cloak_model *own,
    const cloak_model_params *params, cloak_target_set *set, cloak_error *error) {
    cloak_target_set loaded = {.own = own};
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < list->count && status == CLOAK_OK; i++) {
        status = cloak_target_check(&list->items[i], error);
        if (status == CLOAK_OK)
            status = cloak_model_load(
                list->items[i].path, params, &loaded.others[loaded.count], error);
        if (status == CLOAK_OK)
            loaded.count++;
    }
    if (status == CLOAK_OK)
        *set = loaded;
    else
        cloak_target_set_free(&loaded);
    return status;
}

static cloak_status detect(cloak_model *model, const cloak_image *image,
    const cloak_transform *transform, cloak_detections *found, cloak_error *error) {
    return transform ? cloak_model_detect_after(model, image, transform, found, error)
                     : cloak_model_detect(model, image, 1, found, error);
}

static void append(cloak_detections *to, const cloak_detections *from) {
    if (from->count == 0)
        return;
    to->items = cloak_realloc(to->items, (to->count + from->count) * sizeof *to->items);
    memcpy(to->items + to->count, from->items, from->count * sizeof *to->items);
    to->count += from->count;
}

cloak_status cloak_target_set_detect(const cloak_target_set *set, const cloak_image *image,
    const cloak_transform *transform, cloak_findings *findings, cloak_error *error) {
    cloak_findings seen = {0};
    cloak_status status = detect(set->own, image, transform, &seen.own, error);
    if (status == CLOAK_OK)
        append(&seen.all, &seen.own);
    for (size_t i = 0; i < set->count && status == CLOAK_OK; i++) {
        cloak_detections found = {0};
        status = detect(set->others[i], image, transform, &found, error);
        append(&seen.all, &found);
        seen.best[i] = found.count ? found.items[0].score : 0;
        seen.found[i] = found.count;
        cloak_detections_free(&found);
    }
    if (status == CLOAK_OK)
        *findings = seen;
    else
        cloak_findings_free(&seen);
    return status;
}

/* Adds a model's name and a number of so many significant digits to a list, which is freed for the longer one. */
static char *append_number(char *list, const cloak_model *model, int digits, double number) {
    char *longer =
        cloak_format("%s%s%s:%.*g", list, *list ? "," : "", cloak_model_describe(model).name, digits, number);
    free(list);
    return longer;
}

char *cloak_findings_text(const cloak_target_set *set, const cloak_findings *findings) {
    char *text = cloak_strdup("");
    for (size_t i = 0; i < set->count; i++)
        text = append_number(text, set->others[i], 4, (double)findings->best[i]);
    return text;
}

char *cloak_target_set_seconds_text(const cloak_target_set *set, const double *seconds) {
    char *text = append_number(cloak_strdup(""), set->own, 3, seconds[0]);
    for (size_t i = 0; i < set->count; i++)
        text = append_number(text, set->others[i], 3, seconds[1 + i]);
    return text;
}

char *cloak_findings_finders(const cloak_target_set *set, const cloak_findings *findings) {
    char *names = cloak_strdup(findings->own.count ? cloak_model_describe(set->own).name : "");
    for (size_t i = 0; i < set->count; i++) {
        if (findings->found[i] == 0)
            continue;
        char *longer = cloak_format("%s%s%s", names, *names ? "+" : "", cloak_model_describe(set->others[i]).name);
        free(names);
        names = longer;
    }
    return names;
}

static float best_of(const cloak_detections *found) {
    float best = 0;
    for (size_t i = 0; i < found->count; i++)
        if (found->items[i].score > best)
            best = found->items[i].score;
    return best;
}

float cloak_findings_best(const cloak_findings *findings) {
    return best_of(&findings->all);
}

float cloak_findings_best_own(const cloak_findings *findings) {
    return best_of(&findings->own);
}

void cloak_findings_free(cloak_findings *findings) {
    cloak_detections_free(&findings->own);
    cloak_detections_free(&findings->all);
    *findings = (cloak_findings){0};
}

void cloak_target_set_free(cloak_target_set *set) {
    for (size_t i = 0; i < set->count; i++)
        cloak_model_free(set->others[i]);
    *set = (cloak_target_set){0};
}
