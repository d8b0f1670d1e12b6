/* Private to this folder: what the parts of the folder store share. */
#ifndef CLOAK_STORE_FOLDER_H
#define CLOAK_STORE_FOLDER_H

#include <sys/stat.h>

#include "common/store/store.h"

/* The file URL of an absolute path that asks for links to be followed. free() it. */
char *cloak_folder_following(const char *path);

cloak_store_info cloak_folder_info(const struct stat *info);

/* cloak_store_put_like for two folders. */
CLOAK_MUST_CHECK cloak_status cloak_folder_put_like(cloak_store *store, const cloak_store *source, const char *key,
    const void *bytes, size_t length, cloak_error *error);

/* How many names of one folder are in memory at once, or twice as many while they are read; more are read in rounds. A
 * seam: tests set it lower, before they list. */
extern size_t cloak_folder_round;

cloak_status cloak_folder_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error);

cloak_status cloak_folder_sweep(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
    cloak_error *error);

#endif
