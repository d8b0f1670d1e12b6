/* Whole-file reads, atomic writes and paths; see the header. */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

/* Fills the error for `path` from errno. `denied` is what it is called when the right is missing. */
static cloak_status fail_errno(cloak_error *error, cloak_status denied, const char *what, const char *path) {
    const int saved = errno;
    const bool is_denied = saved == EACCES || saved == EPERM;
    const bool permanent = saved == ENOENT || saved == ENOTDIR || saved == EISDIR || saved == ENAMETOOLONG ||
                           saved == ELOOP || saved == ENXIO /* a socket */ || saved == ENODEV;
    const cloak_status code = is_denied ? denied : permanent ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT;
    char *shown = cloak_text_brief(path);
    const char *advice = saved == ENOSPC || saved == EDQUOT ? " (free some space, then run again)"
                         : is_denied                        ? " (check its permissions)"
                                                            : "";
    cloak_fail(error, code, "cannot %s %s: %s%s", what, shown, strerror(saved), advice);
    free(shown);
    return code;
}

static cloak_status fail_read(cloak_error *error, const char *what, const char *path) {
    return fail_errno(error, CLOAK_E_PERMANENT, what, path);
}

/* Who may not write here is no fault of what is written: another machine's user may. */
static cloak_status fail_write(cloak_error *error, const char *what, const char *path) {
    return fail_errno(error, CLOAK_E_TRANSIENT, what, path);
}

static cloak_status fail_text(
    cloak_error *error, cloak_status code, const char *path, const char *text) {
    char *shown = cloak_text_brief(path);
    cloak_fail(error, code, "%s %s", shown, text);
    free(shown);
    return code;
}

cloak_status cloak_file_read(
    const char *path, size_t limit, void **bytes, size_t *length, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    char *block = NULL;
    size_t used = 0;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_read(error, "open", path);
    if (fstat(fd, &info) != 0) {
        status = fail_read(error, "read", path);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = fail_text(error, CLOAK_E_PERMANENT, path, "is not a regular file");
        goto done;
    }
    if ((uint64_t)info.st_size > limit) {
        char text[96];
        snprintf(text, sizeof text, "has %lld bytes, more than the limit of %zu",
            (long long)info.st_size, limit);
        status = fail_text(error, CLOAK_E_PERMANENT, path, text);
        goto done;
    }
    block = cloak_try_alloc((size_t)info.st_size + 1);
    if (!block) {
        status = fail_text(error, CLOAK_E_TRANSIENT, path, "does not fit into memory");
        goto done;
    }
    while (used < (size_t)info.st_size) {
        ssize_t n = read(fd, block + used, (size_t)info.st_size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = fail_read(error, "read", path);
            goto done;
        }
        if (n == 0)
            break; /* it shrank meanwhile: what is there is what there is */
        used += (size_t)n;
    }
    block[used] = 0;
    *bytes = block;
    *length = used;
    block = NULL;
done:
    free(block);
    close(fd);
    return status;
}

static cloak_status write_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return CLOAK_E_TRANSIENT;
        bytes += n;
        length -= (size_t)n;
    }
    return CLOAK_OK;
}

static void sync_folder(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd); /* some file systems cannot sync a folder; the file itself is safe */
    close(fd);
}

/* Creates a file of a new name in `folder`; returns its descriptor and its path (free()), or -1 and
 * errno. Not mkostemp: that gives mode 0600, and the umask cannot be read without changing it for
 * every thread, while open() applies it. */
static int create_temporary(const char *folder, char **path) {
    for (int tries = 0; tries < 100; tries++) {
        unsigned long long random = 0;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return -1;
        *path = cloak_format("%s/.cloak-tmp-%016llx", folder, random);
        int fd = open(*path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0)
            return fd;
        int saved = errno;
        free(*path);
        *path = NULL;
        errno = saved;
        if (saved != EEXIST)
            return -1;
    }
    return -1;
}

/* As `cp -p`; what the file system or our rights do not allow is left as it is. */
static void take_owner_and_mode(int fd, const struct stat *like) {
    if (fchown(fd, like->st_uid, like->st_gid) != 0)
        (void)!fchown(fd, (uid_t)-1, like->st_gid);
    (void)!fchmod(fd, like->st_mode & 0664);
}

/* Whether a name stands for this open file. Over a network a file system may carry out a renaming whose answer gets
 * lost, and find nothing to rename when it is asked again. */
static bool is_at(int fd, const char *path) {
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

cloak_status cloak_file_write(const char *path, const void *bytes, size_t length, cloak_error *error) {
    return cloak_file_write_like(path, bytes, length, NULL, error);
}

cloak_status cloak_file_write_like(
    const char *path, const void *bytes, size_t length, const struct stat *like, cloak_error *error) {
    char *folder = cloak_path_folder(path);
    char *temporary = NULL;
    cloak_status status = cloak_file_mkdirs(folder, error);
    int fd = -1;
    if (status != CLOAK_OK)
        goto done;
    fd = create_temporary(folder, &temporary);
    if (fd < 0) {
        status = fail_write(error, "create a file in", folder);
        goto done;
    }
    status = write_all(fd, bytes, length);
    if (status == CLOAK_OK && like)
        take_owner_and_mode(fd, like);
    if (status != CLOAK_OK || fsync(fd) != 0) {
        status = fail_write(error, "write", path);
        goto remove;
    }
    if (rename(temporary, path) != 0 && !(errno == ENOENT && is_at(fd, path))) {
        status = fail_write(error, "write", path);
        goto remove;
    }
    if (like) /* not before: by its time a temporary file is told from one that was left behind */
        (void)!futimens(fd, (const struct timespec[]){{.tv_nsec = UTIME_OMIT}, like->st_mtim});
    sync_folder(folder);
    goto done;
remove:
    unlink(temporary);
done:
    if (fd >= 0)
        close(fd);
    free(temporary);
    free(folder);
    return status;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Creates one folder whose parent exists, durably. Returns 0, or -1 and errno. */
static int make_folder(const char *path) {
    if (mkdir(path, 0777) == 0) {
        char *parent = cloak_path_folder(path);
        sync_folder(parent); /* else a crash may lose the folder with the synced files in it */
        free(parent);
        return 0;
    }
    /* mkdir of an existing folder may say EROFS or EACCES instead of EEXIST */
    int saved = errno;
    bool fine = saved == EEXIST || is_folder(path);
    errno = saved;
    return fine ? 0 : -1;
}

cloak_status cloak_file_mkdirs(const char *path, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    if (!path[0])
        return cloak_fail(error, CLOAK_E_USAGE, "a folder needs a name: the path is empty");
    char *copy = cloak_strdup(path);
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char kept = *p;
        *p = 0;
        if (make_folder(copy) != 0) {
            status = fail_write(error, "create the folder", copy);
            break;
        }
        *p = kept;
        if (kept == 0)
            break;
    }
    if (status == CLOAK_OK && !is_folder(path))
        status = fail_text(error, CLOAK_E_PERMANENT, path, "is in the way: it is not a folder");
    free(copy);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    (void)remove(path); /* the rest goes all the same */
    return 0;
}

void cloak_file_remove_tree(const char *folder) {
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

char *cloak_path_join(const char *folder, const char *name) {
    size_t n = strlen(folder);
    return cloak_format("%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
}

char *cloak_path_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return cloak_strdup(".");
    if (slash == path)
        return cloak_strdup("/");
    char *folder = cloak_strdup(path);
    folder[slash - path] = 0;
    return folder;
}

/* Cuts trailing slashes, but leaves a lone one. */
static void trim_slashes(char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = 0;
}

char *cloak_path_absolute(const char *path) {
    char *head = cloak_strdup(path), *rest = cloak_strdup(""), *whole = NULL;
    while (!whole) {
        trim_slashes(head);
        char *real = realpath(head[0] ? head : ".", NULL);
        if (real)
            whole = rest[0] ? cloak_path_join(real, rest) : cloak_strdup(real);
        else if (!head[0] || strcmp(head, "/") == 0)
            whole = cloak_strdup(path); /* the working folder itself is gone */
        free(real);
        if (whole)
            break;
        char *slash = strrchr(head, '/');
        char *name = slash ? slash + 1 : head;
        char *longer = rest[0] ? cloak_path_join(name, rest) : cloak_strdup(name);
        free(rest);
        rest = longer;
        if (!slash)
            head[0] = 0;
        else
            slash[slash == head] = 0; /* the root keeps its slash */
    }
    free(rest);
    free(head);
    return whole;
}

bool cloak_path_inside(const char *path, const char *folder) {
    size_t n = strlen(folder);
    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/');
}
