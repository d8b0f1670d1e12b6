/* Visits the objects below a prefix, page by page; see s3.h.
 *
 * Source: "ListObjectsV2", Amazon S3 API reference. Keys are asked for percent-encoded, since XML
 * cannot hold every byte that a key can. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/store/backend.h"
#include "common/store/s3/s3.h"
#include "common/store/s3/sigv4.h"
#include "common/store/s3/xml.h"

enum { MAX_PAGE = 32 << 20, MAX_EMPTY = 1000 /* pages of what was deleted */ };

typedef struct {
    char *key; /* as in the answer */
    cloak_store_info info;
} Entry;

typedef struct {
    Entry *entries;
    size_t count, room;
    Entry now; /* being read */
    char *next; /* continuation token */
    bool encoded, truncated, whole;
} Page;

static void page_free(Page *page) {
    for (size_t i = 0; i < page->count; i++)
        free(page->entries[i].key);
    free(page->entries);
    free(page->now.key);
    free(page->next);
    *page = (Page){0};
}

static void end_entry(Page *page) {
    if (!page->now.key)
        return;
    if (page->count == page->room) {
        page->room = page->room ? page->room * 2 : 1000;
        page->entries = cloak_realloc(page->entries, page->room * sizeof *page->entries);
    }
    page->entries[page->count++] = page->now;
    page->now = (Entry){0};
}

static bool take(void *context, const char *parent, const char *name, const char *text) {
    Page *page = context;
    if (strcmp(parent, "Contents") == 0) {
        if (strcmp(name, "Key") == 0) {
            free(page->now.key);
            page->now.key = cloak_strdup(text);
        } else if (strcmp(name, "Size") == 0) {
            page->now.info.size = strtoull(text, NULL, 10);
        } else if (strcmp(name, "LastModified") == 0) {
            page->now.info.modified_ns = cloak_s3_xml_time(text);
        }
    } else if (strcmp(name, "Contents") == 0) {
        end_entry(page);
    } else if (strcmp(parent, "") == 0) {
        page->whole = strcmp(name, "ListBucketResult") == 0;
    } else if (strcmp(parent, "ListBucketResult") == 0) {
        if (strcmp(name, "IsTruncated") == 0)
            page->truncated = strcmp(text, "true") == 0;
        else if (strcmp(name, "EncodingType") == 0)
            page->encoded = strcmp(text, "url") == 0;
        else if (strcmp(name, "NextContinuationToken") == 0) {
            free(page->next);
            page->next = cloak_strdup(text);
        }
    }
    return true;
}

static cloak_status read_page(cloak_s3 *s3, const char *token, Page *page, cloak_error *error) {
    cloak_web_answer answer;
    char *prefix = cloak_sigv4_encode(s3->place.prefix, 0);
    char *from = token ? cloak_sigv4_encode(token, 0) : NULL;
    char *query = cloak_format("%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
        from ? "continuation-token=" : "", from ? from : "", from ? "&" : "", prefix);
    const cloak_s3_call call = {.method = "GET", .query = query, .limit = MAX_PAGE};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    free(query);
    free(from);
    free(prefix);
    if (status != CLOAK_OK)
        return status;
    if (!cloak_s3_xml_walk(answer.body ? answer.body : "", answer.length, take, page) || !page->whole)
        status = cloak_s3_fail(s3, NULL, CLOAK_E_TRANSIENT, error, "the list of objects cannot be read");
    free(answer.body);
    return status;
}

static cloak_status visit_page(
    const cloak_s3 *s3, Page *page, cloak_store_visit visit, void *context, cloak_error *error) {
    const char *prefix = s3->place.prefix;
    size_t n = strlen(prefix);
    for (size_t i = 0; i < page->count; i++) {
        char *whole = page->entries[i].key;
        if ((page->encoded && !cloak_s3_xml_unquote(whole)) || strncmp(whole, prefix, n) != 0)
            return cloak_s3_fail(s3, NULL, CLOAK_E_TRANSIENT, error, "the list of objects has keys that were not asked for");
        const char *key = whole + n;
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
        Page page = {0};
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
        page_free(&page);
        if (status != CLOAK_OK || !more) {
            free(token);
            return status;
        }
    }
}
