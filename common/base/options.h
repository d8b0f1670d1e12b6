/* Command lines from a table: the same line gives the parser, the environment variable and the
 * text of --help. */
#ifndef CLOAK_BASE_OPTIONS_H
#define CLOAK_BASE_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/status.h"

typedef enum {
    CLOAK_OPTION_FLAG,   /* bool *: set to true */
    CLOAK_OPTION_TEXT,   /* const char **: borrowed from argv or the environment */
    CLOAK_OPTION_INT,    /* long *: within low … high */
    CLOAK_OPTION_REAL,   /* double *: within low … high */
    CLOAK_OPTION_EPS,    /* double *: "0.01" or "N/255", as a fraction of full scale */
} cloak_option_type;

typedef struct {
    const char *name;    /* without the dashes; one letter takes one dash, others two */
    const char *metavar; /* of the value in --help; NULL for flags */
    const char *env;     /* variable that gives the value when the option is absent, or NULL */
    cloak_option_type type;
    void *value;
    double low, high; /* bounds of numbers */
    const char *help;
} cloak_option;

/* Parses argv[1…]: options may stand before and behind the positional arguments, "--" ends them.
 * Values come as "--name value" or "--name=value". Positional arguments are moved to the front of
 * `argv` (from index 0 on) and counted in `*positional`. "--help" sets `*help` and ends parsing.
 * `options` ends with an entry whose name is NULL. An unknown option, a missing or a bad value is
 * CLOAK_E_USAGE and is named. */
CLOAK_MUST_CHECK cloak_status cloak_options_parse(const cloak_option *options, int argc,
    char **argv, int *positional, bool *help, cloak_error *error);

/* Prints the options' part of a help text. */
void cloak_options_help(const cloak_option *options, FILE *to);

#endif
