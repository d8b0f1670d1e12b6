/* Aborts uploads in parts that processes which were killed have left behind; see s3.h. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/store/backend.h"
#include "common/store/s3/page.h"
#include "common/store/s3/sigv4.h"

/* Reads the page of uploads behind `last` (zeroed for the first page). */
static cloak_status read_page(cloak_s3 *s3, const cloak_s3_entry *last, cloak_s3_page *page, cloak_error *error) {
    static const cloak_s3_page_kind begun = {"ListMultipartUploadsResult", "Upload", "Initiated"};
    char *prefix = cloak_sigv4_encode(s3->place.prefix, 0);
    char *key = cloak_sigv4_encode(last->key ? last->key : "", 0);
    char *id = cloak_sigv4_encode(last->upload ? last->upload : "", 0);
    char *query = *key ? cloak_format("encoding-type=url&key-marker=%s&prefix=%s&upload-id-marker=%s&uploads=",
                             key, prefix, id)
                       : cloak_format("encoding-type=url&prefix=%s&uploads=", prefix);
    cloak_status status = cloak_s3_page_read(s3, &begun, query, page, error);
    free(query);
    free(id);
    free(key);
    free(prefix);
    return status;
}

/* Aborts those of a page that are ours and old enough. */
static cloak_status abort_old(cloak_s3 *s3, const cloak_s3_page *page, int64_t before_ns, cloak_store_ours ours,
    void *context, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < page->count && status == CLOAK_OK; i++) {
        const cloak_s3_entry *entry = &page->entries[i];
        const char *key = cloak_s3_entry_key(s3, entry);
        const int64_t begun_ns = entry->info.modified_ns;
        if (!key || !entry->upload || !cloak_store_key_ok(key) || begun_ns == 0 || begun_ns > before_ns ||
            !ours(context, key))
            continue;
        char *id = cloak_sigv4_encode(entry->upload, 0);
        status = cloak_s3_abort(s3, key, id, error);
        free(id);
    }
    return status;
}

cloak_status cloak_s3_sweep(cloak_store *store, double seconds, cloak_store_ours ours, void *context,
    cloak_error *error) {
    enum { MAX_PAGES = 1000 };
    cloak_s3 *s3 = store->state;
    const int64_t before = (cloak_clock_system.wall_ms() - (int64_t)(seconds * 1000)) * 1000000;
    cloak_s3_entry last = {0};
    cloak_status status = CLOAK_OK;
    bool more = true;
    for (int i = 0; i < MAX_PAGES && more && status == CLOAK_OK; i++) {
        cloak_s3_page page;
        status = read_page(s3, &last, &page, error);
        if (status == CLOAK_OK)
            status = abort_old(s3, &page, before, ours, context, error);
        more = page.truncated && page.count;
        if (more) {
            cloak_s3_entry_free(&last);
            last = page.entries[--page.count];
        }
        cloak_s3_page_free(&page);
    }
    cloak_s3_entry_free(&last);
    return status;
}
