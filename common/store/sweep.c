/* Removes the half-written files of the dead from a folder store.
 *
 * Such a file (".cloak-tmp-" and 16 hex digits, from cloak_file_write) may be one that another process is
 * writing; the caller says how old it has to be. Links are not followed. Leftovers are never taken for
 * photos, they only take space, so what cannot be read or removed is passed over. */
#include <ftw.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/store/backend.h"
#include "common/store/folder.h"

static _Thread_local time_t before; /* nftw hands nothing on to its callback */

static int remove_unfinished(
    const char *path, const struct stat *info, int kind, struct FTW *at) {
    static const char prefix[] = ".cloak-tmp-";
    const char *name = path + at->base;
    const size_t head = sizeof prefix - 1, digits = 16;
    if (kind == FTW_F && strncmp(name, prefix, head) == 0 && strlen(name) == head + digits &&
        strspn(name + head, "0123456789abcdef") == digits && info->st_mtim.tv_sec <= before)
        unlink(path);
    return 0;
}

cloak_status cloak_folder_sweep(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
    cloak_error *error) {
    enum { OPEN_FOLDERS = 16 };
    (void)ours, (void)context, (void)error;
    before = (time_t)(cloak_clock_system.wall_ms() / 1000 - (int64_t)seconds);
    nftw(store->place, remove_unfinished, OPEN_FOLDERS, FTW_PHYS); /* a folder that does not exist yet is fine */
    return CLOAK_OK;
}
