/* The durable list of an album's photos, beside its destination.
 *
 * A text file that only grows. First line: a JSON object with the album's id, source, destination
 * and settings. Then one line per file, keys percent-encoded:
 *   p INDEX SIZE MTIME_NS KEY     a photo, its place in the album
 *   s KEY<tab>REASON              a file that is skipped
 *   e COUNT                       a listing ended: COUNT photos so far
 * A line that a crash cut short is cut off when the file is opened again.
 */
#ifndef CLOAK_DISPATCHER_MANIFEST_H
#define CLOAK_DISPATCHER_MANIFEST_H

#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/queue/queue.h"

typedef struct {
    char *key; /* raw bytes */
    uint64_t size;
    int64_t modified_ns;
} cloak_manifest_photo;

typedef struct {
    char *path;
    char id[CLOAK_ALBUM_ID_SIZE];
    char *source, *destination, *settings; /* settings: JSON */
    cloak_manifest_photo *photos; /* by index */
    size_t count, room;
    uint32_t *buckets; /* hash of keys → index + 1; the newest photo of a key */
    size_t bucket_count;
    char **skipped; /* "key: reason" of the last listing */
    size_t skipped_count;
    FILE *file;
    bool listed;    /* its last line ends a listing: it is whole */
    bool fresh;     /* the manifest was created by this call */
    bool read_only; /* by cloak_manifest_read */
} cloak_manifest;

/* Opens the manifest at `path`, or creates it with a new album id. An existing one of another
 * source, destination or other settings is CLOAK_E_USAGE, with advice. */
CLOAK_MUST_CHECK cloak_status cloak_manifest_open(const char *path, const char *source,
    const char *destination, const char *settings, cloak_manifest *manifest, cloak_error *error);

/* Opens an existing manifest to look at it: nothing is written or cut off, so that this may happen
 * while another process appends. Source, destination and settings may be NULL: they are then what the manifest
 * says, and are in `*manifest`. */
CLOAK_MUST_CHECK cloak_status cloak_manifest_read(const char *path, const char *source,
    const char *destination, const char *settings, cloak_manifest *manifest, cloak_error *error);

/* The newest photo of this key, or NULL. */
const cloak_manifest_photo *cloak_manifest_find(const cloak_manifest *manifest, const char *key);

/* Appends a photo or a skipped file. Written, not yet synced. */
CLOAK_MUST_CHECK cloak_status cloak_manifest_add(cloak_manifest *manifest, const char *key,
    uint64_t size, int64_t modified_ns, cloak_error *error);
CLOAK_MUST_CHECK cloak_status cloak_manifest_skip(
    cloak_manifest *manifest, const char *key, const char *reason, cloak_error *error);

/* Ends a listing: everything is on disk when it returns. */
CLOAK_MUST_CHECK cloak_status cloak_manifest_sync(cloak_manifest *manifest, cloak_error *error);

/* Closes the file and frees everything. Zeroed manifests are fine. */
void cloak_manifest_close(cloak_manifest *manifest);

#endif
