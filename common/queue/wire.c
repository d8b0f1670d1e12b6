/* Sockets and TLS; see the header.
 *
 * DESIGN. OpenSSL works on memory: what it wants to send is taken out of one buffer and sent, what
 * arrives is put into another. So every byte goes over the socket by the same two loops, which know
 * deadlines and send without a signal when the other side is gone; OpenSSL's own would not.
 *
 * OpenSSL judges its own last call by the thread's list of errors, in which others may have left some: so the
 * list is emptied before every call.
 *
 * The certificate is always checked, for the host of the URL, and nothing before TLS 1.2 is spoken.
 */
#include "common/queue/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

struct cloak_wire {
    int fd;
    SSL *ssl;      /* NULL: plain */
    BIO *in, *out; /* its two buffers; it owns them */
    char why[256];
};

/* --- the socket --- */

/* Waits until the socket is ready for `events`; false at the deadline. */
static bool wait_for(int fd, short events, double deadline) {
    for (;;) {
        double left = deadline - cloak_now();
        if (left <= 0)
            return false;
        struct pollfd at = {fd, events, 0};
        int ready = poll(&at, 1, (int)(left * 1000) + 1);
        if (ready > 0)
            return true; /* an error state too: the next send or recv tells */
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

static bool would_block(ssize_t n) {
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static cloak_wire_outcome send_plain(int fd, const char *bytes, size_t length, double deadline) {
    while (length > 0) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
        } else if (!would_block(n)) {
            return CLOAK_WIRE_BROKEN;
        } else if (!wait_for(fd, POLLOUT, deadline)) {
            return CLOAK_WIRE_LATE;
        }
    }
    return CLOAK_WIRE_OK;
}

static cloak_wire_outcome receive_plain(
    int fd, char *bytes, size_t room, size_t *length, double deadline) {
    for (;;) {
        ssize_t n = recv(fd, bytes, room, MSG_DONTWAIT);
        if (n > 0) {
            *length = (size_t)n;
            return CLOAK_WIRE_OK;
        }
        if (!would_block(n))
            return CLOAK_WIRE_BROKEN;
        if (!wait_for(fd, POLLIN, deadline))
            return CLOAK_WIRE_LATE;
    }
}

/* --- TLS --- */

/* Keeps what OpenSSL says last, and empties its list. */
static void note_reason(cloak_wire *wire) {
    const long verdict = SSL_get_verify_result(wire->ssl);
    const unsigned long code = ERR_peek_last_error();
    const char *text = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                       : code               ? ERR_reason_error_string(code)
                                            : NULL;
    snprintf(wire->why, sizeof wire->why, "%s", text ? text : "the server hung up");
    ERR_clear_error();
}

/* The server may hang up before its alert can be read. */
static cloak_wire_outcome noted(cloak_wire *wire, cloak_wire_outcome result) {
    if (result == CLOAK_WIRE_BROKEN)
        snprintf(wire->why, sizeof wire->why, "the server hung up");
    return result;
}

/* Sends what OpenSSL has ready. */
static cloak_wire_outcome flush(cloak_wire *wire, double deadline) {
    char bytes[16 * 1024];
    int n;
    while ((n = BIO_read(wire->out, bytes, sizeof bytes)) > 0) {
        cloak_wire_outcome result =
            noted(wire, send_plain(wire->fd, bytes, (size_t)n, deadline));
        if (result != CLOAK_WIRE_OK)
            return result;
    }
    return CLOAK_WIRE_OK;
}

/* After a call that OpenSSL could not complete: gives it more bytes, or says why not. */
static cloak_wire_outcome feed(cloak_wire *wire, int returned, double deadline) {
    char bytes[16 * 1024];
    size_t length;
    const int error = SSL_get_error(wire->ssl, returned);
    cloak_wire_outcome result = flush(wire, deadline);
    if (error != SSL_ERROR_WANT_READ) {
        note_reason(wire);
        return CLOAK_WIRE_BROKEN;
    }
    if (result == CLOAK_WIRE_OK)
        result = noted(
            wire, receive_plain(wire->fd, bytes, sizeof bytes, &length, deadline));
    if (result == CLOAK_WIRE_OK && BIO_write(wire->in, bytes, (int)length) != (int)length)
        abort(); /* out of memory, small allocation: see alloc.h */
    return result;
}

/* A key under a password would be asked for on the terminal, past every deadline. */
static int no_password(char *text, int size, int writing, void *context) {
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

/* Files and settings. */
static cloak_status make_context(
    const cloak_tls_settings *tls, const char *place, SSL_CTX **out, cloak_error *error) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    const char *bad = NULL;
    if (!context)
        abort(); /* out of memory */
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_default_passwd_cb(context, no_password);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (tls->cacert ? !SSL_CTX_load_verify_file(context, tls->cacert)
                    : !SSL_CTX_set_default_verify_paths(context))
        bad = tls->cacert ? tls->cacert : "the system's authorities";
    else if (tls->cert && SSL_CTX_use_certificate_chain_file(context, tls->cert) != 1)
        bad = tls->cert;
    else if (tls->key && SSL_CTX_use_PrivateKey_file(context, tls->key, SSL_FILETYPE_PEM) != 1)
        bad = tls->key;
    *out = context;
    if (!bad)
        return CLOAK_OK;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    cloak_fail(error, CLOAK_E_USAGE, "%s: cannot use %s for TLS: %s; it must be a PEM file without a password", place,
        bad, reason ? reason : "unknown reason");
    ERR_clear_error();
    SSL_CTX_free(context);
    return CLOAK_E_USAGE;
}

/* Whom the certificate must be for. */
static void expect_host(SSL *ssl, const char *host) {
    unsigned char address[16];
    const bool number =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    const int done = number ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
                            : SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
    if (!done)
        abort(); /* out of memory; a check that is not made would be worse */
}

static cloak_status shake_hands(
    cloak_wire *wire, const char *place, double deadline, cloak_error *error) {
    cloak_wire_outcome result = CLOAK_WIRE_OK;
    for (int returned; result == CLOAK_WIRE_OK;) {
        ERR_clear_error();
        returned = SSL_do_handshake(wire->ssl);
        if (returned == 1) {
            result = flush(wire, deadline);
            if (result == CLOAK_WIRE_OK)
                return CLOAK_OK;
        } else {
            result = feed(wire, returned, deadline);
        }
    }
    if (result == CLOAK_WIRE_LATE)
        return cloak_fail(error, CLOAK_E_QUEUE, "%s: no TLS handshake in time: does the server "
            "speak TLS on this port?", place);
    return cloak_fail(error, CLOAK_E_QUEUE,
        "%s: TLS failed: %s; is the port right, and did ?cacert=FILE's authority, or the system's, "
        "sign the certificate for this host?",
        place, wire->why);
}

cloak_status cloak_wire_open(int fd, const cloak_tls_settings *tls, const char *place,
    double deadline, cloak_wire **out, cloak_error *error) {
    cloak_wire *wire = cloak_alloc(sizeof *wire);
    *wire = (cloak_wire){.fd = fd};
    cloak_status status = CLOAK_OK;
    if (tls) {
        SSL_CTX *context;
        status = make_context(tls, place, &context, error);
        if (status == CLOAK_OK) {
            wire->ssl = SSL_new(context);
            wire->in = BIO_new(BIO_s_mem());
            wire->out = BIO_new(BIO_s_mem());
            SSL_CTX_free(context);
            if (!wire->ssl || !wire->in || !wire->out)
                abort(); /* out of memory */
            SSL_set_bio(wire->ssl, wire->in, wire->out);
            SSL_set_connect_state(wire->ssl);
            expect_host(wire->ssl, tls->host);
            status = shake_hands(wire, place, deadline, error);
        }
    }
    if (status == CLOAK_OK)
        *out = wire;
    else
        cloak_wire_close(wire);
    return status;
}

void cloak_wire_close(cloak_wire *wire) {
    if (wire)
        SSL_free(wire->ssl);
    free(wire);
}

cloak_wire_outcome cloak_wire_send(
    cloak_wire *wire, const char *bytes, size_t length, double deadline) {
    if (!wire->ssl)
        return send_plain(wire->fd, bytes, length, deadline);
    while (length > 0) {
        size_t taken = 0;
        ERR_clear_error();
        const int returned = SSL_write_ex(wire->ssl, bytes, length, &taken);
        const cloak_wire_outcome result =
            returned == 1 ? flush(wire, deadline) : feed(wire, returned, deadline);
        if (result != CLOAK_WIRE_OK)
            return result;
        bytes += taken;
        length -= taken;
    }
    return CLOAK_WIRE_OK;
}

cloak_wire_outcome cloak_wire_receive(
    cloak_wire *wire, char *bytes, size_t room, size_t *length, double deadline) {
    if (!wire->ssl)
        return receive_plain(wire->fd, bytes, room, length, deadline);
    for (;;) {
        ERR_clear_error();
        const int returned = SSL_read_ex(wire->ssl, bytes, room, length);
        if (returned == 1)
            return CLOAK_WIRE_OK;
        const cloak_wire_outcome result = feed(wire, returned, deadline);
        if (result != CLOAK_WIRE_OK)
            return result;
    }
}

const char *cloak_wire_reason(const cloak_wire *wire) {
    return wire->why;
}
