/* cloak watch: follows an album until every photo is settled. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "dispatcher/progress.h"
#include "dispatcher/report.h"
#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

/* Follows until complete or interrupted; `report` is the last state. */
static cloak_status follow(const char *argument, const cloak_queue_options *options,
    cloak_album_target *target, cloak_album_report *report, cloak_error *error) {
    cloak_progress progress = {0};
    cloak_status status = CLOAK_OK;
    bool reopened = false;
    for (;;) {
        cloak_album_report_free(report);
        status = cloak_album_report_read(target->queue, target->id, report, error);
        if (status == CLOAK_E_QUEUE && !reopened) { /* a run has ended, and its Redis with it */
            reopened = true;
            cloak_album_target_close(target);
            cloak_clock_system.sleep(1);
            status = cloak_album_target_open(argument, options, target, error);
            if (status == CLOAK_OK)
                continue;
        }
        if (status != CLOAK_OK)
            break;
        bool nobody_works = target->redis.pid > 0; /* we had to start the Redis ourselves */
        if (progress.began == 0)
            progress = cloak_progress_start(stderr, report);
        uint64_t total =
            report->books.expected > report->books.total ? report->books.expected
                                                         : report->books.total;
        cloak_progress_show(&progress, report, total);
        if (cloak_album_report_complete(report) || nobody_works)
            break;
        if (signals) {
            status = cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted; the album goes on");
            break;
        }
        cloak_clock_system.sleep(1);
    }
    cloak_progress_end(&progress);
    return status;
}

int cloak_verb_watch(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o), {0}};
    cloak_album_target target;
    cloak_album_report report = {0};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("watch ALBUM-ID | OUT [OPTIONS]",
            "Follows an album until every photo is settled, and ends like `cloak run`.", table,
            argc, argv, 1, &code))
        return code;
    signal(SIGINT, on_signal);
    if (cloak_album_target_open(argv[0], &o, &target, &error) != CLOAK_OK)
        return cloak_verb_fail("watch", &error);
    if (follow(argv[0], &o, &target, &report, &error) == CLOAK_OK) {
        double seconds = (double)cloak_sums_get(&report.sums, "us.total") / 1e6;
        code = cloak_album_report_exit(&report);
        cloak_album_report_print(&report, seconds, NULL, stderr);
        if (o.json) {
            char *json = cloak_album_report_json(&report, seconds, report.books.done, 0);
            printf("%s\n", json);
            free(json);
        }
    } else {
        code = cloak_verb_fail("watch", &error);
    }
    cloak_album_report_free(&report);
    cloak_album_target_close(&target);
    return code;
}
