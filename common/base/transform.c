/* Names of transforms; see the header. */
#include "common/base/transform.h"

#include <stdlib.h>
#include <string.h>

cloak_transform cloak_transform_raw(void) {
    return (cloak_transform){.name = "raw",
#define X(field, type, neutral, word, least, most, doc) .field = neutral,
        CLOAK_TRANSFORM_TABLE(X)
#undef X
    };
}

/* Reads "word" followed by a number within bounds and nothing else. */
static bool read_part(
    const char *part, const char *word, double least, double most, double *value) {
    size_t length = strlen(word);
    char *end = NULL;
    if (strncmp(part, word, length) != 0 ||
        part[length +
             strspn(part + length, "0123456789.")]) /* no hexadecimal, no exponent, no inf */
        return false;
    *value = strtod(part + length, &end);
    return end > part + length && !*end && *value >= least && *value <= most;
}

static cloak_status set_part(cloak_transform *transform, const char *part, cloak_error *error) {
    double value;
    if (strcmp(part, "raw") == 0)
        return CLOAK_OK;
#define X(field, type, neutral, word, least, most, doc)                                            \
    if (read_part(part, word, least, most, &value)) {                                              \
        transform->field = (type)value;                                                            \
        return CLOAK_OK;                                                                           \
    }
    CLOAK_TRANSFORM_TABLE(X)
#undef X
    return cloak_fail(error, CLOAK_E_USAGE,
        "'%s' is no transform; there are: raw"
#define X(field, type, neutral, word, least, most, doc) ", " word #least " to " word #most
        CLOAK_TRANSFORM_TABLE(X)
#undef X
            ", and chains of them with +",
        part);
}

static cloak_status parse_one(const char *name, cloak_transform *transform, cloak_error *error) {
    char parts[CLOAK_TRANSFORM_NAME], *rest = parts, *part;
    cloak_status status = CLOAK_OK;
    *transform = cloak_transform_raw();
    if (strlen(name) >= sizeof parts)
        return cloak_fail(error, CLOAK_E_USAGE, "the transform '%.40s…' is too long", name);
    strcpy(transform->name, name);
    strcpy(parts, name);
    while (status == CLOAK_OK && (part = strsep(&rest, "+")))
        status = set_part(transform, part, error);
    if (status == CLOAK_OK && transform->quality && transform->whole)
        status = cloak_fail(error, CLOAK_E_USAGE, "the transform '%s' has two JPEGs: name jpeg or jpegfull", name);
    return status;
}

cloak_status cloak_transforms_parse(const char *names,
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX], size_t *count, cloak_error *error) {
    char *copy = strdup(names), *rest = copy, *name;
    cloak_status status = copy ? CLOAK_OK : cloak_fail(error, CLOAK_E_TRANSIENT, "out of memory");
    size_t n = 0;
    while (status == CLOAK_OK && *names && (name = strsep(&rest, ","))) {
        if (n == CLOAK_TRANSFORMS_MAX)
            status =
                cloak_fail(error, CLOAK_E_USAGE, "more than %d transforms", CLOAK_TRANSFORMS_MAX);
        else
            status = parse_one(name, &transforms[n++], error);
    }
    free(copy);
    if (status == CLOAK_OK)
        *count = n;
    return status;
}
