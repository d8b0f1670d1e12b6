/* Visits every object of a folder store, in order and without holding more than a round of names of each of the
 * folders on the way down: a folder with more names than that is read again for each round of them, which then
 * holds the first that come behind the last.
 *
 * Folders are opened relative to their parent and without following links, so nothing that is renamed or replaced
 * meanwhile can lead the walk elsewhere. Where links are followed, which the user has to ask for, each folder is
 * entered through one link only: so a walk ends, however links are knotted. What vanishes while we look was not there;
 * what cannot be read is reported and passed over, so that one bad folder does not hide the rest of the album. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/store/backend.h"
#include "common/store/folder.h"

/* Each level holds one descriptor and its names. */
enum { MAX_DEPTH = 100 };

typedef struct {
    const cloak_store *store;
    cloak_store_visit visit;
    void *context;
    cloak_error *error;
    void **entered; /* tree (tsearch) of the folders that links have led to */
} walk;

/* A folder on the way down. */
typedef struct level {
    const struct level *above;
    dev_t device;
    ino_t number;
    int depth;
} level;

size_t cloak_folder_round = 1 << 17;

/* Names in order, at most a round of them. */
typedef struct {
    char **names;
    size_t count;
    bool more; /* and others behind them */
} name_list;

/* The listing itself failed, for a reason of the machine's. */
static cloak_status break_off(const walk *w, const char *advice) {
    int saved = errno;
    char *shown = cloak_text_brief(w->store->place);
    cloak_fail(w->error, CLOAK_E_TRANSIENT, "cannot list %s: %s%s", shown, strerror(saved), advice);
    free(shown);
    return CLOAK_E_TRANSIENT;
}

static cloak_status report(const walk *w, const char *key, const char *problem) {
    cloak_store_info nothing = {0};
    return w->visit(w->context, key, &nothing, problem);
}

static cloak_status report_errno(const walk *w, const char *key, const char *what) {
    char problem[200];
    snprintf(problem, sizeof problem, "%s (%s)", what, strerror(errno));
    return report(w, key, problem);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, and drops what is beyond a round. */
static void keep_round(name_list *list) {
    if (list->count)
        qsort(list->names, list->count, sizeof *list->names, by_bytes);
    for (; list->count > cloak_folder_round; list->more = true)
        free(list->names[--list->count]);
}

/* Reads the round of names behind `after` (NULL for the first). Returns 0, or -1 and errno when it broke off; the names
 * read until then are there in both cases. */
static int read_names(DIR *folder, const char *after, name_list *list) {
    static const char unfinished[] = ".cloak-tmp-";
    size_t room = 0;
    if (after)
        rewinddir(folder);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry)
            break;
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            strncmp(name, unfinished, sizeof unfinished - 1) == 0 || (after && strcmp(name, after) <= 0) ||
            (list->more && strcmp(name, list->names[cloak_folder_round - 1]) > 0))
            continue;
        if (list->count == room) {
            room = room ? room * 2 : 64;
            list->names = cloak_realloc(list->names, room * sizeof *list->names);
        }
        list->names[list->count++] = cloak_strdup(name);
        if (list->count == 2 * cloak_folder_round)
            keep_round(list);
    }
    int saved = errno;
    keep_round(list);
    errno = saved;
    return saved ? -1 : 0;
}

static cloak_status visit_folder(const walk *w, DIR *folder, const char *key, const level *above);

static cloak_status enter(const walk *w, int parent, const char *name, const char *key, const level *above) {
    if (above->depth >= MAX_DEPTH)
        return report(w, key, "a folder too deep inside others");
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder)
        return visit_folder(w, folder, key, above);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    if (saved == ENOENT || saved == ENOTDIR || saved == ELOOP)
        return CLOAK_OK; /* gone, or no longer a folder */
    if (saved == EMFILE || saved == ENFILE || saved == ENOMEM)
        return break_off(w, " (raise the limit of open files with ulimit -n)");
    return report_errno(w, key, "a folder that cannot be read");
}

static int by_number(const void *a, const void *b) {
    const level *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Whether no link has led to this folder before. */
static bool is_new(const walk *w, const struct stat *info) {
    level *entry = cloak_alloc(sizeof *entry);
    *entry = (level){NULL, info->st_dev, info->st_ino, 0};
    level **found = tsearch(entry, w->entered, by_number);
    if (!found) {
        fprintf(stderr, "cloak: out of memory\n");
        abort();
    }
    if (*found == entry)
        return true;
    free(entry);
    return false;
}

static cloak_status follow_to_folder(const walk *w, const char *target, const struct stat *info, const char *key, const level *above) {
    const char *apart = w->store->apart;
    if (!w->store->follows)
        return report(w, key, "a symbolic link to a folder; these are not followed");
    for (const level *l = above; l; l = l->above)
        if (l->device == info->st_dev && l->number == info->st_ino)
            return report(w, key, "a symbolic link to a folder that it lies in");
    if (cloak_path_inside(w->store->place, target))
        return report(w, key, "a symbolic link to a folder that it lies in");
    if (apart && cloak_path_inside(apart, target))
        return report(w, key, "a symbolic link to a folder with the output in it");
    if (above->depth < MAX_DEPTH && !is_new(w, info))
        return report(w, key, "a symbolic link to a folder that another one has led to");
    return enter(w, AT_FDCWD, target, key, above);
}

/* A link counts as the file it stands for, if that lies in the store or links may lead out. */
static cloak_status visit_link(const walk *w, const char *key, const level *above) {
    char *path = cloak_path_join(w->store->place, key);
    char *target = realpath(path, NULL);
    struct stat info;
    cloak_status status = CLOAK_OK;
    if (!target && errno == ENOENT)
        status = report(w, key, "a symbolic link to nothing");
    else if (!target || stat(target, &info) != 0)
        status = report_errno(w, key, "a symbolic link that cannot be followed");
    else if (!w->store->follows && !cloak_path_inside(target, w->store->place))
        status = report(w, key, "a symbolic link that leads out of the album");
    else if (w->store->apart && cloak_path_inside(target, w->store->apart))
        status = report(w, key, "a symbolic link into the output");
    else if (S_ISDIR(info.st_mode))
        status = follow_to_folder(w, target, &info, key, above);
    else if (!S_ISREG(info.st_mode))
        status = report(w, key, "a symbolic link to something that is not a file");
    else {
        cloak_store_info object = cloak_folder_info(&info);
        status = w->visit(w->context, key, &object, NULL);
    }
    free(target);
    free(path);
    return status;
}

static cloak_status visit_entry(
    const walk *w, int parent, const char *name, const char *key, const level *here) {
    struct stat info;
    if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? CLOAK_OK : report_errno(w, key, "cannot be examined");
    if (S_ISREG(info.st_mode)) {
        cloak_store_info object = cloak_folder_info(&info);
        return w->visit(w->context, key, &object, NULL);
    }
    if (S_ISDIR(info.st_mode))
        return enter(w, parent, name, key, here);
    if (S_ISLNK(info.st_mode))
        return visit_link(w, key, here);
    return report(w, key,
        S_ISSOCK(info.st_mode)   ? "a socket"
        : S_ISFIFO(info.st_mode) ? "a pipe"
                                 : "a device");
}

static cloak_status visit_names(const walk *w, DIR *folder, const name_list *list, const char *key, const level *here) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < list->count && status == CLOAK_OK; i++) {
        char *inner = key[0] ? cloak_path_join(key, list->names[i]) : NULL;
        status = visit_entry(w, dirfd(folder), list->names[i], inner ? inner : list->names[i], here);
        free(inner);
    }
    return status;
}

/* Frees the list, whose last name becomes `*after`. */
static void end_round(name_list *list, char **after) {
    for (size_t i = 0; i < list->count; i++) {
        free(*after);
        *after = list->names[i];
    }
    free(list->names);
}

/* Closes `folder`. `key` is "" for the store itself. */
static cloak_status visit_folder(const walk *w, DIR *folder, const char *key, const level *above) {
    cloak_status status = CLOAK_OK;
    char *after = NULL;
    struct stat info = {0};
    (void)!fstat(dirfd(folder), &info); /* of an open folder it fails in no way that reading it does not */
    const level here = {above, info.st_dev, info.st_ino, above ? above->depth + 1 : 0};
    for (bool more = true; more && status == CLOAK_OK;) {
        name_list list = {0};
        bool whole = read_names(folder, after, &list) == 0;
        if (!whole)
            status = !above ? break_off(w, "")
                                : report_errno(w, key, "a folder that cannot be read to its end");
        if (status == CLOAK_OK)
            status = visit_names(w, folder, &list, key, &here);
        more = whole && list.more;
        end_round(&list, &after);
    }
    free(after);
    closedir(folder);
    return status;
}

cloak_status cloak_folder_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error) {
    void *entered = NULL;
    walk w = {store, visit, context, error, &entered};
    DIR *folder = opendir(store->place);
    if (folder) {
        const cloak_status status = visit_folder(&w, folder, "", NULL);
        tdestroy(entered, free);
        return status;
    }
    int saved = errno;
    bool permanent = saved == ENOENT || saved == ENOTDIR || saved == EACCES || saved == EPERM ||
                     saved == ENAMETOOLONG || saved == ELOOP;
    char *shown = cloak_text_brief(store->place);
    cloak_fail(error, permanent ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT,
        "cannot list the folder %s: %s", shown, strerror(saved));
    free(shown);
    return permanent ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT;
}
