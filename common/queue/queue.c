/* The job queue: opening it, and the essay on why it loses nothing and counts everything once.
 *
 * DESIGN
 *
 * Keys. All begin with "cloak:{NAME}:". The braces are Redis Cluster's hash tag: every key of a queue lives in one
 * slot, so one script may touch any of them. Scripts declare the keys they know; those that follow from data
 * (`album:ID`, `dead:ID`, `aside:ID`, `wait:CLASS:TENANT`), `tally` and `paused:tenants` share the tag.
 *
 *   album:ID        hash    what the album is, its flags, and its seven counters
 *   seen:ID done:ID bitmap  photos ever submitted; photos done
 *   sums:ID         hash    the integer sums that finish adds
 *   dead:ID         hash    index -> dead letter
 *   albums          zset    id by creation time
 *   wait:CLASS:TEN  list    entries (entry.c) that wait; the head is next
 *   single          list    entries with a loss behind them; one makes a batch
 *   delayed         zset    entries by the ms at which they wait again
 *   leased          hash    job id -> token and entry
 *   leases          zset    job id by the ms at which the lease runs out
 *   active:CLASS    zset    tenants with a list, by virtual time
 *   passed          string  claims in a row that interactive photos filled while bulk ones waited, up to 9
 *   vtime:CLASS     hash    virtual times of tenants without one, while the class is busy
 *   weights         hash    tenant -> share, 1 when missing: cloak_queue_set_share
 *   backlog         string  sum of the albums' `waiting`
 *   aside:ID        list    entries of a paused album that a claim came upon
 *   paused:albums   set     ids of paused albums
 *   paused          string  exists while the whole queue is paused
 *   paused:tenants  set     tenants whose lists are kept out of `active`
 *   resuming        set     albums whose entries come back from `aside`
 *   settled, settled:old    hashes: what became of tokens (scripts/settled.lua)
 *   log             stream  records of finished photos, about the last 100,000
 *   workers, workers:about  heartbeats
 *   tally           hash    photos lost, retried and dead since the queue began
 *
 * Invariants
 *
 * 1. An index whose bit in `seen` is set is in exactly one state, and has exactly one entry in
 *    the key of that state: a list, `single` or `aside` (waiting), `leased`, `delayed`, `dead`, or none
 *    (done, cancelled). Why: submit makes an entry only when SETBIT finds the bit clear; every
 *    other script removes the entry from where it found it before it puts it elsewhere; and
 *    scripts run one at a time. After a cancel, entries may lie about whose photos are counted
 *    as cancelled; the album's flag, which is never cleared, tells whoever finds one to drop it.
 * 2. total = waiting + leased + delayed + done + dead + cancelled = BITCOUNT(seen), and done =
 *    BITCOUNT(done). Why: whoever moves an entry moves the counters in the same script. One
 *    script is one change to Redis: no other client, no replica and no append-only file sees
 *    half of it (effects are wrapped in MULTI/EXEC, and a cut-off tail is dropped as a whole on
 *    loading). Redis refuses a script for lack of memory, a full disk or as a replica only at
 *    its first write, so none stops half way; those that drain the queue (claim, finish, fail,
 *    release, cancel) begin with a deletion and so pass even when memory is out. The one command
 *    of theirs that could fail on data, the addition to a sum, runs under pcall.
 * 3. Sums count every done photo once. Why: finish adds them in the script that clears the
 *    lease, and does both only for the token that holds the lease.
 * 4. Who holds a lease is alone with the photo as far as the queue is concerned. The token is
 *    given by the client: worker, 64 random bits drawn by the handle, sequence. It is never a
 *    counter in Redis, which a failover could take back and hand out twice. A worker that was
 *    thought dead and comes back cannot finish, fail or renew: its token is not in `leased` any
 *    more. It may still write its output file; that is harmless since output is put atomically and,
 *    of like workers, deterministic (for unlike ones see worker/keeper.c; tests/model).
 * 5. Nothing waits for ever behind a dead client: a lease ends by server time, whatever happens
 *    to its holder. Expiry is carried out by claims: a queue that nobody claims from does not
 *    move, and does not need to.
 *
 * Failures and losses. A failure is reported by the worker, which lives: the photo goes to
 * `delayed` and is dead once it failed more often than the class of its last error allows. A
 * loss is a lease that ran out: any photo of the batch may have killed the worker. So each comes
 * back alone, after a second per loss (counted from the expiry: with a lease of 30 s and claims
 * every second, photos of a dead worker are back within 33 s), and is dead after the third. The
 * batch-mates of a poisonous photo thus lose some speed and nothing else.
 *
 * Fair share. Between tenants of a class: start-time fair queueing (Goyal, Vin and Cheng 1996).
 * A tenant's virtual time grows by cost / weight with each photo claimed, and the smallest is
 * served next. Who comes back joins at the larger of his own and the smallest time, so that
 * idling earns nothing; when a class runs empty all begin anew at 0. Within a tenant: first in,
 * first out, except that what comes back (released, delayed) goes ahead, so that albums finish.
 * A release refunds the tenant, a loss does not charge it again. Between classes:
 * interactive before bulk, but when interactive photos have filled nine claims in a row while bulk ones
 * waited, the next is bulk's: it goes on while others submit thousands of photos as interactive.
 * Photos in `single` go before both: they are few and old.
 *
 * Bounds. No script walks anything that grows without bound: a claim expires at most 256 leases,
 * promotes at most 256 delayed photos, brings at most 256 back from a pause and drops or sets aside at most
 * 2,000 entries; a finish has at most 256 jobs; retry and recover
 * go by HSCAN steps; a submission has at most 1,000 photos; unpack() never gets more than 1,024
 * values (Lua's stack takes 8,000). BITCOUNT of a million photos reads 125 kB.
 *
 * What breaks it
 *
 * - A failover loses what the old primary had not yet replicated; a crash loses up to a second
 *   with appendfsync everysec, nothing with always, everything since the last snapshot without
 *   an append-only file. The queue then goes back to an earlier state that was consistent:
 *   photos finished in the gap are leased or waiting again; their next worker recognises
 *   them by their receipts; photos submitted in the gap are gone until the manifest is submitted again, which
 *   adds only those (cloak audit --repair does); an album created in the gap must be created again; a cancel in
 *   the gap must be repeated. The books balance throughout. Settled tokens of the gap are forgotten: a repeated
 *   finish is then fenced.
 * - The server's clock. A step forward ends leases early: losses that nobody deserved, and
 *   fenced workers. A step back makes leases and delays last that much longer. Run NTP in
 *   slewing mode.
 * - A command that a stalled server received before the client gave up may run after the
 *   client's next command came over a new connection. For a claim this leaves leases that only
 *   run out.
 * - Two primaries (a partition without min-replicas-to-write) both hand out photos; the books of
 *   the losing side vanish when it joins again.
 * - Eviction, FLUSHDB, keys edited by hand, another program in the same prefix.
 */
#include "common/queue/queue.h"

#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/queue/internal.h"

static bool is_word(const char *word, size_t most) {
    size_t length =
        strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return length >= 1 && length <= most && !word[length];
}

cloak_status cloak_word_check(const char *what, const char *word, size_t most, cloak_error *error) {
    if (word && is_word(word, most))
        return CLOAK_OK;
    return cloak_fail(error, CLOAK_E_USAGE,
        "bad %s \"%.80s\": it must be 1 to %zu characters of A-Z a-z 0-9 _ . -", what,
        word ? word : "", most);
}

cloak_status cloak_album_check(const char *id, cloak_error *error) {
    uuid_t parsed;
    if (id && strlen(id) == CLOAK_ALBUM_ID_SIZE - 1 && uuid_parse(id, parsed) == 0)
        return CLOAK_OK;
    return cloak_fail(
        error, CLOAK_E_USAGE, "bad album id \"%.80s\": it must be a UUID", id ? id : "");
}

cloak_status cloak_album_unknown(const cloak_queue *queue, const char *id, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_USAGE,
        "album %s is unknown at %s (keys %s*): is this the right server and queue?", id,
        cloak_queue_place(queue), queue->prefix);
}

cloak_status cloak_reply_unexpected(
    const cloak_queue *queue, const char *script, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_QUEUE,
        "%s: unexpected reply to %s: were the keys %s* written by another program or version?",
        cloak_queue_place(queue), script, queue->prefix);
}

/* Connects, which checks the server, and every one that it connects to later: see cloak_redis_demand. */
static cloak_status meet(cloak_redis *redis, const char *name, cloak_error *error) {
    char *key = cloak_format("cloak:{%s}:", name);
    redisReply *reply = NULL;
    cloak_redis_demand(redis, key);
    cloak_status status = cloak_redis_call(redis, 2, (const char *[]){"EXISTS", key}, NULL, &reply, error);
    free(key);
    if (reply)
        freeReplyObject(reply);
    return status;
}

cloak_status cloak_queue_open(
    const char *url, const char *name, double timeout, cloak_queue **queue, cloak_error *error) {
    static const char *const words[CLOAK_KEY_COUNT] = {
#define X(key, word) [key] = word,
        CLOAK_KEY_TABLE(X)
#undef X
    };
    cloak_redis *redis = NULL;
    cloak_status status = cloak_word_check("queue name", name, 64, error);
    if (!status)
        status = cloak_redis_open(url, timeout, &redis, error);
    if (!status)
        status = meet(redis, name, error);
    if (status) {
        cloak_redis_close(redis);
        return status;
    }
    cloak_queue *made = cloak_alloc(sizeof *made);
    made->redis = redis;
    made->prefix = cloak_format("cloak:{%s}:", name);
    for (int i = 0; i < CLOAK_KEY_COUNT; i++)
        made->keys[i] = cloak_format("%s%s", made->prefix, words[i]);
    *queue = made;
    return CLOAK_OK;
}

void cloak_queue_close(cloak_queue *queue) {
    if (!queue)
        return;
    cloak_redis_close(queue->redis);
    for (int i = 0; i < CLOAK_KEY_COUNT; i++)
        free(queue->keys[i]);
    free(queue->prefix);
    free(queue);
}

const char *cloak_queue_place(const cloak_queue *queue) {
    return cloak_redis_place(queue->redis);
}
