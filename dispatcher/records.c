/* One record per settled photo; see the header. */
#include "dispatcher/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/report/delivery.h"
#include "dispatcher/manifest.h"
#include "dispatcher/state.h"

static int by_index(const void *key, const void *item) {
    const uint32_t want = *(const uint32_t *)key, have = ((const cloak_dead_photo *)item)->index;
    return (want > have) - (want < have);
}

static cloak_status visit_dead(const cloak_album_report *report, const cloak_dead_photo *dead,
    cloak_records_visit visit, void *context, cloak_error *error) {
    cloak_record record;
    cloak_record_init(&record);
    cloak_record_set(&record.album, report->album);
    record.index = dead->index;
    record.job = cloak_format("%s:%u", report->album, (unsigned)dead->index);
    cloak_record_set(&record.key, dead->key);
    cloak_record_set(&record.outcome, cloak_outcome_word(CLOAK_OUTCOME_DEAD));
    cloak_record_set(&record.error_class, dead->class_word);
    cloak_record_set(&record.error_text, dead->text);
    cloak_status status = visit(context, &record, error);
    cloak_record_free(&record);
    return status;
}

static cloak_status visit_delivered(cloak_store *store, const char *key, const char *album,
    cloak_records_visit visit, void *context, size_t *unreadable, cloak_error *error) {
    cloak_record record;
    cloak_error why;
    cloak_status status = cloak_delivery_receipt(store, key, album, &record, &why);
    if (status == CLOAK_OK) {
        status = visit(context, &record, error);
        cloak_record_free(&record);
        return status;
    }
    if (status != CLOAK_E_PERMANENT) { /* the store is away: all others would be, too */
        *error = why;
        return status;
    }
    char *shown = cloak_text_brief(key);
    fprintf(stderr, "  %s: %s\n", shown, why.text);
    free(shown);
    ++*unreadable;
    return CLOAK_OK;
}

cloak_status cloak_records_read(cloak_album_target *target, const cloak_album_report *report,
    cloak_records_visit visit, void *context, size_t *unreadable, cloak_error *error) {
    cloak_album_spec album = {0};
    cloak_manifest manifest = {0};
    cloak_store *store = NULL;
    char *path = NULL;
    *unreadable = 0;
    cloak_status status = cloak_queue_album(target->queue, target->id, &album, error);
    if (status == CLOAK_OK)
        status = cloak_state_find(album.destination, &store, &path, error);
    if (status == CLOAK_OK)
        status = cloak_manifest_read(
            path, album.source, album.destination, album.settings, &manifest, error);
    if (status == CLOAK_OK && strcmp(manifest.id, target->id) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE, "%s is the manifest of album %s, not of %s", path, manifest.id,
            target->id);
    for (size_t i = 0; i < manifest.count && status == CLOAK_OK; i++) {
        const uint32_t index = (uint32_t)i;
        const cloak_manifest_photo *photo = &manifest.photos[i];
        bool done = false;
        if (cloak_manifest_find(&manifest, photo->key) != photo) /* an older version of a photo that has changed */
            continue;
        const cloak_dead_photo *dead = report->dead_count ? bsearch(&index, report->dead, report->dead_count,
                                                                sizeof *report->dead, by_index)
                                                          : NULL;
        if (!dead)
            status = cloak_queue_is_done(target->queue, target->id, index, &done, error);
        if (dead)
            status = visit_dead(report, dead, visit, context, error);
        else if (status == CLOAK_OK && done)
            status = visit_delivered(store, photo->key, target->id, visit, context, unreadable, error);
    }
    cloak_store_close(store);
    cloak_manifest_close(&manifest);
    cloak_album_spec_free(&album);
    free(path);
    return status;
}
