/* Redis URLs taken apart.
 *
 *   redis://[[user]:password@]host[:port][/db]      host may be an IPv6 address in brackets
 *   rediss://…[?cacert=FILE&cert=FILE&key=FILE]     the same through TLS
 *   unix://[[user]:password@]/path/to/socket[?db=N]
 *
 * User, password and path are percent-decoded, so that a password may hold any character.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/queue/internal.h"

#define FORMS                                                                                      \
    "expected redis://[user:password@]host[:port][/db], rediss://…[?cacert=FILE&cert=FILE&key=FILE] " \
    "for TLS, or unix:///path/to/socket[?db=N]"

static cloak_status bad(cloak_error *error, const char *what) {
    return cloak_fail(error, CLOAK_E_USAGE, "bad Redis URL: %s; " FORMS, what);
}

/* A decimal number of digits only, at most `most`; -1 for anything else. */
static int parse_number(const char *digits, int most) {
    if (!*digits || strlen(digits) > 6 || strspn(digits, "0123456789") != strlen(digits))
        return -1;
    int n = atoi(digits);
    return n <= most ? n : -1;
}

/* "[user]:password", `text` is altered. */
static cloak_status parse_login(char *text, cloak_address *out, cloak_error *error) {
    char *colon = strchr(text, ':');
    if (!colon)
        return bad(error, "a ':' must stand before the password");
    *colon = 0;
    if (*text)
        out->user = cloak_text_decode(text);
    out->password = cloak_text_decode(colon + 1);
    if (!out->password || (*text && !out->user))
        return bad(error, "user or password holds a bad %-escape");
    return *out->password ? CLOAK_OK : bad(error, "the password is empty");
}

/* "host[:port]" or "[v6][:port]", `text` is altered. */
static cloak_status parse_host(char *text, cloak_address *out, cloak_error *error) {
    char *host = text, *port = NULL;
    if (*text == '[') {
        char *close = strchr(text, ']');
        if (!close || (close[1] && close[1] != ':'))
            return bad(error, "the IPv6 address is not closed by ']'");
        host = text + 1;
        if (close[1])
            port = close + 2;
        *close = 0;
    } else if ((port = strchr(text, ':'))) {
        *port++ = 0;
    }
    if (!*host)
        return bad(error, "the host is missing");
    out->port = port ? parse_number(port, 65535) : 6379;
    if (out->port < 1)
        return bad(error, "the port is not a number from 1 to 65535");
    out->host = cloak_strdup(host);
    return CLOAK_OK;
}

static cloak_status parse_redis(char *rest, cloak_address *out, cloak_error *error) {
    char *slash = strchr(rest, '/');
    if (slash) {
        *slash++ = 0;
        out->db = *slash ? parse_number(slash, 99999) : 0;
        if (out->db < 0)
            return bad(error, "what follows the host must be the number of a database "
                              "(a '/' in a password is written %2F)");
    }
    char *at = strrchr(rest, '@');
    if (at)
        *at = 0;
    cloak_status status = parse_host(at ? at + 1 : rest, out, error);
    if (!status && at)
        status = parse_login(rest, out, error);
    return status;
}

/* "cacert=FILE&cert=FILE&key=FILE", any of them; `text` is altered. */
static cloak_status parse_files(char *text, cloak_address *out, cloak_error *error) {
    const struct {
        const char *name;
        char **file;
    } known[] = {{"cacert=", &out->cacert}, {"cert=", &out->cert}, {"key=", &out->key}};
    char *rest = NULL;
    for (char *word = strtok_r(text, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
        size_t i = 0, count = sizeof known / sizeof known[0];
        while (i < count && strncmp(word, known[i].name, strlen(known[i].name)) != 0)
            i++;
        if (i == count || *known[i].file)
            return bad(error, "after '?' only cacert=, cert= and key= can stand, each once");
        *known[i].file = cloak_text_decode(word + strlen(known[i].name));
        if (!*known[i].file || !**known[i].file)
            return bad(error, "the path of a TLS file is empty or holds a bad %-escape");
    }
    if (!out->cert != !out->key)
        return bad(error, "cert= and key= go together");
    return CLOAK_OK;
}

static cloak_status parse_tls(char *rest, cloak_address *out, cloak_error *error) {
    char *query = strrchr(rest, '?');
    if (query)
        *query++ = 0;
    out->tls = true;
    cloak_status status = parse_redis(rest, out, error);
    return status || !query ? status : parse_files(query, out, error);
}

static cloak_status parse_unix(char *rest, cloak_address *out, cloak_error *error) {
    char *query = strrchr(rest, '?');
    if (query) {
        *query++ = 0;
        out->db = strncmp(query, "db=", 3) == 0 ? parse_number(query + 3, 99999) : -1;
        if (out->db < 0)
            return bad(error, "after '?' only db=NUMBER can stand");
    }
    char *path = strchr(rest, '/');
    if (!path)
        return bad(error, "the path of a unix socket must be absolute");
    if (path > rest) {
        if (path[-1] != '@')
            return bad(error, "the path of a unix socket must be absolute");
        char *login = strndup(rest, (size_t)(path - rest) - 1);
        cloak_status status = parse_login(login, out, error);
        free(login);
        if (status)
            return status;
    }
    out->path = cloak_text_decode(path);
    if (!out->path)
        return bad(error, "the path holds a bad %-escape");
    /* hiredis would cut a longer one silently and connect to something else. */
    if (strlen(out->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return bad(error, "the path of the unix socket is longer than 107 bytes");
    return CLOAK_OK;
}

cloak_status cloak_address_parse(const char *url, cloak_address *address, cloak_error *error) {
    cloak_address out = {0};
    cloak_status status;
    char *copy = cloak_strdup(url ? url : "");
    if (strncmp(copy, "redis://", 8) == 0)
        status = parse_redis(copy + 8, &out, error);
    else if (strncmp(copy, "unix://", 7) == 0)
        status = parse_unix(copy + 7, &out, error);
    else if (strncmp(copy, "rediss://", 9) == 0)
        status = parse_tls(copy + 9, &out, error);
    else
        status = bad(error, "it must begin with redis://, rediss:// or unix://");
    free(copy);
    if (status) {
        cloak_address_clear(&out);
        return status;
    }
    if (out.path && out.db)
        out.place = cloak_format("unix://%s?db=%d", out.path, out.db);
    else if (out.path)
        out.place = cloak_format("unix://%s", out.path);
    else
        out.place = cloak_format(strchr(out.host, ':') ? "redis%s://[%s]:%d/%d" : "redis%s://%s:%d/%d",
            out.tls ? "s" : "", out.host, out.port, out.db);
    *address = out;
    return CLOAK_OK;
}

void cloak_address_clear(cloak_address *address) {
    /* The password does not stay behind in freed memory. */
    if (address->password)
        explicit_bzero(address->password, strlen(address->password));
    free(address->host);
    free(address->path);
    free(address->cacert);
    free(address->cert);
    free(address->key);
    free(address->user);
    free(address->password);
    free(address->place);
    *address = (cloak_address){0};
}
