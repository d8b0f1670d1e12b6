/* cloak retry: gives dead photos another chance. */
#include <stdio.h>

#include "dispatcher/scope.h"

typedef struct {
    const char *class_word; /* NULL: all */
    bool named;             /* is one album */
    char id[CLOAK_ALBUM_ID_SIZE]; /* the last one's */
    size_t albums, moved;
} Retry;

static cloak_status retry(void *context, cloak_queue *queue, const char *id, cloak_error *error) {
    Retry *r = context;
    size_t moved = 0;
    cloak_books books = {0};
    cloak_status status = cloak_queue_books(queue, id, &books, error);
    if (status != CLOAK_OK || (!r->named && (books.dead == 0 || books.cancel_requested)))
        return status;
    status = cloak_queue_retry(queue, id, r->class_word, &moved, error);
    snprintf(r->id, sizeof r->id, "%s", id);
    r->moved += moved;
    r->albums += moved > 0;
    return status;
}

int cloak_verb_retry(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    cloak_scope scope = {0};
    Retry r = {0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        CLOAK_SCOPE_OPTIONS(scope, ""),
        {"error", "CLASS", NULL, CLOAK_OPTION_TEXT, &r.class_word, 0, 0, CLOAK_ERROR_CLASS_ABOUT},
        {0}};
    cloak_error error = {0};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("retry ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
            "Puts dead photos back to waiting. `cloak dead` lists them.", table, argc, argv, 0, 1, &count, &code) ||
        !cloak_verb_check_class("retry", r.class_word, &code))
        return code;
    scope.album = count ? argv[0] : NULL;
    r.named = count > 0;
    const cloak_status status = cloak_scope_each(&o, &scope, retry, &r, &error);
    if (status == CLOAK_OK || r.moved > 0)
        fprintf(stderr, "  %zu photos are waiting again\n", r.moved);
    if (status != CLOAK_OK)
        return cloak_verb_fail("retry", &error);
    if (o.json && count)
        printf("{\"album\":\"%s\",\"retried\":%zu}\n", r.id, r.moved);
    else if (o.json)
        printf("{\"albums\":%zu,\"retried\":%zu}\n", r.albums, r.moved);
    return CLOAK_EXIT_OK;
}
