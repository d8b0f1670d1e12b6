/* What Redis's error replies mean for an operator: one table from code to advice. */
#include <ctype.h>
#include <string.h>

#include "common/queue/internal.h"

static const struct {
    const char *code;
    bool retryable; /* may pass without anyone changing anything */
    bool reconnect; /* a new connection may lead to a better server */
    const char *advice;
} table[] = {
    {"NOAUTH", false, false,
        "the server wants a password: put it into the URL, redis://user:password@host"},
    {"WRONGPASS", false, false, "the server refuses this user and password: correct the URL"},
    {"NOPERM", false, false,
        "this user may not do that: its ACL needs the commands of the queue on its keys "
        "(~cloak:*)"},
    {"READONLY", true, true,
        "this is a read-only replica: point the URL at the primary, or wait for the failover"},
    {"OOM", true, false,
        "the server has used up its maxmemory: raise it, or let the workers drain the queue"},
    {"LOADING", true, true, "the server is reading its data from disk: try again shortly"},
    {"MASTERDOWN", true, true,
        "this is a replica that lost its primary: point the URL at the primary, or wait for the "
        "failover"},
    {"MISCONF", true, false,
        "the server cannot write to its disk and therefore takes no writes: free disk space, see "
        "its log"},
    {"NOREPLICAS", true, true,
        "too few replicas are in touch (min-replicas-to-write): bring them back"},
    {"BUSY", true, false, "a script occupies the server: wait, see SLOWLOG, or use SCRIPT KILL"},
    {"CLUSTERDOWN", true, true, "the cluster is down: see CLUSTER INFO"},
    {"MOVED", true, true, "the cluster's nodes send each other for the queue: see CLUSTER NODES"},
    {"ASK", true, false, "the cluster is moving the queue to another node: try again shortly"},
    {"TRYAGAIN", true, false, "the cluster is moving the queue to another node: try again shortly"},
    {"UNKILLABLE", true, false, "a script occupies the server: wait"},
    {"WRONGTYPE", false, false,
        "a key of the queue holds something else: was it written by another program?"},
    {"ERR invalid password", false, false, "the server refuses this password: correct the URL"},
    {"ERR AUTH", false, false,
        "the URL has a password but the server has none: remove one or set the other"},
    {"ERR Client sent AUTH", false, false,
        "the URL has a password but the server has none: remove one or set the other"},
    {"ERR DB index", false, false, "the server has no database of that number: correct the URL"},
    {"ERR SELECT", false, false, "a cluster has database 0 only: correct the URL"},
    {"ERR max number of clients", true, true,
        "the server has too many connections: raise its maxclients"},
};
enum { TABLE_SIZE = sizeof table / sizeof table[0] };

/* The reply starts with its code; before Redis 7 an error inside a script carries the code of the
 * command further on, after " -". */
static bool starts_with(const char *text, const char *code) {
    size_t length = strlen(code);
    return strncmp(text, code, length) == 0 && !isalnum((unsigned char)text[length]);
}

static bool has_code(const char *text, const char *code) {
    if (starts_with(text, code))
        return true;
    for (const char *at = text; (at = strstr(at, " -")); at += 2)
        if (starts_with(at + 2, code))
            return true;
    return false;
}

static int find(const char *text) {
    for (int i = 0; i < TABLE_SIZE; i++)
        if (has_code(text, table[i].code))
            return i;
    return -1;
}

cloak_status cloak_advice_fail(const char *place, const char *text, cloak_error *error) {
    int at = find(text);
    cloak_fail(error, CLOAK_E_QUEUE, "%s: %.300s%s%s", place, text, at < 0 ? "" : "; ",
        at < 0 ? "" : table[at].advice);
    if (error)
        error->retryable = at >= 0 && table[at].retryable;
    return CLOAK_E_QUEUE;
}

bool cloak_advice_reconnect(const char *text) {
    int at = find(text);
    return at >= 0 && table[at].reconnect;
}
