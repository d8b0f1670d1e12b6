/* What an album would be for a fleet, before anything is done: `cloak submit --dry-run`. */
#ifndef CLOAK_DISPATCHER_ESTIMATE_H
#define CLOAK_DISPATCHER_ESTIMATE_H

#include <stdint.h>
#include <stdio.h>

#include "common/queue/queue.h"
#include "dispatcher/place.h"

typedef struct {
    char name[8]; /* a file's ending, in small letters */
    uint64_t photos;
} cloak_estimate_kind;

typedef struct {
    uint64_t photos, bytes; /* that would be submitted */
    uint64_t known;         /* that the manifest here has already */
    uint64_t skipped;       /* other files */
    cloak_estimate_kind kinds[16];
    size_t kind_count;
    double seconds_per_photo; /* of a worker's time */
    uint64_t measured;        /* photos that this is the mean of; 0: no album in the queue, a figure of ours */
    bool same_settings;       /* they were cloaked with the same settings; else the figure is scaled to these */
} cloak_estimate;

/* Lists the album and counts; nothing is written anywhere. A manifest that cannot be read counts as none. */
CLOAK_MUST_CHECK cloak_status cloak_estimate_album(
    const cloak_place *place, cloak_estimate *estimate, cloak_error *error);

/* Takes the speed from the queue's newest albums: those with the same settings, or else all, scaled by what presets
 * cost on two cores of a CPU. Where nothing was measured, or `queue` is NULL, it is that. */
CLOAK_MUST_CHECK cloak_status cloak_estimate_speed(
    cloak_queue *queue, const char *settings, cloak_estimate *estimate, cloak_error *error);

/* What a photo with these settings counts in the queue: milliseconds on two cores of a CPU, by what its preset costs
 * there, or as much more or less than others as such photos took in this queue. On whatever devices, so that what was
 * submitted before these changed counts the same. At least 1. */
CLOAK_MUST_CHECK cloak_status cloak_estimate_cost(
    cloak_queue *queue, const char *settings, uint32_t *cost_ms, cloak_error *error);

/* Seconds of a worker's time per second of cost, by the newest albums; 1 where nothing was measured. */
CLOAK_MUST_CHECK cloak_status cloak_estimate_pace(cloak_queue *queue, double *pace, cloak_error *error);

/* As one line of JSON with the documented keys (docs/operating.md), a new string (free()). `price`: of an hour of a
 * worker's time, or 0. */
char *cloak_estimate_json(const cloak_estimate *estimate, double price);

/* For people. */
void cloak_estimate_print(const cloak_estimate *estimate, const char *source, double price, FILE *to);

#endif
