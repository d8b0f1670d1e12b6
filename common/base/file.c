/* Whole-file reads, atomic writes and paths; see the header. */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

/* Fills the error for `path` from errno. */
static cloak_status fail_errno(cloak_error *error, const char *what, const char *path) {
    int saved = errno;
    bool permanent = saved == ENOENT || saved == EACCES || saved == ENOTDIR || saved == EISDIR ||
                     saved == ENAMETOOLONG || saved == EPERM || saved == ELOOP;
    char *shown = cloak_text_encode(path);
    const char *advice = saved == ENOSPC || saved == EDQUOT ? " (free some space, then run again)"
                         : saved == EACCES || saved == EPERM ? " (check its permissions)"
                                                             : "";
    cloak_fail(error, permanent ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT, "cannot %s %s: %s%s", what,
        shown, strerror(saved), advice);
    free(shown);
    return permanent ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT;
}

static cloak_status fail_text(
    cloak_error *error, cloak_status code, const char *path, const char *text) {
    char *shown = cloak_text_encode(path);
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
        return fail_errno(error, "open", path);
    if (fstat(fd, &info) != 0) {
        status = fail_errno(error, "read", path);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = fail_text(error, CLOAK_E_PERMANENT, path, "is not a regular file");
        goto done;
    }
    if ((uint64_t)info.st_size > limit) {
        char text[96];
        snprintf(text, sizeof text, "is larger than the limit of %zu MiB", limit >> 20);
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
            status = fail_errno(error, "read", path);
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

cloak_status cloak_file_write(
    const char *path, const void *bytes, size_t length, cloak_error *error) {
    char *folder = cloak_path_folder(path);
    char *temporary = cloak_format("%s/.cloak-tmp-XXXXXX", folder);
    cloak_status status = cloak_file_mkdirs(folder, error);
    int fd = -1;
    if (status != CLOAK_OK)
        goto done;
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        status = fail_errno(error, "create a file in", folder);
        goto done;
    }
    mode_t mask = umask(0);
    umask(mask);
    if (write_all(fd, bytes, length) != CLOAK_OK || fchmod(fd, 0666 & ~mask) != 0 ||
        fsync(fd) != 0) {
        status = fail_errno(error, "write", path);
        goto remove;
    }
    if (rename(temporary, path) != 0) {
        status = fail_errno(error, "write", path);
        goto remove;
    }
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

cloak_status cloak_file_mkdirs(const char *path, cloak_error *error) {
    char *copy = cloak_strdup(path);
    cloak_status status = CLOAK_OK;
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char kept = *p;
        *p = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            status = fail_errno(error, "create the folder", copy);
            break;
        }
        *p = kept;
        if (kept == 0)
            break;
    }
    struct stat info;
    if (status == CLOAK_OK && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
        status = fail_text(error, CLOAK_E_PERMANENT, path, "is in the way: it is not a folder");
    free(copy);
    return status;
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

char *cloak_path_absolute(const char *path) {
    char *head = cloak_strdup(path), *rest = cloak_strdup("");
    size_t n = strlen(head);
    while (n > 1 && head[n - 1] == '/')
        head[--n] = 0;
    for (;;) {
        char *real = realpath(head[0] ? head : ".", NULL);
        if (real) {
            char *whole = rest[0] ? cloak_path_join(real, rest) : cloak_strdup(real);
            free(real);
            free(rest);
            free(head);
            return whole;
        }
        char *slash = strrchr(head, '/');
        char *name = slash ? slash + 1 : head;
        char *longer = rest[0] ? cloak_path_join(name, rest) : cloak_strdup(name);
        free(rest);
        rest = longer;
        if (!slash)
            head[0] = 0;
        else if (slash == head)
            head[1] = 0;
        else
            *slash = 0;
    }
}

bool cloak_path_inside(const char *path, const char *folder) {
    size_t n = strlen(folder);
    if (strcmp(folder, "/") == 0)
        return true;
    return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/');
}

char *cloak_path_sibling(const char *program) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return cloak_strdup(program);
    self[n] = 0;
    char *folder = cloak_path_folder(self), *path = cloak_path_join(folder, program);
    free(folder);
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return cloak_strdup(program);
}
