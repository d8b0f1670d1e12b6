/* A private redis-server; see server.h. It speaks to the server by bare sockets, so that this file
 * does not depend on the client it helps to test. */
#include "tests/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "tests/check.h"

enum { MOST_OPTIONS = 8, START_SECONDS = 10 };

struct server {
    pid_t pid; /* 0 while it is not running */
    bool every_write;
    int port; /* 0: unix socket */
    char *folder, *socket, *url, *password;
    char *options[MOST_OPTIONS + 1];
    server *next;
};

static server *all;

static bool is_installed(void) {
    return system("command -v redis-server >/dev/null 2>&1") == 0;
}

int server_free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        check_failed(__FILE__, __LINE__, "no free port: %s", strerror(errno));
    close(fd);
    return ntohs(at.sin_port);
}

static int connect_to(const server *s) {
    int fd, failed;
    if (s->port) {
        struct sockaddr_in at = {.sin_family = AF_INET,
            .sin_port = htons((uint16_t)s->port),
            .sin_addr = {htonl(INADDR_LOOPBACK)}};
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        failed = connect(fd, (struct sockaddr *)&at, sizeof at);
    } else {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        snprintf(at.sun_path, sizeof at.sun_path, "%s", s->socket);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        failed = connect(fd, (struct sockaddr *)&at, sizeof at);
    }
    if (failed && fd >= 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Whether the server answers PING and is not loading any more. Wanting a password is an answer. */
static bool answers(const server *s) {
    char reply[64] = "";
    int fd = connect_to(s);
    if (fd < 0)
        return false;
    struct pollfd at = {fd, POLLIN, 0};
    if (send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && poll(&at, 1, 1000) == 1 &&
        recv(fd, reply, sizeof reply - 1, 0) < 0)
        reply[0] = 0;
    close(fd);
    return strncmp(reply, "+PONG", 5) == 0 || strncmp(reply, "-NOAUTH", 7) == 0;
}

/* In the child: becomes redis-server, or ends. */
static _Noreturn void become_server(const server *s, pid_t parent) {
    char port[16], *log = cloak_format("%s/log", s->folder);
    const char *argv[64];
    int n = 0;
    snprintf(port, sizeof port, "%d", s->port);
    const char *fixed[] = {"redis-server", "--port", port, "--bind", "127.0.0.1", "--dir",
        s->folder, "--logfile", log, "--save", "", "--appendonly", "yes", "--appendfsync",
        s->every_write ? "always" : "everysec", "--daemonize", "no"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        argv[n++] = fixed[i];
    if (!s->port) {
        argv[n++] = "--unixsocket";
        argv[n++] = s->socket;
    }
    if (s->password) {
        argv[n++] = "--requirepass";
        argv[n++] = s->password;
    }
    for (int i = 0; s->options[i]; i++)
        argv[n++] = s->options[i];
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before the line above */
    execvp(argv[0], (char **)argv);
    _exit(127);
}

/* Shows the end of the server's log: the folder is gone when the test has failed. */
static void show_log(const server *s) {
    char path[512], text[2048];
    snprintf(path, sizeof path, "%s/log", s->folder);
    FILE *log = fopen(path, "r");
    if (!log)
        return;
    fseek(log, -(long)(sizeof text - 1), SEEK_END);
    text[fread(text, 1, sizeof text - 1, log)] = 0;
    fprintf(stderr, "%s\n", text);
    fclose(log);
}

/* Starts the process. False when it ended at once, as when its port was taken. */
static bool launch(server *s) {
    pid_t parent = getpid();
    double deadline = cloak_now() + START_SECONDS;
    fflush(NULL);
    if (!s->port)
        unlink(s->socket);
    s->pid = fork();
    if (s->pid < 0)
        check_failed(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (s->pid == 0)
        become_server(s, parent);
    while (!answers(s)) {
        int status;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            return false;
        }
        if (cloak_now() > deadline) {
            show_log(s);
            check_failed(__FILE__, __LINE__, "redis-server does not answer");
        }
        cloak_clock_system.sleep(0.01);
    }
    return true;
}

static void end(server *s) {
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static pid_t owner;

static void end_all(void) {
    /* A child that a test forked must not end its parent's servers. */
    for (server *s = all; s && getpid() == owner; s = s->next)
        end(s);
}

server *server_start(const server_setup *setup) {
    static int number;
    static const server_setup defaults;
    if (!is_installed()) {
        check_skip("redis-server is not installed");
        return NULL;
    }
    if (!owner) {
        check_folder(); /* so that its removal comes after end_all */
        owner = getpid();
        atexit(end_all);
    }
    if (!setup)
        setup = &defaults;
    server *s = cloak_alloc(sizeof *s);
    s->every_write = setup->every_write;
    s->folder = cloak_format("%s/redis-%d", check_folder(), number++);
    s->socket = cloak_format("%s/s", s->folder);
    s->password = cloak_strdup(setup->password);
    for (int i = 0; i < MOST_OPTIONS && setup->options[i]; i++)
        s->options[i] = cloak_strdup(setup->options[i]);
    if (mkdir(s->folder, 0700) != 0)
        check_failed(__FILE__, __LINE__, "%s: %s", s->folder, strerror(errno));
    s->next = all;
    all = s;
    for (int attempt = 0;; attempt++) {
        s->port = setup->tcp ? server_free_port() : 0;
        if (launch(s))
            break;
        if (!setup->tcp || attempt == 5) { /* else another took the port: draw again */
            show_log(s);
            check_failed(__FILE__, __LINE__, "redis-server ended at once");
        }
    }
    const char *colon = s->password ? ":" : "", *at = s->password ? "@" : "";
    const char *password = s->password ? s->password : "";
    if (s->port)
        s->url = cloak_format("redis://%s%s%s127.0.0.1:%d", colon, password, at, s->port);
    else
        s->url = cloak_format("unix://%s%s%s%s", colon, password, at, s->socket);
    return s;
}

const char *server_url(const server *s) {
    return s->url;
}

int server_port(const server *s) {
    return s->port;
}

const char *server_socket(const server *s) {
    return s->socket;
}

void server_kill(server *s) {
    end(s);
}

void server_restart(server *s) {
    end(s);
    if (!launch(s)) {
        show_log(s);
        check_failed(__FILE__, __LINE__, "redis-server does not start again");
    }
}

void server_freeze(server *s) {
    kill(s->pid, SIGSTOP);
}

void server_thaw(server *s) {
    kill(s->pid, SIGCONT);
}

void server_stop(server *s) {
    if (!s)
        return;
    end(s);
    for (server **at = &all; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    for (int i = 0; i < MOST_OPTIONS; i++)
        free(s->options[i]);
    free(s->folder);
    free(s->socket);
    free(s->url);
    free(s->password);
    free(s);
}
