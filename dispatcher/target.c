/* From a verb's argument to an album; see the header. */
#include "dispatcher/target.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/queue/redis.h"
#include "dispatcher/state.h"

/* The album id in the first line of a manifest. */
static cloak_status id_of_manifest(const char *path, char id[], cloak_error *error) {
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "re");
    cJSON *header = file && getline(&line, &room, file) > 0 ? cJSON_Parse(line) : NULL;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(header, "album"));
    bool found = text && strlen(text) == CLOAK_ALBUM_ID_SIZE - 1;
    if (found)
        memcpy(id, text, CLOAK_ALBUM_ID_SIZE);
    cJSON_Delete(header);
    free(line);
    if (file)
        fclose(file);
    return found ? CLOAK_OK
                 : cloak_fail(error, CLOAK_E_USAGE, "%s is not an album's manifest", path);
}

static bool answers(const char *url) {
    cloak_redis *redis = NULL;
    redisReply *reply = NULL;
    const char *ping[] = {"PING"};
    bool up = cloak_redis_open(url, 2, &redis, NULL) == CLOAK_OK &&
              cloak_redis_call(redis, 1, ping, NULL, &reply, NULL) == CLOAK_OK;
    if (up)
        freeReplyObject(reply);
    cloak_redis_close(redis);
    return up;
}

static cloak_status open_private(
    const char *state, cloak_album_target *target, cloak_error *error) {
    char *folder = cloak_path_join(state, "redis"), *place = cloak_path_join(folder, "url");
    void *url = NULL; /* where a run's Redis was last */
    size_t length = 0;
    cloak_status status = CLOAK_OK;
    if (cloak_file_read(place, 4096, &url, &length, NULL) != CLOAK_OK || !answers(url)) {
        status = cloak_state_lock(state, 5, &target->lock, error);
        if (status == CLOAK_OK)
            status = cloak_private_redis_start(folder, &target->redis, error);
    }
    if (status == CLOAK_OK)
        status = cloak_queue_open(
            target->redis.url ? target->redis.url : url, "run", 10, &target->queue, error);
    free(folder);
    free(place);
    free(url);
    return status;
}

cloak_status cloak_album_target_open(const char *argument, const cloak_queue_options *options,
    cloak_album_target *target, cloak_error *error) {
    uuid_t parsed;
    *target = (cloak_album_target){.lock = -1};
    if (uuid_parse(argument, parsed) == 0) {
        uuid_unparse_lower(parsed, target->id);
        return cloak_queue_open(options->redis, options->queue, 10, &target->queue, error);
    }
    cloak_store *out = NULL;
    char *manifest = NULL;
    cloak_status status = cloak_state_find(argument, &out, &manifest, error);
    cloak_store_close(out);
    if (status != CLOAK_OK)
        return status;
    char *state = cloak_path_folder(manifest), *redis = cloak_path_join(state, "redis");
    if (access(manifest, R_OK) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s is neither an album id nor an output folder: there is no %s", argument, manifest);
    else
        status = id_of_manifest(manifest, target->id, error);
    if (status == CLOAK_OK)
        status = access(redis, R_OK) == 0
                     ? open_private(state, target, error)
                     : cloak_queue_open(
                           options->redis, options->queue, 10, &target->queue, error);
    free(state);
    free(manifest);
    free(redis);
    if (status != CLOAK_OK)
        cloak_album_target_close(target);
    return status;
}

void cloak_album_target_close(cloak_album_target *target) {
    cloak_queue_close(target->queue);
    cloak_private_redis_stop(&target->redis);
    if (target->lock >= 0)
        close(target->lock);
    *target = (cloak_album_target){.lock = -1};
}
