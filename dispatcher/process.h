/* Child processes: the private Redis and the workers of `cloak run`. */
#ifndef CLOAK_DISPATCHER_PROCESS_H
#define CLOAK_DISPATCHER_PROCESS_H

#include <sys/types.h>

#include "common/base/status.h"

/* Starts a program (looked up in PATH when it has no slash) in a process group of its own, so that
 * Ctrl-C reaches it only through us; stdout and stderr are appended to the file `log`. It gets
 * `death_signal` when this process dies, however it dies. `*pid` is its id. */
CLOAK_MUST_CHECK cloak_status cloak_process_start(
    char *const argv[], const char *log, int death_signal, pid_t *pid, cloak_error *error);

/* True when the process has ended; it is then reaped and `*status` (may be NULL) is what waitpid
 * gave. A pid of 0 has ended. */
bool cloak_process_ended(pid_t pid, int *status);

/* Sends `signal_number` and waits up to `seconds`, then kills. Returns waitpid's status. */
int cloak_process_stop(pid_t pid, int signal_number, double seconds);

/* Runs a program as cloak_process_start does, to its end, within `seconds`. It must end with status 0 or
 * `fine`; otherwise, and when it takes longer, that is CLOAK_E_TRANSIENT with the last of what it said. */
CLOAK_MUST_CHECK cloak_status cloak_process_run(
    char *const argv[], const char *log, int fine, double seconds, cloak_error *error);

/* "exit status 1" or "signal 9 (Killed)" of a waitpid status. */
void cloak_process_describe(int status, char text[64]);

#endif
