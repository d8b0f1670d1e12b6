/* What the reader of photos may not do any more once it is confined, and what it must be able to. Each in a child of
 * its own, since there is no way back. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "intake/confine.h"
#include "tests/check.h"

/* Runs `action` confined; it returns 0 when it could do what it wanted, else errno. */
static int confined(int (*action)(void)) {
    pid_t pid = fork();
    int ended = 0;
    if (pid == 0) {
        cloak_error error;
        if (cloak_confine(&error) != CLOAK_OK) {
            fprintf(stderr, "%s\n", error.text);
            _exit(255);
        }
        _exit(action());
    }
    CHECK(pid > 0 && waitpid(pid, &ended, 0) == pid && WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

static int open_file(void) {
    return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}

static int make_file(void) {
    return creat("/tmp/cloak-confined", 0600) < 0 ? errno : 0;
}

static int connect_out(void) {
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int make_process(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static int start_program(void) {
    execl("/bin/true", "true", NULL);
    return errno;
}

static int signal_by_number(void) {
    return syscall(SYS_tgkill, getppid(), getppid(), 0) != 0 ? errno : 0;
}

static int limit_parent(void) {
    struct rlimit is;
    return syscall(SYS_prlimit64, getppid(), RLIMIT_NOFILE, NULL, &is) != 0 ? errno : 0;
}

static int change_mode(void) {
    return syscall(452, AT_FDCWD, "/tmp", 01777, 0) != 0 ? errno : 0;
}

static int type_into_terminal(void) {
    return ioctl(0, TIOCSTI, "x") != 0 ? errno : 0;
}

static int signal_by_descriptor(void) {
    return fcntl(0, F_SETOWN, getppid()) != 0 ? errno : 0;
}

static int signal_parent(void) {
    return kill(getppid(), 0) != 0 ? errno : 0;
}

TEST(what_is_dangerous_is_refused) {
    CHECK_INT(confined(open_file), EACCES);
    CHECK_INT(confined(make_file), EACCES);
    CHECK_INT(access("/tmp/cloak-confined", F_OK), -1);
    CHECK_INT(confined(connect_out), EACCES);
    CHECK_INT(confined(make_process), EACCES);
    CHECK_INT(confined(start_program), EACCES);
    CHECK_INT(confined(signal_parent), EACCES);
    CHECK_INT(confined(signal_by_number), EACCES);
    CHECK_INT(confined(limit_parent), EACCES);
    CHECK_INT(confined(change_mode), EACCES);
    CHECK_INT(confined(type_into_terminal), EACCES);
    CHECK_INT(confined(signal_by_descriptor), EACCES);
}

static void *nothing(void *context) {
    return context;
}

/* Memory, a thread, an anonymous file. */
static int work(void) {
    pthread_t thread;
    void *block = malloc((size_t)64 << 20);
    int fd = memfd_create("x", MFD_CLOEXEC), failed = pthread_create(&thread, NULL, nothing, NULL);
    if (!block || fd < 0 || failed || pthread_join(thread, NULL) || write(fd, "x", 1) != 1)
        return 1;
    free(block);
    return 0;
}

TEST(what_reading_needs_is_not) {
    CHECK_INT(confined(work), 0);
}
