/* A real, private redis-server for tests, in a folder of its own below check_folder().
 *
 * It listens on a unix socket, or on a free TCP port of 127.0.0.1, writes an append-only file, and
 * dies with the test program: the kernel kills it when the thread that started it ends, so start it
 * from the main thread. All functions end the test when something goes wrong. */
#ifndef CLOAK_TESTS_SERVER_H
#define CLOAK_TESTS_SERVER_H

#include <stdbool.h>

typedef struct server server;

typedef struct {
    bool tcp;               /* a TCP port instead of a unix socket */
    bool every_write;       /* appendfsync always: what was acknowledged survives a kill. Without it Redis
                               may hold back up to 2 s of writes, while a slow disk's fsync lasts */
    const char *password;   /* requirepass; NULL for none */
    const char *options[8]; /* further arguments of redis-server, up to the first NULL */
} server_setup;

/* Starts a server and waits, at most 10 s, until it answers. `setup` may be NULL for the defaults.
 * Returns NULL, after check_skip, when redis-server is not installed. The server is stopped when
 * the program ends, or by server_stop. */
server *server_start(const server_setup *setup);

/* Its URL, with the password if it has one ("unix://:secret@/path"). Lives with the server. */
const char *server_url(const server *s);

/* The port of a TCP server, or the path of the unix socket; for tests that need another URL. */
int server_port(const server *s);
const char *server_socket(const server *s);

/* A TCP port of 127.0.0.1 that was free a moment ago. */
int server_free_port(void);

/* Kills it with SIGKILL: no shutdown hook runs. The data stay. */
void server_kill(server *s);

/* Starts it again after server_kill, on the same data and address, and waits until it answers. */
void server_restart(server *s);

/* Holds it still with SIGSTOP, and lets it run again. */
void server_freeze(server *s);
void server_thaw(server *s);

/* Kills it and frees `s`. NULL is fine. */
void server_stop(server *s);

#endif
