/* The durable list of an album's photos; see the header. */
#include "dispatcher/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"

enum { MAX_LINE = 1 << 16 };

static cloak_status io_error(const cloak_manifest *manifest, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_TRANSIENT, "cannot write the manifest %s: %s", manifest->path,
        strerror(errno));
}

/* --- keys by hash -------------------------------------------------------------------------- */

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *key) {
    uint64_t h = 0xcbf29ce484222325u;
    for (const unsigned char *p = (const unsigned char *)key; *p; p++)
        h = (h ^ *p) * 0x100000001b3u;
    return h;
}

static uint32_t *bucket(const cloak_manifest *manifest, const char *key) {
    size_t at = (size_t)hash(key) & (manifest->bucket_count - 1);
    while (manifest->buckets[at] &&
           strcmp(manifest->photos[manifest->buckets[at] - 1].key, key) != 0)
        at = (at + 1) & (manifest->bucket_count - 1);
    return &manifest->buckets[at];
}

static void grow(cloak_manifest *manifest) {
    if (manifest->count == manifest->room) {
        manifest->room = manifest->room ? manifest->room * 2 : 1024;
        manifest->photos =
            cloak_realloc(manifest->photos, manifest->room * sizeof *manifest->photos);
    }
    if (manifest->bucket_count >= 2 * (manifest->count + 1))
        return;
    free(manifest->buckets);
    manifest->bucket_count = manifest->bucket_count ? manifest->bucket_count * 2 : 4096;
    manifest->buckets = cloak_alloc(manifest->bucket_count * sizeof *manifest->buckets);
    for (size_t i = 0; i < manifest->count; i++)
        *bucket(manifest, manifest->photos[i].key) = (uint32_t)i + 1;
}

static void remember(cloak_manifest *manifest, char *key, uint64_t size, int64_t modified_ns) {
    grow(manifest);
    uint32_t *slot = bucket(manifest, key);
    manifest->photos[manifest->count++] = (cloak_manifest_photo){key, size, modified_ns};
    *slot = (uint32_t)manifest->count; /* a changed file's newer entry takes its key's place */
}

const cloak_manifest_photo *cloak_manifest_find(const cloak_manifest *manifest, const char *key) {
    uint32_t at = manifest->bucket_count ? *bucket(manifest, key) : 0;
    return at ? &manifest->photos[at - 1] : NULL;
}

/* --- the header line ----------------------------------------------------------------------- */

static cloak_status write_header(cloak_manifest *manifest, cloak_error *error) {
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, manifest->id);
    char *source = cloak_text_encode(manifest->source);
    char *destination = cloak_text_encode(manifest->destination);
    cJSON *header = cJSON_CreateObject();
    cJSON_AddStringToObject(header, "format", "cloakfleet.manifest/1");
    cJSON_AddStringToObject(header, "album", manifest->id);
    cJSON_AddStringToObject(header, "source", source);
    cJSON_AddStringToObject(header, "destination", destination);
    cJSON_AddRawToObject(header, "settings", manifest->settings);
    char *text = cJSON_PrintUnformatted(header);
    cloak_status status = CLOAK_OK;
    if (!text || fprintf(manifest->file, "%s\n", text) < 0)
        status = io_error(manifest, error);
    cJSON_Delete(header);
    free(text);
    free(source);
    free(destination);
    return status;
}

/* Compares one field of the header, which is percent-encoded there when `encoded`, to `*want`, or takes it over
 * where that is NULL. */
static bool same(const cJSON *header, const char *name, char **want, bool encoded) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(header, name);
    char *have = encoded ? (cJSON_IsString(item) ? cloak_text_decode(item->valuestring) : NULL)
                         : cJSON_PrintUnformatted(item);
    bool equal = have && (!*want || strcmp(have, *want) == 0);
    if (equal && !*want)
        *want = have;
    else
        free(have);
    return equal;
}

static cloak_status check_header(cloak_manifest *manifest, const char *line, cloak_error *error) {
    cJSON *header = cJSON_Parse(line);
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItem(header, "format"));
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(header, "album"));
    const char *what = NULL;
    cloak_status status = CLOAK_OK;
    if (!format || strcmp(format, "cloakfleet.manifest/1") != 0 || !id ||
        strlen(id) != CLOAK_ALBUM_ID_SIZE - 1)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s is not a manifest of this version: move it away to start afresh", manifest->path);
    else if (!same(header, "source", &manifest->source, true))
        what = "album";
    else if (!same(header, "destination", &manifest->destination, true))
        what = "destination";
    else if (!same(header, "settings", &manifest->settings, false))
        what = "settings";
    if (what)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s holds the results of another %s (%s): choose another output folder, or remove both",
            manifest->destination, what, manifest->path);
    if (status == CLOAK_OK)
        memcpy(manifest->id, id, sizeof manifest->id);
    cJSON_Delete(header);
    return status;
}

/* --- reading ------------------------------------------------------------------------------- */

/* Takes one whole line; false when it makes no sense. */
static bool take_line(cloak_manifest *manifest, const char *line) {
    uint64_t index, size;
    int64_t modified;
    int at = 0;
    manifest->listed = line[0] == 'e';
    if (line[0] == 's' || line[0] == 'e')
        return true; /* a listing repeats what it skips */
    /* one space before the key, and any more are the key's own */
    if (sscanf(line, "p %" SCNu64 " %" SCNu64 " %" SCNd64 "%n", &index, &size, &modified, &at) !=
            3 ||
        line[at] != ' ' || index != manifest->count)
        return false;
    char *key = cloak_text_decode(line + at + 1);
    if (!key || !*key) {
        free(key);
        return false;
    }
    remember(manifest, key, size, modified);
    return true;
}

/* Reads all whole lines and cuts off what follows the last one. */
static cloak_status read_back(cloak_manifest *manifest, cloak_error *error) {
    char *line = NULL;
    size_t room = 0;
    long whole = 0, number = 0;
    cloak_status status = CLOAK_OK;
    ssize_t n;
    while (status == CLOAK_OK && (n = getline(&line, &room, manifest->file)) > 0) {
        if (line[n - 1] != '\n')
            break;
        line[n - 1] = 0;
        number++;
        if (number == 1)
            status = check_header(manifest, line, error);
        else if (n > MAX_LINE || !take_line(manifest, line))
            status = cloak_fail(error, CLOAK_E_USAGE,
                "%s:%ld cannot be read: move the file away to start afresh", manifest->path,
                number);
        whole = ftell(manifest->file);
    }
    free(line);
    if (status == CLOAK_OK && ferror(manifest->file))
        return io_error(manifest, error);
    if (status == CLOAK_OK && manifest->read_only)
        return number ? CLOAK_OK
                      : cloak_fail(error, CLOAK_E_USAGE, "%s is empty", manifest->path);
    if (status == CLOAK_OK && (ftruncate(fileno(manifest->file), whole) != 0 ||
                                  fseek(manifest->file, whole, SEEK_SET) != 0))
        return io_error(manifest, error);
    manifest->fresh = number == 0;
    return status;
}

static cloak_status open_mode(const char *path, const char *mode, const char *source,
    const char *destination, const char *settings, cloak_manifest *manifest,
    cloak_error *error) {
    cloak_status status = CLOAK_OK;
    *manifest = (cloak_manifest){.path = cloak_strdup(path),
        .source = cloak_strdup(source),
        .destination = cloak_strdup(destination),
        .settings = cloak_strdup(settings),
        .read_only = mode[0] == 'r'};
    manifest->file = fopen(path, mode);
    if (manifest->file)
        rewind(manifest->file);
    else
        status = cloak_fail(
            error, CLOAK_E_USAGE, "cannot open the manifest %s: %s", path, strerror(errno));
    if (status == CLOAK_OK)
        status = read_back(manifest, error);
    if (status == CLOAK_OK && manifest->fresh)
        status = write_header(manifest, error);
    if (status != CLOAK_OK)
        cloak_manifest_close(manifest);
    return status;
}

cloak_status cloak_manifest_open(const char *path, const char *source, const char *destination,
    const char *settings, cloak_manifest *manifest, cloak_error *error) {
    char *folder = cloak_path_folder(path);
    *manifest = (cloak_manifest){0};
    cloak_status status = cloak_file_mkdirs(folder, error);
    free(folder);
    return status == CLOAK_OK
               ? open_mode(path, "a+e", source, destination, settings, manifest, error)
               : status;
}

cloak_status cloak_manifest_read(const char *path, const char *source, const char *destination,
    const char *settings, cloak_manifest *manifest, cloak_error *error) {
    return open_mode(path, "re", source, destination, settings, manifest, error);
}

/* --- writing ------------------------------------------------------------------------------- */

cloak_status cloak_manifest_add(cloak_manifest *manifest, const char *key, uint64_t size,
    int64_t modified_ns, cloak_error *error) {
    char *text = cloak_text_encode(key);
    int n = fprintf(manifest->file, "p %zu %" PRIu64 " %" PRId64 " %s\n", manifest->count, size,
        modified_ns, text);
    free(text);
    if (n < 0)
        return io_error(manifest, error);
    remember(manifest, cloak_strdup(key), size, modified_ns);
    return CLOAK_OK;
}

cloak_status cloak_manifest_skip(
    cloak_manifest *manifest, const char *key, const char *reason, cloak_error *error) {
    char *text = cloak_text_encode(key);
    int n = fprintf(manifest->file, "s %s\t%s\n", text, reason);
    manifest->skipped = cloak_realloc(
        manifest->skipped, (manifest->skipped_count + 1) * sizeof *manifest->skipped);
    manifest->skipped[manifest->skipped_count++] = cloak_format("%s: %s", text, reason);
    free(text);
    return n < 0 ? io_error(manifest, error) : CLOAK_OK;
}

cloak_status cloak_manifest_sync(cloak_manifest *manifest, cloak_error *error) {
    if (fprintf(manifest->file, "e %zu\n", manifest->count) < 0 ||
        fflush(manifest->file) != 0 || fsync(fileno(manifest->file)) != 0)
        return io_error(manifest, error);
    return CLOAK_OK;
}

void cloak_manifest_close(cloak_manifest *manifest) {
    if (manifest->file)
        fclose(manifest->file);
    for (size_t i = 0; i < manifest->count; i++)
        free(manifest->photos[i].key);
    for (size_t i = 0; i < manifest->skipped_count; i++)
        free(manifest->skipped[i]);
    free(manifest->photos);
    free(manifest->buckets);
    free(manifest->skipped);
    free(manifest->path);
    free(manifest->source);
    free(manifest->destination);
    free(manifest->settings);
    *manifest = (cloak_manifest){0};
}
