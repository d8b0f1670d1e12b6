/* Where photos come from and go to: one interface, one backend per kind of place.
 *
 * A store is opened from a URL: a plain path or "file:///…" is a folder (with "?links=follow" behind it one of which
 * links are followed wherever they lead; a folder that is so named writes %3F), "s3://bucket/folder" a part of a bucket
 * (s3/place.h says where that is, s3/credentials.h with whose keys). Keys are relative paths in raw bytes without a
 * leading '/', without empty, "." or ".." parts. A store is used by one thread at a time; different stores by different
 * threads.
 */
#ifndef CLOAK_STORE_H
#define CLOAK_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

typedef struct cloak_store cloak_store;

enum { CLOAK_STORE_VERSION_SIZE = 128 };

typedef struct {
    uint64_t size;      /* bytes */
    int64_t modified_ns; /* nanoseconds since the epoch */
    char version[CLOAK_STORE_VERSION_SIZE]; /* what a bucket calls this very content (its ETag); "" in listings and folders */
} cloak_store_info;

/* Called for each object. `key` and `info` are borrowed for the call. `problem` is NULL, or says
 * why this entry cannot be a photo (a socket, an unreadable folder, a link out of the store);
 * `info` is then zero. Return other than CLOAK_OK to stop; the listing returns that status and
 * leaves the error to the visitor. */
typedef cloak_status (*cloak_store_visit)(
    void *context, const char *key, const cloak_store_info *info, const char *problem);

/* Opens the store at `url`. Schemes of other kinds are CLOAK_E_USAGE and named. A folder need not exist until it is
 * read; `put` creates it. Nothing is asked of a server yet. `*store` is closed with cloak_store_close. */
CLOAK_MUST_CHECK cloak_status cloak_store_open(
    const char *url, cloak_store **store, cloak_error *error);

/* Frees the store. NULL is fine. */
void cloak_store_close(cloak_store *store);

/* A key whose path leads out of the store through a symbolic link, or that S3 cannot hold (no UTF-8, more than 1,024
 * bytes with its prefix), is CLOAK_E_PERMANENT for every call below; `put` replaces a link in the object's own
 * place. */

/* Reads a whole object of at most `limit` bytes into a new block (free()). A missing, unreadable
 * or too large object is CLOAK_E_PERMANENT, all else CLOAK_E_TRANSIENT. */
CLOAK_MUST_CHECK cloak_status cloak_store_get(cloak_store *store, const char *key, size_t limit,
    void **bytes, size_t *length, cloak_error *error);

/* Writes a whole object: afterwards either the old or the whole new object is there, whatever
 * happens in between. Errors that may pass (no space, I/O) are CLOAK_E_TRANSIENT. */
CLOAK_MUST_CHECK cloak_status cloak_store_put(
    cloak_store *store, const char *key, const void *bytes, size_t length, cloak_error *error);

/* The same, with the owner, mode and time of the object of that name in `source` where both are folders, as far as
 * our rights and the file system allow. */
CLOAK_MUST_CHECK cloak_status cloak_store_put_like(cloak_store *store, const cloak_store *source, const char *key,
    const void *bytes, size_t length, cloak_error *error);

/* As put for a bucket, if `version` is still what is there ("" for nothing): what another has put since is not
 * replaced, CLOAK_E_FENCED. What is there is looked at first, and the server asked to put on that condition
 * (If-None-Match, If-Match); one that cannot leaves a gap of one request between the two. An object that is there
 * already with these bytes is success, since an answer that got lost leaves one. `version` is then the new one, or ""
 * where the server did not say. A folder is CLOAK_E_USAGE: what needs this has a lock there. */
CLOAK_MUST_CHECK cloak_status cloak_store_put_if(cloak_store *store, const char *key, const void *bytes, size_t length,
    char version[CLOAK_STORE_VERSION_SIZE], cloak_error *error);

/* Size, time and version of an object; CLOAK_E_PERMANENT when it is not there. */
CLOAK_MUST_CHECK cloak_status cloak_store_stat(
    cloak_store *store, const char *key, cloak_store_info *info, cloak_error *error);

/* Visits every object below the store, folders in byte order of their names (strcmp), buckets in the order of the
 * server, streaming: at most 262,144 names of each folder on the way down are in memory, or one page of 1,000 keys.
 * Symbolic links to files are followed when they stay inside the store, links to folders never (but see
 * cloak_store_follow_links); both refusals are reported as problems, and so are folders below 100 others. What vanishes
 * meanwhile is passed over. Files that cloak_file_write has left unfinished (".cloak-tmp-*") are not visited. */
CLOAK_MUST_CHECK cloak_status cloak_store_list(
    cloak_store *store, cloak_store_visit visit, void *context, cloak_error *error);

/* Removes an object. One that is not there is fine. */
CLOAK_MUST_CHECK cloak_status cloak_store_remove(
    cloak_store *store, const char *key, cloak_error *error);

/* Asked, often, while a call waits for a server: true ends the call as CLOAK_E_INTERRUPTED. */
typedef bool (*cloak_store_stop)(void *context);
void cloak_store_set_stop(cloak_store *store, cloak_store_stop stop, void *context);
void cloak_store_share_stop(cloak_store *store, const cloak_store *other); /* the same as another's */

/* Removes what processes that were killed while they wrote have left behind and nobody sees:
 * temporary files, uploads in parts that were not completed. Only what is older than `seconds`, which is 0 only for
 * whoever knows that nobody writes there. Uploads bear no mark of ours: those of keys that `ours` does not know
 * stay. Temporary files do, and those that cannot be looked at are passed over. */
typedef bool (*cloak_store_ours)(void *context, const char *key);
CLOAK_MUST_CHECK cloak_status cloak_store_sweep(cloak_store *store, double seconds,
    cloak_store_ours ours, void *context, cloak_error *error);

/* False when the place itself cannot be read from here (a disk that is not mounted), so that an object
 * that seems to be missing says nothing. */
bool cloak_store_reachable(const cloak_store *store);

/* How many bytes a key may have there: what a server takes, less the folder in its bucket. Of a folder of this machine,
 * whose file system has limits of its own, SIZE_MAX. */
size_t cloak_store_longest_key(const cloak_store *store);

/* From now on links may lead out of the folder, and links to folders are entered when listing: each folder that links
 * lead to through one of them (it may be visited once more as the folder it is), none that the link or the store lies
 * in, none with `apart` in it (an absolute path; NULL for nowhere), and nothing in `apart`. An object that is not there
 * is then CLOAK_E_TRANSIENT: what a link leads to may be there elsewhere. Writing goes on as before.
 * cloak_store_address then tells that links are followed, and whoever opens that follows them. A bucket is
 * CLOAK_E_USAGE. */
CLOAK_MUST_CHECK cloak_status cloak_store_follow_links(cloak_store *store, const char *apart, cloak_error *error);

/* Whether they are followed. */
bool cloak_store_follows(const cloak_store *store);

/* The place as people read it, and as cloak_store_open takes it: the absolute path of a folder, or "s3://bucket/folder"
 * without a slash at its end. Borrowed, lives with the store. */
const char *cloak_store_place(const cloak_store *store);

/* The place and the server it is at. Borrowed, lives with the store. */
const char *cloak_store_address(const cloak_store *store);

/* True when the store is a folder of this machine. */
bool cloak_store_is_folder(const cloak_store *store);

/* Bytes that are free where a folder lies. False, with `bytes` unaltered, for another store, or when the system does
 * not say. */
bool cloak_store_free_bytes(const cloak_store *store, uint64_t *bytes);

/* True when `key` has the form described above; checked by every call that takes a key. */
bool cloak_store_key_ok(const char *key);

#endif
