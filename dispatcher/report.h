/* What is known of an album: books, sums and dead photos, as JSON and as a table for people. */
#ifndef CLOAK_DISPATCHER_REPORT_H
#define CLOAK_DISPATCHER_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "common/queue/queue.h"
#include "common/report/ap.h"

typedef struct {
    uint32_t index;
    char *key; /* percent-encoded */
    char *class_word, *text;
} cloak_dead_photo;

typedef struct {
    char album[CLOAK_ALBUM_ID_SIZE];
    cloak_books books;
    cloak_sums sums;
    cloak_ap before, after;
    cloak_dead_photo *dead;
    size_t dead_count;
    uint64_t settled; /* done + dead + cancelled */
    int64_t cloaked, no_face, residual;
} cloak_album_report;

/* Reads an album's state from the queue. Free with cloak_album_report_free. */
CLOAK_MUST_CHECK cloak_status cloak_album_report_read(
    cloak_queue *queue, const char *album, cloak_album_report *report, cloak_error *error);

/* The same without the dead photos, of which there may be many: `dead` stays empty. */
CLOAK_MUST_CHECK cloak_status cloak_album_report_read_sums(
    cloak_queue *queue, const char *album, cloak_album_report *report, cloak_error *error);

void cloak_album_report_free(cloak_album_report *report);

/* The report as one line of JSON with the documented keys (docs/operating.md). `seconds` is the
 * time that `seconds` is to state, `delivered` the photos that were delivered in it. Returns a new
 * string (free()). */
char *cloak_album_report_json(const cloak_album_report *report, double seconds, uint64_t delivered,
    size_t skipped);

/* Prints the table that `cloak run` and `cloak status` end with. `destination` may be NULL. */
void cloak_album_report_print(const cloak_album_report *report, double seconds,
    const char *destination, FILE *to);

/* The exit code that the album's state calls for: 0, 3 or 4; 1 when the books do not balance. */
int cloak_album_report_exit(const cloak_album_report *report);

/* True when every photo of a sealed manifest is settled. */
bool cloak_album_report_complete(const cloak_album_report *report);

/* Whether photos die of errors of this class. */
bool cloak_is_dead_class(const char *word);

#endif
