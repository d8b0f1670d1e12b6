/* Allocation with a stated policy; see the header. */
#include "common/base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *survive(void *block, size_t bytes) {
    if (!block) {
        fprintf(stderr, "cloak: out of memory asking for %zu bytes\n", bytes);
        abort();
    }
    return block;
}

void *cloak_alloc(size_t bytes) {
    return survive(calloc(1, bytes ? bytes : 1), bytes);
}

void *cloak_realloc(void *block, size_t bytes) {
    return survive(realloc(block, bytes ? bytes : 1), bytes);
}

char *cloak_strdup(const char *text) {
    return text ? survive(strdup(text), strlen(text)) : NULL;
}

char *cloak_format(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return survive(n < 0 ? NULL : text, 0);
}

void *cloak_try_alloc(size_t bytes) {
    return malloc(bytes ? bytes : 1);
}
