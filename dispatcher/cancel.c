/* cloak cancel: what is not done of an album will not be. */
#include <stdio.h>

#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

int cloak_verb_cancel(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), {0}};
    cloak_album_target target;
    cloak_books books = {0};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("cancel ALBUM-ID | OUT [OPTIONS]",
            "Cancels the photos that are waiting; those in a worker's hands are still finished.\n"
            "What was delivered stays.",
            table, argc, argv, 1, &code))
        return code;
    cloak_status status = cloak_album_target_open(argv[0], &o, &target, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("cancel", &error);
    status = cloak_queue_cancel(target.queue, target.id, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_books(target.queue, target.id, &books, &error);
    if (status != CLOAK_OK)
        code = cloak_verb_fail("cancel", &error);
    else
        fprintf(stderr, "  %llu photos cancelled, %llu done before, %llu still in hand\n",
            (unsigned long long)books.cancelled, (unsigned long long)books.done,
            (unsigned long long)books.leased);
    if (status == CLOAK_OK && o.json)
        printf("{\"album\":\"%s\",\"cancelled\":%llu,\"delivered\":%llu,\"leased\":%llu}\n",
            target.id, (unsigned long long)books.cancelled, (unsigned long long)books.done,
            (unsigned long long)books.leased);
    cloak_album_target_close(&target);
    return code;
}
