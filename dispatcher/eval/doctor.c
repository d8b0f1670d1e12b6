/* cloak doctor: looks at what a run or a fleet stands on, and says of each part what is wrong and what to do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "common/queue/redis.h"
#include "common/report/targets.h"
#include "common/store/store.h"
#include "dispatcher/verbs.h"
#include "models/cloak_model.h"

typedef struct {
    cJSON *list;
    int failed;
} Findings;

/* Tells of one thing; takes `text` over. */
static void tell(Findings *findings, const char *name, bool fine, char *text) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "name", name);
    cJSON_AddBoolToObject(one, "ok", fine);
    cJSON_AddStringToObject(one, "text", text);
    cJSON_AddItemToArray(findings->list, one);
    fprintf(stderr, "  %-4s  %-7s %s\n", fine ? "ok" : "FAIL", name, text);
    findings->failed += !fine;
    free(text);
}

/* The number behind "name:" in an INFO reply, or -1. */
static long info_number(const char *info, const char *name) {
    const char *at = strstr(info, name);
    return at ? atol(at + strlen(name)) : -1;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median milliseconds of some round trips; negative when one failed. */
static double round_trip_ms(cloak_redis *redis, cloak_error *error) {
    enum { TRIPS = 21 };
    double ms[TRIPS];
    for (int i = 0; i < TRIPS; i++) {
        redisReply *reply = NULL;
        double start = cloak_now();
        if (cloak_redis_call(redis, 1, (const char *[]){"PING"}, NULL, &reply, error) != CLOAK_OK)
            return -1;
        ms[i] = (cloak_now() - start) * 1e3;
        freeReplyObject(reply);
    }
    qsort(ms, TRIPS, sizeof *ms, by_size);
    return ms[TRIPS / 2];
}

/* Seconds by which the server's clock is ahead of ours, as far as one round trip tells. */
static cloak_status clock_ahead(cloak_redis *redis, double *seconds, cloak_error *error) {
    redisReply *reply = NULL;
    cloak_status status = cloak_redis_call(redis, 1, (const char *[]){"TIME"}, NULL, &reply, error);
    if (status != CLOAK_OK)
        return status;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
        *seconds = atof(reply->element[0]->str) + atof(reply->element[1]->str) / 1e6 -
                   (double)cloak_clock_system.wall_ms() / 1e3;
    freeReplyObject(reply);
    return CLOAK_OK;
}

static void look_at_redis(const char *url, Findings *findings) {
    cloak_redis *redis = NULL;
    redisReply *info = NULL;
    cloak_error error = {0};
    double ms = -1, ahead = 0;
    cloak_status status = cloak_redis_open(url, 5, &redis, &error);
    if (status == CLOAK_OK)
        status = cloak_redis_check(redis, &error);
    if (status == CLOAK_OK)
        status = cloak_redis_call(
            redis, 2, (const char *[]){"INFO", "persistence"}, NULL, &info, &error);
    if (status == CLOAK_OK && (ms = round_trip_ms(redis, &error)) < 0)
        status = CLOAK_E_QUEUE;
    if (status == CLOAK_OK)
        status = clock_ahead(redis, &ahead, &error);
    if (status != CLOAK_OK) {
        tell(findings, "redis", false, cloak_strdup(error.text));
    } else {
        const char *place = cloak_redis_place(redis);
        tell(findings, "redis", true, cloak_format("%s answers within %.2f ms", place, ms));
        if (info->type == REDIS_REPLY_STRING && info_number(info->str, "aof_enabled:") == 0)
            tell(findings, "log", false, cloak_format(
                "%s has no append-only file: what it holds is lost when it ends. CONFIG SET appendonly yes, and in "
                "redis.conf", place));
        else
            tell(findings, "log", true, cloak_strdup("the queue's server keeps an append-only file"));
        tell(findings, "clock", ahead > -5 && ahead < 5, cloak_format(
            "the server's clock is %.1f s %s ours%s", ahead < 0 ? -ahead : ahead, ahead < 0 ? "behind" : "ahead of",
            ahead > -5 && ahead < 5 ? "" : ": leases go by the server's, receipts by ours; run an NTP client on both"));
    }
    if (info)
        freeReplyObject(info);
    cloak_redis_close(redis);
}

/* One name is enough: then this ends the listing. */
static cloak_status see_any(void *context, const char *key, const cloak_store_info *info, const char *problem) {
    (void)key, (void)info, (void)problem;
    *(bool *)context = true;
    return CLOAK_E_INTERRUPTED;
}

static cloak_status list_some(cloak_store *store, cloak_error *error) {
    bool seen = false;
    cloak_status status = cloak_store_list(store, see_any, &seen, error);
    return seen ? CLOAK_OK : status != CLOAK_OK ? status
                                                : cloak_fail(error, CLOAK_E_TRANSIENT, "%s does not list what was just written",
                                                      cloak_store_place(store));
}

/* Writes a file, lists, reads it back and takes it away. */
static void look_at_folder(const char *folder, Findings *findings) {
    static const char probe[] = "cloak doctor was here\n";
    cloak_store *store = NULL;
    cloak_error error = {0};
    void *bytes = NULL;
    size_t length = 0;
    char *key = cloak_format("cloak-doctor-%d.txt", (int)getpid());
    double start = cloak_now();
    cloak_status status = cloak_store_open(folder, &store, &error);
    if (status == CLOAK_OK)
        status = cloak_store_put(store, key, probe, sizeof probe - 1, &error);
    const bool written = status == CLOAK_OK;
    if (status == CLOAK_OK)
        status = list_some(store, &error);
    if (status == CLOAK_OK)
        status = cloak_store_get(store, key, sizeof probe, &bytes, &length, &error);
    if (status == CLOAK_OK && (length != sizeof probe - 1 || memcmp(bytes, probe, length) != 0))
        status = cloak_fail(&error, CLOAK_E_TRANSIENT, "what was written to %s comes back changed", folder);
    if (written) {
        cloak_error second;
        cloak_status removed = cloak_store_remove(store, key, &second);
        if (status == CLOAK_OK && removed != CLOAK_OK) {
            status = removed;
            error = second;
        }
    }
    tell(findings, "folder", status == CLOAK_OK,
        status == CLOAK_OK ? cloak_format("%s takes, lists and gives back a file in %.1f ms", folder, (cloak_now() - start) * 1e3)
                           : cloak_strdup(error.text));
    free(bytes);
    free(key);
    cloak_store_close(store);
}

/* What is free for a worker, which takes up to 1.5 GiB for a photo of 12 megapixels (tests/bench/photos), and 1.8 GiB
 * at its highest in ten small photos with preset `shared` (VmHWM, 2026-11-29). */
static void look_at_memory(Findings *findings) {
    enum { NEEDED_MIB = 2048 };
    unsigned long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %lu kB", &kib) != 1)
        ;
    if (file)
        fclose(file);
    const unsigned long mib = kib / 1024;
    tell(findings, "memory", mib >= NEEDED_MIB, cloak_format("%lu MiB are free%s", mib,
        mib >= NEEDED_MIB ? "" : "; a worker may need 2,048, by preset and photo: stop something, or work elsewhere"));
}

/* Loads the model and times a look at a grey picture, the second one: the first makes caches. */
static void look_at_model(const char *given, const char *device, Findings *findings) {
    enum { WIDTH = 640, HEIGHT = 480 };
    cloak_model_params params = cloak_model_default_params();
    cloak_model *model = NULL;
    cloak_error error = {0};
    uint8_t *rgb = cloak_alloc(WIDTH * HEIGHT * 3);
    char *path = given ? cloak_strdup(given) : cloak_install_model();
    memset(rgb, 128, WIDTH * HEIGHT * 3);
    const cloak_image image = {rgb, WIDTH, HEIGHT};
    params.device = device;
    double start = cloak_now();
    cloak_status status = cloak_model_load(path, &params, &model, &error);
    double loading = cloak_now() - start, looking = 0;
    for (int i = 0; i < 2 && status == CLOAK_OK; i++) {
        cloak_detections found = {0};
        start = cloak_now();
        status = cloak_model_detect(model, &image, 1, &found, &error);
        looking = cloak_now() - start;
        cloak_detections_free(&found);
    }
    if (status == CLOAK_OK) {
        cloak_model_info info = cloak_model_describe(model);
        tell(findings, "model", true, cloak_format("%s, SHA-256 %.12s…, on %s: loaded in %.1f s, looks at %d x %d in %.2f s",
            info.name, info.sha256, info.device, loading, WIDTH, HEIGHT, looking));
    } else {
        tell(findings, "model", false, cloak_strdup(error.text));
    }
    cloak_model_free(model);
    free(path);
    free(rgb);
}

static void look_at_targets(Findings *findings) {
    cloak_target_list list;
    cloak_error error = {0};
    if (cloak_targets_choose("all", &list, &error) != CLOAK_OK) {
        tell(findings, "targets", false, cloak_strdup(error.text));
        return;
    }
    char *names = cloak_strdup("");
    for (size_t i = 0; i < list.count; i++) {
        char *longer = cloak_format("%s%s%s", names, i ? ", " : "", list.items[i].name);
        free(names);
        names = longer;
    }
    tell(findings, "targets", true, list.count ? cloak_format("besides our own: %s", names)
                                               : cloak_strdup("none besides our own; see cloak targets add"));
    free(names);
    cloak_targets_free(&list);
}

int cloak_verb_doctor(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *model = NULL, *device = "cpu";
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"model", "FILE", "CLOAK_MODEL", CLOAK_OPTION_TEXT, &model, 0, 0, "detector to defeat"},
        {"device", "NAME", "CLOAK_DEVICE", CLOAK_OPTION_TEXT, &device, 0, 0, "cpu or cuda:N"}, {0}};
    Findings findings = {cJSON_CreateArray(), 0};
    int code = 0, count = 0;
    if (!cloak_verb_parse_some("doctor [OUT] [OPTIONS]",
            "Looks at the queue's Redis, the model on its device, the installed targets and, if named, a\n"
            "folder or bucket that photos are to be written to. Exit code 1 when something is wrong; it says what to do.",
            table, argc, argv, 0, 1, &count, &code)) {
        cJSON_Delete(findings.list);
        return code;
    }
    look_at_redis(o.redis, &findings);
    look_at_memory(&findings);
    look_at_model(model, device, &findings);
    look_at_targets(&findings);
    if (count)
        look_at_folder(argv[0], &findings);
    if (o.json) {
        cJSON *object = cJSON_CreateObject();
        cJSON_AddNumberToObject(object, "failed", findings.failed);
        cJSON_AddItemToObject(object, "checks", findings.list);
        char *text = cJSON_PrintUnformatted(object);
        printf("%s\n", text ? text : "{}");
        free(text);
        cJSON_Delete(object);
    } else {
        cJSON_Delete(findings.list);
    }
    return findings.failed ? CLOAK_EXIT_FAILURE : CLOAK_EXIT_OK;
}
