/* cloak cancel: what is not done of an album, of a tenant's albums, or of all, will not be. */
#include <stdio.h>
#include <string.h>

#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

enum { PAGE = 200, MOST_ALBUMS = 10000000 };

/* What came of it, over all albums. */
typedef struct {
    uint64_t albums, cancelled, done, leased;
} Sum;

static cloak_status cancel_one(cloak_queue *queue, const char *id, Sum *sum, cloak_error *error) {
    cloak_books books = {0};
    cloak_status status = cloak_queue_cancel(queue, id, error);
    if (status == CLOAK_OK)
        status = cloak_queue_books(queue, id, &books, error);
    if (status != CLOAK_OK)
        return status;
    *sum = (Sum){sum->albums + 1, sum->cancelled + books.cancelled, sum->done + books.done, sum->leased + books.leased};
    return CLOAK_OK;
}

/* Whether anything of the album, which is `tenant`'s (NULL: anybody's), is left to cancel. */
static cloak_status is_open(cloak_queue *queue, const char *id, const char *tenant, bool *open, cloak_error *error) {
    cloak_album_spec album = {0};
    cloak_books books = {0};
    cloak_status status = cloak_queue_album(queue, id, &album, error);
    if (status == CLOAK_OK)
        status = cloak_queue_books(queue, id, &books, error);
    *open = status == CLOAK_OK && (!tenant || strcmp(album.tenant, tenant) == 0) &&
            (books.waiting + books.delayed + books.leased > 0 || (!books.sealed && !books.cancel_requested));
    cloak_album_spec_free(&album);
    return status;
}

/* Cancels what is open of the tenant's albums, or of all. Albums that are submitted meanwhile may or may not be among them. */
static cloak_status cancel_many(const cloak_queue_options *o, const char *tenant, Sum *sum, cloak_error *error) {
    cloak_queue *queue;
    cloak_album_id ids[PAGE];
    size_t count = PAGE;
    cloak_status status = cloak_queue_open(o->redis, o->queue, 10, &queue, error);
    if (status != CLOAK_OK)
        return status;
    for (size_t at = 0; status == CLOAK_OK && count == PAGE && at < MOST_ALBUMS; at += PAGE) {
        status = cloak_queue_albums(queue, at, ids, PAGE, &count, error);
        for (size_t i = 0; i < count && status == CLOAK_OK; i++) {
            bool open = false;
            status = is_open(queue, ids[i], tenant, &open, error);
            if (open)
                status = cancel_one(queue, ids[i], sum, error);
        }
    }
    cloak_queue_close(queue);
    return status;
}

static cloak_status cancel_named(const char *argument, const cloak_queue_options *o, char id[CLOAK_ALBUM_ID_SIZE], Sum *sum,
    cloak_error *error) {
    cloak_album_target target;
    cloak_status status = cloak_album_target_open(argument, o, &target, error);
    if (status != CLOAK_OK)
        return status;
    snprintf(id, CLOAK_ALBUM_ID_SIZE, "%s", target.id);
    status = cancel_one(target.queue, target.id, sum, error);
    cloak_album_target_close(&target);
    return status;
}

int cloak_verb_cancel(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *tenant = NULL;
    bool all = false;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"all", NULL, NULL, CLOAK_OPTION_FLAG, &all, 0, 0, "every album that is not done"},
        {"tenant", "NAME", NULL, CLOAK_OPTION_TEXT, &tenant, 0, 0, "every album of a tenant that is not done"}, {0}};
    Sum sum = {0};
    cloak_error error = {0};
    char id[CLOAK_ALBUM_ID_SIZE] = "";
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("cancel ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
            "Cancels the photos that are waiting, for good; those in a worker's hands are still finished.\n"
            "What was delivered stays.",
            table, argc, argv, 0, 1, &count, &code))
        return code;
    cloak_status status;
    if (all + count + (tenant != NULL) != 1)
        status = cloak_fail(&error, CLOAK_E_USAGE, "name an album, or give --tenant NAME, or --all for every album");
    else if (count)
        status = cancel_named(argv[0], &o, id, &sum, &error);
    else
        status = cancel_many(&o, tenant, &sum, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("cancel", &error);
    fprintf(stderr, "  %llu photos cancelled, %llu done before, %llu still in hand\n", (unsigned long long)sum.cancelled,
        (unsigned long long)sum.done, (unsigned long long)sum.leased);
    if (o.json && count)
        printf("{\"album\":\"%s\",", id);
    else if (o.json)
        printf("{\"albums\":%llu,", (unsigned long long)sum.albums);
    if (o.json)
        printf("\"cancelled\":%llu,\"delivered\":%llu,\"leased\":%llu}\n", (unsigned long long)sum.cancelled,
            (unsigned long long)sum.done, (unsigned long long)sum.leased);
    return CLOAK_EXIT_OK;
}
