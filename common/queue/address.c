/* Redis URLs taken apart.
 *
 *   redis://[[user]:password@]host[:port][/db]      host may be an IPv6 address in brackets
 *   rediss://…[?cacert=FILE&cert=FILE&key=FILE]     the same through TLS
 *   redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/NAME[/db][?sentinel-user=U&sentinel-password=P]
 *                                                   the primary that these Sentinels call NAME
 *   rediss+sentinel://…[?cacert=FILE&…&sentinel-password=P]   both through TLS
 *   unix://[[user]:password@]/path/to/socket[?db=N]
 *
 * Users, passwords and paths are percent-decoded, so that a password may hold any character.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/queue/internal.h"

#define FORMS                                                                                      \
    "expected redis://[user:password@]host[:port][/db], rediss://…[?cacert=FILE&cert=FILE&key=FILE] " \
    "for TLS, redis+sentinel://[user:password@]host[:port][,host…]/NAME[/db]"                        \
    "[?sentinel-password=PASSWORD] for Sentinels, or unix:///path/to/socket[?db=N]"

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

/* "host[:port]" or "[v6][:port]", `text` is altered. `*out` is a new string. */
static cloak_status parse_host(
    char *text, int usual_port, char **out, int *out_port, cloak_error *error) {
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
    *out_port = port ? parse_number(port, 65535) : usual_port;
    if (*out_port < 1)
        return bad(error, "the port is not a number from 1 to 65535");
    *out = cloak_strdup(host);
    return CLOAK_OK;
}

static cloak_status parse_db(const char *text, cloak_address *out, cloak_error *error) {
    out->db = *text ? parse_number(text, 99999) : 0;
    return out->db >= 0 ? CLOAK_OK
                        : bad(error, "what follows the last '/' must be the number of a database "
                                     "(a '/' in a password is written %2F)");
}

static cloak_status parse_redis(char *rest, cloak_address *out, cloak_error *error) {
    char *slash = strchr(rest, '/');
    if (slash) {
        *slash++ = 0;
        cloak_status status = parse_db(slash, out, error);
        if (status)
            return status;
    }
    char *at = strrchr(rest, '@');
    if (at)
        *at = 0;
    cloak_status status = parse_host(at ? at + 1 : rest, 6379, &out->host, &out->port, error);
    if (!status && at)
        status = parse_login(rest, out, error);
    return status;
}

static cloak_status parse_sentinels(char *rest, cloak_address *out, cloak_error *error) {
    char *slash = strchr(rest, '/'), *at, *next = NULL;
    if (!slash)
        return bad(error, "a '/' and the name that the Sentinels give to the primary are missing");
    *slash++ = 0;
    char *db = strchr(slash, '/');
    if (db)
        *db++ = 0;
    out->service = cloak_text_decode(slash);
    if (!out->service || !*out->service)
        return bad(error, "the name that the Sentinels give to the primary is empty or holds a bad %-escape");
    cloak_status status = db ? parse_db(db, out, error) : CLOAK_OK;
    if (!status && (at = strrchr(rest, '@'))) {
        *at = 0;
        status = parse_login(rest, out, error);
        rest = at + 1;
    }
    for (char *host = strtok_r(rest, ",", &next); host && !status; host = strtok_r(NULL, ",", &next)) {
        if (out->sentinel_count == CLOAK_SENTINELS_MAX)
            return bad(error, "there are too many Sentinels");
        cloak_sentinel *sentinel = &out->sentinels[out->sentinel_count];
        status = parse_host(host, 26379, &sentinel->host, &sentinel->port, error);
        out->sentinel_count += !status;
    }
    if (!status && !out->sentinel_count)
        return bad(error, "the host is missing");
    return status;
}

/* "cacert=FILE&cert=FILE&key=FILE&sentinel-user=U&sentinel-password=P", any of them that the URL's form has;
 * `text` is altered. */
static cloak_status parse_query(char *text, cloak_address *out, cloak_error *error) {
    const struct {
        const char *name;
        char **value;
        bool allowed;
    } known[] = {{"cacert=", &out->cacert, out->tls}, {"cert=", &out->cert, out->tls}, {"key=", &out->key, out->tls},
        {"sentinel-user=", &out->sentinel_user, out->service != NULL},
        {"sentinel-password=", &out->sentinel_password, out->service != NULL}};
    char *rest = NULL;
    for (char *word = strtok_r(text, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
        size_t i = 0, count = sizeof known / sizeof known[0];
        while (i < count && (!known[i].allowed || strncmp(word, known[i].name, strlen(known[i].name)) != 0))
            i++;
        if (i == count || *known[i].value)
            return bad(error, "after '?' only cacert=, cert= and key= (of TLS), sentinel-user= and sentinel-password= (of "
                              "Sentinels) can stand, each once");
        *known[i].value = cloak_text_decode(word + strlen(known[i].name));
        if (!*known[i].value || !**known[i].value)
            return bad(error, "what stands after a '=' is empty or holds a bad %-escape");
    }
    if (!out->cert != !out->key)
        return bad(error, "cert= and key= go together");
    if (out->sentinel_user && !out->sentinel_password)
        return bad(error, "sentinel-user= needs sentinel-password=");
    return CLOAK_OK;
}

/* A form that may end in "?…". */
static cloak_status parse_with_query(char *rest, bool tls, cloak_address *out, cloak_error *error,
    cloak_status (*parse)(char *, cloak_address *, cloak_error *)) {
    /* with Sentinels a name stands before it, and a '?' before that is somebody's password's; else a path may follow */
    char *slash = parse == parse_sentinels ? strchr(rest, '/') : NULL;
    char *query = slash ? strchr(slash, '?') : parse == parse_sentinels ? NULL : strrchr(rest, '?');
    if (query)
        *query++ = 0;
    out->tls = tls;
    cloak_status status = parse(rest, out, error);
    return status || !query ? status : parse_query(query, out, error);
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

static char *place_of(const cloak_address *a, const char *host, int port) {
    return cloak_format(strchr(host, ':') ? "redis%s://[%s]:%d/%d" : "redis%s://%s:%d/%d",
        a->tls ? "s" : "", host, port, a->db);
}

static char *place_of_sentinels(const cloak_address *a) {
    char *place = cloak_format("redis%s+sentinel://", a->tls ? "s" : "");
    for (size_t i = 0; i < a->sentinel_count; i++) {
        const cloak_sentinel *s = &a->sentinels[i];
        char *longer = cloak_format(strchr(s->host, ':') ? "%s%s[%s]:%d" : "%s%s%s:%d", place,
            i ? "," : "", s->host, s->port);
        free(place);
        place = longer;
    }
    char *whole = cloak_format("%s/%s/%d", place, a->service, a->db);
    free(place);
    return whole;
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
        status = parse_with_query(copy + 9, true, &out, error, parse_redis);
    else if (strncmp(copy, "redis+sentinel://", 17) == 0)
        status = parse_with_query(copy + 17, false, &out, error, parse_sentinels);
    else if (strncmp(copy, "rediss+sentinel://", 18) == 0)
        status = parse_with_query(copy + 18, true, &out, error, parse_sentinels);
    else
        status = bad(error,
            "it must begin with redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://");
    free(copy);
    if (status) {
        cloak_address_clear(&out);
        return status;
    }
    if (out.path && out.db)
        out.place = cloak_format("unix://%s?db=%d", out.path, out.db);
    else if (out.path)
        out.place = cloak_format("unix://%s", out.path);
    else if (out.host)
        out.place = place_of(&out, out.host, out.port);
    else
        out.place = place_of_sentinels(&out);
    *address = out;
    return CLOAK_OK;
}

void cloak_address_sentinel(const cloak_address *address, size_t i, cloak_address *out) {
    *out = (cloak_address){.host = cloak_strdup(address->sentinels[i].host),
        .port = address->sentinels[i].port, .tls = address->tls,
        .cacert = cloak_strdup(address->cacert), .cert = cloak_strdup(address->cert),
        .key = cloak_strdup(address->key), .user = cloak_strdup(address->sentinel_user),
        .password = cloak_strdup(address->sentinel_password)};
    out->place = cloak_format("Sentinel %s:%d", out->host, out->port);
}

void cloak_address_clear(cloak_address *address) {
    /* Passwords do not stay behind in freed memory. */
    if (address->password)
        explicit_bzero(address->password, strlen(address->password));
    if (address->sentinel_password)
        explicit_bzero(address->sentinel_password, strlen(address->sentinel_password));
    for (size_t i = 0; i < address->sentinel_count; i++)
        free(address->sentinels[i].host);
    free(address->service);
    free(address->host);
    free(address->path);
    free(address->cacert);
    free(address->cert);
    free(address->key);
    free(address->user);
    free(address->password);
    free(address->sentinel_user);
    free(address->sentinel_password);
    free(address->place);
    *address = (cloak_address){0};
}
