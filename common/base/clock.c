/* The system's clock behind a table; see the header. */
#include "common/base/clock.h"

#include <stdio.h>
#include <time.h>

static double monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t); /* goes on while the machine sleeps, as leases do */
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int64_t wall_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_for(double seconds) {
    if (seconds <= 0)
        return;
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

const cloak_clock cloak_clock_system = {monotonic, wall_ms, sleep_for};

double cloak_now(void) {
    return monotonic();
}

void cloak_time_format(int64_t ms, char text[32]) {
    int rest = (int)(ms % 1000);
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    char date[24];
    if (rest < 0) { /* before 1970 */
        rest += 1000;
        seconds--;
    }
    if (!gmtime_r(&seconds, &parts) ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        snprintf(date, sizeof date, "0000-00-00T00:00:00"); /* RFC 3339 ends with year 9999 */
    snprintf(text, 32, "%s.%03dZ", date, rest);
}
