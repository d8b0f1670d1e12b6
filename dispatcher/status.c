/* cloak status: how an album, or the whole queue, stands. */
#include <stdio.h>
#include <stdlib.h>

#include "dispatcher/report.h"
#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

/* Time spent by workers on the album, as there is no single run whose time it could be. */
static double worker_seconds(const cloak_album_report *report) {
    return (double)cloak_sums_get(&report->sums, "us.total") / 1e6;
}

static int show_album(const char *argument, const cloak_queue_options *o, bool dead) {
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
        for (size_t i = 0; dead && i < report.dead_count; i++)
            printf("%s\t%s\t%s\n", report.dead[i].key, report.dead[i].class_word,
                report.dead[i].text);
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

typedef struct {
    cloak_queue *queue;
    cloak_error error;
    cloak_status status;
} Listing;

static void show_line(void *context, const char *id) {
    Listing *listing = context;
    cloak_books books;
    if (listing->status != CLOAK_OK)
        return;
    listing->status = cloak_queue_books(listing->queue, id, &books, &listing->error);
    if (listing->status == CLOAK_OK)
        printf("%s  %llu photos: %llu done, %llu waiting, %llu in hand, %llu dead, %llu "
               "cancelled%s\n",
            id, (unsigned long long)books.total, (unsigned long long)books.done,
            (unsigned long long)(books.waiting + books.delayed),
            (unsigned long long)books.leased, (unsigned long long)books.dead,
            (unsigned long long)books.cancelled, books.balanced ? "" : "  BOOKS DO NOT BALANCE");
}

static void keep_id(void *context, const char *id) {
    char(*ids)[CLOAK_ALBUM_ID_SIZE] = context;
    int i = 0;
    while (ids[i][0])
        i++;
    snprintf(ids[i], CLOAK_ALBUM_ID_SIZE, "%s", id);
}

static int show_queue(const cloak_queue_options *o) {
    enum { MOST = 50 };
    char ids[MOST + 1][CLOAK_ALBUM_ID_SIZE] = {{0}};
    Listing listing = {.status = CLOAK_OK};
    size_t workers = 0;
    listing.status = cloak_queue_open(o->redis, o->queue, 10, &listing.queue, &listing.error);
    if (listing.status == CLOAK_OK)
        listing.status = cloak_queue_workers(listing.queue, &workers, &listing.error);
    if (listing.status == CLOAK_OK)
        listing.status = cloak_queue_albums(listing.queue, MOST, keep_id, ids, &listing.error);
    if (listing.status == CLOAK_OK)
        fprintf(stderr, "  %s, queue %s: %zu workers\n", cloak_queue_place(listing.queue), o->queue,
            workers);
    for (int i = 0; ids[i][0]; i++)
        show_line(&listing, ids[i]);
    cloak_queue_close(listing.queue);
    return listing.status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("status", &listing.error);
}

int cloak_verb_status(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    bool dead = false;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"dead", NULL, NULL, CLOAK_OPTION_FLAG, &dead, 0, 0, "list all dead photos"}, {0}};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("status [ALBUM-ID | OUT] [OPTIONS]",
            "Shows an album, by its id or by the output folder of a run, or the whole queue.\n"
            "The exit code is that of `cloak run` on an album in this state.",
            table, argc, argv, 0, 1, &count, &code))
        return code;
    return count ? show_album(argv[0], &o, dead) : show_queue(&o);
}
