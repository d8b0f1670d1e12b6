/* Half-written files of the dead; see the header. */
#include "dispatcher/sweep.h"

#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_unfinished(
    const char *path, const struct stat *info, int kind, struct FTW *at) {
    static const char prefix[] = ".cloak-tmp-";
    const char *name = path + at->base;
    const size_t head = sizeof prefix - 1, digits = 16;
    (void)info;
    if (kind == FTW_F && strncmp(name, prefix, head) == 0 && strlen(name) == head + digits &&
        strspn(name + head, "0123456789abcdef") == digits)
        unlink(path);
    return 0;
}

void cloak_sweep_unfinished(const char *folder) {
    enum { OPEN_FOLDERS = 16 };
    /* a destination that does not exist yet is fine */
    nftw(folder, remove_unfinished, OPEN_FOLDERS, FTW_PHYS);
}
