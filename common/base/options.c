/* Command lines from a table; see the header. */
#include "common/base/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static cloak_status bad_value(
    const cloak_option *option, const char *from, const char *value, cloak_error *error) {
    if (option->type == CLOAK_OPTION_EPS)
        return cloak_fail(error, CLOAK_E_USAGE,
            "%s wants a fraction of full scale such as 0.01, or levels such as 5/255, not \"%s\"",
            from, value);
    return cloak_fail(error, CLOAK_E_USAGE, "%s wants a %s from %g to %g, not \"%s\"", from,
        option->type == CLOAK_OPTION_INT ? "whole number" : "number", option->low, option->high,
        value);
}

static bool parse_eps(const char *value, double *eps) {
    char *end = NULL;
    double number = strtod(value, &end);
    if (end == value)
        return false;
    if (strcmp(end, "/255") == 0)
        number /= 255;
    else if (*end)
        return false;
    *eps = number;
    return number > 0 && number <= 1;
}

static cloak_status set(
    const cloak_option *option, const char *from, const char *value, cloak_error *error) {
    char *end = NULL;
    errno = 0;
    switch (option->type) {
    case CLOAK_OPTION_FLAG:
        *(bool *)option->value = strcmp(value, "0") != 0;
        return CLOAK_OK;
    case CLOAK_OPTION_TEXT:
        *(const char **)option->value = value;
        return CLOAK_OK;
    case CLOAK_OPTION_EPS:
        if (!parse_eps(value, option->value))
            return bad_value(option, from, value, error);
        return CLOAK_OK;
    case CLOAK_OPTION_INT: {
        long number = strtol(value, &end, 10);
        if (errno || end == value || *end || (double)number < option->low ||
            (double)number > option->high)
            return bad_value(option, from, value, error);
        *(long *)option->value = number;
        return CLOAK_OK;
    }
    case CLOAK_OPTION_REAL: {
        double number = strtod(value, &end);
        if (end == value || *end || !(number >= option->low && number <= option->high))
            return bad_value(option, from, value, error);
        *(double *)option->value = number;
        return CLOAK_OK;
    }
    }
    return CLOAK_OK;
}

static cloak_status from_environment(const cloak_option *options, cloak_error *error) {
    for (; options->name; options++) {
        const char *value = options->env ? getenv(options->env) : NULL;
        if (!value || !*value)
            continue;
        cloak_status status = set(options, options->env, value, error);
        if (status != CLOAK_OK)
            return status;
    }
    return CLOAK_OK;
}

static const cloak_option *find(const cloak_option *options, const char *name, size_t length) {
    for (; options->name; options++)
        if (strlen(options->name) == length && strncmp(options->name, name, length) == 0)
            return options;
    return NULL;
}

static const char *dashes_of(const cloak_option *option) {
    return option->name[1] ? "--" : "-";
}

cloak_status cloak_options_parse(const cloak_option *options, int argc, char **argv,
    int *positional, bool *help, cloak_error *error) {
    int kept = 0;
    bool ended = false;
    cloak_status status = from_environment(options, error);
    for (int i = 1; i < argc && status == CLOAK_OK; i++) {
        char *word = argv[i];
        if (ended || word[0] != '-' || !word[1]) {
            argv[kept++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            ended = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            *help = true;
            break;
        }
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const size_t dashes = word[1] == '-' ? 2 : 1;
        const cloak_option *option = find(options, word + dashes, length - dashes);
        if (option && (strlen(option->name) == 1) != (dashes == 1))
            option = NULL;
        if (!option)
            return cloak_fail(
                error, CLOAK_E_USAGE, "unknown option %.*s (see --help)", (int)length, word);
        if (option->type == CLOAK_OPTION_FLAG) {
            if (equals)
                return cloak_fail(error, CLOAK_E_USAGE, "%s%s takes no value", dashes_of(option), option->name);
            *(bool *)option->value = true;
        } else {
            const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
            if (!value)
                return cloak_fail(error, CLOAK_E_USAGE, "%s%s wants a value", dashes_of(option), option->name);
            char from[80];
            snprintf(from, sizeof from, "%s%s", dashes_of(option), option->name);
            status = set(option, from, value, error);
        }
    }
    *positional = kept;
    return status;
}

void cloak_options_help(const cloak_option *options, FILE *to) {
    for (; options->name; options++) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s%s", dashes_of(options), options->name, options->metavar ? " " : "",
            options->metavar ? options->metavar : "");
        fprintf(to, "  %-24s %s", left, options->help);
        if (options->env)
            fprintf(to, " [%s]", options->env);
        fputc('\n', to);
    }
    fprintf(to, "  %-24s %s\n", "--help", "this text");
}
