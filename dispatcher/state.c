/* The state folder: where it is, its copy beside a bucket, its lock; see the header. */
#include "dispatcher/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/file.h"

enum { MAX_MANIFEST = 1 << 30 };

char *cloak_state_beside(const cloak_store *out) {
    const char *place = cloak_store_place(out);
    /* "s3://bucket.cloak" would be another bucket */
    bool whole_bucket = !cloak_store_is_folder(out) && !strchr(place + strlen("s3://"), '/');
    return cloak_format(whole_bucket ? "%s/.cloak" : "%s.cloak", place);
}

char *cloak_state_folder(const cloak_store *out) {
    char digest[CLOAK_DIGEST_SIZE];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const char *address = cloak_store_address(out);
    if (cloak_store_is_folder(out))
        return cloak_state_beside(out);
    cloak_digest_hex(address, strlen(address), digest);
    const char *bucket = cloak_store_place(out) + strlen("s3://");
    char *base = state && *state ? cloak_strdup(state)
                                 : cloak_format("%s/.local/state", home && *home ? home : "/var/tmp");
    char *folder =
        cloak_format("%s/cloakfleet/%.*s-%.12s", base, (int)strcspn(bucket, "/"), bucket, digest);
    free(base);
    return folder;
}

/* --- the copy beside a bucket -------------------------------------------------------------- */

/* The copy's bytes; `*bytes` is NULL where there is none. */
static cloak_status read_copy(
    const cloak_store *out, void **bytes, size_t *length, cloak_error *error) {
    cloak_store *beside = NULL;
    char *place = cloak_state_beside(out);
    cloak_status status = cloak_store_open(place, &beside, error);
    *bytes = NULL;
    if (status == CLOAK_OK)
        status = cloak_store_get(beside, "manifest", MAX_MANIFEST, bytes, length, error);
    if (status == CLOAK_E_PERMANENT) /* the bucket answers, and has none */
        status = CLOAK_OK;
    cloak_store_close(beside);
    free(place);
    return status;
}

static cloak_status take_copy(const cloak_store *out, const char *path, const void *copy,
    size_t copy_length, cloak_error *error) {
    void *own = NULL;
    size_t own_length = 0;
    cloak_status status = access(path, F_OK) == 0
                              ? cloak_file_read(path, MAX_MANIFEST, &own, &own_length, error)
                              : CLOAK_OK;
    if (status != CLOAK_OK)
        return status;
    size_t common = own_length < copy_length ? own_length : copy_length;
    if (common && memcmp(own, copy, common) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s holds the results of another album, or of this one as another machine lists it: choose another output, "
            "or remove %s and go on from what is there",
            cloak_store_place(out), path);
    else if (copy_length > own_length)
        status = cloak_file_write(path, copy, copy_length, error);
    free(own);
    return status;
}

cloak_status cloak_state_fetch(const cloak_store *out, cloak_error *error) {
    void *copy = NULL;
    size_t length = 0;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    char *folder = cloak_state_folder(out), *path = cloak_path_join(folder, "manifest");
    cloak_status status = read_copy(out, &copy, &length, error);
    if (status == CLOAK_OK && copy)
        status = take_copy(out, path, copy, length, error);
    free(copy);
    free(path);
    free(folder);
    return status;
}

cloak_status cloak_state_save(const cloak_store *out, cloak_error *error) {
    cloak_store *beside = NULL;
    void *bytes = NULL;
    size_t length = 0;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    char *folder = cloak_state_folder(out), *path = cloak_path_join(folder, "manifest");
    char *place = cloak_state_beside(out);
    cloak_status status = cloak_store_open(place, &beside, error);
    if (status == CLOAK_OK)
        status = cloak_file_read(path, MAX_MANIFEST, &bytes, &length, error);
    if (status == CLOAK_OK)
        status = cloak_store_put(beside, "manifest", bytes, length, error);
    cloak_store_close(beside);
    free(bytes);
    free(place);
    free(path);
    free(folder);
    return status;
}

cloak_status cloak_state_find(
    const char *name, cloak_store **out, char **manifest, cloak_error *error) {
    cloak_store *opened = NULL;
    *out = NULL;
    *manifest = NULL;
    cloak_status status = cloak_store_open(name, &opened, error);
    if (status == CLOAK_OK)
        status = cloak_state_fetch(opened, error);
    if (status != CLOAK_OK) {
        cloak_store_close(opened);
        return status;
    }
    char *folder = cloak_state_folder(opened);
    *manifest = cloak_path_join(folder, "manifest");
    *out = opened;
    free(folder);
    return CLOAK_OK;
}

/* --- the lock ------------------------------------------------------------------------------ */

cloak_status cloak_state_lock(
    const char *folder, double seconds, int *lock, cloak_error *error) {
    cloak_status status = cloak_file_mkdirs(folder, error);
    if (status != CLOAK_OK)
        return status;
    char *path = cloak_path_join(folder, "lock");
    int fd = open(path, O_RDWR | O_CREAT, 0666); /* inherited on purpose */
    free(path);
    if (fd < 0)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "cannot create a file in %s: %s", folder,
            strerror(errno));
    const double began = cloak_now(), until = began + seconds;
    for (bool told = false; flock(fd, LOCK_EX | LOCK_NB) != 0;) {
        if (!told && cloak_now() > began + 1) {
            fprintf(stderr, "  waiting for another cloak to let go of %s\n", folder);
            told = true;
        }
        if (cloak_now() > until) {
            close(fd);
            return cloak_fail(error, CLOAK_E_USAGE,
                "another cloak is working on %s: wait for it, or stop it", folder);
        }
        cloak_clock_system.sleep(0.1);
    }
    *lock = fd;
    return CLOAK_OK;
}
