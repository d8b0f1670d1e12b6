/* Time. The function table is a seam: tests replace it to move time by hand. */
#ifndef CLOAK_BASE_CLOCK_H
#define CLOAK_BASE_CLOCK_H

#include <stdint.h>

typedef struct {
    double (*monotonic)(void);       /* seconds since an arbitrary start, never goes back */
    int64_t (*wall_ms)(void);        /* milliseconds since the epoch, UTC */
    void (*sleep)(double seconds);   /* returns early on a signal */
} cloak_clock;

/* The system's clock; static storage. Any thread. */
extern const cloak_clock cloak_clock_system;

/* Seconds on the monotonic clock. Any thread. */
double cloak_now(void);

/* Writes `wall_ms` as RFC 3339 in UTC ("2026-01-31T12:00:00.123Z") into `text`. Any thread. */
void cloak_time_format(int64_t wall_ms, char text[32]);

#endif
