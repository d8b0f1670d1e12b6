/* Child processes; see the header. */
#include "dispatcher/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"

/* In the child: everything up to exec. Only async-signal-safe calls. */
_Noreturn static void become(char *const argv[], int log, int death_signal, pid_t parent, int report) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, death_signal);
    int null = open("/dev/null", O_RDONLY);
    if (getppid() == parent && dup2(null, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0)
        execvp(argv[0], argv);
    int saved = errno;
    if (write(report, &saved, sizeof saved) < 0)
        _exit(126);
    _exit(127);
}

cloak_status cloak_process_start(
    char *const argv[], const char *log_path, int death_signal, pid_t *pid, cloak_error *error) {
    int report[2], failure = 0;
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0)
        return cloak_fail(
            error, CLOAK_E_TRANSIENT, "cannot write %s: %s", log_path, strerror(errno));
    if (pipe2(report, O_CLOEXEC) != 0) {
        close(log);
        return cloak_fail(error, CLOAK_E_TRANSIENT, "cannot start %s: %s", argv[0], strerror(errno));
    }
    pid_t parent = getpid(), child = fork();
    int fork_errno = errno;
    if (child == 0)
        become(argv, log, death_signal, parent, report[1]);
    close(report[1]);
    close(log);
    bool failed = child < 0 || read(report[0], &failure, sizeof failure) > 0;
    close(report[0]);
    if (failed) {
        if (child > 0)
            waitpid(child, NULL, 0);
        return cloak_fail(error, child < 0 ? CLOAK_E_TRANSIENT : CLOAK_E_USAGE,
            "cannot start %s: %s%s", argv[0], strerror(failure ? failure : fork_errno),
            failure == ENOENT ? " (is it installed?)" : "");
    }
    *pid = child;
    return CLOAK_OK;
}

bool cloak_process_ended(pid_t pid, int *status) {
    int result = 0;
    if (pid > 0 && waitpid(pid, &result, WNOHANG) == 0)
        return false;
    if (status)
        *status = result;
    return true;
}

int cloak_process_stop(pid_t pid, int signal_number, double seconds) {
    int status = 0;
    if (pid <= 0)
        return 0;
    kill(pid, signal_number);
    for (double until = cloak_now() + seconds; cloak_now() < until;) {
        if (cloak_process_ended(pid, &status))
            return status;
        cloak_clock_system.sleep(0.02);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return status;
}

void cloak_process_describe(int status, char text[64]) {
    if (WIFSIGNALED(status))
        snprintf(text, 64, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, 64, "exit status %d", WEXITSTATUS(status));
}

/* The last of a log, on its way into an error text. */
static cloak_status fail_with_log(
    char *const argv[], const char *how, const char *log, cloak_error *error) {
    char *said = NULL;
    size_t length = 0;
    if (cloak_file_read(log, 1 << 20, (void **)&said, &length, NULL) != CLOAK_OK)
        said = NULL;
    cloak_fail(error, CLOAK_E_TRANSIENT, "%s %s: %s", argv[0], how,
        said && length ? said + (length > 300 ? length - 300 : 0) : "it said nothing");
    free(said);
    return CLOAK_E_TRANSIENT;
}

cloak_status cloak_process_run(
    char *const argv[], const char *log, int fine, double seconds, cloak_error *error) {
    pid_t pid = 0;
    int ended = 0;
    char how[64], text[96];
    const double until = cloak_now() + seconds;
    cloak_status status = cloak_process_start(argv, log, SIGTERM, &pid, error);
    if (status != CLOAK_OK)
        return status;
    while (!cloak_process_ended(pid, &ended)) {
        if (cloak_now() > until) {
            cloak_process_stop(pid, SIGTERM, 5);
            snprintf(text, sizeof text, "took longer than %.0f s", seconds);
            return fail_with_log(argv, text, log, error);
        }
        cloak_clock_system.sleep(0.1);
    }
    if (WIFEXITED(ended) && (WEXITSTATUS(ended) == 0 || WEXITSTATUS(ended) == fine))
        return CLOAK_OK;
    cloak_process_describe(ended, how);
    snprintf(text, sizeof text, "ended with %s", how);
    return fail_with_log(argv, text, log, error);
}
