/* What all verbs share: usage, help and exit codes; see the header. */
#include "dispatcher/verbs.h"

#include <stdio.h>

#include "dispatcher/report.h"

int cloak_verb_fail(const char *verb, const cloak_error *error) {
    fprintf(stderr, "cloak %s: %s\n", verb, error->text);
    return error->code == CLOAK_E_USAGE         ? CLOAK_EXIT_USAGE
           : error->code == CLOAK_E_INTERRUPTED ? CLOAK_EXIT_INTERRUPTED
                                                : CLOAK_EXIT_FAILURE;
}

bool cloak_verb_parse_some(const char *usage, const char *about, const cloak_option *table,
    int argc, char **argv, int least, int most, int *count, int *code) {
    cloak_error error;
    bool wants_help = false;
    if (cloak_options_parse(table, argc, argv, count, &wants_help, &error) != CLOAK_OK) {
        fprintf(stderr, "cloak: %s\n", error.text);
        *code = CLOAK_EXIT_USAGE;
        return false;
    }
    if (wants_help || *count < least || *count > most) {
        FILE *to = wants_help ? stdout : stderr;
        fprintf(to, "usage: cloak %s\n\n%s\n\n", usage, about);
        cloak_options_help(table, to);
        *code = wants_help ? CLOAK_EXIT_OK : CLOAK_EXIT_USAGE;
        return false;
    }
    return true;
}

bool cloak_verb_parse(const char *usage, const char *about, const cloak_option *table, int argc,
    char **argv, int count, int *code) {
    int given = 0;
    return cloak_verb_parse_some(
        usage, about, table, argc, argv, count, count, &given, code);
}

bool cloak_verb_check_class(const char *verb, const char *class_word, int *code) {
    if (!class_word || cloak_is_dead_class(class_word))
        return true;
    fprintf(stderr, "cloak %s: no photo dies of the error class \"%s\"\n", verb, class_word);
    *code = CLOAK_EXIT_USAGE;
    return false;
}
