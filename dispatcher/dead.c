/* cloak dead: which photos were given up, and why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/json.h"
#include "dispatcher/report.h"
#include "dispatcher/scope.h"

typedef struct {
    const char *class_word; /* NULL: all */
    bool many;              /* albums there may be */
    cJSON *photos;          /* NULL: they are printed */
    size_t listed;
} List;

static void add(cJSON *photos, const char *id, const cloak_dead_photo *photo) {
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "album", id);
    cJSON_AddNumberToObject(json, "index", photo->index);
    cJSON_AddStringToObject(json, "key", photo->key);
    cJSON_AddStringToObject(json, "class", photo->class_word);
    cJSON_AddStringToObject(json, "text", photo->text);
    cJSON_AddItemToArray(photos, json);
}

static cloak_status list(void *context, cloak_queue *queue, const char *id, cloak_error *error) {
    List *l = context;
    cloak_books books = {0};
    cloak_album_report report = {0};
    cloak_status status = cloak_queue_books(queue, id, &books, error);
    if (status != CLOAK_OK || books.dead == 0)
        return status;
    status = cloak_album_report_read(queue, id, &report, error);
    for (size_t i = 0; status == CLOAK_OK && i < report.dead_count; i++) {
        const cloak_dead_photo *photo = &report.dead[i];
        if (l->class_word && strcmp(photo->class_word, l->class_word) != 0)
            continue;
        if (l->photos)
            add(l->photos, id, photo);
        else
            printf("%s%s%s\t%s\t%s\n", l->many ? id : "", l->many ? "\t" : "", photo->key, photo->class_word, photo->text);
        l->listed++;
    }
    cloak_album_report_free(&report);
    return status;
}

int cloak_verb_dead(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    cloak_scope scope = {0};
    List l = {0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        CLOAK_SCOPE_OPTIONS(scope, ""),
        {"error", "CLASS", NULL, CLOAK_OPTION_TEXT, &l.class_word, 0, 0, CLOAK_ERROR_CLASS_ABOUT},
        {0}};
    cloak_error error = {0};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("dead ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
            "Lists the photos that were given up: name, class of error and reason, with tabs between, after the\n"
            "album's id where there may be several.",
            table, argc, argv, 0, 1, &count, &code) ||
        !cloak_verb_check_class("dead", l.class_word, &code))
        return code;
    scope.album = count ? argv[0] : NULL;
    l.many = !count;
    cJSON *object = cJSON_CreateObject();
    if (o.json)
        l.photos = cJSON_AddArrayToObject(object, "dead");
    const cloak_status status = cloak_scope_each(&o, &scope, list, &l, &error);
    cJSON_AddNumberToObject(object, "total", (double)l.listed);
    char *text = cloak_json_text(object);
    if (o.json && status == CLOAK_OK)
        printf("%s\n", text);
    free(text);
    if (status != CLOAK_OK)
        return cloak_verb_fail("dead", &error);
    fprintf(stderr, "  %zu dead photos\n", l.listed);
    return CLOAK_EXIT_OK;
}
