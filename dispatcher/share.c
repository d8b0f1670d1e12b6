/* cloak share: how much of the devices' time is a tenant's. */
#include <stdio.h>
#include <stdlib.h>

#include "dispatcher/verbs.h"

int cloak_verb_share(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), {0}};
    cloak_error error = {0};
    cloak_queue *queue = NULL;
    int code = 0;
    if (!cloak_verb_parse("share TENANT N [OPTIONS]",
            "While others wait as well, a tenant gets N times as much of the devices' time as one whose share is 1,\n"
            "which it is unless it was set. Photos of --class interactive go before bulk ones nevertheless, nine times out of ten.",
            table, argc, argv, 2, &code))
        return code;
    char *end;
    const double share = strtod(argv[1], &end);
    cloak_status status = *end || end == argv[1]
                              ? cloak_fail(&error, CLOAK_E_USAGE, "share %s: write a number, such as 3 or 0.5", argv[1])
                              : cloak_queue_open(o.redis, o.queue, 10, &queue, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_set_share(queue, argv[0], share, &error);
    cloak_queue_close(queue);
    if (status != CLOAK_OK)
        return cloak_verb_fail("share", &error);
    if (o.json)
        printf("{\"tenant\":\"%s\",\"weight\":%g}\n", argv[0], share);
    return CLOAK_EXIT_OK;
}
