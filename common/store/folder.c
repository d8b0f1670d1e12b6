/* A folder as a store: a key is a path below it.
 *
 * Nothing reads or writes outside the folder: keys cannot climb (store.c checks them), and a path
 * whose symbolic links lead out is refused at every call, not only while listing, because links
 * may change between the two. Who asks for it may read, and never write, through links that lead out. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/store/backend.h"
#include "common/store/folder.h"

/* Ends a URL of a folder of which links are followed wherever they lead. */
static const char following[] = "?links=follow";

char *cloak_folder_following(const char *path) {
    char *encoded = cloak_text_encode(path);
    char *url = cloak_format("file://%s%s", encoded, following);
    free(encoded);
    return url;
}

/* The path in a file URL (RFC 8089): empty host or localhost, percent-encoded. free() it. */
static cloak_status parse_url(const char *url, char **path, cloak_error *error) {
    const char *host = url + strlen("file://");
    const char *slash = strchr(host, '/');
    size_t n = slash ? (size_t)(slash - host) : strlen(host);
    char *decoded = NULL;
    if (n != 0 && !(n == 9 && strncasecmp(host, "localhost", 9) == 0)) {
        char *shown = cloak_text_brief(url);
        cloak_fail(error, CLOAK_E_USAGE,
            "%s names another machine (\"%.*s\"): only local folders can be opened; write "
            "file:///folder",
            shown, (int)(n < 100 ? n : 100), host);
        free(shown);
        return CLOAK_E_USAGE;
    }
    if (slash)
        decoded = cloak_text_decode(slash);
    if (!decoded) {
        char *shown = cloak_text_brief(url);
        cloak_fail(error, CLOAK_E_USAGE,
            "%s is no file URL: write file:///folder, with %%25 for a percent sign", shown);
        free(shown);
        return CLOAK_E_USAGE;
    }
    *path = decoded;
    return CLOAK_OK;
}

static cloak_status folder_open(cloak_store *store, const char *url, cloak_error *error) {
    char *path = NULL;
    if (strncasecmp(url, "file://", 7) == 0) {
        const size_t n = strlen(url), tail = sizeof following - 1;
        const bool follows = n > tail && strcmp(url + n - tail, following) == 0;
        char *plain = cloak_format("%.*s", (int)(follows ? n - tail : n), url);
        cloak_status status = parse_url(plain, &path, error);
        free(plain);
        if (status != CLOAK_OK)
            return status;
        store->follows = follows;
    }
    store->place = cloak_path_absolute(path ? path : url);
    if (store->follows)
        store->address = cloak_folder_following(store->place);
    free(path);
    return CLOAK_OK;
}

static cloak_status refuse_outside(const char *key, const char *place, const char *advice, cloak_error *error) {
    char *shown = cloak_text_brief(key), *where = cloak_text_brief(place);
    cloak_fail(error, CLOAK_E_PERMANENT,
        "%s leads out of %s through a symbolic link: %s", shown, where, advice);
    free(where);
    free(shown);
    return CLOAK_E_PERMANENT;
}

/* The path of an object with all links resolved; free() it. */
static cloak_status find_object(
    const cloak_store *store, const char *key, char **path, cloak_error *error) {
    char *joined = cloak_path_join(store->place, key);
    char *absolute = cloak_path_absolute(joined);
    free(joined);
    if (!store->follows && !cloak_path_inside(absolute, store->place)) {
        free(absolute);
        return refuse_outside(key, store->place, "put the file itself there, or submit with --follow-links", error);
    }
    *path = absolute;
    return CLOAK_OK;
}

/* What fails for want of the file, where links may lead to what only other machines have. */
static cloak_status or_elsewhere(const cloak_store *store, const char *path, const char *key, cloak_status status, cloak_error *error) {
    if (status != CLOAK_E_PERMANENT || !store->follows || access(path, F_OK) == 0 || errno != ENOENT)
        return status;
    char *shown = cloak_text_brief(key);
    cloak_fail(error, CLOAK_E_TRANSIENT, "%s is not there: it was removed, or a link leads to what is not on this machine", shown);
    free(shown);
    return CLOAK_E_TRANSIENT;
}

static cloak_status folder_get(cloak_store *store, const char *key, size_t limit, void **bytes,
    size_t *length, cloak_error *error) {
    char *path = NULL;
    cloak_status status = find_object(store, key, &path, error);
    if (status == CLOAK_OK)
        status = or_elsewhere(store, path, key, cloak_file_read(path, limit, bytes, length, error), error);
    free(path);
    return status;
}

static const char no_way[] = "nothing is written there";

/* Resolves the folder only: a link in the object's own place is replaced, not followed. `like` may be NULL. */
static cloak_status put_like(cloak_store *store, const char *key, const void *bytes, size_t length, const struct stat *like,
    cloak_error *error) {
    char *joined = cloak_path_join(store->place, key);
    char *folder = cloak_path_folder(joined);
    char *absolute = cloak_path_absolute(folder);
    char *path = cloak_path_join(absolute, strrchr(joined, '/') + 1);
    cloak_status status = cloak_path_inside(absolute, store->place)
                              ? cloak_file_write_like(path, bytes, length, like, error)
                              : refuse_outside(key, store->place, no_way, error);
    free(path);
    free(absolute);
    free(folder);
    free(joined);
    return status;
}

static cloak_status folder_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error) {
    return put_like(store, key, bytes, length, NULL, error);
}

cloak_status cloak_folder_put_like(cloak_store *store, const cloak_store *source, const char *key, const void *bytes,
    size_t length, cloak_error *error) {
    char *path = NULL;
    struct stat info;
    const bool found = find_object(source, key, &path, NULL) == CLOAK_OK && stat(path, &info) == 0;
    free(path);
    return put_like(store, key, bytes, length, found ? &info : NULL, error);
}

cloak_store_info cloak_folder_info(const struct stat *info) {
    return (cloak_store_info){.size = (uint64_t)info->st_size,
        .modified_ns = (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec};
}

static cloak_status folder_stat(
    cloak_store *store, const char *key, cloak_store_info *info, cloak_error *error) {
    char *path = NULL;
    struct stat found;
    cloak_status status = find_object(store, key, &path, error);
    if (status != CLOAK_OK)
        return status;
    char *shown = cloak_text_brief(path);
    if (stat(path, &found) != 0) {
        bool passes = errno == EIO || errno == ENOMEM || errno == ESTALE || errno == ETIMEDOUT;
        status = cloak_fail(error, passes ? CLOAK_E_TRANSIENT : CLOAK_E_PERMANENT,
            "cannot examine %s: %s", shown, strerror(errno));
    } else if (!S_ISREG(found.st_mode)) {
        status = cloak_fail(error, CLOAK_E_PERMANENT, "%s is not a regular file", shown);
    } else {
        *info = cloak_folder_info(&found);
    }
    free(shown);
    free(path);
    return status;
}

/* Like put, works on the link itself. */
static cloak_status folder_remove(cloak_store *store, const char *key, cloak_error *error) {
    char *joined = cloak_path_join(store->place, key);
    char *folder = cloak_path_folder(joined);
    char *absolute = cloak_path_absolute(folder);
    char *path = cloak_path_join(absolute, strrchr(joined, '/') + 1);
    cloak_status status = CLOAK_OK;
    if (!cloak_path_inside(absolute, store->place))
        status = refuse_outside(key, store->place, no_way, error);
    else if (unlink(path) != 0 && errno != ENOENT) {
        char *shown = cloak_text_brief(path);
        status = cloak_fail(error, CLOAK_E_PERMANENT, "cannot remove %s: %s", shown, strerror(errno));
        free(shown);
    }
    free(path);
    free(absolute);
    free(folder);
    free(joined);
    return status;
}

static bool folder_reachable(const cloak_store *store) {
    return access(store->place, R_OK | X_OK) == 0;
}

const cloak_store_backend cloak_store_folder = {"file", folder_open, NULL, folder_get, folder_put,
    folder_stat, cloak_folder_list, folder_remove, cloak_folder_sweep, folder_reachable, NULL, NULL};
