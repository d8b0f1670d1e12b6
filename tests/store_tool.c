/* Calls a store from scripts: one call of common/store/store.h per run.
 *   store_tool URL get KEY LIMIT      the object to stdout
 *   store_tool URL put KEY            stdin to the object
 *   store_tool URL put_if KEY VERSION the same on that condition, and prints the new version
 *   store_tool URL stat KEY           "SIZE MODIFIED_NS VERSION"
 *   store_tool URL list               "SIZE KEY" and NUL per object, "! PROBLEM KEY" and NUL per problem
 *   store_tool URL remove KEY
 *   store_tool URL sweep SECONDS BEGINNING     of keys that begin so
 * A failure prints "STATUS: TEXT" to stderr and ends with 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/store/store.h"

static cloak_status print(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    (void)context;
    if (problem)
        printf("! %s %s%c", problem, key, 0);
    else
        printf("%" PRIu64 " %s%c", info->size, key, 0);
    return CLOAK_OK;
}

static bool knows(void *context, const char *key) {
    return strncmp(key, context, strlen(context)) == 0;
}

static char *read_input(size_t *length) {
    size_t room = 1 << 20;
    char *bytes = cloak_realloc(NULL, room);
    *length = 0;
    for (size_t n; (n = fread(bytes + *length, 1, room - *length, stdin)) > 0;) {
        *length += n;
        if (*length == room)
            bytes = cloak_realloc(bytes, room *= 2);
    }
    return bytes;
}

static cloak_status call(cloak_store *store, const char *verb, const char *key, const char *number,
    cloak_error *error) {
    size_t length = 0;
    void *bytes = NULL;
    cloak_store_info info;
    cloak_status status = CLOAK_E_USAGE;
    if (strcmp(verb, "get") == 0) {
        status = cloak_store_get(store, key, strtoull(number, NULL, 10), &bytes, &length, error);
        if (status == CLOAK_OK)
            fwrite(bytes, 1, length, stdout);
    } else if (strcmp(verb, "put") == 0) {
        bytes = read_input(&length);
        status = cloak_store_put(store, key, bytes, length, error);
    } else if (strcmp(verb, "put_if") == 0) {
        char version[CLOAK_STORE_VERSION_SIZE];
        snprintf(version, sizeof version, "%s", number);
        bytes = read_input(&length);
        status = cloak_store_put_if(store, key, bytes, length, version, error);
        if (status == CLOAK_OK)
            printf("%s\n", version);
    } else if (strcmp(verb, "stat") == 0) {
        status = cloak_store_stat(store, key, &info, error);
        if (status == CLOAK_OK)
            printf("%" PRIu64 " %" PRId64 " %s\n", info.size, info.modified_ns, info.version);
    } else if (strcmp(verb, "list") == 0) {
        status = cloak_store_list(store, print, NULL, error);
    } else if (strcmp(verb, "remove") == 0) {
        status = cloak_store_remove(store, key, error);
    } else if (strcmp(verb, "sweep") == 0) {
        status = cloak_store_sweep(store, atof(key), knows, (void *)number, error);
    }
    free(bytes);
    return status;
}

int main(int argc, char **argv) {
    cloak_store *store = NULL;
    cloak_error error = {.text = "no such call"};
    if (argc < 3)
        return 2;
    cloak_status status = cloak_store_open(argv[1], &store, &error);
    if (status == CLOAK_OK)
        status = call(store, argv[2], argc > 3 ? argv[3] : "", argc > 4 ? argv[4] : "1000000000", &error);
    cloak_store_close(store);
    if (status != CLOAK_OK)
        fprintf(stderr, "%s: %s\n", cloak_status_word(status), error.text);
    return status != CLOAK_OK;
}
