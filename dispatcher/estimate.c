/* Counts an album and asks the queue how long such photos took; see the header. */
#include "dispatcher/estimate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/photo/photo.h"
#include "common/report/settings.h"
#include "dispatcher/manifest.h"
#include "dispatcher/report.h"
#include "dispatcher/survey.h"

/* --- the album ----------------------------------------------------------------------------- */

typedef struct {
    const cloak_place *place;
    const cloak_manifest *manifest; /* NULL where there is none */
    cloak_estimate *estimate;
} Count;

static void count_kind(cloak_estimate *estimate, const char *key) {
    const size_t most = sizeof estimate->kinds / sizeof *estimate->kinds;
    const char *dot = strrchr(key, '.');
    char name[sizeof estimate->kinds[0].name] = "other";
    if (dot && strlen(dot + 1) < sizeof name)
        for (size_t i = 0; i <= strlen(dot + 1); i++)
            name[i] = (char)tolower((unsigned char)dot[1 + i]);
    size_t at = 0;
    while (at < estimate->kind_count && strcmp(estimate->kinds[at].name, name) != 0)
        at++;
    if (at == most)
        return;
    if (at == estimate->kind_count)
        memcpy(estimate->kinds[estimate->kind_count++].name, name, sizeof name);
    estimate->kinds[at].photos++;
}

static cloak_status visit(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    Count *count = context;
    cloak_estimate *estimate = count->estimate;
    if (cloak_survey_leaves_out(count->place, key))
        return CLOAK_OK;
    if (problem || cloak_survey_reason(count->place, key)) {
        estimate->skipped++;
        return CLOAK_OK;
    }
    const cloak_manifest_photo *known =
        count->manifest ? cloak_manifest_find(count->manifest, key) : NULL;
    if (known && known->size == info->size && known->modified_ns == info->modified_ns) {
        estimate->known++;
        return CLOAK_OK;
    }
    estimate->photos++;
    estimate->bytes += info->size;
    count_kind(estimate, key);
    return CLOAK_OK;
}

cloak_status cloak_estimate_album(
    const cloak_place *place, cloak_estimate *estimate, cloak_error *error) {
    cloak_manifest manifest = {0};
    *estimate = (cloak_estimate){0};
    bool read = cloak_manifest_read(place->manifest, place->source_url, place->destination_url, NULL,
                    &manifest, NULL) == CLOAK_OK;
    Count count = {place, read ? &manifest : NULL, estimate};
    cloak_status status = cloak_store_list(place->source, visit, &count, error);
    cloak_manifest_close(&manifest);
    return status;
}

/* --- the queue ----------------------------------------------------------------------------- */

enum {
    NEWEST = 50, /* albums that tell the speed */
    FEW = 10,    /* photos that are too few to tell it */
};

/* Workers' time and photos, summed over albums. */
typedef struct {
    double seconds, expected; /* measured, and by expected_seconds */
    uint64_t photos;
} Speed;

/* Seconds of a photo on two cores of a CPU, as measured for the presets (README). */
static double expected_seconds(const char *json) {
    cloak_settings settings = {0};
    double seconds = 4;
    if (cloak_settings_parse(json, &settings, NULL) != CLOAK_OK)
        return seconds; /* of another version */
    if (!*settings.targets)
        seconds /= 2;
    if (*settings.survive)
        seconds *= 12;
    else if (settings.diversity > 0)
        seconds *= 1.7;
    cloak_settings_free(&settings);
    return seconds;
}

static cloak_status add_album(cloak_queue *queue, const char *id, const char *settings, Speed *same,
    Speed *all, cloak_error *error) {
    cloak_album_spec spec = {0};
    cloak_album_report report = {0};
    cloak_status status = cloak_queue_album(queue, id, &spec, error);
    if (status == CLOAK_OK)
        status = cloak_album_report_read_sums(queue, id, &report, error);
    if (status == CLOAK_OK) {
        const double seconds = (double)cloak_sums_get(&report.sums, "us.total") / 1e6;
        all->seconds += seconds;
        all->expected += expected_seconds(spec.settings) * (double)report.books.done;
        all->photos += report.books.done;
        if (strcmp(spec.settings, settings) == 0) {
            same->seconds += seconds;
            same->photos += report.books.done;
        }
    }
    cloak_album_report_free(&report);
    cloak_album_spec_free(&spec);
    return status == CLOAK_E_USAGE ? CLOAK_OK : status; /* an album that went away meanwhile */
}

/* Sums over the newest albums; `queue` may be NULL. */
static cloak_status gather(
    cloak_queue *queue, const char *settings, size_t newest, Speed *same, Speed *all, cloak_error *error) {
    cloak_album_id ids[NEWEST];
    size_t count = 0;
    *same = *all = (Speed){0};
    cloak_status status = queue ? cloak_queue_albums(queue, 0, ids, newest, &count, error) : CLOAK_OK;
    for (size_t i = 0; i < count && status == CLOAK_OK; i++)
        status = add_album(queue, ids[i], settings, same, all, error);
    return status;
}

static bool tells(const Speed *same, const Speed *all) {
    return same->photos >= FEW || (same->photos > 0 && same->photos == all->photos);
}

static double pace_of(const Speed *all) {
    return all->seconds > 0 && all->expected > 0 ? all->seconds / all->expected : 1;
}

cloak_status cloak_estimate_speed(
    cloak_queue *queue, const char *settings, cloak_estimate *estimate, cloak_error *error) {
    Speed same, all;
    cloak_status status = gather(queue, settings, NEWEST, &same, &all, error);
    estimate->seconds_per_photo = expected_seconds(settings);
    if (status != CLOAK_OK || !all.photos)
        return status;
    estimate->same_settings = tells(&same, &all);
    estimate->measured = estimate->same_settings ? same.photos : all.photos;
    if (estimate->same_settings)
        estimate->seconds_per_photo = same.seconds / (double)same.photos;
    else
        estimate->seconds_per_photo *= pace_of(&all);
    return CLOAK_OK;
}

cloak_status cloak_estimate_cost(cloak_queue *queue, const char *settings, uint32_t *cost_ms, cloak_error *error) {
    enum { MOST = 3600 * 1000 };
    Speed same, all;
    cloak_status status = gather(queue, settings, NEWEST, &same, &all, error);
    if (status != CLOAK_OK)
        return status;
    double ms = expected_seconds(settings) * 1000;
    if (tells(&same, &all) && same.seconds > 0)
        ms = same.seconds / (double)same.photos / pace_of(&all) * 1000;
    *cost_ms = ms >= MOST ? MOST : ms >= 1 ? (uint32_t)(ms + 0.5) : 1;
    return CLOAK_OK;
}

cloak_status cloak_estimate_pace(cloak_queue *queue, double *pace, cloak_error *error) {
    enum { FEW_ALBUMS = 10 };
    Speed same, all;
    cloak_status status = gather(queue, "", FEW_ALBUMS, &same, &all, error);
    if (status == CLOAK_OK)
        *pace = pace_of(&all);
    return status;
}

/* --- telling ------------------------------------------------------------------------------- */

static double device_seconds(const cloak_estimate *e) {
    return (double)e->photos * e->seconds_per_photo;
}

char *cloak_estimate_json(const cloak_estimate *e, double price) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "photos", (double)e->photos);
    cJSON_AddNumberToObject(object, "bytes", (double)e->bytes);
    cJSON_AddNumberToObject(object, "known", (double)e->known);
    cJSON_AddNumberToObject(object, "skipped", (double)e->skipped);
    cJSON *formats = cJSON_AddObjectToObject(object, "formats");
    for (size_t i = 0; i < e->kind_count; i++)
        cJSON_AddNumberToObject(formats, e->kinds[i].name, (double)e->kinds[i].photos);
    cJSON_AddNumberToObject(object, "seconds_per_photo", e->seconds_per_photo);
    cJSON_AddNumberToObject(object, "measured_photos", (double)e->measured);
    cJSON_AddBoolToObject(object, "same_settings", e->same_settings);
    cJSON_AddNumberToObject(object, "device_seconds", device_seconds(e));
    if (price > 0)
        cJSON_AddNumberToObject(object, "cost", device_seconds(e) / 3600 * price);
    else
        cJSON_AddNullToObject(object, "cost");
    return cloak_json_text(object);
}

void cloak_estimate_print(const cloak_estimate *e, const char *source, double price, FILE *to) {
    fprintf(to, "  album     %s: %llu photos to submit, %.1f MB", source, (unsigned long long)e->photos,
        (double)e->bytes / 1e6);
    for (size_t i = 0; i < e->kind_count; i++)
        fprintf(to, "%s%llu %s", i ? ", " : " (", (unsigned long long)e->kinds[i].photos, e->kinds[i].name);
    fprintf(to, "%s; %llu submitted before, %llu other files\n", e->kind_count ? ")" : "",
        (unsigned long long)e->known, (unsigned long long)e->skipped);
    fprintf(to, "  estimate  %.0f s (%.1f h) of one device, %.2f s per photo: ", device_seconds(e),
        device_seconds(e) / 3600, e->seconds_per_photo);
    if (e->measured)
        fprintf(to, "the mean of %llu photos in this queue, with %s\n", (unsigned long long)e->measured,
            e->same_settings ? "these settings" : "other settings, scaled");
    else
        fprintf(to, "nothing was measured in this queue yet; two cores of a CPU need about that\n");
    if (price > 0)
        fprintf(to, "  cost      %.2f at %.2f per hour\n", device_seconds(e) / 3600 * price, price);
}
