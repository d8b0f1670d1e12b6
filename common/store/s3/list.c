/* Visits the objects below a prefix, page by page; see s3.h. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/store/backend.h"
#include "common/store/s3/page.h"
#include "common/store/s3/sigv4.h"

enum { MAX_EMPTY = 1000 /* pages of what was deleted */ };

static cloak_status read_page(cloak_s3 *s3, const char *token, cloak_s3_page *page, cloak_error *error) {
    static const cloak_s3_page_kind objects = {"ListBucketResult", "Contents", "LastModified"};
    char *prefix = cloak_sigv4_encode(s3->place.prefix, 0);
    char *from = token ? cloak_sigv4_encode(token, 0) : NULL;
    char *query = cloak_format("%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
        from ? "continuation-token=" : "", from ? from : "", from ? "&" : "", prefix);
    cloak_status status = cloak_s3_page_read(s3, &objects, query, page, error);
    free(query);
    free(from);
    free(prefix);
    return status;
}

static cloak_status visit_page(
    const cloak_s3 *s3, const cloak_s3_page *page, cloak_store_visit visit, void *context, cloak_error *error) {
    for (size_t i = 0; i < page->count; i++) {
        const char *key = cloak_s3_entry_key(s3, &page->entries[i]);
        if (!key)
            return cloak_s3_fail(s3, NULL, CLOAK_E_TRANSIENT, error, "the list of objects has keys that were not asked for");
        size_t length = strlen(key);
        if (length == 0 || key[length - 1] == '/') /* stands for a folder in consoles */
            continue;
        const cloak_store_info nothing = {0};
        bool fine = cloak_store_key_ok(key);
        cloak_status status = visit(context, key, fine ? &page->entries[i].info : &nothing,
            fine ? NULL : "its key has empty, \".\" or \"..\" parts");
        if (status != CLOAK_OK)
            return status;
    }
    return CLOAK_OK;
}

cloak_status cloak_s3_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error) {
    cloak_s3 *s3 = store->state;
    char *token = NULL;
    for (int empty = 0;;) {
        cloak_s3_page page;
        cloak_status status = read_page(s3, token, &page, error);
        if (status == CLOAK_OK)
            status = visit_page(s3, &page, visit, context, error);
        empty = page.count ? 0 : empty + 1;
        /* a token that comes again would go round for ever */
        if (status == CLOAK_OK && page.truncated &&
            (!page.next || empty > MAX_EMPTY || (token && strcmp(token, page.next) == 0)))
            status = cloak_s3_fail(s3, NULL, CLOAK_E_TRANSIENT, error, "the list of objects ends before its end");
        free(token);
        token = page.next;
        page.next = NULL;
        bool more = page.truncated;
        cloak_s3_page_free(&page);
        if (status != CLOAK_OK || !more) {
            free(token);
            return status;
        }
    }
}
