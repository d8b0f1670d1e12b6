/* Which hosts are this machine. */
#include "common/base/host.h"

#include "common/base/alloc.h"
#include "tests/check.h"

/* In a block of its very size: a look past the end is found. */
static bool is_local(const char *host) {
    char *copy = cloak_strdup(host);
    bool local = cloak_host_is_local(copy);
    free(copy);
    return local;
}

TEST(this_machine) {
    static const char *const hosts[] = {"localhost", "LocalHost:80", "127.0.0.1", "127.255.255.255:65535/x", "[::1]",
        "[::1]:9000/", "localhost/path:1", "127.0.0.1:"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (!is_local(hosts[i]))
            check_failed(__FILE__, __LINE__, "\"%s\" is this machine", hosts[i]);
}

TEST(other_machines_and_no_hosts) {
    static const char *const hosts[] = {"", "example.org", "localhost.example", "127.evil.example", "127.1", "128.0.0.1",
        "[::1", "[", "[]", "[::2]", "[::1]x", "localhost:80x", "localhost:80@example.org", "localhost@example.org",
        "me@localhost", "127.0.0.1.example", "0.0.0.0", "localhost:80?x"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (is_local(hosts[i]))
            check_failed(__FILE__, __LINE__, "\"%s\" is another machine", hosts[i]);
}
