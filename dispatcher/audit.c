/* cloak audit: proves that nothing was lost. The books of the queue must balance, and every photo
 * that is booked as done must lie in the destination with a receipt whose digest fits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/report/delivery.h"
#include "dispatcher/feeder.h"
#include "dispatcher/manifest.h"
#include "dispatcher/report.h"
#include "dispatcher/state.h"
#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

typedef struct {
    size_t done, checked, problems;
} Tally;

static void problem(Tally *tally, const char *key, const char *what) {
    char *shown = cloak_text_encode(key);
    tally->problems++;
    fprintf(stderr, "  %s: %s\n", shown, what);
    free(shown);
}

/* Checks one photo that is booked as done. */
static void check_delivered(
    cloak_store *store, const char *key, const char *album, Tally *tally) {
    cloak_error error;
    cloak_record record = {0};
    tally->checked++;
    if (cloak_delivery_read(store, key, album, &record, &error) != CLOAK_OK)
        problem(tally, key, error.text);
    cloak_record_free(&record);
}

static cloak_status check_photos(
    cloak_album_target *target, const cloak_album_spec *album, Tally *tally, cloak_error *error) {
    cloak_manifest manifest = {0};
    cloak_store *store = NULL;
    char *path = NULL;
    cloak_status status = cloak_state_find(album->destination, &store, &path, error);
    if (status == CLOAK_OK)
        status = cloak_manifest_read(
            path, album->source, album->destination, album->settings, &manifest, error);
    if (status == CLOAK_OK && strcmp(manifest.id, target->id) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s is the manifest of album %s, not of %s", path, manifest.id, target->id);
    for (size_t i = 0; i < manifest.count && status == CLOAK_OK; i++) {
        bool done = false;
        status = cloak_queue_is_done(target->queue, target->id, (uint32_t)i, &done, error);
        tally->done += done;
        /* a photo that changed in the album has a newer entry, which replaced its file */
        if (cloak_manifest_find(&manifest, manifest.photos[i].key) != &manifest.photos[i])
            continue;
        if (status == CLOAK_OK && done)
            check_delivered(store, manifest.photos[i].key, target->id, tally);
    }
    cloak_store_close(store);
    cloak_manifest_close(&manifest);
    free(path);
    return status;
}

static int report(const cloak_album_target *target, const cloak_books *b, const Tally *tally,
    bool json) {
    /* more may be done by now than when the books were read, never less */
    bool named = tally->done >= b->done;
    bool fine = b->balanced && named && tally->problems == 0;
    if (!named)
        fprintf(stderr, "  the manifest names %zu of %llu delivered photos only\n", tally->done,
            (unsigned long long)b->done);
    fprintf(stderr,
        "  total %llu = waiting %llu + leased %llu + delayed %llu + done %llu + dead %llu + "
        "cancelled %llu: %s\n  %zu delivered photos checked against their receipts: %zu problems\n",
        (unsigned long long)b->total, (unsigned long long)b->waiting,
        (unsigned long long)b->leased, (unsigned long long)b->delayed,
        (unsigned long long)b->done, (unsigned long long)b->dead,
        (unsigned long long)b->cancelled, b->balanced ? "balanced" : "NOT BALANCED",
        tally->checked, tally->problems);
    if (json)
        printf("{\"album\":\"%s\",\"books_balanced\":%s,\"checked\":%zu,\"problems\":%zu}\n",
            target->id, b->balanced ? "true" : "false", tally->checked, tally->problems);
    return fine ? CLOAK_EXIT_OK : CLOAK_EXIT_FAILURE;
}

/* --- repair -------------------------------------------------------------------------------- */

typedef struct {
    cloak_queue_options queue;
    const char *tenant, *job_class;
    bool repair;
} Options;

/* The path of the album's manifest, as a new string: by what the queue knows, or, where it knows
 * the album no more, by the argument. */
static cloak_status find_manifest(const cloak_album_target *target, const char *argument,
    char **path, bool *known, cloak_error *error) {
    cloak_store *store = NULL;
    cloak_album_spec album = {0};
    cloak_status status = cloak_queue_album(target->queue, target->id, &album, error);
    if (status != CLOAK_OK && status != CLOAK_E_USAGE)
        return status;
    *known = status == CLOAK_OK;
    if (status != CLOAK_OK && strcmp(argument, target->id) == 0)
        return cloak_fail(error, CLOAK_E_USAGE,
            "the queue does not know album %s any more: name its output folder instead", target->id);
    status = cloak_state_find(*known ? album.destination : argument, &store, path, error);
    cloak_store_close(store);
    cloak_album_spec_free(&album);
    return status;
}

/* Gives the queue what the manifest has and it has not: after a failover that lost its tail, or a Redis that was
 * lost as a whole. Photos that were delivered are recognised by their receipts and not made again. */
static cloak_status repair(
    cloak_album_target *target, const char *argument, const Options *o, cloak_error *error) {
    cloak_manifest manifest = {0};
    char *path = NULL;
    int lock = -1;
    bool known = false;
    cloak_status status = find_manifest(target, argument, &path, &known, error);
    char *state = path ? cloak_path_folder(path) : NULL;
    if (status == CLOAK_OK && target->lock < 0)
        status = cloak_state_lock(state, 20, &lock, error);
    if (status == CLOAK_OK)
        status = cloak_manifest_read(path, NULL, NULL, NULL, &manifest, error);
    if (status == CLOAK_OK && strcmp(manifest.id, target->id) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE, "%s is the manifest of album %s, not of %s", path,
            manifest.id, target->id);
    if (status == CLOAK_OK && !manifest.listed)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s was not written to its end: run the same cloak submit again instead", path);
    if (status == CLOAK_OK && !known)
        status = cloak_feeder_create(target->queue, &manifest, o->tenant, o->job_class, error);
    cloak_feeder feeder = {.queue = target->queue, .manifest = &manifest, .max_backlog = 100000};
    if (status == CLOAK_OK)
        status = cloak_feeder_finish(&feeder, error);
    if (status == CLOAK_OK)
        fprintf(stderr, "  repaired: %s%zu of %zu photos were not in the queue and wait now\n",
            known ? "" : "the album and ", feeder.accepted, manifest.count);
    cloak_manifest_close(&manifest);
    if (lock >= 0)
        close(lock);
    free(path);
    free(state);
    return status;
}

int cloak_verb_audit(int argc, char **argv) {
    Options o = {CLOAK_QUEUE_OPTIONS_DEFAULT, "default", "bulk", false};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o.queue),
        {"repair", NULL, NULL, CLOAK_OPTION_FLAG, &o.repair, 0, 0,
            "first give the queue what it has lost of the album's manifest"},
        {"tenant", "NAME", NULL, CLOAK_OPTION_TEXT, &o.tenant, 0, 0,
            "whose album it is, where the queue does not know it any more"},
        {"class", "NAME", NULL, CLOAK_OPTION_TEXT, &o.job_class, 0, 0,
            "the same: interactive or bulk"},
        {0}};
    cloak_album_target target;
    cloak_album_spec album = {0};
    cloak_books books;
    Tally tally = {0, 0, 0};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("audit ALBUM-ID | OUT [OPTIONS]",
            "Checks that the books balance and that every photo booked as done lies in the\n"
            "destination with the bytes its receipt states. Exit code 0 when all is well.",
            table, argc, argv, 1, &code))
        return code;
    cloak_status status = cloak_album_target_open(argv[0], &o.queue, &target, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("audit", &error);
    if (o.repair)
        status = repair(&target, argv[0], &o, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_books(target.queue, target.id, &books, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_album(target.queue, target.id, &album, &error);
    if (status == CLOAK_OK)
        status = check_photos(&target, &album, &tally, &error);
    code = status == CLOAK_OK ? report(&target, &books, &tally, o.queue.json)
                              : cloak_verb_fail("audit", &error);
    cloak_album_spec_free(&album);
    cloak_album_target_close(&target);
    return code;
}
