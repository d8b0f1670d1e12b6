/* seccomp and resource limits; see the header.
 *
 * A list of what is refused, not of what is allowed: the libraries start threads and take memory in ways that differ
 * from release to release, and a call that a list forgot would cost everybody's photos. What makes a process dangerous is
 * on it: opening, connecting, executing, reaching into other processes, the kernel's odd corners. Refused calls
 * fail with EACCES, or ENOSYS where glibc then takes another way, so that libraries go on.
 *
 * Sources: seccomp_rule_add(3); "clone3 in sandboxes" (glibc falls back to clone where clone3 is ENOSYS). */
#include "intake/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

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
    SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(chdir), SCMP_SYS(swapon), SCMP_SYS(name_to_handle_at),
    /* the network and other processes */
    SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen), SCMP_SYS(accept),
    SCMP_SYS(accept4), SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(kill),
    SCMP_SYS(tkill), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd), SCMP_SYS(pidfd_send_signal), SCMP_SYS(shmget), SCMP_SYS(msgget), SCMP_SYS(semget),
    /* the kernel's odd corners */
    SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl),
    SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(init_module),
    SCMP_SYS(finit_module), SCMP_SYS(kexec_load), SCMP_SYS(reboot), SCMP_SYS(personality), SCMP_SYS(quotactl),
    SCMP_SYS(acct), SCMP_SYS(iopl), SCMP_SYS(ioperm)};

static int add_rules(scmp_filter_ctx filter) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        int failed = refused[i] < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
        if (failed)
            return failed;
    }
    int failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (!failed) /* threads are fine, processes are not */
        failed = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(clone), 1,
            SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    return failed ? failed : seccomp_load(filter);
}

cloak_status cloak_confine(cloak_error *error) {
    const struct rlimit memory = {(rlim_t)6 << 30, (rlim_t)6 << 30}, nothing = {0, 0};
    if ((!SANITIZED && setrlimit(RLIMIT_AS, &memory) != 0) || setrlimit(RLIMIT_CORE, &nothing) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return cloak_fail(error, CLOAK_E_INTERNAL, "cannot limit the reader of photos: %s", strerror(errno));
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int failed = filter ? add_rules(filter) : -ENOMEM;
    seccomp_release(filter);
    return failed ? cloak_fail(error, CLOAK_E_INTERNAL, "cannot confine the reader of photos (seccomp: %s)", strerror(-failed))
                  : CLOAK_OK;
}
