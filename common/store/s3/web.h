/* Private to this folder: one HTTP exchange at a time, over connections that are kept (libcurl). */
#ifndef CLOAK_STORE_S3_WEB_H
#define CLOAK_STORE_S3_WEB_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct cloak_web cloak_web;

typedef struct {
    const char *method;
    const char *url;            /* percent-encoded; sent as it is */
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    const void *body; /* borrowed for the call; NULL for none */
    size_t body_length;
    size_t limit;   /* of the body of an answer below 300, in bytes; others may have 1 MiB */
    double seconds; /* for the whole exchange; one that stands still ends after 30 s */
    bool (*stop)(void *context); /* NULL, or asked about once a second and with every packet: true breaks off */
    void *stop_context;
    bool direct;    /* past all proxies: for addresses that only this machine can reach */
} cloak_web_request;

typedef struct {
    long status;    /* 0 when no answer began */
    char *body;     /* a NUL follows it; NULL when there is none */
    size_t length;  /* as far as it came, where the exchange broke off */
    bool too_large; /* the body was longer than the limit */
} cloak_web_answer;

/* `ca_file`: certificates to trust instead of the system's, or NULL. Certificates are always
 * checked. Proxies are those of the environment (https_proxy, no_proxy, …). Never NULL.
 * A handle is used by one thread at a time. */
cloak_web *cloak_web_new(const char *ca_file);
void cloak_web_free(cloak_web *web);

/* Sends and waits. Redirects are not followed. CLOAK_OK means that a whole answer came, whatever its status. Otherwise
 * CLOAK_E_INTERRUPTED when it was told to stop, or CLOAK_E_TRANSIENT; `retryable` is false where only a person can help
 * (a certificate, a name in the URL). `*answer` is set in both cases: free its body. An answer that is too large counts
 * as one that broke off. */
CLOAK_MUST_CHECK cloak_status cloak_web_send(
    cloak_web *web, const cloak_web_request *request, cloak_web_answer *answer, cloak_error *error);

/* Whether a request that was answered with this status may be answered otherwise in a moment (RFC 9110, 15.5 and
 * 15.6). */
bool cloak_web_may_pass(long status);

/* A header of the last answer, or NULL. Borrowed until the next exchange. */
const char *cloak_web_header(const cloak_web *web, const char *name);

#endif
