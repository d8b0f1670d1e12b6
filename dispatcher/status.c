/* cloak status: how an album, or the whole queue, stands. */
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

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

enum { MOST_ALBUMS = 50 };

typedef struct {
    size_t count;
    char ids[MOST_ALBUMS][CLOAK_ALBUM_ID_SIZE];
    cloak_books books[MOST_ALBUMS];
} Albums;

static void keep_id(void *context, const char *id) {
    Albums *albums = context;
    if (albums->count < MOST_ALBUMS)
        snprintf(albums->ids[albums->count++], CLOAK_ALBUM_ID_SIZE, "%s", id);
}

static cloak_status read_queue(
    const cloak_queue_options *o, cloak_load *load, Albums *albums, cloak_error *error) {
    cloak_queue *queue;
    cloak_status status = cloak_queue_open(o->redis, o->queue, 10, &queue, error);
    if (status != CLOAK_OK)
        return status;
    status = cloak_queue_load(queue, load, error);
    if (status == CLOAK_OK)
        status = cloak_queue_albums(queue, MOST_ALBUMS, keep_id, albums, error);
    for (size_t i = 0; i < albums->count && status == CLOAK_OK; i++)
        status = cloak_queue_books(queue, albums->ids[i], &albums->books[i], error);
    cloak_queue_close(queue);
    return status;
}

static void print_queue(const char *name, const cloak_load *load, const Albums *albums) {
    fprintf(stderr,
        "  queue %s%s: %llu workers; %llu photos wait, about %.0f s of device time, the oldest for "
        "%.0f s; %llu in hand\n",
        name, load->paused ? " (paused)" : "", (unsigned long long)load->workers,
        (unsigned long long)(load->waiting + load->delayed), load->backlog_seconds,
        load->oldest_seconds, (unsigned long long)load->leased);
    for (size_t i = 0; i < albums->count; i++) {
        const cloak_books *b = &albums->books[i];
        printf("%s  %llu photos: %llu done, %llu waiting, %llu in hand, %llu dead, %llu "
               "cancelled%s%s\n",
            albums->ids[i], (unsigned long long)b->total, (unsigned long long)b->done,
            (unsigned long long)(b->waiting + b->delayed), (unsigned long long)b->leased,
            (unsigned long long)b->dead, (unsigned long long)b->cancelled,
            b->paused ? ", paused" : "", b->balanced ? "" : "  BOOKS DO NOT BALANCE");
    }
}

static void print_queue_json(const char *name, const cloak_load *load, const Albums *albums) {
    cJSON *object = cJSON_CreateObject(), *list;
    cJSON_AddStringToObject(object, "queue", name);
    cJSON_AddBoolToObject(object, "paused", load->paused);
    cJSON_AddNumberToObject(object, "workers", (double)load->workers);
    cJSON_AddNumberToObject(object, "waiting", (double)(load->waiting + load->delayed));
    cJSON_AddNumberToObject(object, "leased", (double)load->leased);
    cJSON_AddNumberToObject(object, "backlog_seconds", load->backlog_seconds);
    cJSON_AddNumberToObject(object, "oldest_seconds", load->oldest_seconds);
    list = cJSON_AddArrayToObject(object, "albums");
    for (size_t i = 0; i < albums->count; i++) {
        const cloak_books *b = &albums->books[i];
        cJSON *album = cJSON_CreateObject();
        cJSON_AddStringToObject(album, "album", albums->ids[i]);
        cJSON_AddNumberToObject(album, "total", (double)b->total);
        cJSON_AddNumberToObject(album, "waiting", (double)(b->waiting + b->delayed));
        cJSON_AddNumberToObject(album, "leased", (double)b->leased);
        cJSON_AddNumberToObject(album, "delivered", (double)b->done);
        cJSON_AddNumberToObject(album, "dead", (double)b->dead);
        cJSON_AddNumberToObject(album, "cancelled", (double)b->cancelled);
        cJSON_AddBoolToObject(album, "paused", b->paused);
        cJSON_AddBoolToObject(album, "books_balanced", b->balanced);
        cJSON_AddItemToArray(list, album);
    }
    char *text = cJSON_PrintUnformatted(object);
    printf("%s\n", text ? text : "{}");
    free(text);
    cJSON_Delete(object);
}

static int show_queue(const cloak_queue_options *o) {
    cloak_load load;
    Albums albums = {0};
    cloak_error error = {0};
    if (read_queue(o, &load, &albums, &error) != CLOAK_OK)
        return cloak_verb_fail("status", &error);
    if (o->json)
        print_queue_json(o->queue, &load, &albums);
    else
        print_queue(o->queue, &load, &albums);
    return CLOAK_EXIT_OK;
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
