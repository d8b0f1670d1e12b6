/* How the whole queue stands; see the header. */
#include "dispatcher/overview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "dispatcher/estimate.h"

static void keep_tenant(void *context, const cloak_tenant *tenant) {
    cloak_overview *overview = context;
    if (overview->tenant_count == CLOAK_OVERVIEW_TENANTS)
        return;
    cloak_tenant_state *state = &overview->tenants[overview->tenant_count++];
    snprintf(state->class_word, sizeof state->class_word, "%s", tenant->class_word);
    snprintf(state->name, sizeof state->name, "%s", tenant->name);
    state->waiting = tenant->waiting;
    state->weight = tenant->weight;
    state->paused = tenant->paused;
}

cloak_status cloak_overview_read(cloak_queue *queue, const char *name, size_t offset, size_t most,
    cloak_overview *overview, cloak_error *error) {
    *overview = (cloak_overview){.queue = name, .most = most};
    overview->albums = cloak_alloc(most * sizeof *overview->albums);
    cloak_album_id *ids = cloak_alloc(most * sizeof *ids);
    double pace = 1;
    cloak_status status = cloak_queue_load(queue, &overview->load, error);
    if (status == CLOAK_OK && overview->load.backlog_seconds > 0)
        status = cloak_estimate_pace(queue, &pace, error);
    overview->load.backlog_seconds *= pace; /* of these devices */
    if (status == CLOAK_OK)
        status = cloak_queue_tenants(queue, CLOAK_OVERVIEW_TENANTS / 4, keep_tenant, overview, error);
    if (status == CLOAK_OK)
        status = cloak_queue_albums(queue, offset, ids, most, &overview->count, error);
    for (size_t i = 0; i < overview->count && status == CLOAK_OK; i++) {
        memcpy(overview->albums[i].id, ids[i], sizeof *ids);
        status = cloak_queue_books(queue, overview->albums[i].id, &overview->albums[i].books, error);
    }
    free(ids);
    if (status != CLOAK_OK)
        cloak_overview_free(overview);
    return status;
}

void cloak_overview_free(cloak_overview *overview) {
    free(overview->albums);
    *overview = (cloak_overview){0};
}

void cloak_overview_print(const cloak_overview *overview) {
    const cloak_load *load = &overview->load;
    fprintf(stderr,
        "  queue %s%s: %llu workers; %llu photos wait, about %.0f s of device time, the oldest for "
        "%.0f s; %llu in hand\n",
        overview->queue, load->paused ? " (paused)" : "", (unsigned long long)load->workers,
        (unsigned long long)(load->waiting + load->delayed), load->backlog_seconds,
        load->oldest_seconds, (unsigned long long)load->leased);
    for (size_t i = 0; i < overview->count; i++) {
        const cloak_books *b = &overview->albums[i].books;
        printf("%s  %llu photos: %llu done, %llu waiting, %llu in hand, %llu dead, %llu "
               "cancelled%s%s\n",
            overview->albums[i].id, (unsigned long long)b->total, (unsigned long long)b->done,
            (unsigned long long)(b->waiting + b->delayed), (unsigned long long)b->leased,
            (unsigned long long)b->dead, (unsigned long long)b->cancelled,
            b->paused ? ", paused" : "", b->balanced ? "" : "  BOOKS DO NOT BALANCE");
    }
}

static void add_tenants(const cloak_overview *overview, cJSON *object) {
    cJSON *list = cJSON_AddArrayToObject(object, "tenants");
    for (size_t i = 0; i < overview->tenant_count; i++) {
        const cloak_tenant_state *t = &overview->tenants[i];
        cJSON *tenant = cJSON_CreateObject();
        cJSON_AddStringToObject(tenant, "class", t->class_word);
        cJSON_AddStringToObject(tenant, "tenant", t->name);
        cJSON_AddNumberToObject(tenant, "waiting", (double)t->waiting);
        cJSON_AddNumberToObject(tenant, "weight", t->weight);
        cJSON_AddBoolToObject(tenant, "paused", t->paused);
        cJSON_AddItemToArray(list, tenant);
    }
}

static void add_albums(const cloak_overview *overview, cJSON *object) {
    cJSON *list = cJSON_AddArrayToObject(object, "albums");
    for (size_t i = 0; i < overview->count; i++) {
        const cloak_books *b = &overview->albums[i].books;
        cJSON *album = cJSON_CreateObject();
        cJSON_AddStringToObject(album, "album", overview->albums[i].id);
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
}

char *cloak_overview_albums_json(const cloak_overview *overview, size_t offset) {
    cJSON *object = cJSON_CreateObject();
    add_albums(overview, object);
    if (overview->count == overview->most)
        cJSON_AddNumberToObject(object, "next", (double)(offset + overview->count));
    else
        cJSON_AddNullToObject(object, "next");
    return cloak_json_text(object);
}

char *cloak_overview_json(const cloak_overview *overview) {
    const cloak_load *load = &overview->load;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "queue", overview->queue);
    cJSON_AddBoolToObject(object, "paused", load->paused);
    cJSON_AddNumberToObject(object, "workers", (double)load->workers);
    cJSON_AddNumberToObject(object, "waiting", (double)(load->waiting + load->delayed));
    cJSON_AddNumberToObject(object, "leased", (double)load->leased);
    cJSON_AddNumberToObject(object, "backlog_seconds", load->backlog_seconds);
    cJSON_AddNumberToObject(object, "oldest_seconds", load->oldest_seconds);
    cJSON_AddNumberToObject(object, "lost", (double)load->lost);
    cJSON_AddNumberToObject(object, "retried", (double)load->retried);
    cJSON_AddNumberToObject(object, "given_up", (double)load->dead);
    add_tenants(overview, object);
    add_albums(overview, object);
    return cloak_json_text(object);
}
