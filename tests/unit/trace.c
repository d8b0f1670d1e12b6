/* Trace contexts. */
#include "common/base/trace.h"
#include "tests/check.h"

static const char given[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(what_is_one) {
    static const char *const none[] = {"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011"};
    CHECK(cloak_trace_ok(given));
    CHECK(!cloak_trace_ok(NULL));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(!cloak_trace_ok(none[i]));
}

TEST(an_album_is_a_trace) {
    char trace[CLOAK_TRACE_SIZE];
    cloak_trace_of_album("0821873d-1aad-4fca-879d-79166ed83980", trace);
    CHECK_TEXT(trace, "00-0821873d1aad4fca879d79166ed83980-0821873d1aad4fca-01");
    CHECK(cloak_trace_ok(trace));
}

TEST(children_share_the_trace) {
    char a[CLOAK_TRACE_SIZE], b[CLOAK_TRACE_SIZE], again[CLOAK_TRACE_SIZE];
    cloak_trace_child(given, "x:1", a);
    cloak_trace_child(given, "x:2", b);
    cloak_trace_child(given, "x:1", again);
    CHECK(cloak_trace_ok(a) && cloak_trace_ok(b));
    CHECK_TEXT(a, again);
    CHECK(strncmp(a, given, 36) == 0 && strncmp(b, given, 36) == 0);
    CHECK(strncmp(a + 36, given + 36, 16) != 0 && strncmp(a + 36, b + 36, 16) != 0);
    CHECK_TEXT(a + 53, "01");
}
