/* A processor's minute that lasts a quarter of a second, to be loaded before a program's libraries (LD_PRELOAD): timers
 * of the time that a process computes (ITIMER_PROF) run 240 times as fast. */
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int setitimer(__itimer_which_t which, const struct itimerval *restrict timer, struct itimerval *restrict old) {
    struct itimerval sooner = *timer;
    if (which == ITIMER_PROF) {
        const long us = (timer->it_value.tv_sec * 1000000 + timer->it_value.tv_usec) / 240;
        sooner.it_value = (struct timeval){us / 1000000, us % 1000000};
    }
    return (int)syscall(SYS_setitimer, which, &sooner, old);
}
