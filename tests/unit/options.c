/* Command lines from a table. */
#include "common/base/options.h"

#include "tests/check.h"

static cloak_error error;

static struct {
    bool json;
    const char *name;
    long count;
    double eps;
} got;

static const cloak_option table[] = {
    {"json", NULL, NULL, CLOAK_OPTION_FLAG, &got.json, 0, 0, "a flag"},
    {"name", "TEXT", "CLOAK_TEST_NAME", CLOAK_OPTION_TEXT, &got.name, 0, 0, "a text"},
    {"count", "N", NULL, CLOAK_OPTION_INT, &got.count, 1, 9, "a number"},
    {"eps", "E", NULL, CLOAK_OPTION_EPS, &got.eps, 0, 0, "a budget"},
    {0},
};

/* Parses words separated by one space; "" is left out. Returns the positional count or -1. */
static int parse(const char *words, char *first) {
    static char copy[200];
    char *argv[20] = {"verb"};
    int argc = 1, positional = 0;
    bool help = false;
    memset(&got, 0, sizeof got);
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    if (cloak_options_parse(table, argc, argv, &positional, &help, &error) != CLOAK_OK)
        return -1;
    if (first)
        strcpy(first, positional ? argv[0] : "");
    return help ? 100 : positional;
}

TEST(options_stand_anywhere) {
    char first[200];
    CHECK_INT(parse("album --count 3 out --json --name=x=y", first), 2);
    CHECK_TEXT(first, "album");
    CHECK(got.json);
    CHECK_INT(got.count, 3);
    CHECK_TEXT(got.name, "x=y");
    CHECK_INT(parse("-- --json", first), 1); /* a folder may be named so */
    CHECK_TEXT(first, "--json");
    CHECK(!got.json);
    CHECK_INT(parse("--help", NULL), 100);
    CHECK_INT(parse("-", first), 1);
}

TEST(budgets_are_fractions_or_levels) {
    CHECK_INT(parse("--eps 5/255", NULL), 0);
    CHECK_NEAR(got.eps, 5 / 255.0, 1e-12);
    CHECK_INT(parse("--eps 0.01", NULL), 0);
    CHECK_NEAR(got.eps, 0.01, 1e-12);
    CHECK_INT(parse("--eps 5/256", NULL), -1);
    CHECK(strstr(error.text, "5/256"));
    CHECK_INT(parse("--eps -1/255", NULL), -1);
    CHECK_INT(parse("--eps nan", NULL), -1);
}

TEST(what_is_wrong_is_named) {
    CHECK_INT(parse("--colour red", NULL), -1);
    CHECK(strstr(error.text, "--colour"));
    CHECK_INT(parse("-x", NULL), -1);
    CHECK_INT(parse("--count", NULL), -1);
    CHECK(strstr(error.text, "--count wants a value"));
    CHECK_INT(parse("--count 10", NULL), -1);
    CHECK(strstr(error.text, "1 to 9"));
    CHECK_INT(parse("--count 3x", NULL), -1);
    CHECK_INT(parse("--count 99999999999999999999", NULL), -1);
    CHECK_INT(parse("--json=yes", NULL), -1);
}

TEST(the_command_line_beats_the_environment) {
    setenv("CLOAK_TEST_NAME", "environment", 1);
    CHECK_INT(parse("", NULL), 0);
    CHECK_TEXT(got.name, "environment");
    CHECK_INT(parse("--name line", NULL), 0);
    CHECK_TEXT(got.name, "line");
    unsetenv("CLOAK_TEST_NAME");
}
