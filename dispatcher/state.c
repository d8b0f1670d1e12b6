/* The state folder's lock; see the header. */
#include "dispatcher/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

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
