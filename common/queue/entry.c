/* Jobs as the queue stores them: one short string each, since millions of them may wait.
 *
 *   entry        "ALBUM INDEX FAILURES LOSSES COST_MS SUBMITTED_MS KEY"
 *   dead letter  "CLASS LENGTH TEXTENTRY", LENGTH being that of TEXT
 *
 * Fields are separated by one space. KEY comes last because it is raw bytes and may hold spaces
 * and newlines. The scripts write them (scripts/place.lua); here they are read.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

/* Reads digits and one space at `*at`; -1 when there are none or the number is above `most`. */
static int64_t number(const char **at, const char *end, int64_t most) {
    const char *p = *at;
    int64_t n = 0;
    if (p == end || *p < '0' || *p > '9')
        return -1;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (n > (most - (*p - '0')) / 10)
            return -1;
        n = n * 10 + (*p - '0');
    }
    if (p == end || *p != ' ')
        return -1;
    *at = p + 1;
    return n;
}

bool cloak_entry_parse(const char *bytes, size_t length, int64_t now, cloak_job *job) {
    const char *at = bytes, *end = bytes + length;
    const char *space = memchr(bytes, ' ', length);
    if (!space || space - bytes != CLOAK_ALBUM_ID_SIZE - 1)
        return false;
    at = space + 1;
    int64_t index = number(&at, end, INT32_MAX);
    int64_t failures = index < 0 ? -1 : number(&at, end, INT32_MAX);
    int64_t losses = failures < 0 ? -1 : number(&at, end, INT32_MAX);
    int64_t cost = losses < 0 ? -1 : number(&at, end, UINT32_MAX);
    int64_t submitted = cost < 0 ? -1 : number(&at, end, INT64_MAX);
    if (submitted < 0 || at == end || memchr(at, 0, (size_t)(end - at)))
        return false;
    memcpy(job->album, bytes, CLOAK_ALBUM_ID_SIZE - 1);
    job->album[CLOAK_ALBUM_ID_SIZE - 1] = 0;
    job->index = (uint32_t)index;
    job->failures = (int)failures;
    job->losses = (int)losses;
    job->cost_ms = (uint32_t)cost;
    job->waited_ms = now > submitted ? now - submitted : 0; /* the server's clock may step back */
    job->key = cloak_alloc((size_t)(end - at) + 1);
    memcpy(job->key, at, (size_t)(end - at));
    return true;
}

bool cloak_entry_parse_dead(
    const char *bytes, size_t length, cloak_job *job, char **word, char **text) {
    const char *end = bytes + length, *space = memchr(bytes, ' ', length);
    if (!space)
        return false;
    const char *at = space + 1;
    int64_t size = number(&at, end, INT32_MAX);
    if (size < 0 || size > end - at)
        return false;
    if (!cloak_entry_parse(at + size, (size_t)(end - at - size), 0, job))
        return false;
    *word = cloak_format("%.*s", (int)(space - bytes), bytes);
    *text = cloak_format("%.*s", (int)size, at);
    return true;
}
