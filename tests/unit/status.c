/* The small base: status words, error texts, allocation, clock, log. */
#include "common/base/status.h"

#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "tests/check.h"

TEST(words_and_statuses_match) {
    for (int i = 0; i < CLOAK_STATUS_COUNT; i++) {
        const char *word = cloak_status_word((cloak_status)i);
        CHECK_INT(cloak_status_parse(word), i);
        CHECK(cloak_status_retries((cloak_status)i) >= 0);
    }
    CHECK_TEXT(cloak_status_word((cloak_status)99), "internal");
    CHECK_TEXT(cloak_status_word((cloak_status)-1), "internal");
    CHECK_INT(cloak_status_parse("nonsense"), CLOAK_E_INTERNAL);
    CHECK_INT(cloak_status_retries(CLOAK_E_PERMANENT), 0);
    CHECK_INT(cloak_status_retries(CLOAK_E_TRANSIENT), 5);
    CHECK_INT(cloak_status_retries((cloak_status)99), 0);
}

TEST(errors_are_filled) {
    cloak_error error = {0};
    CHECK_INT(cloak_fail(&error, CLOAK_E_TRANSIENT, "%s is %d", "a", 5), CLOAK_E_TRANSIENT);
    CHECK_TEXT(error.text, "a is 5");
    CHECK(error.retryable);
    CHECK_INT(cloak_fail(&error, CLOAK_E_PERMANENT, "no"), CLOAK_E_PERMANENT);
    CHECK(!error.retryable);
    CHECK_INT(cloak_fail(NULL, CLOAK_E_USAGE, "nobody reads this"), CLOAK_E_USAGE);
}

TEST(photos_are_spared) {
    cloak_error error;
    CHECK_INT(cloak_fail(&error, CLOAK_E_PERMANENT, "the file of a token is gone"), CLOAK_E_PERMANENT);
    CHECK_INT(cloak_error_spare_photo(&error), CLOAK_E_TRANSIENT);
    CHECK_INT(error.code, CLOAK_E_TRANSIENT);
    CHECK(!error.retryable);
    CHECK_TEXT(error.text, "the file of a token is gone");
}

TEST(long_errors_stay_utf8) {
    for (int shift = 0; shift < 4; shift++) {
        char text[1200];
        cloak_error error;
        memset(text, 'x', sizeof text);
        for (int i = shift; i + 4 < 1190; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 4);
        text[1190] = 0;
        cloak_fail(&error, CLOAK_E_USAGE, "%s", text);
        CHECK(strlen(error.text) >= sizeof error.text - 4);
        for (const unsigned char *s = (unsigned char *)error.text; *s;) {
            CHECK(cloak_text_utf8_length(s) > 0);
            s += cloak_text_utf8_length(s);
        }
    }
}

TEST(allocations_are_zeroed_and_kept) {
    unsigned char *block = cloak_alloc(100);
    for (int i = 0; i < 100; i++)
        CHECK_INT(block[i], 0);
    block[99] = 7;
    block = cloak_realloc(block, 100000);
    CHECK_INT(block[99], 7);
    free(block);
    free(cloak_alloc(0));
    CHECK(cloak_strdup(NULL) == NULL);
    char *text = cloak_format("%s-%03d", "a", 7);
    CHECK_TEXT(text, "a-007");
    free(text);
}

TEST(times_are_rfc_3339) {
    char text[32];
    cloak_time_format(0, text);
    CHECK_TEXT(text, "1970-01-01T00:00:00.000Z");
    cloak_time_format(1769860800123, text);
    CHECK_TEXT(text, "2026-01-31T12:00:00.123Z");
    cloak_time_format(-1, text);
    CHECK_TEXT(text, "1969-12-31T23:59:59.999Z");
    cloak_time_format(-1000, text);
    CHECK_TEXT(text, "1969-12-31T23:59:59.000Z");
    cloak_time_format(INT64_MAX, text);
    CHECK_INT(strlen(text), 24);
}

TEST(the_clock_moves) {
    double start = cloak_now();
    int64_t wall = cloak_clock_system.wall_ms();
    cloak_clock_system.sleep(.02);
    cloak_clock_system.sleep(-1);
    CHECK(cloak_now() - start >= .019);
    CHECK(cloak_clock_system.wall_ms() >= wall + 15);
}

/* What a child process writes to stderr. */
static char *logged(cloak_log_level lowest, const char *text) {
    static char out[8192];
    int ends[2];
    CHECK_INT(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        cloak_log_set_level(lowest);
        cloak_log(CLOAK_LOG_INFO, "test", "%s", text);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; (n = read(ends[0], out + used, sizeof out - 1 - used)) > 0;)
        used += (size_t)n;
    out[used] = 0;
    close(ends[0]);
    waitpid(child, NULL, 0);
    return out;
}

TEST(logs_are_json_lines) {
    char *line = logged(CLOAK_LOG_INFO, "say \"hi\"\n\x1b");
    CHECK(strstr(line, "{\"time\":\"2") == line);
    CHECK(strstr(line, "\"level\":\"info\",\"event\":\"test\""));
    CHECK(strstr(line, "\"text\":\"say \\\"hi\\\"\\u000a\\u001b\"}\n"));
    CHECK_TEXT(logged(CLOAK_LOG_WARN, "quiet"), "");
    char large[3000]; /* escaped it is larger than any buffer: still one whole line */
    memset(large, '\x02', sizeof large);
    large[sizeof large - 1] = 0;
    line = logged(CLOAK_LOG_DEBUG, large);
    CHECK_TEXT(line + strlen(line) - 3, "\"}\n");
    CHECK(strchr(line, '\n') == line + strlen(line) - 1);
}

TEST(log_levels_have_words) {
    cloak_log_level level = CLOAK_LOG_DEBUG;
    CHECK(cloak_log_parse_level("error", &level));
    CHECK_INT(level, CLOAK_LOG_ERROR);
    CHECK(!cloak_log_parse_level("loud", &level));
    CHECK_INT(level, CLOAK_LOG_ERROR);
}
