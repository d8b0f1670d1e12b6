/* A test is a function declared with TEST(name); the runner in check.c finds all of a program's
 * tests and runs them in order of their names, or only those whose names contain argv[1]. A check
 * that fails prints where and what, and the program ends with 1. */
#ifndef CLOAK_TESTS_CHECK_H
#define CLOAK_TESTS_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_register(const char *name, void (*run)(void));

/* Ends the program as failed, after printing the place. */
_Noreturn void check_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Marks the running test as skipped and says why; the test returns after it. */
void check_skip(const char *why);

/* A fresh folder below TMPDIR that is removed when the program ends. Static storage. */
const char *check_folder(void);

/* Sanitizers ask what code touches, not how well it does: they may be spared what only leads to the latter. */
#ifdef __SANITIZE_ADDRESS__
enum { CHECK_SANITIZED = 1 };
#else
enum { CHECK_SANITIZED = 0 };
#endif

#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void register_##name(void) {                               \
        check_register(#name, name);                                                               \
    }                                                                                              \
    static void name(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            check_failed(__FILE__, __LINE__, "%s", #condition);                                    \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_)                                                                         \
            check_failed(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);           \
    } while (0)

#define CHECK_NEAR(got, want, tolerance)                                                           \
    do {                                                                                           \
        double got_ = (got), want_ = (want);                                                       \
        if (!(fabs(got_ - want_) <= (tolerance)))                                                  \
            check_failed(__FILE__, __LINE__, "%s is %.9g, not %.9g", #got, got_, want_);           \
    } while (0)

#define CHECK_TEXT(got, want)                                                                      \
    do {                                                                                           \
        const char *got_ = (got), *want_ = (want);                                                 \
        if (!got_ || strcmp(got_, want_) != 0)                                                     \
            check_failed(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #got,                     \
                got_ ? got_ : "(null)", want_);                                                    \
    } while (0)

/* For calls that take a cloak_error named `error`. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        if ((call) != CLOAK_OK)                                                                    \
            check_failed(__FILE__, __LINE__, "%s: %s", #call, error.text);                         \
    } while (0)

#endif
