/* Bytes over a connected socket against a deadline, plain or through TLS; nobody outside this folder
 * includes it. */
#ifndef CLOAK_QUEUE_WIRE_H
#define CLOAK_QUEUE_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

typedef struct cloak_wire cloak_wire;

typedef enum { CLOAK_WIRE_OK, CLOAK_WIRE_BROKEN, CLOAK_WIRE_LATE } cloak_wire_outcome;

/* What a TLS client needs. All borrowed for the call; paths of PEM files, each may be NULL. */
typedef struct {
    const char *host;   /* a name or an address: the certificate must be for it */
    const char *cacert; /* who may have signed it; NULL: the system's authorities (SSL_CERT_FILE) */
    const char *cert, *key; /* ours, where the server asks for one */
} cloak_tls_settings;

/* Wraps the socket, which is borrowed and put to use without blocking. `tls`, or NULL for plain bytes: shakes
 * hands until `deadline` (cloak_now). A file that cannot be read is CLOAK_E_USAGE; a server that cannot
 * be trusted, or that does not speak TLS, CLOAK_E_QUEUE. The texts begin with `place`. */
CLOAK_MUST_CHECK cloak_status cloak_wire_open(int fd, const cloak_tls_settings *tls,
    const char *place, double deadline, cloak_wire **wire, cloak_error *error);

/* Frees the wire; the socket stays. NULL is fine. */
void cloak_wire_close(cloak_wire *wire);

/* Sends all of it. */
cloak_wire_outcome cloak_wire_send(
    cloak_wire *wire, const char *bytes, size_t length, double deadline);

/* Waits for bytes, at most `room`; `*length` is at least 1 when there are any. */
cloak_wire_outcome cloak_wire_receive(
    cloak_wire *wire, char *bytes, size_t room, size_t *length, double deadline);

/* What TLS says of a wire that broke, or "". */
const char *cloak_wire_reason(const cloak_wire *wire);

#endif
