/* The HTTP server; see the header. */
#include "common/http/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/base/alloc.h"
#include "common/base/host.h"
#include "common/http/stream.h"

enum { CONNECTIONS = 64, PATIENCE = 10, MEMORY = 16384, BACKLOG = 64 };

struct cloak_http {
    struct MHD_Daemon *daemon;
    cloak_http_handler handler;
    void *context;
    bool posts;
    cloak_streams *streams;
    char *bearer, *basic; /* what may stand in Authorization, or NULL: no token is needed */
    int port;
};

static cloak_http_answer plain(int code, const char *text) {
    return (cloak_http_answer){.code = code, .content_type = "text/plain; charset=utf-8", .body = cloak_strdup(text)};
}

static enum MHD_Result send_answer(
    const cloak_http *server, struct MHD_Connection *connection, cloak_http_answer answer) {
    struct MHD_Response *response = NULL;
    if (answer.stream) {
        response = cloak_streams_open(server->streams, connection);
        answer = response ? (cloak_http_answer){.code = 200, .content_type = "text/event-stream"}
                          : plain(503, "too many listen already: ask for what you want to know\n");
    }
    if (!response)
        response = MHD_create_response_from_buffer(
            answer.body ? strlen(answer.body) : 0, answer.body, MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", answer.content_type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'");
    if (answer.code == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Basic realm=\"cloak\", charset=\"UTF-8\"");
    if (answer.code == 405)
        MHD_add_response_header(response, "Allow", answer.allow ? answer.allow : "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)answer.code, response);
    MHD_destroy_response(response);
    return result;
}

/* In constant time for a text of the right length. */
static bool is_same(const char *given, const char *want) {
    const size_t length = strlen(want);
    return strlen(given) == length && CRYPTO_memcmp(given, want, length) == 0;
}

static bool may_enter(const cloak_http *server, struct MHD_Connection *connection) {
    const char *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    return !server->bearer || (given && (is_same(given, server->bearer) || is_same(given, server->basic)));
}

/* Whether the header Host names this machine's loopback. HTTP/1.0 may leave it out, browsers never do. */
static bool is_local_host(struct MHD_Connection *connection) {
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    return !host || cloak_host_is_local(host);
}

static bool has_body(struct MHD_Connection *connection) {
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding");
}

/* Whether an action comes from a page of ours, or from no page. */
static bool may_act(struct MHD_Connection *connection) {
    const char *site = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Sec-Fetch-Site");
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Cloak-Action") &&
           (!site || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0);
}

const char *cloak_http_query(const cloak_http_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* "Basic " and base64 of "cloak:TOKEN" (RFC 7617), a new string. */
static char *basic_of(const char *token) {
    char *pair = cloak_format("cloak:%s", token);
    unsigned char *coded = cloak_alloc(4 * (strlen(pair) / 3 + 1) + 1);
    EVP_EncodeBlock(coded, (unsigned char *)pair, (int)strlen(pair));
    char *basic = cloak_format("Basic %s", (char *)coded);
    free(coded);
    free(pair);
    return basic;
}

/* Everything but a body, which is dropped or refused before. */
static cloak_http_answer answer_request(
    const cloak_http *server, struct MHD_Connection *connection, const char *url, cloak_http_method method) {
    const cloak_http_request request = {method, method == CLOAK_HTTP_POST && may_act(connection), url, connection};
    if (!server->bearer && !is_local_host(connection))
        return plain(403, "the header Host names another machine than this one's loopback\n");
    if (method == CLOAK_HTTP_GET && strcmp(url, "/healthz") == 0)
        return plain(200, "ok\n");
    if (!may_enter(server, connection))
        return plain(401, "a token is needed: Authorization: Bearer TOKEN, or user cloak and the token as password\n");
    if (method != CLOAK_HTTP_GET && !server->posts)
        return plain(405, "only GET and HEAD\n");
    if (method == CLOAK_HTTP_POST && has_body(connection))
        return plain(413, "an action has no body\n");
    return server->handler(server->context, &request);
}

static enum MHD_Result respond(void *context, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_size, void **state) {
    static int seen;
    const cloak_http *server = context;
    const bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0, post = strcmp(method, "POST") == 0;
    (void)version, (void)upload;
    if (!get) /* at once, whatever body follows */
        return *upload_size ? MHD_NO
                            : send_answer(server, connection, answer_request(server, connection, url,
                                                          post ? CLOAK_HTTP_POST : CLOAK_HTTP_OTHER));
    if (!*state) { /* the head has been read; a body would follow */
        *state = &seen;
        return MHD_YES;
    }
    if (*upload_size) {
        *upload_size = 0;
        return MHD_YES; /* a body that no GET should have is dropped */
    }
    return send_answer(server, connection, answer_request(server, connection, url, CLOAK_HTTP_GET));
}

/* Takes "HOST:PORT" or "[V6]:PORT" apart; `text` is altered. */
static bool split(char *text, char **host, char **port) {
    char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    *colon = 0;
    *port = colon + 1;
    *host = text;
    size_t length = strlen(text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text[length - 1] = 0;
        *host = text + 1;
    }
    return **host && atoi(*port) <= 65535;
}

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24) == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static cloak_status open_socket(const char *listen_on, const char *token, int *out, cloak_error *error) {
    char *copy = cloak_strdup(listen_on), *host = NULL, *port = NULL;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found = NULL;
    cloak_status status = CLOAK_OK;
    int fd = -1, yes = 1;
    if (!split(copy, &host, &port) || getaddrinfo(host, port, &hints, &found) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "cannot listen on \"%s\": expected HOST:PORT, such as 127.0.0.1:9100", listen_on);
    else if (!token && !is_loopback(found->ai_addr))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s can be reached from elsewhere: set CLOAK_HTTP_TOKEN, which requests must then carry, or listen on "
            "127.0.0.1", listen_on);
    if (status == CLOAK_OK) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
            bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
            status = cloak_fail(error, CLOAK_E_USAGE, "cannot listen on %s: %s", listen_on, strerror(errno));
    }
    if (status != CLOAK_OK && fd >= 0)
        close(fd);
    if (found)
        freeaddrinfo(found);
    free(copy);
    *out = fd;
    return status;
}

static int port_of(int fd) {
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

cloak_status cloak_http_start(const char *listen_on, const cloak_http_access *access, bool posts,
    cloak_http_handler handler, void *context, cloak_http **out, cloak_error *error) {
    const char *token = access->token;
    int fd;
    cloak_status status = open_socket(listen_on, token, &fd, error);
    if (status != CLOAK_OK)
        return status;
    cloak_http *server = cloak_alloc(sizeof *server);
    server->handler = handler;
    server->context = context;
    server->posts = posts;
    server->bearer = token ? cloak_format("Bearer %s", token) : NULL;
    server->basic = token ? basic_of(token) : NULL;
    server->port = port_of(fd);
    server->streams = cloak_streams_new();
    const struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, access->cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, access->key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)"NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"}, {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    server->daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                          (access->cert ? MHD_USE_TLS : 0),
        0, NULL, NULL, respond, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)PATIENCE, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY,
        MHD_OPTION_ARRAY, access->cert ? tls : none, MHD_OPTION_END);
    if (!server->daemon) {
        close(fd);
        cloak_http_stop(server);
        return access->cert ? cloak_fail(error, CLOAK_E_USAGE,
                                  "the files of CLOAK_HTTP_CERT and CLOAK_HTTP_KEY are no certificate and key in PEM that fit together")
                            : cloak_fail(error, CLOAK_E_INTERNAL, "the HTTP server on %s does not start", listen_on);
    }
    *out = server;
    return CLOAK_OK;
}

void cloak_http_publish(cloak_http *server, const char *event, const char *data) {
    cloak_streams_publish(server->streams, event, data);
}

size_t cloak_http_listeners(cloak_http *server) {
    return cloak_streams_count(server->streams);
}

int cloak_http_port(const cloak_http *server) {
    return server->port;
}

void cloak_http_stop(cloak_http *server) {
    if (!server)
        return;
    cloak_streams_close(server->streams);
    if (server->daemon)
        MHD_stop_daemon(server->daemon); /* closes the socket */
    cloak_streams_free(server->streams);
    free(server->bearer);
    free(server->basic);
    free(server);
}
