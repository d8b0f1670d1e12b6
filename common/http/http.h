/* A small HTTP server for what programs tell of themselves: metrics, health, JSON. On libmicrohttpd.
 *
 * GET and HEAD, and POST without a body where the program wants it; at most 64 connections, 16 KiB of request each, 10
 * s of patience with a slow one. One thread. On another address than loopback a token is needed: requests must then
 * carry it as `Authorization: Bearer TOKEN`, or as the password of user "cloak" (browsers ask for it), but for
 * /healthz. With a certificate all of it goes through TLS 1.2 or 1.3; without, put a proxy in front where the network
 * is not yours.
 *
 * What a page from elsewhere may make a browser do is kept out: a POST that is to change something needs the header
 * X-Cloak-Action, which only a page of the same origin can send (`may_act`); and without a token the header Host must
 * name this machine's loopback, so that no name that was made to point here gets an answer.
 */
#ifndef CLOAK_HTTP_H
#define CLOAK_HTTP_H

#include "common/http/access.h"

typedef struct cloak_http cloak_http;

typedef struct {
    int code;                 /* 200, 404, 503 … */
    const char *content_type; /* static storage */
    char *body;               /* taken over: free() */
    const char *allow;        /* with 405: the methods of this path; static storage */
    bool stream;              /* instead of all that: what cloak_http_publish says from now on */
} cloak_http_answer;

typedef enum { CLOAK_HTTP_GET /* or HEAD */, CLOAK_HTTP_POST, CLOAK_HTTP_OTHER /* to be answered with 405 */ } cloak_http_method;

typedef struct {
    cloak_http_method method;
    bool may_act;     /* whether a POST comes from a page of this server, or from no page: refuse the others */
    const char *path; /* without query and fragment */
    void *connection; /* for cloak_http_query */
} cloak_http_request;

/* A parameter of the query, decoded, or NULL. Borrowed for the handler's call. */
const char *cloak_http_query(const cloak_http_request *request, const char *name);

/* Answers a request. Called in the server's own thread. */
typedef cloak_http_answer (*cloak_http_handler)(void *context, const cloak_http_request *request);

/* Listens on "HOST:PORT" or "[V6]:PORT". HOST is an address or "localhost", port 0 takes a free one. `access` is
 * borrowed until cloak_http_stop. `posts`: all methods get to the handler, not only GET and HEAD. A bad or taken
 * address, no token where one is needed, a certificate or key that is none, is CLOAK_E_USAGE. Stop with
 * cloak_http_stop. */
CLOAK_MUST_CHECK cloak_status cloak_http_start(const char *listen, const cloak_http_access *access, bool posts,
    cloak_http_handler handler, void *context, cloak_http **server, cloak_error *error);

/* The port that it listens on. */
int cloak_http_port(const cloak_http *server);

/* Says to all who listen to a stream (server-sent events): `data` is one line. Who listens slowly gets the newest
 * `data` of each event and misses what was between; who comes gets the newest at once. At most 4 different events. Any
 * thread. */
void cloak_http_publish(cloak_http *server, const char *event, const char *data);

/* How many listen; at most 32 may, the next is answered with 503. Any thread. */
size_t cloak_http_listeners(cloak_http *server);

/* Ends it when requests in work are answered, and frees it. NULL is fine. */
void cloak_http_stop(cloak_http *server);

#endif
