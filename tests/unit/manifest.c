/* The manifest: what it remembers, and what a crash or another album does to it. */
#include "dispatcher/manifest.h"

#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "tests/check.h"

static cloak_error error;

static char *fresh_path(const char *name) {
    char *folder = cloak_path_join(check_folder(), name);
    char *path = cloak_path_join(folder, "manifest");
    free(folder);
    return path;
}

static cloak_manifest open_it(const char *path) {
    cloak_manifest manifest;
    CHECK_OK(cloak_manifest_open(path, "/src", "/d%st\n", "{\"a\":1}", &manifest, &error));
    return manifest;
}

TEST(remembers_names_of_every_kind_in_order) {
    static const char *const keys[] = {"a.jpg", " leading space.jpg", "new\nline \"quoted\".jpg",
        "\xff\xfe not utf-8.png", "50%.webp", "dir/\xc3\xa9.jpg", "trailing "};
    enum { COUNT = sizeof keys / sizeof keys[0] };
    char *path = fresh_path("names"), id[CLOAK_ALBUM_ID_SIZE];
    cloak_manifest manifest = open_it(path);
    CHECK(manifest.fresh);
    strcpy(id, manifest.id);
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(cloak_manifest_add(&manifest, keys[i], (uint64_t)i, -i, &error));
    CHECK_OK(cloak_manifest_skip(&manifest, "notes.txt", "not a photo", &error));
    CHECK_OK(cloak_manifest_sync(&manifest, &error));
    cloak_manifest_close(&manifest);
    manifest = open_it(path);
    CHECK(!manifest.fresh);
    CHECK_TEXT(manifest.id, id);
    CHECK_INT(manifest.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        CHECK_TEXT(manifest.photos[i].key, keys[i]);
        CHECK_INT(manifest.photos[i].size, i);
        CHECK_INT(manifest.photos[i].modified_ns, -i);
        CHECK(cloak_manifest_find(&manifest, keys[i]) == &manifest.photos[i]);
    }
    CHECK(cloak_manifest_find(&manifest, "leading space.jpg") == NULL);
    CHECK_OK(cloak_manifest_add(&manifest, "a.jpg", 99, 1, &error)); /* the file has changed */
    CHECK_INT(cloak_manifest_find(&manifest, "a.jpg")->size, 99);
    cloak_manifest_close(&manifest);
    free(path);
}

TEST(many_photos_are_all_found) {
    char *path = fresh_path("many"), key[32];
    cloak_manifest manifest = open_it(path);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "%d.jpg", i * 7);
        CHECK_OK(cloak_manifest_add(&manifest, key, 1, 1, &error));
    }
    CHECK_OK(cloak_manifest_sync(&manifest, &error));
    cloak_manifest_close(&manifest);
    manifest = open_it(path);
    CHECK_INT(manifest.count, 20000);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "%d.jpg", i * 7);
        CHECK(cloak_manifest_find(&manifest, key) == &manifest.photos[i]);
    }
    CHECK(cloak_manifest_find(&manifest, "1.jpg") == NULL);
    cloak_manifest_close(&manifest);
    free(path);
}

TEST(a_line_that_a_crash_cut_short_is_cut_off) {
    char *path = fresh_path("cut");
    cloak_manifest manifest = open_it(path);
    CHECK_OK(cloak_manifest_add(&manifest, "a.jpg", 1, 1, &error));
    CHECK_OK(cloak_manifest_add(&manifest, "b.jpg", 1, 1, &error));
    CHECK_OK(cloak_manifest_sync(&manifest, &error));
    cloak_manifest_close(&manifest);
    void *bytes;
    size_t length;
    CHECK_OK(cloak_file_read(path, 1 << 20, &bytes, &length, &error));
    for (size_t cut = 0; cut <= length; cut++) {
        CHECK_OK(cloak_file_write(path, bytes, cut, &error));
        CHECK(cut == 0 || cloak_manifest_read(path, "/src", "/d%st\n", "{\"a\":1}", &manifest,
                              &error) != CLOAK_OK || manifest.count <= 2);
        if (cut)
            cloak_manifest_close(&manifest);
        manifest = open_it(path);
        CHECK(manifest.count <= 2);
        CHECK_OK(cloak_manifest_add(&manifest, "c.jpg", 1, 1, &error));
        CHECK_OK(cloak_manifest_sync(&manifest, &error));
        cloak_manifest_close(&manifest);
        manifest = open_it(path);
        CHECK(cloak_manifest_find(&manifest, "c.jpg") != NULL);
        cloak_manifest_close(&manifest);
    }
    free(bytes);
    free(path);
}

TEST(another_album_is_refused) {
    char *path = fresh_path("other");
    cloak_manifest manifest = open_it(path);
    CHECK_OK(cloak_manifest_sync(&manifest, &error));
    cloak_manifest_close(&manifest);
    CHECK_INT(cloak_manifest_open(path, "/other", "/d%st\n", "{\"a\":1}", &manifest, &error),
        CLOAK_E_USAGE);
    CHECK(strstr(error.text, "another album"));
    CHECK_INT(cloak_manifest_open(path, "/src", "/d%st\n", "{\"a\":2}", &manifest, &error),
        CLOAK_E_USAGE);
    CHECK(strstr(error.text, "another settings") || strstr(error.text, "settings"));
    CHECK_INT(cloak_manifest_read("/nonexistent/manifest", "/s", "/d", "{}", &manifest, &error),
        CLOAK_E_USAGE);
    CHECK(access("/nonexistent", F_OK) != 0);
    free(path);
}
