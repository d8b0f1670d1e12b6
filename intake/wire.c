/* Messages with descriptors (cmsg(3)), and whole reads and writes; see the header. */
#include "intake/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool cloak_intake_send(int socket, const void *message, size_t length, int fd) {
    struct iovec part = {(void *)message, length};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        header.msg_control = control.room;
        header.msg_controllen = sizeof control.room;
        struct cmsghdr *item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(item), &fd, sizeof fd);
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)length;
}

bool cloak_intake_receive(int socket, void *message, size_t length, int *fd) {
    enum { MOST = 4 };
    struct iovec part = {message, length};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(MOST * sizeof(int))];
    } control;
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    int fds[MOST], count = 0;
    ssize_t got;
    *fd = -1;
    do
        got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    for (struct cmsghdr *item = got < 0 ? NULL : CMSG_FIRSTHDR(&header); item; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= item->cmsg_len && count < MOST; at += sizeof(int))
            memcpy(&fds[count++], (char *)item + at, sizeof(int));
    }
    if (got == (ssize_t)length && count <= 1 && !(header.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
        *fd = count ? fds[0] : -1;
        return true;
    }
    while (count)
        close(fds[--count]);
    return false;
}

int cloak_intake_file(const char *name) {
    const unsigned never_executed = 8; /* MFD_NOEXEC_SEAL, of Linux 6.3 */
    int fd = memfd_create(name, MFD_CLOEXEC | never_executed);
    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

bool cloak_intake_write(int fd, const void *bytes, size_t length) {
    for (const char *at = bytes; length;) {
        ssize_t n = write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

bool cloak_intake_read(int fd, void *bytes, size_t length, uint64_t offset) {
    for (char *at = bytes; length;) {
        ssize_t n = pread(fd, at, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}
