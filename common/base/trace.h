/* Trace contexts, by which a tracing system joins what several programs log (W3C Trace Context, level 1, 2021: the
 * header `traceparent`, "00-TRACE-SPAN-FLAGS" in lower-case hexadecimal). */
#ifndef CLOAK_BASE_TRACE_H
#define CLOAK_BASE_TRACE_H

#include <stdbool.h>

#define CLOAK_TRACE_SIZE 56 /* its length and the terminator */

/* Whether `text` is one of version 00 that names a trace and a span. NULL is none. Any thread. */
bool cloak_trace_ok(const char *text);

/* The context of a photo library that came without one: its trace is the album's id (a UUID is 128 bits, as a trace
 * is). Any thread. */
void cloak_trace_of_album(const char *uuid, char trace[CLOAK_TRACE_SIZE]);

/* The context of a span below `parent`: the same trace and flags, a span of its own by `name`. Any thread. */
void cloak_trace_child(const char *parent, const char *name, char trace[CLOAK_TRACE_SIZE]);

#endif
