/* Lists of targets; see the header. */
#include "common/report/targets.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/install.h"

#define SUFFIX ".onnx"

enum { MAX_FILE = 256 << 20, MAX_INSTALLED = 256 };

bool cloak_target_is_name(const char *word) {
    size_t length = strlen(word);
    return length > 0 && length <= 32 && word[0] != '.' &&
           strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

static bool has_suffix(const char *text) {
    size_t length = strlen(text), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(text + length - suffix, SUFFIX) == 0;
}

char *cloak_target_path(const char *name) {
    char *folder = cloak_install_targets(), *file = cloak_format("%s" SUFFIX, name);
    char *path = cloak_path_join(folder, file);
    free(folder);
    free(file);
    return path;
}

char *cloak_target_descriptor(const char *path) {
    if (!has_suffix(path))
        return NULL;
    return cloak_format("%.*s.json", (int)(strlen(path) - strlen(SUFFIX)), path);
}

cloak_status cloak_target_mark(
    const char *path, char mark[CLOAK_TARGET_MARK], cloak_error *error) {
    char hex[2 * CLOAK_DIGEST_SIZE] = "", *descriptor = cloak_target_descriptor(path);
    if (!descriptor)
        return cloak_fail(error, CLOAK_E_USAGE, "%s: a target's file must end in " SUFFIX, path);
    const char *const files[] = {path, descriptor};
    cloak_status status = CLOAK_OK;
    for (int i = 0; i < 2 && status == CLOAK_OK; i++) {
        void *bytes = NULL;
        size_t length = 0;
        status = cloak_file_read(files[i], MAX_FILE, &bytes, &length, error);
        if (status == CLOAK_OK)
            cloak_digest_hex(bytes, length, hex + strlen(hex));
        free(bytes);
    }
    if (status == CLOAK_OK) {
        char both[CLOAK_DIGEST_SIZE];
        cloak_digest_hex(hex, strlen(hex), both);
        memcpy(mark, both, CLOAK_TARGET_MARK - 1);
        mark[CLOAK_TARGET_MARK - 1] = 0;
    }
    free(descriptor);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

cloak_status cloak_targets_installed(char ***names, size_t *count, cloak_error *error) {
    char *folder = cloak_install_targets();
    DIR *dir = opendir(folder);
    *names = NULL;
    *count = 0;
    if (!dir && errno != ENOENT) {
        cloak_fail(error, CLOAK_E_USAGE, "cannot read the targets folder %s: %s", folder,
            strerror(errno));
        free(folder);
        return CLOAK_E_USAGE;
    }
    free(folder);
    for (struct dirent *entry; dir && *count < MAX_INSTALLED && (entry = readdir(dir));) {
        if (!has_suffix(entry->d_name))
            continue;
        char *name =
            cloak_format("%.*s", (int)(strlen(entry->d_name) - strlen(SUFFIX)), entry->d_name);
        if (!cloak_target_is_name(name)) {
            free(name);
            continue;
        }
        *names = cloak_realloc(*names, (*count + 1) * sizeof **names);
        (*names)[(*count)++] = name;
    }
    if (dir)
        closedir(dir);
    if (*count)
        qsort(*names, *count, sizeof **names, by_name);
    return CLOAK_OK;
}

static cloak_status unknown(const char *word, cloak_error *error) {
    char **names, *list = cloak_strdup("");
    size_t count;
    cloak_status status = cloak_targets_installed(&names, &count, error);
    if (status != CLOAK_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        char *longer = cloak_format("%s %s", list, names[i]);
        free(list);
        list = longer;
        free(names[i]);
    }
    free(names);
    cloak_fail(error, CLOAK_E_USAGE,
        "there is no target \"%s\"; installed:%s (`cloak targets add` installs one)", word,
        count ? list : " none");
    free(list);
    return CLOAK_E_USAGE;
}

/* Appends the target that a word means. */
static cloak_status append(cloak_target_list *list, const char *word, cloak_error *error) {
    if (list->count == CLOAK_TARGETS_MAX)
        return cloak_fail(error, CLOAK_E_USAGE, "more than %d targets", CLOAK_TARGETS_MAX);
    cloak_target_ref target = {0};
    if (cloak_target_is_name(word) && !has_suffix(word)) {
        target.name = cloak_strdup(word);
        target.path = cloak_target_path(word);
    } else {
        target.name = cloak_path_absolute(word);
        target.path = cloak_strdup(target.name);
    }
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < list->count && status == CLOAK_OK; i++)
        if (strcmp(list->items[i].name, target.name) == 0)
            status = cloak_fail(error, CLOAK_E_USAGE, "the target %s is named twice", word);
    if (status == CLOAK_OK && strpbrk(target.name, ",@"))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s: the path of a target may hold neither \",\" nor \"@\"", target.name);
    if (status == CLOAK_OK) {
        status = cloak_target_mark(target.path, target.mark, error);
        if (status == CLOAK_E_PERMANENT)
            status = target.path[0] && strchr(word, '/') == NULL && !has_suffix(word)
                         ? unknown(word, error)
                         : (error ? (error->code = CLOAK_E_USAGE) : CLOAK_E_USAGE);
    }
    if (status == CLOAK_OK) {
        list->items[list->count++] = target;
        return CLOAK_OK;
    }
    free(target.name);
    free(target.path);
    return status;
}

static cloak_status append_all(cloak_target_list *list, cloak_error *error) {
    char **names;
    size_t count;
    cloak_status status = cloak_targets_installed(&names, &count, error);
    for (size_t i = 0; i < count; i++) {
        if (status == CLOAK_OK)
            status = append(list, names[i], error);
        free(names[i]);
    }
    free(names);
    return status;
}

cloak_status cloak_targets_choose(const char *words, cloak_target_list *list, cloak_error *error) {
    cloak_target_list chosen = {0};
    cloak_status status = CLOAK_OK;
    if (strcmp(words, "all") == 0) {
        status = append_all(&chosen, error);
    } else if (strcmp(words, "none") != 0) {
        char *copy = cloak_strdup(words), *rest = copy;
        for (char *word; status == CLOAK_OK && (word = strsep(&rest, ","));)
            status = append(&chosen, word, error);
        free(copy);
    }
    if (status == CLOAK_OK)
        *list = chosen;
    else
        cloak_targets_free(&chosen);
    return status;
}

char *cloak_targets_text(const cloak_target_list *list) {
    char *text = cloak_strdup("");
    for (size_t i = 0; i < list->count; i++) {
        char *longer = cloak_format(
            "%s%s%s@%s", text, i ? "," : "", list->items[i].name, list->items[i].mark);
        free(text);
        text = longer;
    }
    return text;
}

static bool parse_one(const char *word, cloak_target_ref *target) {
    const char *at = strrchr(word, '@');
    if (!at || at == word || strlen(at + 1) != CLOAK_TARGET_MARK - 1 ||
        strspn(at + 1, "0123456789abcdef") != CLOAK_TARGET_MARK - 1)
        return false;
    char *name = cloak_format("%.*s", (int)(at - word), word);
    if (!cloak_target_is_name(name) && name[0] != '/') {
        free(name);
        return false;
    }
    *target = (cloak_target_ref){.name = name};
    target->path = name[0] == '/' ? cloak_strdup(name) : cloak_target_path(name);
    memcpy(target->mark, at + 1, CLOAK_TARGET_MARK);
    return true;
}

cloak_status cloak_targets_parse(const char *text, cloak_target_list *list, cloak_error *error) {
    cloak_target_list parsed = {0};
    char *copy = cloak_strdup(text), *rest = *copy ? copy : NULL;
    cloak_status status = CLOAK_OK;
    for (char *word; status == CLOAK_OK && (word = strsep(&rest, ","));) {
        if (parsed.count == CLOAK_TARGETS_MAX || !parse_one(word, &parsed.items[parsed.count]))
            status = cloak_fail(error, CLOAK_E_USAGE,
                "targets: \"%s\" is not NAME@DIGITS, or there are more than %d", word,
                CLOAK_TARGETS_MAX);
        else
            parsed.count++;
    }
    free(copy);
    if (status == CLOAK_OK)
        *list = parsed;
    else
        cloak_targets_free(&parsed);
    return status;
}

cloak_status cloak_target_check(const cloak_target_ref *target, cloak_error *error) {
    char mark[CLOAK_TARGET_MARK];
    cloak_error why;
    if (cloak_target_mark(target->path, mark, &why) != CLOAK_OK)
        return cloak_fail(error, CLOAK_E_TRANSIENT,
            "the album is to be hidden from %s, which this machine lacks: install it with `cloak "
            "targets add`, or submit with other --targets (%s)",
            target->name, why.text);
    if (strcmp(mark, target->mark) != 0)
        return cloak_fail(error, CLOAK_E_TRANSIENT,
            "%s is %s on this machine, but the album wants %s: install the same file and descriptor "
            "everywhere",
            target->name, mark, target->mark);
    return CLOAK_OK;
}

void cloak_targets_free(cloak_target_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].path);
    }
    *list = (cloak_target_list){0};
}
