/* Waiting entries and dead letters, read from bytes; and what error replies are taken to mean. */
#include "common/queue/internal.h"
#include "tests/check.h"

#define ID "01234567-89ab-4cde-8f01-23456789abcd"

static bool parse(const char *text, cloak_job *job) {
    return cloak_entry_parse(text, strlen(text), 5000, job);
}

TEST(entry_fields) {
    cloak_job job;
    CHECK(parse(ID " 7 1 2 1500 4000 a b\n\"\xff", &job));
    CHECK_TEXT(job.album, ID);
    CHECK_INT(job.index, 7);
    CHECK_INT(job.failures, 1);
    CHECK_INT(job.losses, 2);
    CHECK_INT(job.cost_ms, 1500);
    CHECK_INT(job.waited_ms, 1000);
    CHECK_TEXT(job.key, "a b\n\"\xff");
    free(job.key);
}

TEST(entry_largest) {
    cloak_job job;
    CHECK(parse(ID " 2147483647 2147483647 0 4294967295 9000 \x20", &job));
    CHECK_INT(job.index, 2147483647);
    CHECK_INT(job.cost_ms, 4294967295);
    CHECK_INT(job.waited_ms, 0); /* submitted in the future: the clock went back */
    CHECK_TEXT(job.key, " ");
    free(job.key);
}

TEST(entry_rejects) {
    static const char *const texts[] = {"", " ", ID, ID " ", ID " 7 0 0 1 1", ID " 7 0 0 1 1 ",
        ID " -7 0 0 1 1 k", ID " 7  0 0 1 1 k", ID " 7 0 0 x 1 k", ID " 2147483648 0 0 1 1 k",
        ID " 7 0 0 4294967296 1 k", ID " 7 0 0 1 99999999999999999999 k", "short 7 0 0 1 1 k",
        ID "x 7 0 0 1 1 k"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cloak_job job;
        if (parse(texts[i], &job))
            check_failed(__FILE__, __LINE__, "accepted '%s'", texts[i]);
    }
}

TEST(dead_letter_fields) {
    cloak_job job;
    char *word, *text;
    static const char letter[] = "lost 9 a b\nc 7 d" ID " 3 0 3 10 1 key";
    CHECK(cloak_entry_parse_dead(letter, sizeof letter - 1, &job, &word, &text));
    CHECK_TEXT(word, "lost");
    CHECK_TEXT(text, "a b\nc 7 d");
    CHECK_INT(job.index, 3);
    CHECK_INT(job.losses, 3);
    CHECK_TEXT(job.key, "key");
    free(job.key);
    free(word);
    free(text);
    static const char longer[] = "lost 900 a" ID " 3 0 3 10 1 key";
    CHECK(!cloak_entry_parse_dead(longer, sizeof longer - 1, &job, &word, &text));
}

static void check_advice(const char *reply, const char *advice, bool retryable, bool reconnect) {
    cloak_error error = {0};
    CHECK(cloak_advice_fail("redis://h:1/0", reply, &error) == CLOAK_E_QUEUE);
    CHECK(strstr(error.text, "redis://h:1/0") && strstr(error.text, reply));
    if (!strstr(error.text, advice))
        check_failed(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", error.text, advice);
    CHECK_INT(error.retryable, retryable);
    CHECK_INT(cloak_advice_reconnect(reply), reconnect);
}

TEST(error_replies) {
    check_advice("NOAUTH Authentication required.", "put it into the URL", false, false);
    check_advice("WRONGPASS invalid username-password pair", "correct the URL", false, false);
    check_advice("READONLY You can't write against a read only replica.", "primary", true, true);
    check_advice(
        "OOM command not allowed when used memory > 'maxmemory'.", "raise it", true, false);
    check_advice("LOADING Redis is loading the dataset in memory", "try again", true, true);
    check_advice("MASTERDOWN Link with MASTER is down", "lost its primary", true, true);
    check_advice("MISCONF Errors writing to the AOF file", "disk space", true, false);
    /* Redis 6.2 wraps the error of a command in a script. */
    check_advice("ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed",
        "raise it", true, false);
    check_advice("BUSYKEY Target key name already exists.", "BUSYKEY", false, false);
    check_advice("ERR unknown command", "unknown command", false, false);
}
