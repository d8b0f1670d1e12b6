/* One face for all kinds of stores: finds the kind by the URL's scheme, checks keys, and hands over
 * to the kind's table. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/store/backend.h"
#include "common/store/folder.h"

static const cloak_store_backend *const backends[] = {&cloak_store_folder, &cloak_store_s3};

/* Length of the scheme before "://" (RFC 3986, 3.1), or 0 when `url` is a plain path. */
static size_t scheme_length(const char *url) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = strspn(url, letters);
    if (n == 0)
        return 0;
    while (url[n] && (strchr(letters, url[n]) || strchr("0123456789+.-", url[n])))
        n++;
    return strncmp(url + n, "://", 3) == 0 ? n : 0;
}

static const cloak_store_backend *find_backend(const char *url) {
    size_t n = scheme_length(url);
    if (n == 0)
        return &cloak_store_folder;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strlen(backends[i]->scheme) == n && strncasecmp(backends[i]->scheme, url, n) == 0)
            return backends[i];
    return NULL;
}

cloak_status cloak_store_open(const char *url, cloak_store **store, cloak_error *error) {
    if (!url[0])
        return cloak_fail(
            error, CLOAK_E_USAGE, "a store needs a place: give a folder, or s3://bucket/folder");
    const cloak_store_backend *backend = find_backend(url);
    if (!backend)
        return cloak_fail(error, CLOAK_E_USAGE,
            "%.*s:// is not in this version; give a folder, or s3://bucket/folder",
            (int)scheme_length(url), url);
    cloak_store *opened = cloak_alloc(sizeof *opened);
    opened->backend = backend;
    cloak_status status = backend->open(opened, url, error);
    if (status != CLOAK_OK) {
        cloak_store_close(opened);
        return status;
    }
    *store = opened;
    return CLOAK_OK;
}

void cloak_store_close(cloak_store *store) {
    if (!store)
        return;
    if (store->backend->close)
        store->backend->close(store);
    free(store->place);
    free(store->address);
    free(store->apart);
    free(store);
}

bool cloak_store_key_ok(const char *key) {
    for (const char *part = key;;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        if (!part[n])
            return true;
        part += n + 1;
    }
}

static cloak_status check_key(const char *key, cloak_error *error) {
    if (cloak_store_key_ok(key))
        return CLOAK_OK;
    char *shown = cloak_text_brief(key);
    cloak_fail(error, CLOAK_E_USAGE,
        "\"%s\" is no key: give a relative path without empty, \".\" or \"..\" parts", shown);
    free(shown);
    return CLOAK_E_USAGE;
}

cloak_status cloak_store_get(cloak_store *store, const char *key, size_t limit, void **bytes,
    size_t *length, cloak_error *error) {
    cloak_status status = check_key(key, error);
    return status ? status : store->backend->get(store, key, limit, bytes, length, error);
}

cloak_status cloak_store_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error) {
    cloak_status status = check_key(key, error);
    return status ? status : store->backend->put(store, key, bytes, length, error);
}

cloak_status cloak_store_put_like(cloak_store *store, const cloak_store *source, const char *key, const void *bytes,
    size_t length, cloak_error *error) {
    cloak_status status = check_key(key, error);
    if (status == CLOAK_OK && cloak_store_is_folder(store) && cloak_store_is_folder(source))
        return cloak_folder_put_like(store, source, key, bytes, length, error);
    return status ? status : store->backend->put(store, key, bytes, length, error);
}

cloak_status cloak_store_put_if(cloak_store *store, const char *key, const void *bytes, size_t length,
    char version[CLOAK_STORE_VERSION_SIZE], cloak_error *error) {
    cloak_status status = check_key(key, error);
    if (status == CLOAK_OK && !store->backend->put_if)
        status = cloak_fail(error, CLOAK_E_USAGE, "%s is a folder: nothing is put there on a condition", store->place);
    return status ? status : store->backend->put_if(store, key, bytes, length, version, error);
}

cloak_status cloak_store_stat(
    cloak_store *store, const char *key, cloak_store_info *info, cloak_error *error) {
    cloak_status status = check_key(key, error);
    return status ? status : store->backend->stat(store, key, info, error);
}

cloak_status cloak_store_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error) {
    return store->backend->list(store, visit, context, error);
}

cloak_status cloak_store_remove(cloak_store *store, const char *key, cloak_error *error) {
    cloak_status status = check_key(key, error);
    return status ? status : store->backend->remove(store, key, error);
}

void cloak_store_set_stop(cloak_store *store, cloak_store_stop stop, void *context) {
    store->stop = stop;
    store->stop_context = context;
}

void cloak_store_share_stop(cloak_store *store, const cloak_store *other) {
    cloak_store_set_stop(store, other->stop, other->stop_context);
}

cloak_status cloak_store_sweep(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
    cloak_error *error) {
    return store->backend->sweep(store, seconds, ours, context, error);
}

bool cloak_store_reachable(const cloak_store *store) {
    return !store->backend->reachable || store->backend->reachable(store);
}

size_t cloak_store_longest_key(const cloak_store *store) {
    return store->backend->longest_key ? store->backend->longest_key(store) : SIZE_MAX;
}

const char *cloak_store_address(const cloak_store *store) {
    return store->address ? store->address : store->place;
}

cloak_status cloak_store_follow_links(cloak_store *store, const char *apart, cloak_error *error) {
    if (!cloak_store_is_folder(store))
        return cloak_fail(error, CLOAK_E_USAGE, "%s is no folder: there are no links to follow", store->place);
    free(store->apart);
    store->apart = apart ? cloak_path_absolute(apart) : NULL;
    if (!store->follows)
        store->address = cloak_folder_following(store->place);
    store->follows = true;
    return CLOAK_OK;
}

bool cloak_store_follows(const cloak_store *store) {
    return store->follows;
}

bool cloak_store_is_folder(const cloak_store *store) {
    return store->backend == &cloak_store_folder;
}

bool cloak_store_free_bytes(const cloak_store *store, uint64_t *bytes) {
    struct statvfs disk;
    if (!cloak_store_is_folder(store) || statvfs(store->place, &disk) != 0)
        return false;
    *bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    return true;
}

const char *cloak_store_place(const cloak_store *store) {
    return store->place;
}
