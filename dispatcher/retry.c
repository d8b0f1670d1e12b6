/* cloak retry: gives dead photos another chance. */
#include <stdio.h>
#include <string.h>

#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

int cloak_verb_retry(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *class_word = NULL;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"error", "CLASS", NULL, CLOAK_OPTION_TEXT, &class_word, 0, 0,
            "only photos that died of this class: permanent, transient, device, lost, internal"},
        {0}};
    cloak_album_target target;
    cloak_error error = {0};
    size_t moved = 0;
    int code = 0;
    if (!cloak_verb_parse("retry ALBUM-ID | OUT [OPTIONS]",
            "Puts an album's dead photos back to waiting.", table, argc, argv, 1, &code))
        return code;
    if (class_word &&
        strcmp(cloak_status_word(cloak_status_parse(class_word)), class_word) != 0) {
        fprintf(stderr, "cloak retry: there is no error class \"%s\"\n", class_word);
        return CLOAK_EXIT_USAGE;
    }
    cloak_status status = cloak_album_target_open(argv[0], &o, &target, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("retry", &error);
    status = cloak_queue_retry(target.queue, target.id, class_word, &moved, &error);
    if (status != CLOAK_OK)
        code = cloak_verb_fail("retry", &error);
    else
        fprintf(stderr, "  %zu photos are waiting again\n", moved);
    if (status == CLOAK_OK && o.json)
        printf("{\"album\":\"%s\",\"retried\":%zu}\n", target.id, moved);
    cloak_album_target_close(&target);
    return code;
}
