/* Trace contexts; see the header. */
#include "common/base/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/digest.h"

enum { TRACE_AT = 3, TRACE = 32, SPAN_AT = TRACE_AT + TRACE + 1, SPAN = 16, FLAGS_AT = SPAN_AT + SPAN + 1, FLAGS = 2 };

static bool is_hex(const char *text, size_t length) {
    return strspn(text, "0123456789abcdef") >= length;
}

static bool is_zero(const char *text, size_t length) {
    return strspn(text, "0") >= length;
}

bool cloak_trace_ok(const char *text) {
    return text && strlen(text) == CLOAK_TRACE_SIZE - 1 && strncmp(text, "00-", TRACE_AT) == 0 &&
           is_hex(text + TRACE_AT, TRACE) && !is_zero(text + TRACE_AT, TRACE) && text[SPAN_AT - 1] == '-' &&
           is_hex(text + SPAN_AT, SPAN) && !is_zero(text + SPAN_AT, SPAN) && text[FLAGS_AT - 1] == '-' &&
           is_hex(text + FLAGS_AT, FLAGS);
}

void cloak_trace_of_album(const char *uuid, char trace[CLOAK_TRACE_SIZE]) {
    char id[TRACE + 1];
    int n = 0;
    for (const char *p = uuid; *p && n < TRACE; p++)
        if (*p != '-')
            id[n++] = *p;
    id[n] = 0;
    snprintf(trace, CLOAK_TRACE_SIZE, "00-%s-%.*s-01", id, SPAN, id);
}

void cloak_trace_child(const char *parent, const char *name, char trace[CLOAK_TRACE_SIZE]) {
    char digest[CLOAK_DIGEST_SIZE], *text = cloak_format("%s %s", parent, name);
    cloak_digest_hex(text, strlen(text), digest);
    free(text);
    snprintf(trace, CLOAK_TRACE_SIZE, "%.*s%.*s-%s", SPAN_AT, parent, SPAN, digest, parent + FLAGS_AT);
}
