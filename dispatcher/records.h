/* The job records of an album's photos, from receipts and from the queue's dead letters. */
#ifndef CLOAK_DISPATCHER_RECORDS_H
#define CLOAK_DISPATCHER_RECORDS_H

#include "common/report/record.h"
#include "dispatcher/report.h"
#include "dispatcher/target.h"

typedef cloak_status (*cloak_records_visit)(void *context, const cloak_record *record, cloak_error *error);

/* Visits one record per photo that is settled, in the order of the album's manifest: the receipt of a delivered one,
 * and for a dead one what the queue knows. Photos that wait still are left out. `report` has been read. A receipt that
 * cannot be read is told on stderr and counted in `*unreadable`. One at a time is in memory. */
CLOAK_MUST_CHECK cloak_status cloak_records_read(cloak_album_target *target, const cloak_album_report *report,
    cloak_records_visit visit, void *context, size_t *unreadable, cloak_error *error);

#endif
