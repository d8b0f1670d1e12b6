/* Names of hosts as they stand in URLs and in the header Host. */
#ifndef CLOAK_BASE_HOST_H
#define CLOAK_BASE_HOST_H

#include <stdbool.h>

/* Whether "HOST[:PORT]", which a '/' may follow, names this very machine's loopback, where nobody can listen on the
 * way: localhost, 127.0.0.0/8, [::1]. Nothing is looked up. Any thread. */
bool cloak_host_is_local(const char *host);

#endif
