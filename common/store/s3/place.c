/* From an s3:// URL and the environment to a server; see the header. */
#include "common/store/s3/place.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/base/host.h"
#include "common/base/text.h"
#include "common/store/s3/profile.h"
#include "common/store/s3/sigv4.h"
#include "common/store/store.h"

enum { MAX_BUCKET = 255 };

/* The first that is set of two variables and a setting of the profile, as a new string or NULL. */
static char *choose(const char *first, const char *second, const char *setting) {
    const char *value = cloak_s3_environment(first);
    if (!value && second)
        value = cloak_s3_environment(second);
    return value ? cloak_strdup(value) : cloak_s3_profile_get(setting);
}

static cloak_status refuse_url(const char *url, const char *why, cloak_error *error) {
    char *shown = cloak_text_brief(url);
    cloak_fail(error, CLOAK_E_USAGE, "%s %s: write s3://BUCKET/FOLDER", shown, why);
    free(shown);
    return CLOAK_E_USAGE;
}

static cloak_status parse_url(const char *url, cloak_s3_place *place, cloak_error *error) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *name = url + strlen("s3://");
    size_t n = strcspn(name, "/");
    if (n < 3 || n > MAX_BUCKET || strspn(name, letters) < n)
        return refuse_url(url, "names no bucket (3 letters at least, a-z, 0-9, '.', '-')", error);
    place->bucket = cloak_format("%.*s", (int)n, name);
    char *prefix = cloak_strdup(name[n] ? name + n + 1 : "");
    size_t length = strlen(prefix);
    if (length && prefix[length - 1] == '/')
        prefix[--length] = 0;
    bool fine = !length || cloak_store_key_ok(prefix);
    if (fine)
        place->prefix = length ? cloak_format("%s/", prefix) : cloak_strdup("");
    free(prefix);
    return fine ? CLOAK_OK
                : refuse_url(url, "has empty, \".\" or \"..\" parts in its folder", error);
}

/* Sets host, base and root by bucket, region, endpoint and style. */
static void settle(cloak_s3_place *place) {
    free(place->host);
    free(place->base);
    free(place->root);
    char *server, *path = NULL;
    const char *scheme = "https";
    if (place->endpoint) {
        const char *rest = strstr(place->endpoint, "://") + 3;
        size_t n = strcspn(rest, "/");
        server = cloak_format("%.*s", (int)n, rest);
        path = cloak_strdup(rest + n);
        if (strncasecmp(place->endpoint, "http:", 5) == 0)
            scheme = "http";
    } else {
        server = cloak_format("s3.%s.amazonaws.com%s", place->region,
            strncmp(place->region, "cn-", 3) == 0 ? ".cn" : "");
        path = cloak_strdup("");
    }
    place->host = place->virtual_host ? cloak_format("%s.%s", place->bucket, server) : cloak_strdup(server);
    place->base = cloak_format("%s://%s", scheme, place->host);
    char *root = place->virtual_host ? cloak_strdup(path) : cloak_format("%s/%s", path, place->bucket);
    place->root = cloak_sigv4_encode(root, 1);
    free(root);
    free(path);
    free(server);
}

void cloak_s3_place_move(cloak_s3_place *place, const char *region) {
    char *moved = cloak_strdup(region);
    free(place->region);
    place->region = moved;
    settle(place);
}

static cloak_status check_endpoint(cloak_s3_place *place, cloak_error *error) {
    char *endpoint = place->endpoint;
    const char *plain = cloak_s3_environment("CLOAK_S3_PLAIN");
    if (!endpoint)
        return CLOAK_OK;
    bool tls = strncasecmp(endpoint, "https://", 8) == 0;
    const char *host = endpoint + (tls ? 8 : 7);
    if (strchr(endpoint, '@'))
        return cloak_fail(error, CLOAK_E_USAGE, "the S3 endpoint has a user's name in it: keys go into AWS_ACCESS_KEY_ID");
    if ((!tls && strncasecmp(endpoint, "http://", 7) != 0) || !*host || *host == '/' || strpbrk(host, "?# "))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the S3 endpoint \"%s\" is no URL of a server: write https://HOST[:PORT] into AWS_ENDPOINT_URL_S3",
            endpoint);
    if (!tls && !cloak_host_is_local(host) && !(plain && strcmp(plain, "1") == 0))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the S3 endpoint %s would have photos sent unencrypted: use https://, or set CLOAK_S3_PLAIN=1 where the "
            "network in between is yours",
            endpoint);
    for (size_t n = strlen(endpoint); n && endpoint[n - 1] == '/';)
        endpoint[--n] = 0;
    return CLOAK_OK;
}

static cloak_status choose_style(cloak_s3_place *place, cloak_error *error) {
    char *style = choose("CLOAK_S3_ADDRESSING", NULL, "s3.addressing_style");
    cloak_status status = CLOAK_OK;
    if (!style || strcmp(style, "auto") == 0)
        place->virtual_host = !place->endpoint && !strpbrk(place->bucket, "._ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    else if (strcmp(style, "virtual") == 0 || strcmp(style, "path") == 0)
        place->virtual_host = style[0] == 'v';
    else
        status = cloak_fail(error, CLOAK_E_USAGE,
            "the S3 addressing style is \"%s\": CLOAK_S3_ADDRESSING takes path, virtual or auto", style);
    free(style);
    return status;
}

cloak_status cloak_s3_place_read(const char *url, cloak_s3_place *place, cloak_error *error) {
    *place = (cloak_s3_place){0};
    cloak_status status = cloak_s3_profile_check(error);
    if (status == CLOAK_OK)
        status = parse_url(url, place, error);
    if (status == CLOAK_OK) {
        place->region = choose("AWS_REGION", "AWS_DEFAULT_REGION", "region");
        if (!place->region)
            place->region = cloak_strdup("us-east-1");
        place->endpoint = choose("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "endpoint_url");
        char *service = cloak_s3_environment("AWS_ENDPOINT_URL_S3") || cloak_s3_environment("AWS_ENDPOINT_URL")
                            ? NULL
                            : cloak_s3_profile_service("s3.endpoint_url");
        if (service) {
            free(place->endpoint);
            place->endpoint = service;
        }
        if (strspn(place->region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") !=
            strlen(place->region))
            status = cloak_fail(error, CLOAK_E_USAGE,
                "\"%s\" is no region: AWS_REGION takes names such as eu-central-1", place->region);
    }
    if (status == CLOAK_OK)
        status = check_endpoint(place, error);
    if (status == CLOAK_OK)
        status = choose_style(place, error);
    if (status == CLOAK_OK)
        settle(place);
    else
        cloak_s3_place_free(place);
    return status;
}

void cloak_s3_place_free(cloak_s3_place *place) {
    free(place->bucket);
    free(place->prefix);
    free(place->region);
    free(place->endpoint);
    free(place->host);
    free(place->base);
    free(place->root);
    *place = (cloak_s3_place){0};
}
