/* Redis URLs, taken apart without a server, and what is said about bad ones. */
#include "common/queue/internal.h"
#include "tests/check.h"

static cloak_error error;

static void check_address(const char *url, const char *host, int port, const char *path, int db,
    const char *user, const char *password, const char *place) {
    cloak_address a;
    CHECK_OK(cloak_address_parse(url, &a, &error));
    if (host) {
        CHECK_TEXT(a.host, host);
        CHECK_INT(a.port, port);
        CHECK(!a.path);
    } else {
        CHECK_TEXT(a.path, path);
        CHECK(!a.host);
    }
    CHECK_INT(a.db, db);
    CHECK(!user == !a.user && !password == !a.password);
    if (user)
        CHECK_TEXT(a.user, user);
    if (password)
        CHECK_TEXT(a.password, password);
    CHECK_TEXT(a.place, place);
    cloak_address_clear(&a);
}

TEST(good_urls) {
    check_address("redis://host", "host", 6379, 0, 0, 0, 0, "redis://host:6379/0");
    check_address("redis://host/", "host", 6379, 0, 0, 0, 0, "redis://host:6379/0");
    check_address(
        "redis://10.0.0.1:7000/3", "10.0.0.1", 7000, 0, 3, 0, 0, "redis://10.0.0.1:7000/3");
    check_address("redis://[::1]:7000", "::1", 7000, 0, 0, 0, 0, "redis://[::1]:7000/0");
    check_address("redis://[fe80::1]/2", "fe80::1", 6379, 0, 2, 0, 0, "redis://[fe80::1]:6379/2");
    check_address("redis://u:pw@h:1/1", "h", 1, 0, 1, "u", "pw", "redis://h:1/1");
    check_address("redis://:pw@h", "h", 6379, 0, 0, 0, "pw", "redis://h:6379/0");
    check_address("redis://u:p@w:x@h", "h", 6379, 0, 0, "u", "p@w:x", "redis://h:6379/0");
    check_address("redis://u%3A:%2F%40%25@h", "h", 6379, 0, 0, "u:", "/@%", "redis://h:6379/0");
    check_address("rediss://:pw@h:1/2", "h", 1, 0, 2, 0, "pw", "rediss://h:1/2");
    check_address("rediss://h?cacert=/ca%20.pem", "h", 6379, 0, 0, 0, 0, "rediss://h:6379/0");
    check_address("unix:///run/r.sock", 0, 0, "/run/r.sock", 0, 0, 0, "unix:///run/r.sock");
    check_address("unix:///r?db=4", 0, 0, "/r", 4, 0, 0, "unix:///r?db=4");
    check_address("unix://u:pw@/r", 0, 0, "/r", 0, "u", "pw", "unix:///r");
    check_address("unix:///a%20b", 0, 0, "/a b", 0, 0, 0, "unix:///a b");
}

TEST(sentinels) {
    cloak_address a, one;
    CHECK_OK(cloak_address_parse(
        "rediss+sentinel://u:p%2Cw@a,[::1]:7,b:8/my%20primary/3?cacert=/ca", &a, &error));
    CHECK(!a.host && !a.path && a.tls);
    CHECK_INT(a.sentinel_count, 3);
    CHECK_TEXT(a.sentinels[1].host, "::1");
    CHECK_INT(a.sentinels[0].port, 26379);
    CHECK_INT(a.sentinels[2].port, 8);
    CHECK_TEXT(a.service, "my primary");
    CHECK_TEXT(a.password, "p,w");
    CHECK_INT(a.db, 3);
    CHECK_TEXT(a.place, "rediss+sentinel://a:26379,[::1]:7,b:8/my primary/3");
    cloak_address_sentinel(&a, 2, &one);
    CHECK_TEXT(one.host, "b");
    CHECK_INT(one.port, 8);
    CHECK(one.tls && !one.password && !one.sentinel_count);
    CHECK_TEXT(one.cacert, "/ca");
    cloak_address_clear(&one);
    cloak_address_clear(&a);
    CHECK_OK(cloak_address_parse("redis+sentinel://u:pw@a/m?sentinel-password=s%26&sentinel-user=w", &a, &error));
    CHECK_TEXT(a.service, "m");
    CHECK_TEXT(a.password, "pw");
    cloak_address_sentinel(&a, 0, &one);
    CHECK_TEXT(one.user, "w");
    CHECK_TEXT(one.password, "s&");
    CHECK_TEXT(a.place, "redis+sentinel://a:26379/m/0");
    cloak_address_clear(&one);
    cloak_address_clear(&a);
    static const char *const urls[] = {"redis+sentinel://u:w?x@a/m", "redis+sentinel://a/m?sentinel-password=sesame?",
        "rediss+sentinel://a/m?sentinel-password=sesame?cacert=/ca"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        CHECK_OK(cloak_address_parse(urls[i], &a, &error));
        CHECK_TEXT(a.service, "m");
        CHECK(!strstr(a.place, "sesame"));
        cloak_address_clear(&a);
    }
}

TEST(bad_urls_tell_no_secret) {
    static const char *const urls[] = {"redis+sentinel://u:sesame@h", "redis+sentinel://u:sesame@h/",
        "redis+sentinel://u:sesame@/fleet", "redis+sentinel://u:sesame@h,,:9/fleet", "redis+sentinel://h/fleet/x",
        "redis+sentinel://1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17/fleet", "rediss://h?sentinel-password=sesame",
        "redis+sentinel://h/fleet?sentinel-user=sesame", "redis+sentinel://h/fleet?cacert=/sesame",
        "redis+sentinel://h/fleet?sentinel-password=sesame&sentinel-password=sesame",
        "", "host", "http://sesame@host", "rediss://u:sesame@host?ca=sesame",
        "rediss://host?cert=/sesame", "rediss://host?cacert=", "rediss://host?cacert=/a&cacert=/sesame",
        "redis://", "redis://:sesame@", "redis://u:sesame@:7000", "redis://sesame@host",
        "redis://u:@host", "redis://u:sesame%zz@host", "redis://u:sesame%00@host",
        "redis://u:se/same@host", "redis://u:sesame@host:0", "redis://u:sesame@host:65536",
        "redis://u:sesame@host:port", "redis://u:sesame@host:-1",
        "redis://u:sesame@host:", "redis://u:sesame@host/db", "redis://u:sesame@host/-1",
        "redis://u:sesame@[::1", "redis://u:sesame@[::1]7000", "unix://", "unix://relative/sesame",
        "unix://sesame@/path", "unix:///path?db=x", "unix:///path?database=1", "unix:///path%0",
        "unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        cloak_redis *redis = NULL;
        memset(&error, 0, sizeof error);
        if (cloak_redis_open(urls[i], 1, &redis, &error) != CLOAK_E_USAGE)
            check_failed(__FILE__, __LINE__, "accepted %s", urls[i]);
        CHECK(!redis && strstr(error.text, "redis://[user:password@]host"));
        CHECK(!strstr(error.text, "sesame") && !strstr(error.text, "same@"));
        CHECK(!error.retryable);
    }
}

TEST(bad_timeouts) {
    static const double timeouts[] = {0, -1, 1e9, (double)NAN};
    for (int i = 0; i < 4; i++) {
        cloak_redis *redis = NULL;
        CHECK(cloak_redis_open("redis://h", timeouts[i], &redis, &error) == CLOAK_E_USAGE);
    }
}
