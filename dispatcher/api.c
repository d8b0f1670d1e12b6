/* The JSON API of `cloak serve`; see the header. */
#include "dispatcher/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "dispatcher/overview.h"
#include "dispatcher/report.h"

enum { LIST_ALBUMS = 50, MOST_ALBUMS = 200, LIST_DEAD = 100, MOST_DEAD = 1000, MOST_OFFSET = 2000000000 };

extern const unsigned char cloak_page_openapi_json[];

cloak_status cloak_api_open(cloak_api *api, cloak_error *error) {
    if (api->queue)
        return CLOAK_OK;
    cloak_status status = cloak_queue_open(api->redis, api->name, 5, &api->queue, error);
    if (status != CLOAK_OK)
        api->queue = NULL;
    return status;
}

void cloak_api_close(cloak_api *api) {
    cloak_queue_close(api->queue);
    api->queue = NULL;
}

static cloak_http_answer json(int code, cJSON *object) {
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    if (!text)
        abort(); /* out of memory, small allocation: see alloc.h */
    return (cloak_http_answer){.code = code, .content_type = "application/json", .body = text};
}

static cloak_http_answer refuse(int code, const char *text) {
    char *shown = cloak_text_brief(text); /* an id in it may be any bytes */
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "error", shown);
    free(shown);
    return json(code, object);
}

/* An album that is not there is 404, a Redis that does not answer 503. */
static cloak_http_answer failed(cloak_api *api, const cloak_error *error) {
    if (error->code == CLOAK_E_USAGE)
        return refuse(404, error->text);
    cloak_api_close(api);
    return refuse(503, error->text);
}

/* Reads a whole number from the query; one that is missing stays as it is. False when it makes no sense. */
static bool read_number(const cloak_http_request *request, const char *name, size_t least, size_t most, size_t *value) {
    const char *text = cloak_http_query(request, name);
    if (!text)
        return true;
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 10)
        return false;
    unsigned long long number = strtoull(text, NULL, 10);
    if (number < least || number > most)
        return false;
    *value = (size_t)number;
    return true;
}

/* --- looking ------------------------------------------------------------------------------- */

static cloak_http_answer answer_server(const cloak_api *api) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "version", CLOAK_VERSION);
    cJSON_AddStringToObject(object, "queue", api->name);
    cJSON_AddBoolToObject(object, "actions", api->actions);
    return json(200, object);
}

static cloak_http_answer answer_queue(cloak_api *api) {
    cloak_error error = {0};
    cloak_overview overview = {0};
    if (cloak_overview_read(api->queue, api->name, 0, LIST_ALBUMS, &overview, &error) != CLOAK_OK)
        return failed(api, &error);
    char *text = cloak_overview_json(&overview);
    cloak_overview_free(&overview);
    return (cloak_http_answer){.code = 200, .content_type = "application/json", .body = text};
}

static cloak_http_answer answer_albums(cloak_api *api, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_overview overview = {0};
    size_t offset = 0, limit = LIST_ALBUMS;
    if (!read_number(request, "offset", 0, MOST_OFFSET, &offset) ||
        !read_number(request, "limit", 1, MOST_ALBUMS, &limit))
        return refuse(400, "offset is a whole number from 0, limit one from 1 to 200");
    if (cloak_overview_read(api->queue, api->name, offset, limit, &overview, &error) != CLOAK_OK)
        return failed(api, &error);
    char *text = cloak_overview_albums_json(&overview, offset);
    cloak_overview_free(&overview);
    return (cloak_http_answer){.code = 200, .content_type = "application/json", .body = text};
}

static cloak_http_answer answer_album(cloak_api *api, const char *id) {
    cloak_error error = {0};
    cloak_album_report report = {0};
    if (cloak_album_report_read_sums(api->queue, id, &report, &error) != CLOAK_OK)
        return failed(api, &error);
    char *text = cloak_album_report_json(
        &report, (double)cloak_sums_get(&report.sums, "us.total") / 1e6, report.books.done, 0);
    cloak_album_report_free(&report);
    return (cloak_http_answer){.code = 200, .content_type = "application/json", .body = text};
}

static cloak_http_answer answer_dead(cloak_api *api, const char *id, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_album_report report = {0};
    size_t offset = 0, limit = LIST_DEAD;
    if (!read_number(request, "offset", 0, MOST_OFFSET, &offset) ||
        !read_number(request, "limit", 1, MOST_DEAD, &limit))
        return refuse(400, "offset is a whole number from 0, limit one from 1 to 1000");
    if (cloak_album_report_read(api->queue, id, &report, &error) != CLOAK_OK)
        return failed(api, &error);
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "dead");
    size_t i = offset;
    for (; i < report.dead_count && i - offset < limit; i++) {
        const cloak_dead_photo *photo = &report.dead[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "index", photo->index);
        cJSON_AddStringToObject(item, "key", photo->key);
        cJSON_AddStringToObject(item, "class", photo->class_word);
        cJSON_AddStringToObject(item, "text", photo->text);
        cJSON_AddItemToArray(list, item);
    }
    cJSON_AddNumberToObject(object, "total", (double)report.dead_count);
    if (i < report.dead_count)
        cJSON_AddNumberToObject(object, "next", (double)i);
    else
        cJSON_AddNullToObject(object, "next");
    cloak_album_report_free(&report);
    return json(200, object);
}

static void add_worker(void *context, const cloak_live_worker *worker) {
    static const char *const facts[] = {"device", "model_sha256", "build"};
    cJSON *item = cJSON_CreateObject(), *about = cJSON_Parse(worker->about);
    cJSON_AddStringToObject(item, "worker", worker->name);
    cJSON_AddNumberToObject(item, "silent_seconds", worker->silent);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const char *fact = cJSON_GetStringValue(cJSON_GetObjectItem(about, facts[i]));
        cJSON_AddStringToObject(item, facts[i], fact ? fact : "");
    }
    cJSON_Delete(about);
    cJSON_AddItemToArray(context, item);
}

static cloak_http_answer answer_workers(cloak_api *api) {
    cloak_error error = {0};
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "workers");
    if (cloak_queue_workers(api->queue, add_worker, list, &error) == CLOAK_OK)
        return json(200, object);
    cJSON_Delete(object);
    return failed(api, &error);
}

/* --- acting -------------------------------------------------------------------------------- */

typedef enum { PAUSE, RESUME, CANCEL, RETRY, ACTIONS } Action;

static const char *const action_words[ACTIONS] = {"pause", "resume", "cancel", "retry"};

static Action action_of(const char *word) {
    int i = 0;
    while (i < ACTIONS && strcmp(word, action_words[i]) != 0)
        i++;
    return (Action)i;
}

static bool is_error_class(const char *word) {
    static const cloak_status classes[] = {
        CLOAK_E_PERMANENT, CLOAK_E_TRANSIENT, CLOAK_E_DEVICE, CLOAK_E_LOST, CLOAK_E_INTERNAL};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(cloak_status_word(classes[i]), word) == 0)
            return true;
    return false;
}

/* `album` is NULL for the whole queue, which can be paused and resumed. */
static cloak_http_answer act(cloak_api *api, const char *album, Action action, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_books books;
    size_t moved = 0;
    const char *class_word = action == RETRY ? cloak_http_query(request, "error") : NULL;
    if (!api->actions)
        return refuse(403, "this server only looks: start it with --actions");
    if (!request->may_act)
        return refuse(403, "an action needs the header X-Cloak-Action, from a page of this server or from no page");
    if (class_word && !is_error_class(class_word))
        return refuse(400, "error is an error class: permanent, transient, device, lost or internal");
    cloak_status status = album ? cloak_queue_books(api->queue, album, &books, &error) : CLOAK_OK; /* is it there? */
    if (status == CLOAK_OK)
        status = action == PAUSE    ? cloak_queue_pause(api->queue, album, &error)
                 : action == RESUME ? cloak_queue_resume(api->queue, album, &error)
                 : action == CANCEL ? cloak_queue_cancel(api->queue, album, &error)
                                    : cloak_queue_retry(api->queue, album, class_word, &moved, &error);
    if (status == CLOAK_E_USAGE && error.code == CLOAK_E_USAGE && album &&
        cloak_queue_books(api->queue, album, &books, NULL) == CLOAK_OK)
        return refuse(409, error.text); /* it is there, and this cannot be done to it */
    if (status != CLOAK_OK)
        return failed(api, &error);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "action", action_words[action]);
    if (album)
        cJSON_AddStringToObject(object, "album", album);
    if (action == RETRY)
        cJSON_AddNumberToObject(object, "moved", (double)moved);
    return json(200, object);
}

/* --- which is which ------------------------------------------------------------------------ */

static cloak_http_answer wrong_method(const char *allow) {
    cloak_http_answer answer = refuse(405, "this path takes another method");
    answer.allow = allow;
    return answer;
}

static cloak_http_answer route(cloak_api *api, char *path, const cloak_http_request *request) {
    static const char *const looks = "GET, HEAD";
    char *parts[4] = {NULL}, *rest = path;
    size_t count = 0;
    for (; rest && count < 4; count++)
        parts[count] = strsep(&rest, "/");
    const bool one = count == 1, albums = strcmp(parts[0], "albums") == 0;
    const Action action = count == 3 && albums                              ? action_of(parts[2])
                          : count == 2 && strcmp(parts[0], "queue") == 0 ? action_of(parts[1])
                                                                            : ACTIONS;
    const bool whole = count == 2;
    if (rest || (whole && action > RESUME && action < ACTIONS))
        return refuse(404, "there is no such path; see /v1/openapi.json");
    if (action < ACTIONS)
        return request->method == CLOAK_HTTP_POST ? act(api, whole ? NULL : parts[1], action, request)
                                                 : wrong_method("POST");
    const bool known = (one && (albums || strcmp(parts[0], "queue") == 0 || strcmp(parts[0], "workers") == 0)) ||
                       (albums && count == 2) || (albums && count == 3 && strcmp(parts[2], "dead") == 0);
    if (!known)
        return refuse(404, "there is no such path; see /v1/openapi.json");
    if (request->method != CLOAK_HTTP_GET)
        return wrong_method(looks);
    if (count == 3)
        return answer_dead(api, parts[1], request);
    if (count == 2)
        return answer_album(api, parts[1]);
    return albums                            ? answer_albums(api, request)
           : strcmp(parts[0], "queue") == 0 ? answer_queue(api)
                                             : answer_workers(api);
}

cloak_http_answer cloak_api_answer(cloak_api *api, const cloak_http_request *request) {
    cloak_error error = {0};
    const char *path = request->path + strlen("/v1/");
    const bool server = strcmp(path, "server") == 0, description = strcmp(path, "openapi.json") == 0;
    if ((server || description) && request->method != CLOAK_HTTP_GET)
        return wrong_method("GET, HEAD");
    if (server)
        return answer_server(api);
    if (description)
        return (cloak_http_answer){
            .code = 200, .content_type = "application/json", .body = cloak_strdup((const char *)cloak_page_openapi_json)};
    if (cloak_api_open(api, &error) != CLOAK_OK) {
        error.code = CLOAK_E_QUEUE; /* nothing that is wrong with Redis is the request's fault */
        return failed(api, &error);
    }
    char *copy = cloak_strdup(path);
    cloak_http_answer answer = route(api, copy, request);
    free(copy);
    return answer;
}
