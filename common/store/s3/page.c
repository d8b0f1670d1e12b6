/* Reads the XML of a listing into entries; see the header.
 *
 * Sources: "ListObjectsV2" and "ListMultipartUploads", Amazon S3 API reference. */
#include "common/store/s3/page.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/store/s3/xml.h"

enum { MAX_PAGE = 32 << 20 };

void cloak_s3_entry_free(cloak_s3_entry *entry) {
    free(entry->key);
    free(entry->upload);
    *entry = (cloak_s3_entry){0};
}

void cloak_s3_page_free(cloak_s3_page *page) {
    for (size_t i = 0; i < page->count; i++)
        cloak_s3_entry_free(&page->entries[i]);
    cloak_s3_entry_free(&page->now);
    free(page->entries);
    free(page->next);
    *page = (cloak_s3_page){0};
}

const char *cloak_s3_entry_key(const cloak_s3 *s3, const cloak_s3_entry *entry) {
    const size_t n = strlen(s3->place.prefix);
    return strncmp(entry->key, s3->place.prefix, n) == 0 ? entry->key + n : NULL;
}

static void replace(char **text, const char *by) {
    free(*text);
    *text = cloak_strdup(by);
}

static void take_field(cloak_s3_page *page, const char *name, const char *text) {
    cloak_s3_entry *now = &page->now;
    if (strcmp(name, "Key") == 0)
        replace(&now->key, text);
    else if (strcmp(name, "UploadId") == 0)
        replace(&now->upload, text);
    else if (strcmp(name, "Size") == 0)
        now->info.size = strtoull(text, NULL, 10);
    else if (strcmp(name, page->kind->time) == 0)
        now->info.modified_ns = cloak_s3_xml_time(text);
}

static void end_entry(cloak_s3_page *page) {
    if (!page->now.key) {
        cloak_s3_entry_free(&page->now);
        return;
    }
    if (page->count == page->room) {
        page->room = page->room ? page->room * 2 : 16;
        page->entries = cloak_realloc(page->entries, page->room * sizeof *page->entries);
    }
    page->entries[page->count++] = page->now;
    page->now = (cloak_s3_entry){0};
}

static bool take(void *context, const char *parent, const char *name, const char *text) {
    cloak_s3_page *page = context;
    if (strcmp(parent, page->kind->entry) == 0)
        take_field(page, name, text);
    else if (strcmp(name, page->kind->entry) == 0)
        end_entry(page);
    else if (strcmp(parent, "") == 0)
        page->whole = strcmp(name, page->kind->root) == 0;
    else if (strcmp(parent, page->kind->root) != 0)
        return true;
    else if (strcmp(name, "IsTruncated") == 0)
        page->truncated = strcmp(text, "true") == 0;
    else if (strcmp(name, "EncodingType") == 0)
        page->encoded = strcmp(text, "url") == 0;
    else if (strcmp(name, "NextContinuationToken") == 0)
        replace(&page->next, text);
    return true;
}

cloak_status cloak_s3_page_read(cloak_s3 *s3, const cloak_s3_page_kind *kind, const char *query,
    cloak_s3_page *page, cloak_error *error) {
    cloak_web_answer answer;
    const cloak_s3_call call = {.method = "GET", .query = query, .limit = MAX_PAGE};
    *page = (cloak_s3_page){.kind = kind};
    cloak_status status = cloak_s3_send(s3, &call, &answer, error);
    if (status != CLOAK_OK)
        return status;
    bool fine = cloak_s3_xml_walk(answer.body ? answer.body : "", answer.length, take, page) && page->whole;
    /* whether keys are encoded may be said behind them */
    for (size_t i = 0; i < page->count && fine; i++)
        fine = !page->encoded || cloak_s3_xml_unquote(page->entries[i].key);
    free(answer.body);
    return fine ? CLOAK_OK
                : cloak_s3_fail(s3, NULL, CLOAK_E_TRANSIENT, error, "what the bucket lists cannot be read");
}
