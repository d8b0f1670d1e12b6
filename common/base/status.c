/* Status words and error texts. */
#include "common/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"

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

/* A text that was cut in the middle of a character ends before it: records must be UTF-8. */
static void drop_partial_character(char *text) {
    size_t end = strlen(text);
    while (end > 0 && ((unsigned char)text[end - 1] & 0xc0) == 0x80)
        end--;
    if (end > 0 && cloak_text_utf8_length((const unsigned char *)text + end - 1) == 0)
        text[end - 1] = 0;
}

cloak_status cloak_fail(cloak_error *error, cloak_status code, const char *format, ...) {
    if (error) {
        va_list args;
        error->code = code;
        error->retryable =
            code == CLOAK_E_TRANSIENT || code == CLOAK_E_DEVICE || code == CLOAK_E_QUEUE;
        va_start(args, format);
        int length = vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
        if (length >= (int)sizeof error->text)
            drop_partial_character(error->text);
    }
    return code;
}

cloak_status cloak_error_spare_photo(cloak_error *error) {
    error->code = CLOAK_E_TRANSIENT;
    error->retryable = false;
    return error->code;
}
