/* The runner of the C tests; see check.h. */
#include "tests/check.h"

#include <ftw.h>
#include <stdarg.h>
#include <unistd.h>

#include "common/base/clock.h"

enum { MAX_TESTS = 256 };
static struct {
    const char *name;
    void (*run)(void);
} tests[MAX_TESTS];
static int test_count, skipped_count;
static char folder[256];
static pid_t owner;

void check_register(const char *name, void (*run)(void)) {
    if (test_count == MAX_TESTS)
        abort();
    int at = test_count++;
    while (at > 0 && strcmp(tests[at - 1].name, name) > 0) {
        tests[at] = tests[at - 1];
        at--;
    }
    tests[at].name = name;
    tests[at].run = run;
}

void check_failed(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "FAILED %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void check_skip(const char *why) {
    skipped_count++;
    printf("  skipped: %s\n", why);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_folder(void) {
    if (folder[0] && getpid() == owner)
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *check_folder(void) {
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/cloak-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(folder))
            check_failed(__FILE__, __LINE__, "cannot create %s", folder);
        owner = getpid();
        atexit(remove_folder);
    }
    return folder;
}

int main(int argc, char **argv) {
    int run = 0;
    for (int i = 0; i < test_count; i++) {
        if (argc > 1 && !strstr(tests[i].name, argv[1]))
            continue;
        printf("%s\n", tests[i].name);
        fflush(stdout);
        const double start = cloak_now();
        tests[i].run();
        if (cloak_now() - start >= 1)
            printf("  %.1f s\n", cloak_now() - start);
        run++;
    }
    if (run == 0) {
        fprintf(stderr, "no test matches\n");
        return 1;
    }
    printf("%d tests passed, %d of them skipped in part or whole\n", run, skipped_count);
    return skipped_count == run ? 77 : 0;
}
