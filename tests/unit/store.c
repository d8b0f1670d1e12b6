/* The folder store: URLs, keys, objects, listing. */
#include "common/store/folder.h"
#include "common/store/store.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "tests/check.h"

static char *in_folder(const char *name) {
    static char *kept[256];
    static int count;
    CHECK(count < 256);
    return kept[count++] = cloak_path_join(check_folder(), name);
}

static cloak_store *open_store(const char *url) {
    cloak_store *store = NULL;
    cloak_error error;
    CHECK_OK(cloak_store_open(url, &store, &error));
    return store;
}

static void write_file(const char *path, const char *content) {
    cloak_error error;
    CHECK_OK(cloak_file_write(path, content, strlen(content), &error));
}

TEST(urls_name_folders) {
    char *real = realpath(check_folder(), NULL);
    static const char *const forms[] = {"%s", "file://%s", "FILE://%s", "file://localhost%s",
        "file://LocalHost%s", "%s/", "file://%s/"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char url[400] = "", *at = strchr(forms[i], '%');
        snprintf(url, sizeof url, "%.*s%s%s", (int)(at - forms[i]), forms[i], real, at + 2);
        cloak_store *store = open_store(url);
        CHECK_TEXT(cloak_store_place(store), real);
        cloak_store_close(store);
    }
    char *url = cloak_format("file://%s/a%%20b%%25%%e9", real);
    char *want = cloak_format("%s/a b%%\xe9", real);
    cloak_store *store = open_store(url);
    CHECK_TEXT(cloak_store_place(store), want);
    cloak_store_close(store);
    free(url);
    free(want);
    url = cloak_format("%s/a%%20b", real); /* a plain path is taken as it is */
    store = open_store(url);
    CHECK_TEXT(cloak_store_place(store), url);
    cloak_store_close(store);
    free(url);
    free(real);
    cloak_store_close(NULL);
}

TEST(other_urls_are_refused_by_name) {
    static const struct {
        const char *url, *says;
    } bad[] = {{"s3://ab/x", "names no bucket"}, {"s3://photos/../x", "\"..\" parts"},
        {"https://example.org/x", "https:// is not"}, {"x+y.z-1://a", "x+y.z-1:// is not"},
        {"file://server/share", "another machine"}, {"file://", "file:///folder"},
        {"file:///a%00b", "no file URL"}, {"file:///a%zz", "no file URL"}, {"", "folder"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cloak_store *store = NULL;
        cloak_error error;
        CHECK_INT(cloak_store_open(bad[i].url, &store, &error), CLOAK_E_USAGE);
        CHECK(store == NULL);
        if (!strstr(error.text, bad[i].says))
            check_failed(__FILE__, __LINE__, "%s: \"%s\"", bad[i].url, error.text);
    }
    cloak_store_close(open_store("12://x")); /* a scheme begins with a letter: this is a path */
}

TEST(keys_cannot_climb) {
    static const char *const good[] = {
        "a", "a/b.jpg", "...", ".hidden", "a/..b", "\xff\n%", "a b/c"};
    static const char *const bad[] = {
        "", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "../a", "./a", "a/../b"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(cloak_store_key_ok(good[i]));
    cloak_store *store = open_store(check_folder());
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *data = NULL;
        size_t length;
        cloak_store_info info;
        cloak_error error;
        CHECK(!cloak_store_key_ok(bad[i]));
        CHECK_INT(cloak_store_get(store, bad[i], 9, &data, &length, &error), CLOAK_E_USAGE);
        CHECK_INT(cloak_store_put(store, bad[i], "x", 1, &error), CLOAK_E_USAGE);
        CHECK_INT(cloak_store_stat(store, bad[i], &info, &error), CLOAK_E_USAGE);
    }
    cloak_store_close(store);
}

TEST(objects_come_back) {
    cloak_store *store = open_store(in_folder("objects")); /* is not there yet */
    cloak_error error;
    cloak_store_info info;
    char *data;
    size_t length;
    CHECK_INT(cloak_store_stat(store, "a/b", &info, &error), CLOAK_E_PERMANENT);
    CHECK_INT(
        cloak_store_get(store, "a/b", 99, (void **)&data, &length, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "a/b") && strstr(error.text, "No such file"));
    CHECK_OK(cloak_store_put(store, "a/\xff\n.jpg", "one", 3, &error));
    CHECK_OK(cloak_store_put(store, "a/\xff\n.jpg", "three", 5, &error));
    CHECK_OK(cloak_store_get(store, "a/\xff\n.jpg", 5, (void **)&data, &length, &error));
    CHECK_INT(length, 5);
    CHECK_TEXT(data, "three");
    free(data);
    CHECK_INT(cloak_store_get(store, "a/\xff\n.jpg", 4, (void **)&data, &length, &error),
        CLOAK_E_PERMANENT);
    CHECK_OK(cloak_store_stat(store, "a/\xff\n.jpg", &info, &error));
    CHECK_INT(info.size, 5);
    struct stat found;
    CHECK_INT(stat(in_folder("objects/a/\xff\n.jpg"), &found), 0);
    CHECK_INT(info.modified_ns, (int64_t)found.st_mtim.tv_sec * 1000000000 + found.st_mtim.tv_nsec);
    CHECK_INT(cloak_store_stat(store, "a", &info, &error), CLOAK_E_PERMANENT);
    CHECK_INT(cloak_store_put(store, "a", "x", 1, &error), CLOAK_E_PERMANENT);
    CHECK_INT(cloak_store_put(store, "a/\xff\n.jpg/b", "x", 1, &error), CLOAK_E_PERMANENT);
    cloak_store_close(store);
}

TEST(links_do_not_lead_out) {
    cloak_error error;
    cloak_store_info info;
    char *data;
    size_t length;
    write_file(in_folder("outside/secret"), "secret");
    write_file(in_folder("linked/inside"), "fine");
    CHECK_INT(symlink("../outside/secret", in_folder("linked/out")), 0);
    CHECK_INT(symlink("../outside", in_folder("linked/folder")), 0);
    CHECK_INT(symlink("inside", in_folder("linked/in")), 0);
    cloak_store *store = open_store(in_folder("linked"));
    static const char *const out[] = {"out", "folder/secret", "folder/new"};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(
            cloak_store_get(store, out[i], 99, (void **)&data, &length, &error), CLOAK_E_PERMANENT);
        CHECK(strstr(error.text, out[i]) && strstr(error.text, "leads out"));
        CHECK_INT(cloak_store_stat(store, out[i], &info, &error), CLOAK_E_PERMANENT);
        if (i > 0)
            CHECK_INT(cloak_store_put(store, out[i], "x", 1, &error), CLOAK_E_PERMANENT);
    }
    CHECK_OK(cloak_store_get(store, "in", 99, (void **)&data, &length, &error));
    CHECK_TEXT(data, "fine");
    free(data);
    CHECK_OK(cloak_store_put(store, "out", "new", 3, &error)); /* replaces the link itself */
    CHECK_OK(cloak_store_get(store, "out", 99, (void **)&data, &length, &error));
    CHECK_TEXT(data, "new");
    free(data);
    CHECK_OK(cloak_file_read(in_folder("outside/secret"), 99, (void **)&data, &length, &error));
    CHECK_TEXT(data, "secret");
    free(data);
    cloak_store_close(store);
}

/* A listing as one text: "key=size" or "key!problem", a line each. */
typedef struct {
    char text[8192];
    int left; /* visits until it stops */
} listing;

static cloak_status note(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    listing *l = context;
    char line[600];
    if (l->left-- == 0)
        return CLOAK_E_INTERRUPTED;
    if (problem) {
        CHECK(info->size == 0 && info->modified_ns == 0);
        snprintf(line, sizeof line, "%s!%s\n", key, problem);
    } else {
        CHECK(info->modified_ns > 1000000000000000000);
        snprintf(line, sizeof line, "%s=%llu\n", key, (unsigned long long)info->size);
    }
    CHECK(strlen(l->text) + strlen(line) < sizeof l->text);
    strcat(l->text, line);
    return CLOAK_OK;
}

static const char *list(const char *folder) {
    static listing l;
    cloak_error error;
    memset(&l, 0, sizeof l);
    l.left = -1;
    cloak_store *store = open_store(folder);
    CHECK_OK(cloak_store_list(store, note, &l, &error));
    cloak_store_close(store);
    return l.text;
}

TEST(listing_is_in_byte_order) {
    static const char *const files[] = {"b", "a/z", "a/B", "a/b/c", "a.jpg", "C", "\xff",
        "\xc3\xa9", "a/\n", ".hidden", ".cloak-tmp-0123456789abcdef", "a/.cloak-tmp-x", "empty/x"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = cloak_path_join(in_folder("order"), files[i]);
        write_file(path, files[i]);
        free(path);
    }
    CHECK_INT(unlink(in_folder("order/empty/x")), 0);
    CHECK_TEXT(list(in_folder("order")), ".hidden=7\nC=1\na/\n=3\na/B=3\na/b/c=5\na/z=3\n"
                                         "a.jpg=5\nb=1\n\xc3\xa9=2\n\xff=1\n");
}

TEST(wide_folders_are_read_in_rounds) {
    enum { FILES = 200 };
    char want[8192] = "", name[40];
    const char *wide = in_folder("wide");
    for (int i = 0; i < FILES; i++) { /* made in another order than they are listed in */
        int n = i * 77 % FILES;
        snprintf(name, sizeof name, "%s%03d", n % 50 == 7 ? "sub/" : "", n);
        char *path = cloak_path_join(wide, name);
        write_file(path, "1");
        free(path);
    }
    for (int n = 0; n < FILES; n++)
        if (n % 50 != 7)
            snprintf(want + strlen(want), 20, "%03d=1\n", n);
    for (int n = 7; n < FILES; n += 50)
        snprintf(want + strlen(want), 20, "sub/%03d=1\n", n);
    const size_t usual = cloak_folder_round;
    for (size_t round = 1; round <= 2 * FILES; round += round < 8 ? 1 : 48) {
        cloak_folder_round = round;
        CHECK_TEXT(list(wide), want);
    }
    cloak_folder_round = usual;
}

TEST(listing_reports_what_is_no_photo) {
    write_file(in_folder("odd/file"), "1234");
    write_file(in_folder("odd-outside/file"), "12");
    CHECK_INT(mkfifo(in_folder("odd/fifo"), 0600), 0);
    CHECK_INT(mkdir(in_folder("odd/folder"), 0700), 0);
    CHECK_INT(symlink("file", in_folder("odd/link")), 0);
    CHECK_INT(symlink("folder", in_folder("odd/link-folder")), 0);
    CHECK_INT(symlink(".", in_folder("odd/link-self")), 0);
    CHECK_INT(symlink("link-loop", in_folder("odd/link-loop")), 0);
    CHECK_INT(symlink("nowhere", in_folder("odd/link-nowhere")), 0);
    CHECK_INT(symlink("../odd-outside/file", in_folder("odd/link-out")), 0);
    CHECK_INT(symlink("fifo", in_folder("odd/link-pipe")), 0);
    CHECK_TEXT(list(in_folder("odd")),
        "fifo!a pipe\n"
        "file=4\n"
        "link=4\n"
        "link-folder!a symbolic link to a folder; these are not followed\n"
        "link-loop!a symbolic link that cannot be followed (Too many levels of symbolic links)\n"
        "link-nowhere!a symbolic link to nothing\n"
        "link-out!a symbolic link that leads out of the album\n"
        "link-pipe!a symbolic link to something that is not a file\n"
        "link-self!a symbolic link to a folder; these are not followed\n");
}

/* What is outside is read where that was asked for, and never written. */
TEST(links_are_followed_where_asked) {
    cloak_store *store = open_store(in_folder("knot")), *again = NULL, *plain = NULL;
    cloak_error error;
    void *bytes = NULL;
    size_t length = 0;
    write_file(in_folder("knot/a/file"), "1");
    write_file(in_folder("knot-outside/file"), "22");
    write_file(in_folder("knot-outside/inner/file"), "333");
    write_file(in_folder("knot-out/photos/file"), "4444");
    const char *const links[][2] = {{"../knot-outside/file", "link-file"}, {"../knot-outside", "link-out"}, {"../knot-outside", "link-twice"},
        {"a", "link-inside"}, {".", "link-self"}, {"../..", "a/link-above"}, {"../knot-out/photos", "link-output"}, {"../knot-out/photos/file", "link-output-file"}, {"../knot-out", "link-over"},
        {"../../knot", "../knot-outside/inner/link-back"}, {"nowhere", "link-nowhere"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char *at = cloak_path_join(in_folder("knot"), links[i][1]);
        CHECK_INT(symlink(links[i][0], at), 0);
        free(at);
    }
    CHECK_OK(cloak_store_follow_links(store, in_folder("knot-out/photos"), &error));
    static const char all[] = "a/file=1\n"
        "a/link-above!a symbolic link to a folder that it lies in\n"
        "link-file=2\n"
        "link-inside/file=1\n"
        "link-inside/link-above!a symbolic link to a folder that it lies in\n"
        "link-nowhere!a symbolic link to nothing\n"
        "link-out/file=2\n"
        "link-out/inner/file=3\n"
        "link-out/inner/link-back!a symbolic link to a folder that it lies in\n"
        "link-output!a symbolic link into the output\n"
        "link-output-file!a symbolic link into the output\n"
        "link-over!a symbolic link to a folder with the output in it\n"
        "link-self!a symbolic link to a folder that it lies in\n"
        "link-twice!a symbolic link to a folder that another one has led to\n";
    for (int i = 0; i < 2; i++) { /* what is remembered of one walk is forgotten by the next */
        listing l = {.left = -1};
        CHECK_OK(cloak_store_list(store, note, &l, &error));
        CHECK_TEXT(l.text, all);
    }
    CHECK_OK(cloak_store_open(cloak_store_address(store), &again, &error)); /* as a worker does */
    CHECK_TEXT(cloak_store_place(again), cloak_store_place(store));
    CHECK_TEXT(cloak_store_address(again), cloak_store_address(store));
    CHECK_OK(cloak_store_get(again, "link-out/inner/file", 100, &bytes, &length, &error));
    CHECK_INT(length, 3);
    free(bytes);
    CHECK_INT(cloak_store_get(again, "link-nowhere", 100, &bytes, &length, &error), CLOAK_E_TRANSIENT);
    CHECK_INT(cloak_store_put(again, "link-out/file", "5", 1, &error), CLOAK_E_PERMANENT);
    CHECK_OK(cloak_store_open(cloak_store_place(store), &plain, &error));
    CHECK_INT(cloak_store_get(plain, "link-out/inner/file", 100, &bytes, &length, &error), CLOAK_E_PERMANENT);
    cloak_store_close(plain);
    cloak_store_close(again);
    cloak_store_close(store);
}

TEST(listing_of_nothing) {
    cloak_error error;
    listing l = {.left = -1};
    cloak_store *store = open_store(in_folder("no-such-folder"));
    CHECK_INT(cloak_store_list(store, note, &l, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "no-such-folder") && strstr(error.text, "No such file"));
    cloak_store_close(store);
    write_file(in_folder("a-file"), "x");
    store = open_store(in_folder("a-file"));
    CHECK_INT(cloak_store_list(store, note, &l, &error), CLOAK_E_PERMANENT);
    cloak_store_close(store);
    CHECK_INT(mkdir(in_folder("nothing"), 0700), 0);
    CHECK_TEXT(list(in_folder("nothing")), "");
}

TEST(listing_stops_when_told) {
    cloak_error error;
    listing l = {.left = 2};
    write_file(in_folder("stop/a/1"), "");
    write_file(in_folder("stop/a/2"), "");
    write_file(in_folder("stop/b"), "");
    cloak_store *store = open_store(in_folder("stop"));
    CHECK_INT(cloak_store_list(store, note, &l, &error), CLOAK_E_INTERRUPTED);
    CHECK_TEXT(l.text, "a/1=0\na/2=0\n");
    cloak_store_close(store);
}

/* Removes what is still to come: a later folder, and a later file of the same folder. */
static cloak_status vanish(
    void *context, const char *key, const cloak_store_info *info, const char *problem) {
    if (strcmp(key, "a") == 0) {
        CHECK_INT(unlink(in_folder("vanish/b")), 0);
        CHECK_INT(unlink(in_folder("vanish/c/x")), 0);
        CHECK_INT(rmdir(in_folder("vanish/c")), 0);
        CHECK_INT(unlink(in_folder("vanish/d/x")), 0);
        CHECK_INT(rmdir(in_folder("vanish/d")), 0);
        CHECK_INT(symlink("/etc", in_folder("vanish/d")), 0); /* a folder turns into a link */
    }
    return note(context, key, info, problem);
}

TEST(what_vanishes_is_passed_over) {
    cloak_error error;
    listing l = {.left = -1};
    static const char *const files[] = {"a", "b", "c/x", "d/x", "e"};
    for (int i = 0; i < 5; i++) {
        char *path = cloak_path_join(in_folder("vanish"), files[i]);
        write_file(path, "1");
        free(path);
    }
    cloak_store *store = open_store(in_folder("vanish"));
    CHECK_OK(cloak_store_list(store, vanish, &l, &error));
    CHECK_TEXT(l.text, "a=1\nd!a symbolic link that leads out of the album\ne=1\n");
    cloak_store_close(store);
}

TEST(deep_folders_end_somewhere) {
    char path[1024] = "";
    cloak_error error;
    for (int i = 0; i < 110; i++)
        strcat(path, "d/");
    char *file = cloak_format("%s/%sfile", in_folder("deep"), path);
    write_file(file, "1");
    const char *text = list(in_folder("deep"));
    CHECK(strstr(text, "!a folder too deep"));
    CHECK(!strstr(text, "file"));
    strcpy(path + 2 * 99, "d/file2"); /* the hundredth folder is still read */
    cloak_store *store = open_store(in_folder("deep"));
    CHECK_OK(cloak_store_put(store, path, "12", 2, &error));
    cloak_store_close(store);
    CHECK(strstr(list(in_folder("deep")), "/file2=2"));
    free(file);
}

/* Runs `part` in a child process; returns what it gives to _exit(). */
static int in_child(int (*part)(void)) {
    int result = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(part());
    waitpid(child, &result, 0);
    return WIFEXITED(result) ? WEXITSTATUS(result) : 99;
}

static int list_as_nobody(void) {
    if (seteuid(65534) != 0)
        return 77;
    CHECK_TEXT(list(in_folder("locked")),
        "a=1\nshut!a folder that cannot be read (Permission denied)\nz=1\n");
    void *data;
    size_t length;
    cloak_error error;
    cloak_store *store = open_store(in_folder("locked"));
    CHECK_INT(cloak_store_get(store, "a", 9, &data, &length, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "check its permissions"));
    cloak_store_close(store);
    store = open_store(in_folder("locked/shut"));
    CHECK_INT(cloak_store_list(store, note, NULL, &error), CLOAK_E_PERMANENT);
    cloak_store_close(store);
    return 0;
}

TEST(unreadable_folders_are_reported) {
    write_file(in_folder("locked/a"), "1");
    write_file(in_folder("locked/shut/b"), "1");
    write_file(in_folder("locked/z"), "1");
    CHECK_INT(chmod(in_folder("locked/shut"), 0), 0);
    CHECK_INT(chmod(in_folder("locked/a"), 0), 0);
    CHECK_INT(chmod(in_folder("locked"), 0755), 0);
    CHECK_INT(chmod(check_folder(), 0755), 0);
    int result = in_child(list_as_nobody);
    if (result == 77)
        check_skip("needs root to become someone else");
    else
        CHECK_INT(result, 0);
    CHECK_INT(chmod(in_folder("locked/shut"), 0700), 0);
}

static int fill_a_disk(void) {
    static char block[300 * 1024];
    const char *disk = in_folder("disk");
    cloak_error error;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", disk, "tmpfs", 0, "size=512k") != 0)
        return 77;
    memset(block, 'x', sizeof block);
    cloak_store *store = open_store(disk);
    CHECK_OK(cloak_store_put(store, "one", block, sizeof block, &error));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(cloak_store_put(store, i ? "two" : "one", block, sizeof block, &error),
            CLOAK_E_TRANSIENT);
        CHECK(error.retryable);
        CHECK(strstr(error.text, "No space left") && strstr(error.text, "free some space"));
    }
    DIR *dir = opendir(disk); /* the old object, and nothing else, temporary or not */
    int entries = 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        entries++;
    closedir(dir);
    CHECK_INT(entries, 3);
    CHECK_TEXT(list(disk), "one=307200\n");
    CHECK_OK(cloak_store_put(store, "small", "x", 1, &error)); /* the space is free again */
    cloak_store_close(store);
    return 0;
}

TEST(a_full_disk_leaves_nothing_behind) {
    CHECK_INT(mkdir(in_folder("disk"), 0755), 0);
    int result = in_child(fill_a_disk);
    if (result == 77)
        check_skip("needs to be allowed to mount a tmpfs");
    else
        CHECK_INT(result, 0);
}

static int list_with_few_descriptors(void) {
    listing l = {.left = -1};
    cloak_error error;
    cloak_store *store = open_store(in_folder("few"));
    if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){8, 8}) != 0)
        return 2;
    cloak_status status = cloak_store_list(store, note, &l, &error);
    return status == CLOAK_E_TRANSIENT && strstr(error.text, "ulimit -n") ? 0 : 1;
}

TEST(too_few_descriptors_break_a_listing_off) {
    write_file(in_folder("few/1/2/3/4/5/6/7/8/9/file"), "1");
    CHECK_INT(in_child(list_with_few_descriptors), 0);
}
