/* cloak cancel: what is not done of an album, of a tenant's albums, or of all, will not be. */
#include <stdio.h>

#include "dispatcher/scope.h"

/* What came of it, over all albums. */
typedef struct {
    bool named;                   /* is one album, cancelled whatever its state */
    char id[CLOAK_ALBUM_ID_SIZE]; /* the last one's */
    uint64_t albums, cancelled, done, leased;
} Sum;

/* Whether anything of the album is left to cancel. */
static bool is_open(const cloak_books *books) {
    return books->waiting + books->delayed + books->leased > 0 || (!books->sealed && !books->cancel_requested);
}

static cloak_status cancel(void *context, cloak_queue *queue, const char *id, cloak_error *error) {
    Sum *sum = context;
    cloak_books books = {0};
    cloak_status status = cloak_queue_books(queue, id, &books, error);
    if (status != CLOAK_OK || !(sum->named || is_open(&books)))
        return status;
    status = cloak_queue_cancel(queue, id, error);
    if (status == CLOAK_OK)
        status = cloak_queue_books(queue, id, &books, error);
    if (status != CLOAK_OK)
        return status;
    snprintf(sum->id, sizeof sum->id, "%s", id);
    sum->albums++;
    sum->cancelled += books.cancelled;
    sum->done += books.done;
    sum->leased += books.leased;
    return CLOAK_OK;
}

int cloak_verb_cancel(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    cloak_scope scope = {0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), CLOAK_SCOPE_OPTIONS(scope, " that is not done"), {0}};
    Sum sum = {0};
    cloak_error error = {0};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("cancel ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
            "Cancels the photos that are waiting, for good; those in a worker's hands are still finished.\n"
            "What was delivered stays.",
            table, argc, argv, 0, 1, &count, &code))
        return code;
    scope.album = count ? argv[0] : NULL;
    sum.named = count > 0;
    if (cloak_scope_each(&o, &scope, cancel, &sum, &error) != CLOAK_OK)
        return cloak_verb_fail("cancel", &error);
    fprintf(stderr, "  %llu photos cancelled, %llu done before, %llu still in hand\n", (unsigned long long)sum.cancelled,
        (unsigned long long)sum.done, (unsigned long long)sum.leased);
    if (o.json && count)
        printf("{\"album\":\"%s\",", sum.id);
    else if (o.json)
        printf("{\"albums\":%llu,", (unsigned long long)sum.albums);
    if (o.json)
        printf("\"cancelled\":%llu,\"delivered\":%llu,\"leased\":%llu}\n", (unsigned long long)sum.cancelled,
            (unsigned long long)sum.done, (unsigned long long)sum.leased);
    return CLOAK_EXIT_OK;
}
