/* From a scope to its albums; see the header. */
#include "dispatcher/scope.h"

#include <string.h>

#include "dispatcher/target.h"

enum { PAGE = 200, MOST_ALBUMS = 10000000 };

static cloak_status visit_named(const cloak_queue_options *options, const char *album, cloak_album_visit *visit,
    void *context, cloak_error *error) {
    cloak_album_target target;
    cloak_status status = cloak_album_target_open(album, options, &target, error);
    if (status != CLOAK_OK)
        return status;
    status = visit(context, target.queue, target.id, error);
    cloak_album_target_close(&target);
    return status;
}

static cloak_status is_of(
    cloak_queue *queue, const char *id, const char *tenant, bool *is, cloak_error *error) {
    cloak_album_spec album = {0};
    *is = tenant == NULL;
    if (*is)
        return CLOAK_OK;
    cloak_status status = cloak_queue_album(queue, id, &album, error);
    if (status == CLOAK_OK)
        *is = strcmp(album.tenant, tenant) == 0;
    cloak_album_spec_free(&album);
    return status;
}

/* A page of the queue's albums; `before`: the one before it, of `count_before`, some of which stand on this one as well
 * when albums were submitted meanwhile. */
typedef struct {
    cloak_album_id ids[PAGE], before[PAGE];
    size_t count, count_before;
} Page;

static cloak_status turn_page(Page *page, cloak_queue *queue, size_t at, cloak_error *error) {
    memcpy(page->before, page->ids, sizeof page->ids);
    page->count_before = page->count;
    return cloak_queue_albums(queue, at, page->ids, PAGE, &page->count, error);
}

static bool was_before(const Page *page, const char *id) {
    for (size_t i = 0; i < page->count_before; i++)
        if (strcmp(page->before[i], id) == 0)
            return true;
    return false;
}

static cloak_status visit_many(const cloak_queue_options *options, const char *tenant, cloak_album_visit *visit,
    void *context, cloak_error *error) {
    cloak_queue *queue;
    Page page = {.count = 0};
    bool more = true;
    cloak_status status = cloak_queue_open(options->redis, options->queue, 10, &queue, error);
    if (status != CLOAK_OK)
        return status;
    for (size_t at = 0; status == CLOAK_OK && more && at < MOST_ALBUMS; at += PAGE) {
        status = turn_page(&page, queue, at, error);
        more = page.count == PAGE;
        for (size_t i = 0; i < page.count && status == CLOAK_OK; i++) {
            bool is = false;
            if (was_before(&page, page.ids[i]))
                continue;
            status = is_of(queue, page.ids[i], tenant, &is, error);
            if (is)
                status = visit(context, queue, page.ids[i], error);
        }
    }
    cloak_queue_close(queue);
    return status;
}

cloak_status cloak_scope_each(const cloak_queue_options *options, const cloak_scope *scope, cloak_album_visit *visit,
    void *context, cloak_error *error) {
    if (scope->all + (scope->album != NULL) + (scope->tenant != NULL) != 1)
        return cloak_fail(
            error, CLOAK_E_USAGE, "name an album, or give --tenant NAME, or --all for every album");
    if (scope->album)
        return visit_named(options, scope->album, visit, context, error);
    return visit_many(options, scope->tenant, visit, context, error);
}
