/* cloak submit: hands an album to a fleet. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "dispatcher/choices.h"
#include "dispatcher/estimate.h"
#include "dispatcher/feeder.h"
#include "dispatcher/place.h"
#include "dispatcher/state.h"
#include "dispatcher/survey.h"
#include "dispatcher/verbs.h"

/* Workers may be writing this very album: what they have in hand is younger. */
enum { LEFTOVER_SECONDS = 3600 };

typedef struct {
    cloak_queue_options queue;
    cloak_choices choices;
    const char *tenant, *job_class;
    long backlog;
    bool dry_run, follow_links;
    double price;
} Options;

/* Only a bucket's: a folder would have to be walked as a whole. */
static void sweep(cloak_place *place, const cloak_manifest *manifest) {
    if (!cloak_store_is_folder(place->destination))
        cloak_place_sweep(place, manifest, LEFTOVER_SECONDS);
}

static cloak_status submit(const Options *o, cloak_place *place, cloak_manifest *manifest,
    cloak_error *error) {
    cloak_settings settings = {0};
    cloak_queue *queue = NULL;
    int lock = -1;
    cloak_status status = cloak_choices_settings(&o->choices, &settings, error);
    char *json = status == CLOAK_OK ? cloak_settings_json(&settings) : NULL;
    if (status == CLOAK_OK)
        status = cloak_queue_open(o->queue.redis, o->queue.queue, 10, &queue, error);
    if (status == CLOAK_OK)
        status = cloak_state_lock(place->state, 20, &lock, error);
    if (status == CLOAK_OK)
        status = cloak_state_fetch(place->destination, error);
    if (status == CLOAK_OK)
        status = cloak_manifest_open(place->manifest, place->source_url, place->destination_url,
            json, manifest, error);
    if (status == CLOAK_OK)
        status = cloak_survey_album(place, manifest, error);
    if (status == CLOAK_OK)
        status = cloak_state_save(place->destination, error);
    if (status == CLOAK_OK)
        sweep(place, manifest);
    if (status == CLOAK_OK)
        status = cloak_feeder_create(queue, manifest, o->tenant, o->job_class, error);
    cloak_feeder feeder = {.queue = queue, .manifest = manifest, .max_backlog = (uint64_t)o->backlog};
    if (status == CLOAK_OK)
        status = cloak_feeder_finish(&feeder, error);
    cloak_queue_close(queue);
    cloak_settings_free(&settings);
    free(json);
    if (lock >= 0)
        close(lock);
    return status;
}

/* Only looks and tells. A queue that is not there makes the estimate a rougher one. */
static cloak_status dry_run(const Options *o, const cloak_place *place, cloak_error *error) {
    cloak_settings settings = {0};
    cloak_queue *queue = NULL;
    cloak_estimate estimate;
    cloak_error why;
    cloak_status status = cloak_choices_settings(&o->choices, &settings, error);
    if (status == CLOAK_OK)
        status = cloak_estimate_album(place, &estimate, error);
    if (status != CLOAK_OK) {
        cloak_settings_free(&settings);
        return status;
    }
    char *json = cloak_settings_json(&settings);
    status = cloak_queue_open(o->queue.redis, o->queue.queue, 10, &queue, &why);
    const bool open = status == CLOAK_OK;
    status = cloak_estimate_speed(queue, json, &estimate, &why);
    if (!open || status != CLOAK_OK)
        fprintf(stderr, "  the queue cannot be asked how long photos take: %s\n", why.text);
    cloak_estimate_print(&estimate, place->source_url, o->price, stderr);
    if (o->queue.json) {
        char *text = cloak_estimate_json(&estimate, o->price);
        printf("%s\n", text);
        free(text);
    }
    cloak_queue_close(queue);
    free(json);
    cloak_settings_free(&settings);
    return CLOAK_OK;
}

static void print(const cloak_manifest *manifest, bool json) {
    fprintf(stderr, "  %zu photos submitted, %zu other files skipped (listed in %s)\n",
        manifest->count, manifest->skipped_count, manifest->path);
    if (!json) {
        printf("%s\n", manifest->id);
        return;
    }
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "album", manifest->id);
    cJSON_AddNumberToObject(object, "total", (double)manifest->count);
    cJSON_AddNumberToObject(object, "skipped", (double)manifest->skipped_count);
    char *text = cJSON_PrintUnformatted(object);
    printf("%s\n", text ? text : "{}");
    free(text);
    cJSON_Delete(object);
}

int cloak_verb_submit(int argc, char **argv) {
    Options o = {CLOAK_QUEUE_OPTIONS_DEFAULT, CLOAK_CHOICES_DEFAULT, "default", "bulk", 100000, false, false, 0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o.queue), CLOAK_CHOICES_OPTIONS(o.choices),
        {"tenant", "NAME", NULL, CLOAK_OPTION_TEXT, &o.tenant, 0, 0,
            "who the album belongs to; device time is shared between tenants"},
        {"class", "NAME", NULL, CLOAK_OPTION_TEXT, &o.job_class, 0, 0, "interactive or bulk"},
        {"backlog", "N", NULL, CLOAK_OPTION_INT, &o.backlog, 1, 100000000,
            "photos waiting in the queue above which to pause; a tenant may have a tenth of it in any case"},
        CLOAK_LINKS_OPTION(o.follow_links),
        {"dry-run", NULL, NULL, CLOAK_OPTION_FLAG, &o.dry_run, 0, 0,
            "submit nothing: count, and estimate time and cost from what the queue has measured"},
        {"price", "P", NULL, CLOAK_OPTION_REAL, &o.price, 0, 1e9, "of an hour of a device, for --dry-run"},
        {0}};
    cloak_error error = {0};
    cloak_place place = {0};
    cloak_manifest manifest = {0};
    int code = 0;
    if (!cloak_verb_parse("submit ALBUM OUT [OPTIONS]",
            "Submits every photo below ALBUM to the queue; workers write the results to OUT.\n"
            "Prints the album's id. The same command again submits only what is new.\n"
            "ALBUM and OUT are folders or buckets (s3://BUCKET/FOLDER) that all workers reach.",
            table, argc, argv, 2, &code))
        return code;
    cloak_status status = (o.dry_run ? cloak_place_look : cloak_place_open)(argv[0], argv[1], o.follow_links, &place, &error);
    if (status == CLOAK_OK)
        status = o.dry_run ? dry_run(&o, &place, &error) : submit(&o, &place, &manifest, &error);
    if (status == CLOAK_OK && !o.dry_run)
        print(&manifest, o.queue.json);
    if (status != CLOAK_OK)
        code = cloak_verb_fail("submit", &error);
    cloak_manifest_close(&manifest);
    cloak_place_close(&place);
    return code;
}
