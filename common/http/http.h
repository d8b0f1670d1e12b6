/* A small HTTP server for what programs tell of themselves: metrics, health, JSON. On libmicrohttpd.
 *
 * GET and HEAD only, at most 64 connections, 16 KiB of request each, 10 s of patience with a slow one. One thread.
 * On another address than loopback a token is needed: requests must then carry it as `Authorization: Bearer TOKEN`,
 * or as the password of user "cloak" (browsers ask for it), but for /healthz. There is no TLS: put a proxy in front where the network is not yours.
 */
#ifndef CLOAK_HTTP_H
#define CLOAK_HTTP_H

#include "common/base/status.h"

typedef struct cloak_http cloak_http;

typedef struct {
    int code;                 /* 200, 404, 503 … */
    const char *content_type; /* static storage */
    char *body;               /* taken over: free() */
} cloak_http_answer;

/* Answers the path of a request (no query, no fragment). Called in the server's own thread. */
typedef cloak_http_answer (*cloak_http_handler)(void *context, const char *path);

/* Listens on "HOST:PORT" or "[V6]:PORT". HOST is an address or "localhost", port 0 takes a free one. `token` may be
 * NULL. A bad or taken address, or no token where one is needed, is CLOAK_E_USAGE. Stop with cloak_http_stop. */
CLOAK_MUST_CHECK cloak_status cloak_http_start(const char *listen, const char *token,
    cloak_http_handler handler, void *context, cloak_http **server, cloak_error *error);

/* The port that it listens on. */
int cloak_http_port(const cloak_http *server);

/* Ends it when requests in work are answered, and frees it. NULL is fine. */
void cloak_http_stop(cloak_http *server);

#endif
