/* JSON lines on stderr; see the header. */
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/text.h"

static const char *const words[] = {"debug", "info", "warn", "error"};
static cloak_log_level lowest = CLOAK_LOG_INFO;

void cloak_log_set_level(cloak_log_level level) {
    lowest = level;
}

bool cloak_log_parse_level(const char *word, cloak_log_level *level) {
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0) {
            *level = (cloak_log_level)i;
            return true;
        }
    return false;
}

bool cloak_log_is_on(cloak_log_level level) {
    return level >= lowest;
}

static void put(const char *line, size_t length) {
    if (write(STDERR_FILENO, line, length) < 0)
        return; /* nobody is listening; there is no one to tell */
}

void cloak_log(cloak_log_level level, const char *event, const char *format, ...) {
    if (level < lowest)
        return;
    char when[32], text[1024], quoted[4096], line[4400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cloak_time_format(cloak_clock_system.wall_ms(), when);
    cloak_text_json(text, quoted, sizeof quoted);
    int n = snprintf(line, sizeof line,
        "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"pid\":%d,\"text\":\"%s\"}\n", when,
        words[level], event, (int)getpid(), quoted);
    put(line, n > (int)sizeof line - 1 ? sizeof line - 1 : (size_t)n);
}

void cloak_log_object(cloak_log_level level, const char *event, const char *object) {
    if (level < lowest)
        return;
    char when[32];
    cloak_time_format(cloak_clock_system.wall_ms(), when);
    char *line = cloak_format("{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"pid\":%d,%s\n", when,
        words[level], event, (int)getpid(), object + 1);
    put(line, strlen(line));
    free(line);
}
