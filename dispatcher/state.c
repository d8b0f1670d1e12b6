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

/* DESIGN. A manifest only grows, and the copy is never longer than what its keeper has. The file `kept` holds the
 * version (store.h) of the copy with which the manifest here was last compared: as long as the bucket has that version,
 * there is nothing to fetch, and the copy is put only if it still is that one when the server gets it. The file says as
 * well that a copy was there once. */

/* Names of files in the state folder. */
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

typedef struct {
    void *bytes;
    size_t length;
} Text;

/* A file of the state folder; no bytes where there is none. */
static cloak_status read_own(const cloak_store *out, const char *name, Text *text, cloak_error *error) {
    char *path = path_in_state(out, name);
    *text = (Text){0};
    cloak_status status =
        access(path, F_OK) == 0 ? cloak_file_read(path, MAX_MANIFEST, &text->bytes, &text->length, error) : CLOAK_OK;
    free(path);
    return status;
}

static cloak_status write_own(const cloak_store *out, const char *name, const void *bytes, size_t length, cloak_error *error) {
    char *path = path_in_state(out, name);
    cloak_status status = cloak_file_write(path, bytes, length, error);
    free(path);
    return status;
}

/* Looks at the copy: `*info` is all zero where there is none. */
static cloak_status look(cloak_store *beside, cloak_store_info *info, cloak_error *error) {
    *info = (cloak_store_info){0};
    cloak_status status = cloak_store_stat(beside, manifest_name, info, error);
    return status == CLOAK_E_PERMANENT ? CLOAK_OK : status; /* the bucket answers, and has none */
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
static bool agree(const Text *a, const Text *b) {
    size_t common = a->length < b->length ? a->length : b->length;
    return common == 0 || memcmp(a->bytes, b->bytes, common) == 0;
}

/* The manifest as it is here, and what is known of its copy. */
typedef struct {
    cloak_store *beside;
    Text own, mark;
    cloak_store_info copy;
    bool compared; /* the copy agrees with `own` */
} Manifest;

static void manifest_free(Manifest *m) {
    cloak_store_close(m->beside);
    free(m->own.bytes);
    free(m->mark.bytes);
}

/* Reads what is here and looks at the copy. Free in any case. */
static cloak_status manifest_read(const cloak_store *out, Manifest *m, cloak_error *error) {
    *m = (Manifest){0};
    cloak_status status = open_beside(out, &m->beside, error);
    if (status == CLOAK_OK)
        status = read_own(out, manifest_name, &m->own, error);
    if (status == CLOAK_OK)
        status = read_own(out, mark_name, &m->mark, error);
    if (status == CLOAK_OK)
        status = look(m->beside, &m->copy, error);
    if (status == CLOAK_OK)
        m->compared = !*m->copy.version || (m->mark.length && m->own.length >= m->copy.size &&
                                               strcmp(m->mark.bytes, m->copy.version) == 0);
    return status;
}

/* Gets a copy that was not compared yet, and takes it over where it is longer. */
static cloak_status manifest_compare(const cloak_store *out, Manifest *m, cloak_error *error) {
    Text copy = {0};
    cloak_store_info again = {0};
    if (m->compared)
        return CLOAK_OK;
    cloak_status status =
        cloak_store_get(m->beside, manifest_name, MAX_MANIFEST, &copy.bytes, &copy.length, error);
    if (status == CLOAK_OK && !agree(&m->own, &copy))
        status = differ(out, error);
    if (status == CLOAK_OK && copy.length > m->own.length) {
        status = write_own(out, manifest_name, copy.bytes, copy.length, error);
        free(m->own.bytes);
        m->own = copy;
        copy.bytes = NULL;
    }
    free(copy.bytes);
    if (status == CLOAK_OK)
        status = look(m->beside, &again, error);
    m->compared = status == CLOAK_OK && strcmp(again.version, m->copy.version) == 0;
    if (m->compared)
        status = write_own(out, mark_name, again.version, strlen(again.version), error);
    return status;
}

cloak_status cloak_state_fetch(const cloak_store *out, cloak_error *error) {
    Manifest m;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    cloak_status status = manifest_read(out, &m, error);
    if (status == CLOAK_OK && !*m.copy.version && m.own.length && m.mark.bytes)
        status = is_gone(out, error);
    if (status == CLOAK_OK)
        status = manifest_compare(out, &m, error);
    manifest_free(&m);
    return status;
}

cloak_status cloak_state_save(const cloak_store *out, cloak_error *error) {
    Manifest m;
    if (cloak_store_is_folder(out))
        return CLOAK_OK;
    cloak_status status = manifest_read(out, &m, error);
    /* what is here has been opened: what another machine has kept since is not taken over any more */
    if (status == CLOAK_OK && !m.compared)
        status = differ(out, error);
    char *version = m.copy.version;
    if (status == CLOAK_OK && m.copy.size < m.own.length) {
        status = cloak_store_put_if(m.beside, manifest_name, m.own.bytes, m.own.length, version, error);
        if (status == CLOAK_E_FENCED)
            status = differ(out, error);
    }
    if (status == CLOAK_OK)
        status = write_own(out, mark_name, version, strlen(version), error);
    manifest_free(&m);
    return status;
}

/* Brings the manifest here for somebody who only reads, if nobody is working with it. */
static cloak_status fetch_to_read(const cloak_store *out, cloak_error *error) {
    Manifest m;
    int lock = -1;
    cloak_status status = manifest_read(out, &m, error);
    if (status == CLOAK_OK && m.copy.size > m.own.length) {
        char *folder = cloak_state_folder(out);
        if (cloak_state_lock(folder, 0, &lock, NULL) == CLOAK_OK)
            status = cloak_state_fetch(out, error);
        free(folder);
    }
    if (lock >= 0)
        close(lock);
    manifest_free(&m);
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
