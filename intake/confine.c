/* seccomp and resource limits; see the header.
 *
 * A list of what is refused, not of what is allowed: the libraries start threads and take memory in ways that differ
 * from release to release, and a call that a list forgot would cost everybody's photos. What makes a process dangerous
 * is on it: opening, connecting, executing, reaching into other processes, the kernel's odd corners. Refused calls fail
 * with EACCES, or ENOSYS where glibc then takes another way, so that libraries go on.
 *
 * Sources: seccomp_rule_add(3); "clone3 in sandboxes" (glibc falls back to clone where clone3 is ENOSYS). */
#include "intake/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <seccomp.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 }; /* reserves terabytes of addresses */
#else
enum { SANITIZED = 0 };
#endif

static const int refused[] = {
    /* files */
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(creat), SCMP_SYS(open_by_handle_at), SCMP_SYS(unlink),
    SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(mkdir), SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat), SCMP_SYS(mknod),
    SCMP_SYS(mknodat), SCMP_SYS(chmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(lchown), SCMP_SYS(fchownat),
    SCMP_SYS(truncate), SCMP_SYS(utimensat), SCMP_SYS(setxattr), SCMP_SYS(lsetxattr), SCMP_SYS(mount), SCMP_SYS(umount2),
    SCMP_SYS(removexattr), SCMP_SYS(lremovexattr), SCMP_SYS(utime), SCMP_SYS(utimes), SCMP_SYS(futimesat), SCMP_SYS(open_tree),
    SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(fsmount), SCMP_SYS(fsconfig), SCMP_SYS(inotify_init), SCMP_SYS(inotify_init1),
    SCMP_SYS(inotify_add_watch), SCMP_SYS(fanotify_init), SCMP_SYS(mq_open), SCMP_SYS(mq_unlink), 442 /* mount_setattr */,
    452 /* fchmodat2 */, 463 /* setxattrat */, 466 /* removexattrat */,
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(chdir), SCMP_SYS(swapon), SCMP_SYS(name_to_handle_at),
    /* the network and other processes */
    SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept),
    SCMP_SYS(accept4), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(kill),
    SCMP_SYS(tkill), SCMP_SYS(rt_sigqueueinfo), SCMP_SYS(setpriority), SCMP_SYS(kcmp), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal), SCMP_SYS(shmget), SCMP_SYS(msgget), SCMP_SYS(semget),
    /* the kernel's odd corners */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl),
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(init_module),
    SCMP_SYS(finit_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(reboot), SCMP_SYS(personality), SCMP_SYS(quotactl),
    SCMP_SYS(acct), SCMP_SYS(iopl), SCMP_SYS(ioperm)};

/* Calls of which some arguments are refused: `argument` must not be, or (`unless`) must be, `value`. */
static int add_conditions(scmp_filter_ctx filter) {
    const scmp_datum_t self = (scmp_datum_t)getpid(), word = 0xffffffff;
    const struct {
        int call;
        struct scmp_arg_cmp when;
    } rules[] = {
        /* threads are fine, processes are not */
        {SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)},
        /* abort() is fine, others' threads and limits are not */
        {SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_NE, self)}, {SCMP_SYS(rt_tgsigqueueinfo), SCMP_A0(SCMP_CMP_NE, self)},
        {SCMP_SYS(prlimit64), SCMP_A0(SCMP_CMP_NE, 0)},
        /* typing into a terminal, and signals by way of a descriptor */
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, TIOCSTI)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, TIOCLINUX)},
        {SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, FIOASYNC)},
        {SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, F_SETOWN)},
        {SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, F_SETOWN_EX)},
        {SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_MASKED_EQ, word, F_SETSIG)}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        int failed = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EACCES), rules[i].call, 1, &rules[i].when);
        if (failed)
            return failed;
    }
    return 0;
}

static int add_rules(scmp_filter_ctx filter) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int failed = refused[i] < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
        if (failed)
            return failed;
    }
    int failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (!failed)
        failed = add_conditions(filter);
    return failed ? failed : seccomp_load(filter);
}

/* The lower of a limit and the one that holds already. */
static int limit(int resource, rlim_t most) {
    struct rlimit is;
    if (getrlimit(resource, &is) != 0)
        return -1;
    rlim_t least = is.rlim_max != RLIM_INFINITY && is.rlim_max < most ? is.rlim_max : most;
    is = (struct rlimit){least, least};
    return setrlimit(resource, &is);
}

cloak_status cloak_confine(cloak_error *error) {
    if ((!SANITIZED && limit(RLIMIT_AS, (rlim_t)6 << 30) != 0) || limit(RLIMIT_FSIZE, (rlim_t)4 << 30) != 0 ||
        limit(RLIMIT_NOFILE, 64) != 0 || limit(RLIMIT_CORE, 0) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return cloak_fail(error, CLOAK_E_INTERNAL, "cannot limit the reader of photos: %s", strerror(errno));
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int failed = filter ? add_rules(filter) : -ENOMEM;
    seccomp_release(filter);
    return failed ? cloak_fail(error, CLOAK_E_INTERNAL, "cannot confine the reader of photos (seccomp: %s)", strerror(-failed))
                  : CLOAK_OK;
}
