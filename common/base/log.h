/* JSON lines on stderr, one event per line. Times are UTC; no secret and, at `info` and above, no
 * file name goes through here unless it is the subject of an error the owner must act on. */
#ifndef CLOAK_BASE_LOG_H
#define CLOAK_BASE_LOG_H

#include "common/base/status.h"

typedef enum { CLOAK_LOG_DEBUG, CLOAK_LOG_INFO, CLOAK_LOG_WARN, CLOAK_LOG_ERROR } cloak_log_level;

/* Sets the lowest level that is printed (default info). Call before threads start. */
void cloak_log_set_level(cloak_log_level level);

/* Parses "debug", "info", "warn" or "error". Returns false for any other word. */
bool cloak_log_parse_level(const char *word, cloak_log_level *level);

/* Writes one line {"time":…,"level":…,"event":event,"text":…}. One write(2) per line, so lines of
 * several threads and processes do not mix. Any thread. */
void cloak_log(cloak_log_level level, const char *event, const char *format, ...)
    CLOAK_PRINTF(3, 4);

/* The same with the members of `object`, a JSON object with at least one, in place of the text. */
void cloak_log_object(cloak_log_level level, const char *event, const char *object);

/* Whether events of this level are printed. */
bool cloak_log_is_on(cloak_log_level level);

#endif
