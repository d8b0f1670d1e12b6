/* Status words and error texts. */
#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *word;
    int retries;
} statuses[CLOAK_STATUS_COUNT] = {
#define X(name, word, retries) [name] = {word, retries},
    CLOAK_STATUS_TABLE(X)
#undef X
};

const char *cloak_status_word(cloak_status status) {
    if ((unsigned)status >= CLOAK_STATUS_COUNT)
        return "internal";
    return statuses[status].word;
}

cloak_status cloak_status_parse(const char *word) {
    for (int i = 0; i < CLOAK_STATUS_COUNT; i++)
        if (strcmp(statuses[i].word, word) == 0)
            return (cloak_status)i;
    return CLOAK_E_INTERNAL;
}

int cloak_status_retries(cloak_status status) {
    if ((unsigned)status >= CLOAK_STATUS_COUNT)
        return 0;
    return statuses[status].retries;
}

cloak_status cloak_fail(cloak_error *error, cloak_status code, const char *format, ...) {
    if (error) {
        va_list args;
        error->code = code;
        error->retryable =
            code == CLOAK_E_TRANSIENT || code == CLOAK_E_DEVICE || code == CLOAK_E_QUEUE;
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}
