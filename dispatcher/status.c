/* cloak status: how an album, or the whole queue, stands. */
#include <stdio.h>
#include <stdlib.h>

#include "dispatcher/overview.h"
#include "dispatcher/report.h"
#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

/* Time spent by workers on the album, as there is no single run whose time it could be. */
static double worker_seconds(const cloak_album_report *report) {
    return (double)cloak_sums_get(&report->sums, "us.total") / 1e6;
}

static int show_album(const char *argument, const cloak_queue_options *o) {
    cloak_album_target target;
    cloak_album_report report = {0};
    cloak_error error = {0};
    int code;
    cloak_status status = cloak_album_target_open(argument, o, &target, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail("status", &error);
    status = cloak_album_report_read(target.queue, target.id, &report, &error);
    if (status == CLOAK_OK) {
        code = cloak_album_report_exit(&report);
        cloak_album_report_print(&report, worker_seconds(&report), NULL, stderr);
        if (o->json) {
            char *json = cloak_album_report_json(
                &report, worker_seconds(&report), report.books.done, 0);
            printf("%s\n", json);
            free(json);
        }
    } else {
        code = cloak_verb_fail("status", &error);
    }
    cloak_album_report_free(&report);
    cloak_album_target_close(&target);
    return code;
}

static int show_queue(const cloak_queue_options *o) {
    cloak_overview overview = {0};
    cloak_queue *queue = NULL;
    cloak_error error = {0};
    cloak_status status = cloak_queue_open(o->redis, o->queue, 10, &queue, &error);
    if (status == CLOAK_OK)
        status = cloak_overview_read(queue, o->queue, 0, 50, &overview, &error);
    cloak_queue_close(queue);
    if (status != CLOAK_OK)
        return cloak_verb_fail("status", &error);
    if (o->json) {
        char *json = cloak_overview_json(&overview);
        printf("%s\n", json);
        free(json);
    } else {
        cloak_overview_print(&overview);
    }
    cloak_overview_free(&overview);
    return CLOAK_EXIT_OK;
}

int cloak_verb_status(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), {0}};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("status [ALBUM-ID | OUT] [OPTIONS]",
            "Shows an album, by its id or by the output folder of a run, or the whole queue.\n"
            "The exit code is that of `cloak run` on an album in this state.",
            table, argc, argv, 0, 1, &count, &code))
        return code;
    return count ? show_album(argv[0], &o) : show_queue(&o);
}
