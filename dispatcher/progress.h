/* Progress of an album: one line that is rewritten on a terminal, plain lines now and then
 * elsewhere. */
#ifndef CLOAK_DISPATCHER_PROGRESS_H
#define CLOAK_DISPATCHER_PROGRESS_H

#include <stdio.h>

#include "dispatcher/report.h"

typedef struct {
    FILE *to;
    bool terminal;
    double began, printed; /* monotonic */
    uint64_t settled_before; /* by earlier runs */
    uint64_t last_settled;
} cloak_progress;

/* Starts measuring the rate from here. */
cloak_progress cloak_progress_start(FILE *to, const cloak_album_report *now);

/* Shows the state, if it is time to. `total` counts photos that are not fed yet, too. */
void cloak_progress_show(
    cloak_progress *progress, const cloak_album_report *now, uint64_t total);

/* Ends the line, so that other text can follow. */
void cloak_progress_end(cloak_progress *progress);

#endif
