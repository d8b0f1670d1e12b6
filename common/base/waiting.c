/* Threads that spin while they wait cost a busy machine a tenfold: two workers of two threads on
 * two cores took 30 s for a photo, with sleeping waits 3.6 s. The OpenMP library reads its settings
 * when it is loaded, so the environment is set and the program started anew. */
#include "common/base/waiting.h"

#include <stdlib.h>
#include <unistd.h>

void cloak_wait_without_spinning(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0)
        execv("/proc/self/exe", argv); /* where this fails, it is only slower */
}
