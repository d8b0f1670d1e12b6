/* Event streams, over real connections. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/http/http.h"
#include "tests/check.h"

static cloak_http_answer answer(void *context, const cloak_http_request *request) {
    (void)context, (void)request;
    return (cloak_http_answer){.stream = true};
}

static cloak_http *start(void) {
    const cloak_http_access access = {0};
    cloak_error error;
    cloak_http *server = NULL;
    CHECK_OK(cloak_http_start("127.0.0.1:0", &access, false, answer, NULL, &server, &error));
    return server;
}

/* Asks for the stream with a small buffer to read into; waits until the server knows `listeners`. */
static int listen_to(cloak_http *server, size_t listeners) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)cloak_http_port(server)),
        .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    CHECK(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(send(fd, request, sizeof request - 1, 0) == sizeof request - 1);
    for (double until = cloak_now() + 60; cloak_http_listeners(server) < listeners && cloak_now() < until;)
        cloak_clock_system.sleep(0.01);
    CHECK_INT(cloak_http_listeners(server), listeners);
    return fd;
}

/* Reads until `wanted` came, which `unwanted` (NULL: nothing) must not. */
static void read_until(int fd, const char *wanted, const char *unwanted) {
    enum { KEPT = 256 };
    const struct timeval patience = {60, 0};
    char seen[KEPT + 4096] = "";
    size_t have = 0;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (;;) {
        const ssize_t got = recv(fd, seen + have, 4096 - 1, 0);
        if (got <= 0)
            check_failed(__FILE__, __LINE__, "the stream ended without \"%s\"", wanted);
        have += (size_t)got;
        seen[have] = 0;
        if (unwanted && strstr(seen, unwanted))
            check_failed(__FILE__, __LINE__, "the stream holds \"%s\"", unwanted);
        if (strstr(seen, wanted))
            return;
        if (have > KEPT) { /* the end may be the beginning of it */
            memmove(seen, seen + have - KEPT, KEPT);
            have = KEPT;
        }
    }
}

TEST(who_is_slow_gets_the_newest_of_each_event) {
    enum { LARGE = 20000000 };
    cloak_http *server = start();
    const int fd = listen_to(server, 1);
    char *large = cloak_alloc(LARGE + 1);
    memset(large, 'a', LARGE);
    cloak_http_publish(server, "large", large); /* more than the connection takes: it stands */
    cloak_clock_system.sleep(0.2);
    for (int i = 0; i < 10; i++) {
        char text[32];
        snprintf(text, sizeof text, "number %d.", i);
        cloak_http_publish(server, "large", large);
        cloak_http_publish(server, "small", text);
    }
    read_until(fd, "event: small\ndata: number 9.\n\n", "number 0."); /* which was replaced */
    close(fd);
    free(large);
    cloak_http_stop(server);
}

TEST(each_event_has_its_turn) {
    enum { LARGE = 400000 };
    cloak_http *server = start();
    const int fd = listen_to(server, 1);
    char *large = cloak_alloc(LARGE + 1);
    memset(large, 'a', LARGE);
    for (int i = 0; i < 3; i++)
        cloak_http_publish(server, "first", large);
    /* while it reads, there is always another `first` to come */
    char bytes[65536];
    bool seen = false;
    for (double until = cloak_now() + 60; !seen && cloak_now() < until;) {
        cloak_http_publish(server, "first", large);
        cloak_http_publish(server, "second", "here");
        const ssize_t got = recv(fd, bytes, sizeof bytes - 1, MSG_DONTWAIT);
        bytes[got > 0 ? got : 0] = 0;
        seen = strstr(bytes, "data: here") != NULL;
        cloak_clock_system.sleep(0.001);
    }
    CHECK(seen);
    close(fd);
    free(large);
    cloak_http_stop(server);
}

TEST(who_comes_later_is_told_and_nothing_old_is_kept) {
    cloak_http *server = start();
    const int first = listen_to(server, 1);
    cloak_http_publish(server, "state", "one");
    read_until(first, "data: one\n\n", NULL);
    const int second = listen_to(server, 2);
    read_until(second, "data: one\n\n", NULL);
    close(first);
    close(second);
    for (double until = cloak_now() + 60; cloak_http_listeners(server) > 0 && cloak_now() < until;) {
        cloak_http_publish(server, "state", "two"); /* that they have gone is seen when they are told something */
        cloak_clock_system.sleep(0.01);
    }
    CHECK_INT(cloak_http_listeners(server), 0);
    cloak_http_publish(server, "state", "three"); /* nobody listens */
    const int third = listen_to(server, 1);
    cloak_http_publish(server, "state", "four");
    read_until(third, "data: four\n\n", "three");
    close(third);
    cloak_http_stop(server);
}

TEST(it_ends_with_listeners) {
    cloak_http *server = start();
    int fds[20];
    for (size_t i = 0; i < 20; i++)
        fds[i] = listen_to(server, i + 1);
    cloak_http_publish(server, "state", "one");
    cloak_http_stop(server);
    for (size_t i = 0; i < 20; i++)
        close(fds[i]);
}
