/* Which hosts are this machine; see the header. */
#include "common/base/host.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool ends(const char *rest) {
    return !*rest || *rest == '/';
}

bool cloak_host_is_local(const char *host) {
    char name[16]; /* the longest is 127.255.255.255 */
    struct in_addr address;
    size_t n = strcspn(host, host[0] == '[' ? "]" : ":/");
    n += host[n] == ']';
    const char *port = host + n;
    if (n >= sizeof name || !(ends(port) || (*port == ':' && ends(port + 1 + strspn(port + 1, "0123456789")))))
        return false;
    memcpy(name, host, n);
    name[n] = 0;
    return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}
