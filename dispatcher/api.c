/* The JSON API of `cloak serve`; see the header. */
#include "dispatcher/api.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "dispatcher/api_answer.h"
#include "dispatcher/api_looks.h"
#include "dispatcher/report.h"

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

/* --- acting -------------------------------------------------------------------------------- */

typedef enum { PAUSE, RESUME, CANCEL, RETRY, ACTIONS } Action;

static const char *const action_words[ACTIONS] = {"pause", "resume", "cancel", "retry"};

static Action action_of(const char *word) {
    int i = 0;
    while (i < ACTIONS && strcmp(word, action_words[i]) != 0)
        i++;
    return (Action)i;
}

/* Else `*no` is the answer. */
static bool may_act(const cloak_api *api, const cloak_http_request *request, cloak_http_answer *no) {
    if (api->actions && request->may_act)
        return true;
    *no = cloak_api_refuse(403, !api->actions ? "this server only looks: start it with --actions"
                                              : "an action needs the header X-Cloak-Action, from a page of this server or from no page");
    return false;
}

/* `album` is NULL for the whole queue, which can be paused and resumed. */
static cloak_http_answer act(cloak_api *api, const char *album, Action action, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_books books;
    size_t moved = 0;
    const char *class_word = action == RETRY ? cloak_http_query(request, "error") : NULL;
    cloak_http_answer no;
    if (!may_act(api, request, &no))
        return no;
    if (class_word && !cloak_is_dead_class(class_word))
        return cloak_api_refuse(400, "error is an error class: permanent, transient, device, lost or internal");
    cloak_status status = album ? cloak_queue_books(api->queue, album, &books, &error) : CLOAK_OK; /* is it there? */
    if (status == CLOAK_OK)
        status = action == PAUSE    ? cloak_queue_pause(api->queue, album, &error)
                 : action == RESUME ? cloak_queue_resume(api->queue, album, &error)
                 : action == CANCEL ? cloak_queue_cancel(api->queue, album, &error)
                                    : cloak_queue_retry(api->queue, album, class_word, &moved, &error);
    if (status == CLOAK_E_USAGE && error.code == CLOAK_E_USAGE && album &&
        cloak_queue_books(api->queue, album, &books, NULL) == CLOAK_OK)
        return cloak_api_refuse(409, error.text); /* it is there, and this cannot be done to it */
    if (status != CLOAK_OK)
        return cloak_api_failed(api, &error);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "action", action_words[action]);
    if (album)
        cJSON_AddStringToObject(object, "album", album);
    if (action == RETRY)
        cJSON_AddNumberToObject(object, "moved", (double)moved);
    return cloak_api_json(200, object);
}

/* Pauses a tenant, or lets it go on. */
static cloak_http_answer act_on_tenant(
    cloak_api *api, const char *tenant, Action action, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_http_answer no;
    if (!may_act(api, request, &no))
        return no;
    cloak_status status = action == PAUSE ? cloak_queue_pause_tenant(api->queue, tenant, &error)
                                          : cloak_queue_resume_tenant(api->queue, tenant, &error);
    if (status != CLOAK_OK)
        return cloak_api_failed(api, &error);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "action", action_words[action]);
    cJSON_AddStringToObject(object, "tenant", tenant);
    return cloak_api_json(200, object);
}

/* --- which is which ------------------------------------------------------------------------ */

static cloak_http_answer wrong_method(const char *allow) {
    cloak_http_answer answer = cloak_api_refuse(405, "this path takes another method");
    answer.allow = allow;
    return answer;
}

static cloak_http_answer unknown(void) {
    return cloak_api_refuse(404, "there is no such path; see /v1/openapi.json");
}

static cloak_http_answer listen(cloak_api *api, const cloak_http_request *request) {
    (void)api, (void)request;
    return (cloak_http_answer){.stream = true};
}

/* The paths of one part. NULL for a word that is none. */
static cloak_api_look *look_of(const char *word) {
    static const struct {
        const char *word;
        cloak_api_look *look;
    } looks[] = {{"queue", cloak_api_queue}, {"workers", cloak_api_workers}, {"albums", cloak_api_albums},
        {"jobs", cloak_api_jobs}, {"events", listen}};
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (strcmp(word, looks[i].word) == 0)
            return looks[i].look;
    return NULL;
}

static cloak_http_answer route(cloak_api *api, char *path, const cloak_http_request *request) {
    char *parts[4] = {NULL}, *rest = path;
    size_t count = 0;
    for (; rest && count < 4; count++)
        parts[count] = strsep(&rest, "/");
    const bool albums = strcmp(parts[0], "albums") == 0, whole = count == 2 && strcmp(parts[0], "queue") == 0;
    const bool tenant = count == 3 && strcmp(parts[0], "tenants") == 0;
    const Action action = count == 3 && (albums || tenant) ? action_of(parts[2]) : whole ? action_of(parts[1]) : ACTIONS;
    if (rest || ((whole || tenant) && action > RESUME))
        return unknown();
    if (action < ACTIONS && request->method != CLOAK_HTTP_POST)
        return wrong_method("POST");
    if (action < ACTIONS)
        return tenant ? act_on_tenant(api, parts[1], action, request) : act(api, whole ? NULL : parts[1], action, request);
    cloak_api_look *const look = count == 1 ? look_of(parts[0]) : NULL;
    if (count == 1 ? !look : !albums || (count > 2 && (count > 3 || strcmp(parts[2], "dead") != 0)))
        return unknown();
    if (request->method != CLOAK_HTTP_GET)
        return wrong_method("GET, HEAD");
    return look         ? look(api, request)
           : count == 2 ? cloak_api_album(api, parts[1])
                        : cloak_api_dead(api, parts[1], request);
}

cloak_http_answer cloak_api_answer(cloak_api *api, const cloak_http_request *request) {
    cloak_error error = {0};
    const char *path = request->path + strlen("/v1/");
    const bool server = strcmp(path, "server") == 0, description = strcmp(path, "openapi.json") == 0;
    if ((server || description) && request->method != CLOAK_HTTP_GET)
        return wrong_method("GET, HEAD");
    if (server)
        return cloak_api_server(api);
    if (description)
        return (cloak_http_answer){
            .code = 200, .content_type = "application/json", .body = cloak_strdup((const char *)cloak_page_openapi_json)};
    if (cloak_api_open(api, &error) != CLOAK_OK) {
        error.code = CLOAK_E_QUEUE; /* nothing that is wrong with Redis is the request's fault */
        return cloak_api_failed(api, &error);
    }
    char *copy = cloak_strdup(path);
    cloak_http_answer answer = route(api, copy, request);
    free(copy);
    return answer;
}
