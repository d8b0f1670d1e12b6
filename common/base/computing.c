/* DESIGN. Threads that spin while they wait cost a busy machine a tenfold: two workers of two threads
 * on two cores took 30 s for a photo, with sleeping waits 3.6 s. Sleeping at once has its price where
 * a worker has its cores to itself: a step has hundreds of parallel loops, and each wakes the others
 * again. So they spin for a moment first, 3,000 times: an attack took 4.5 s alone instead of 5.0, and
 * two side by side 8.4 s each instead of 7.6; with 30,000 spins it is 4.1 and 17.6 s (medians, 2 cores
 * of an AMD EPYC, 2026-11-28). libgomp counts; other libraries know only the policy, and sleep, as does
 * libgomp where a process has more threads than cores. The OpenMP library reads its settings when it is
 * loaded, so the environment is set and the program started anew.
 *
 * An attack allocates and frees the same few hundred MiB of maps at every step. What malloc gives back
 * to the system it gets again as pages to be cleared, one fault each: 46,000 a second. With the memory
 * kept, an attack spends half as long in the kernel (8 steps on one photo, 2 cores of an AMD EPYC,
 * 2026-11-28: 1.8 and .9 s of processor time; 4.9 and 4.4 s of looking, medians of four). */
#include "common/base/computing.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static void keep_freed_memory(void) {
    const char *const theirs[] = {
        "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"};
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (getenv(theirs[i]))
            return;
    mallopt(M_MMAP_THRESHOLD, 32 * MIB); /* the most that glibc takes */
    mallopt(M_TRIM_THRESHOLD, 256 * MIB);
    mallopt(M_TOP_PAD, 64 * MIB);
}

/* Whether that was still to be said. */
static bool say_how_to_wait(void) {
    return !getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT") &&
           setenv("OMP_WAIT_POLICY", "passive", 1) == 0 && setenv("GOMP_SPINCOUNT", "3000", 1) == 0;
}

void cloak_prepare_computing(void) {
    (void)say_how_to_wait();
}

void cloak_begin_computing(char **argv) {
    if (say_how_to_wait())
        execv("/proc/self/exe", argv); /* where this fails, it is only slower */
    prctl(PR_SET_NAME, program_invocation_short_name); /* else top and pkill know it as "exe" */
    keep_freed_memory();
}
