/* An album as one page of HTML that needs nothing else. */
#ifndef CLOAK_DISPATCHER_SUMMARY_H
#define CLOAK_DISPATCHER_SUMMARY_H

#include <stdio.h>

#include "common/report/record.h"
#include "dispatcher/crops.h"
#include "dispatcher/report.h"

typedef struct cloak_summary cloak_summary;

/* Collects what the page shows of single photos: the slowest, those on which most is left, those that were changed
 * most, and how all are spread. Free with cloak_summary_free. */
cloak_summary *cloak_summary_new(void);
void cloak_summary_add(cloak_summary *summary, const cloak_record *record);
void cloak_summary_free(cloak_summary *summary);

/* Writes the page, with pictures of the photos in its lists where `crops` is not NULL. Errors are the stream's. */
void cloak_summary_write(const cloak_summary *summary, const cloak_album_report *report,
    const cloak_album_spec *album, cloak_crops *crops, FILE *to);

#endif
