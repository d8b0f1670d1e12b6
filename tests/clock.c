/* A wrong clock, to be loaded before a program's libraries (LD_PRELOAD): the time of the day is as many microseconds
 * off as the file CLOAK_TEST_CLOCK says (eight bytes in this machine's order, which may change at any time). Clocks
 * that only count on are as they are. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *off;

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CLOAK_TEST_CLOCK");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *there = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, fd, 0);
    if (there == MAP_FAILED)
        abort(); /* a test that would test nothing */
    close(fd);
    off = there;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    const long failed = syscall(SYS_clock_gettime, clock, now);
    if (failed || !off || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return (int)failed;
    const int64_t us = (int64_t)now->tv_sec * 1000000 + now->tv_nsec / 1000 + *off;
    *now = (struct timespec){us / 1000000, us % 1000000 * 1000 + now->tv_nsec % 1000};
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &fine);
    *now = (struct timeval){fine.tv_sec, fine.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *now) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (now)
        *now = fine.tv_sec;
    return fine.tv_sec;
}
