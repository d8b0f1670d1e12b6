/* The state folder: where it is, its copy beside a bucket, its lock; see the header. */
#include "dispatcher/state.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
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
    const struct passwd *user = home && *home ? NULL : getpwuid(getuid());
    char *base = state && *state ? cloak_strdup(state)
                                 : cloak_format("%s/.local/state", home && *home ? home : user ? user->pw_dir : "");
    char *folder =
        cloak_format("%s/cloakfleet/%.*s-%.12s", base, (int)strcspn(bucket, "/"), bucket, digest);
    free(base);
    return folder;
}

/* --- the copy beside a bucket -------------------------------------------------------------- */

/* Names of files in the state folder: the manifest, and a mark that a copy of it was once kept. */
static const char manifest_name[] = "manifest", mark_name[] = "kept";

static char *path_in_state(const cloak_store *out, const char *name) {
    char *folder = cloak_state_folder(out), *path = cloak_path_join(folder, name);
    free(folder);
    return path;
}

/* Opens the place beside the output, which is asked to stop when the output is. */
static cloak_status open_beside(const cloak_store *out, cloak_store **beside, cloak_error *error) {
    char *place = cloak_state_beside(out);
    cloak_status status = cloak_store_open(place, beside, error);
    if (status == CLOAK_OK)
        cloak_store_share_stop(*beside, out);
    free(place);
    return status;
}

/* The copy's bytes; `*bytes` is NULL where there is none. */
static cloak_status read_copy(
    const cloak_store *out, void **bytes, size_t *length, cloak_error *error) {
    cloak_store *beside = NULL;
    *bytes = NULL;
    *length = 0;
    cloak_status status = open_beside(out, &beside, error);
    if (status == CLOAK_OK)
        status = cloak_store_get(beside, manifest_name, MAX_MANIFEST, bytes, length, error);
    if (status == CLOAK_E_PERMANENT) /* the bucket answers, and has none */
        status = CLOAK_OK;
    cloak_store_close(beside);
    return status;
}

static cloak_status read_own(const cloak_store *out, void **bytes, size_t *length, cloak_error *error) {
    char *path = path_in_state(out, manifest_name);
    *bytes = NULL;
    *length = 0;
    cloak_status status =
        access(path, F_OK) == 0 ? cloak_file_read(path, MAX_MANIFEST, bytes, length, error) : CLOAK_OK;
    free(path);
    return status;
}

static cloak_status differ(const cloak_store *out, cloak_error *error) {
    char *folder = cloak_state_folder(out);
    cloak_fail(error, CLOAK_E_USAGE,
        "%s holds the results of another album, or of this one as another machine has listed it: choose another output, "
        "or remove %s and go on from what is there",
        cloak_store_place(out), folder);
    free(folder);
    return CLOAK_E_USAGE;
}

static cloak_status is_gone(const cloak_store *out, cloak_error *error) {
    char *folder = cloak_state_folder(out), *beside = cloak_state_beside(out);
    cloak_fail(error, CLOAK_E_USAGE,
        "%s/manifest is gone, but this machine remembers the album: to start afresh remove %s as well", beside, folder);
    free(beside);
    free(folder);
    return CLOAK_E_USAGE;
}

/* One that is the other, grown longer. */
static bool agree(const void *a, size_t a_length, const void *b, size_t b_length) {
    size_t common = a_length < b_length ? a_length : b_length;
    return common == 0 || memcmp(a, b, common) == 0;
}

cloak_status cloak_state_fetch(const cloak_store *out, cloak_error *error) {
    void *copy = NULL, *own = NULL;
    size_t copy_length = 0, own_length = 0;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    char *path = path_in_state(out, manifest_name), *mark = path_in_state(out, mark_name);
    cloak_status status = read_copy(out, &copy, &copy_length, error);
    if (status == CLOAK_OK)
        status = read_own(out, &own, &own_length, error);
    if (status == CLOAK_OK && !copy && own_length && access(mark, F_OK) == 0)
        status = is_gone(out, error);
    if (status == CLOAK_OK && !agree(own, own_length, copy, copy_length))
        status = differ(out, error);
    if (status == CLOAK_OK && copy_length > own_length)
        status = cloak_file_write(path, copy, copy_length, error);
    free(own);
    free(copy);
    free(mark);
    free(path);
    return status;
}

/* S3 has no lock, and not every server conditional writes: what another machine has kept meanwhile is looked at just
 * before. */
cloak_status cloak_state_save(const cloak_store *out, cloak_error *error) {
    cloak_store *beside = NULL;
    void *own = NULL, *copy = NULL;
    size_t own_length = 0, copy_length = 0;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    char *mark = path_in_state(out, mark_name);
    cloak_status status = read_own(out, &own, &own_length, error);
    if (status == CLOAK_OK)
        status = read_copy(out, &copy, &copy_length, error);
    if (status == CLOAK_OK && (copy_length > own_length || !agree(own, own_length, copy, copy_length)))
        status = differ(out, error);
    if (status == CLOAK_OK && copy_length < own_length) {
        status = open_beside(out, &beside, error);
        if (status == CLOAK_OK)
            status = cloak_store_put(beside, manifest_name, own, own_length, error);
        cloak_store_close(beside);
    }
    if (status == CLOAK_OK)
        status = cloak_file_write(mark, "", 0, error);
    free(copy);
    free(own);
    free(mark);
    return status;
}

/* Brings the manifest here for somebody who only reads, if nobody is working with it. */
static cloak_status fetch_to_read(const cloak_store *out, cloak_error *error) {
    void *copy = NULL, *own = NULL;
    size_t copy_length = 0, own_length = 0;
    int lock = -1;
    cloak_status status = read_copy(out, &copy, &copy_length, error);
    if (status == CLOAK_OK)
        status = read_own(out, &own, &own_length, error);
    if (status == CLOAK_OK && copy_length > own_length) {
        char *folder = cloak_state_folder(out);
        if (cloak_state_lock(folder, 0, &lock, NULL) == CLOAK_OK)
            status = cloak_state_fetch(out, error);
        free(folder);
    }
    if (lock >= 0)
        close(lock);
    free(own);
    free(copy);
    return status;
}

cloak_status cloak_state_find(
    const char *name, cloak_store **out, char **manifest, cloak_error *error) {
    cloak_store *opened = NULL;
    *out = NULL;
    *manifest = NULL;
    cloak_status status = cloak_store_open(name, &opened, error);
    if (status == CLOAK_OK && !cloak_store_is_folder(opened))
        status = fetch_to_read(opened, error);
    if (status != CLOAK_OK) {
        cloak_store_close(opened);
        return status;
    }
    *manifest = path_in_state(opened, manifest_name);
    *out = opened;
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
