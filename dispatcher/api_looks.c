/* The looking part of the JSON API; see the header. */
#include "dispatcher/api_looks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/report/record.h"
#include "dispatcher/api_answer.h"
#include "dispatcher/overview.h"
#include "dispatcher/report.h"

enum {
    LIST_ALBUMS = 50,
    MOST_ALBUMS = 200,
    LIST_DEAD = 100,
    MOST_DEAD = 1000,
    LIST_JOBS = 50,
    MOST_JOBS = 200,
    LOOKED_AT_JOBS = 500, /* by one request */
    MOST_OFFSET = 2000000000
};

cloak_http_answer cloak_api_server(const cloak_api *api) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "version", CLOAK_VERSION);
    cJSON_AddStringToObject(object, "queue", api->name);
    cJSON_AddBoolToObject(object, "actions", api->actions);
    return cloak_api_json(200, object);
}

char *cloak_api_queue_text(cloak_api *api, cloak_error *error) {
    cloak_overview overview = {0};
    cloak_status status = cloak_api_open(api, error);
    if (status == CLOAK_OK)
        status = cloak_overview_read(api->queue, api->name, 0, LIST_ALBUMS, &overview, error);
    if (status != CLOAK_OK)
        return NULL;
    char *text = cloak_overview_json(&overview);
    cloak_overview_free(&overview);
    return text;
}

cloak_http_answer cloak_api_queue(cloak_api *api, const cloak_http_request *request) {
    (void)request;
    cloak_error error = {0};
    char *text = cloak_api_queue_text(api, &error);
    return text ? cloak_api_text(text) : cloak_api_failed(api, &error);
}

cloak_http_answer cloak_api_albums(cloak_api *api, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_overview overview = {0};
    size_t offset = 0, limit = LIST_ALBUMS;
    if (!cloak_api_number(request, "offset", 0, MOST_OFFSET, &offset) ||
        !cloak_api_number(request, "limit", 1, MOST_ALBUMS, &limit))
        return cloak_api_refuse(400, "offset is a whole number from 0, limit one from 1 to 200");
    if (cloak_overview_read(api->queue, api->name, offset, limit, &overview, &error) != CLOAK_OK)
        return cloak_api_failed(api, &error);
    char *text = cloak_overview_albums_json(&overview, offset);
    cloak_overview_free(&overview);
    return cloak_api_text(text);
}

cloak_http_answer cloak_api_album(cloak_api *api, const char *id) {
    cloak_error error = {0};
    cloak_album_report report = {0};
    if (cloak_album_report_read_sums(api->queue, id, &report, &error) != CLOAK_OK)
        return cloak_api_failed(api, &error);
    char *text = cloak_album_report_json(
        &report, (double)cloak_sums_get(&report.sums, "us.total") / 1e6, report.books.done, 0);
    cloak_album_report_free(&report);
    return cloak_api_text(text);
}

cloak_http_answer cloak_api_dead(cloak_api *api, const char *id, const cloak_http_request *request) {
    cloak_error error = {0};
    cloak_album_report report = {0};
    size_t offset = 0, limit = LIST_DEAD;
    const char *class_word = cloak_http_query(request, "error");
    if (!cloak_api_number(request, "offset", 0, MOST_OFFSET, &offset) ||
        !cloak_api_number(request, "limit", 1, MOST_DEAD, &limit) || (class_word && !cloak_is_dead_class(class_word)))
        return cloak_api_refuse(400, "offset is a whole number from 0, limit one from 1 to 1000, error an error class");
    if (cloak_album_report_read(api->queue, id, &report, &error) != CLOAK_OK)
        return cloak_api_failed(api, &error);
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "dead");
    size_t found = 0;
    for (size_t i = 0; i < report.dead_count; i++) {
        const cloak_dead_photo *photo = &report.dead[i];
        if (class_word && strcmp(photo->class_word, class_word) != 0)
            continue;
        if (found++ < offset || found - offset > limit)
            continue;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "index", photo->index);
        cJSON_AddStringToObject(item, "key", photo->key);
        cJSON_AddStringToObject(item, "class", photo->class_word);
        cJSON_AddStringToObject(item, "text", photo->text);
        cJSON_AddItemToArray(list, item);
    }
    cJSON_AddNumberToObject(object, "total", (double)found);
    if (found > offset + limit)
        cJSON_AddNumberToObject(object, "next", (double)(offset + limit));
    else
        cJSON_AddNullToObject(object, "next");
    cloak_album_report_free(&report);
    return cloak_api_json(200, object);
}

/* --- finished photos ----------------------------------------------------------------------- */

typedef struct {
    const char *album, *outcome; /* NULL: any */
    double residual;             /* at least; below 0: any */
    size_t limit, count;
    cJSON *list;
    char last[48]; /* the place of the record looked at last */
} Jobs;

static bool is_wanted(const Jobs *jobs, const cloak_record *record) {
    return (!jobs->album || (record->album && strcmp(record->album, jobs->album) == 0)) &&
           (!jobs->outcome || (record->outcome && strcmp(record->outcome, jobs->outcome) == 0)) &&
           (jobs->residual < 0 || record->residual_score >= jobs->residual); /* absent is NaN */
}

static bool see_job(void *context, const char *place, const char *json) {
    Jobs *jobs = context;
    cloak_record record = {0};
    snprintf(jobs->last, sizeof jobs->last, "%s", place);
    if (cloak_record_parse(json, "a record", &record, NULL) != CLOAK_OK)
        return true; /* of another version */
    if (is_wanted(jobs, &record)) {
        char *text = cloak_record_log(&record, true);
        cJSON_AddItemToArray(jobs->list, cJSON_CreateRaw(text));
        free(text);
        jobs->count++;
    }
    cloak_record_free(&record);
    return jobs->count < jobs->limit;
}

static bool read_share(const cloak_http_request *request, const char *name, double *value) {
    const char *text = cloak_http_query(request, name);
    char *end;
    if (!text)
        return true;
    *value = strtod(text, &end);
    return *text && strspn(text, "0123456789.eE+-") == strlen(text) && !*end && *value >= 0 && *value <= 1;
}

cloak_http_answer cloak_api_jobs(cloak_api *api, const cloak_http_request *request) {
    Jobs jobs = {.album = cloak_http_query(request, "album"), .outcome = cloak_http_query(request, "outcome"),
        .residual = -1, .limit = LIST_JOBS};
    const char *before = cloak_http_query(request, "before");
    cloak_error error = {0};
    cloak_outcome outcome;
    bool more = false;
    if (!cloak_api_number(request, "limit", 1, MOST_JOBS, &jobs.limit) ||
        !read_share(request, "residual", &jobs.residual) ||
        (jobs.outcome && (!cloak_outcome_parse(jobs.outcome, &outcome) || !cloak_outcome_delivered(outcome))))
        return cloak_api_refuse(400,
            "limit is a whole number from 1 to 200, residual a number from 0 to 1, outcome cloaked, no_face or residual");
    cJSON *object = cJSON_CreateObject();
    jobs.list = cJSON_AddArrayToObject(object, "jobs");
    cloak_status status = cloak_queue_history(api->queue, before, LOOKED_AT_JOBS, see_job, &jobs, &more, &error);
    if (status != CLOAK_OK) {
        cJSON_Delete(object);
        return status == CLOAK_E_USAGE ? cloak_api_refuse(400, error.text) : cloak_api_failed(api, &error);
    }
    if (more && *jobs.last)
        cJSON_AddStringToObject(object, "next", jobs.last);
    else
        cJSON_AddNullToObject(object, "next");
    return cloak_api_json(200, object);
}

/* --- workers ------------------------------------------------------------------------------- */

static void add_worker(void *context, const cloak_live_worker *worker) {
    static const char *const words[] = {"device", "model_sha256", "build", "stage"};
    static const char *const numbers[] = {"photos", "photos_per_second"};
    cJSON *item = cJSON_CreateObject(), *about = cJSON_Parse(worker->about);
    cJSON_AddStringToObject(item, "worker", worker->name);
    cJSON_AddNumberToObject(item, "silent_seconds", worker->silent);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *fact = cJSON_GetStringValue(cJSON_GetObjectItem(about, words[i]));
        cJSON_AddStringToObject(item, words[i], fact ? fact : "");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const double fact = cJSON_GetNumberValue(cJSON_GetObjectItem(about, numbers[i]));
        cJSON_AddNumberToObject(item, numbers[i], isfinite(fact) ? fact : 0);
    }
    cJSON_Delete(about);
    cJSON_AddItemToArray(context, item);
}

char *cloak_api_workers_text(cloak_api *api, cloak_error *error) {
    cJSON *object = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(object, "workers");
    cloak_status status = cloak_api_open(api, error);
    if (status == CLOAK_OK)
        status = cloak_queue_workers(api->queue, add_worker, list, error);
    if (status == CLOAK_OK)
        return cloak_json_text(object);
    cJSON_Delete(object);
    return NULL;
}

cloak_http_answer cloak_api_workers(cloak_api *api, const cloak_http_request *request) {
    (void)request;
    cloak_error error = {0};
    char *text = cloak_api_workers_text(api, &error);
    return text ? cloak_api_text(text) : cloak_api_failed(api, &error);
}
