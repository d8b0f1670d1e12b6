/* cloak audit: proves that nothing was lost. The books of the queue must balance, and every photo
 * that is booked as done must lie in the destination with a receipt whose digest fits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/report/record.h"
#include "common/store/store.h"
#include "dispatcher/manifest.h"
#include "dispatcher/report.h"
#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

enum { MAX_FILE = 512 << 20, MAX_RECEIPT = 8 << 20 };

typedef struct {
    size_t done, checked, problems;
} Tally;

static void problem(Tally *tally, const char *key, const char *what) {
    char *shown = cloak_text_encode(key);
    tally->problems++;
    fprintf(stderr, "  %s: %s\n", shown, what);
    free(shown);
}

static bool digest_fits(const void *bytes, size_t length, const char *hex) {
    char computed[CLOAK_DIGEST_SIZE];
    cloak_digest_hex(bytes, length, computed);
    return hex && strcmp(computed, hex) == 0;
}

/* Checks one photo that is booked as done. */
static void check_delivered(
    cloak_store *store, const char *key, const char *album, Tally *tally) {
    cloak_error error;
    cloak_record record = {0};
    void *photo = NULL, *receipt = NULL;
    size_t photo_length = 0, receipt_length = 0;
    char *receipt_key = cloak_receipt_key(key);
    tally->checked++;
    if (cloak_store_get(store, key, MAX_FILE, &photo, &photo_length, &error) != CLOAK_OK ||
        cloak_store_get(store, receipt_key, MAX_RECEIPT, &receipt, &receipt_length, &error) !=
            CLOAK_OK ||
        cloak_record_parse(receipt, receipt_key, &record, &error) != CLOAK_OK)
        problem(tally, key, error.text);
    else if (!record.album || strcmp(record.album, album) != 0)
        problem(tally, key, "the receipt belongs to another album");
    else if (!digest_fits(photo, photo_length, record.sha256_out))
        problem(tally, key, "the photo is not the one that the receipt describes");
    cloak_record_free(&record);
    free(photo);
    free(receipt);
    free(receipt_key);
}

static cloak_status check_photos(
    cloak_album_target *target, const cloak_album_spec *album, Tally *tally, cloak_error *error) {
    cloak_manifest manifest = {0};
    cloak_store *store = NULL;
    char *path = cloak_format("%s.cloak/manifest", album->destination);
    cloak_status status = cloak_manifest_read(
        path, album->source, album->destination, album->settings, &manifest, error);
    if (status == CLOAK_OK && strcmp(manifest.id, target->id) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s is the manifest of album %s, not of %s", path, manifest.id, target->id);
    if (status == CLOAK_OK)
        status = cloak_store_open(album->destination, &store, error);
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

int cloak_verb_audit(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), {0}};
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
    cloak_status status = cloak_album_target_open(argv[0], &o, &target, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("audit", &error);
    status = cloak_queue_books(target.queue, target.id, &books, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_album(target.queue, target.id, &album, &error);
    if (status == CLOAK_OK)
        status = check_photos(&target, &album, &tally, &error);
    code = status == CLOAK_OK ? report(&target, &books, &tally, o.json)
                              : cloak_verb_fail("audit", &error);
    cloak_album_spec_free(&album);
    cloak_album_target_close(&target);
    return code;
}
