/* Files and folders: whole reads with a limit, atomic writes, paths. */
#ifndef CLOAK_BASE_FILE_H
#define CLOAK_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/base/status.h"

/* Reads a whole regular file of at most `limit` bytes. On success `*bytes` is a new block (free())
 * of `*length` bytes plus a terminating NUL that is not counted. A file that is missing,
 * unreadable, not regular or larger is CLOAK_E_PERMANENT; an I/O error or lack of memory is
 * CLOAK_E_TRANSIENT. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_file_read(
    const char *path, size_t limit, void **bytes, size_t *length, cloak_error *error);

/* Writes `length` bytes under `path` so that a reader, or a crash, sees either the old file or the
 * whole new one: a temporary file beside it, fsync, rename, fsync of the folder. Missing folders
 * are created. On failure nothing is left behind; a full disk, I/O errors and a missing right are
 * CLOAK_E_TRANSIENT. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_file_write(
    const char *path, const void *bytes, size_t length, cloak_error *error);

/* The same, with owner, mode (less the right to write of others, and to execute) and time of modification of `like`
 * (NULL for none), as far as our rights and the file system allow. */
CLOAK_MUST_CHECK cloak_status cloak_file_write_like(
    const char *path, const void *bytes, size_t length, const struct stat *like, cloak_error *error);

/* Creates a folder and its parents, mode 0777 less the umask. Existing folders are fine. */
CLOAK_MUST_CHECK cloak_status cloak_file_mkdirs(const char *path, cloak_error *error);

/* Removes a folder and all that is in it, as far as that can be done; links are not followed. */
void cloak_file_remove_tree(const char *folder);

/* "a/b" from "a" and "b". Returns a new string (free()), never NULL. */
char *cloak_path_join(const char *folder, const char *name);

/* The folder part of `path` ("." when it has none). Returns a new string (free()). */
char *cloak_path_folder(const char *path);

/* An absolute path without ".", ".." and symlinks for the part that exists, followed by the rest
 * as it is; so that two paths can be compared before one of them exists. (Where the working folder
 * itself is gone, a relative path comes back as it is.) Returns a new string (free()), never
 * NULL. */
char *cloak_path_absolute(const char *path);

/* True when `path` is `folder` or lies below it. Both absolute as above. */
bool cloak_path_inside(const char *path, const char *folder);

#endif
