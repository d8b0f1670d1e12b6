/* Whole-file reads, atomic writes, paths. */
#include "common/base/digest.h"
#include "common/base/file.h"
#include "common/base/install.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "tests/check.h"

/* A path in a fresh folder of this program; kept until it ends. */
static char *in_folder(const char *name) {
    static char *kept[256];
    static int count;
    CHECK(count < 256);
    return kept[count++] = cloak_path_join(check_folder(), name);
}

static int entries(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;
    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void check_content(const char *path, const char *want) {
    void *data;
    size_t length;
    cloak_error error;
    CHECK_OK(cloak_file_read(path, 1 << 20, &data, &length, &error));
    CHECK_INT(length, strlen(want));
    CHECK_TEXT((char *)data, want); /* a NUL follows the contents */
    free(data);
}

/* In place of libc's: what NFS says of a renaming that it has carried out, but whose answer got lost. */
static enum { HONEST, FORGETFUL, FAILING } renaming;

int rename(const char *from, const char *to) {
    const int failed = renaming == FAILING ? -1 : renameat(AT_FDCWD, from, AT_FDCWD, to);
    if (renaming == HONEST)
        return failed;
    errno = ENOENT;
    return -1;
}

TEST(a_renaming_that_was_carried_out_is_one) {
    char *path = cloak_path_join(check_folder(), "renamed");
    cloak_error error;
    void *bytes = NULL;
    size_t length = 0;
    CHECK_OK(cloak_file_write(path, "old", 3, &error));
    renaming = FAILING;
    CHECK(cloak_file_write(path, "newer", 5, &error) != CLOAK_OK);
    CHECK_OK(cloak_file_read(path, 99, &bytes, &length, &error));
    CHECK_INT(length, 3);
    free(bytes);
    renaming = FORGETFUL;
    CHECK_OK(cloak_file_write(path, "newer", 5, &error));
    renaming = HONEST;
    CHECK_OK(cloak_file_read(path, 99, &bytes, &length, &error));
    CHECK_INT(length, 5);
    free(bytes);
    free(path);
}

TEST(files_are_read_whole) {
    cloak_error error;
    void *data = NULL;
    size_t length = 0;
    char *path = in_folder("read");
    CHECK_OK(cloak_file_write(path, "a\0b", 3, &error));
    CHECK_OK(cloak_file_read(path, 3, &data, &length, &error));
    CHECK_INT(length, 3);
    CHECK(memcmp(data, "a\0b", 4) == 0);
    free(data);
    data = &error;
    CHECK_INT(cloak_file_read(path, 2, &data, &length, &error), CLOAK_E_PERMANENT);
    CHECK(data == &error && strstr(error.text, "limit of 2"));
    CHECK_OK(cloak_file_write(path, "", 0, &error));
    CHECK_OK(cloak_file_read(path, 0, &data, &length, &error));
    CHECK_INT(length, 0);
    free(data);
}

TEST(what_is_no_file_is_permanent) {
    cloak_error error;
    void *data;
    size_t length;
    char *missing = in_folder("no\nsuch"), *fifo = in_folder("fifo"), *sock = in_folder("sock");
    CHECK_INT(cloak_file_read(missing, 9, &data, &length, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "no%0Asuch") && strstr(error.text, "No such file"));
    CHECK_INT(cloak_file_read(check_folder(), 9, &data, &length, &error), CLOAK_E_PERMANENT);
    CHECK_INT(mkfifo(fifo, 0600), 0);
    CHECK_INT(cloak_file_read(fifo, 9, &data, &length, &error), CLOAK_E_PERMANENT); /* no waiting */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", sock);
    CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(cloak_file_read(sock, 9, &data, &length, &error), CLOAK_E_PERMANENT);
    close(fd);
}

TEST(a_long_path_leaves_room_for_the_reason) {
    cloak_error error;
    void *data;
    size_t length;
    char name[1000];
    memset(name, '\x01', sizeof name);
    name[sizeof name - 1] = 0;
    CHECK_INT(cloak_file_read(name, 9, &data, &length, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "File name too long"));
}

TEST(writes_create_folders_and_replace) {
    cloak_error error;
    char *path = in_folder("new/deep/er/file");
    CHECK_OK(cloak_file_write(path, "one", 3, &error));
    check_content(path, "one");
    CHECK_OK(cloak_file_write(path, "twotwo", 6, &error));
    check_content(path, "twotwo");
    CHECK_INT(entries(in_folder("new/deep/er")), 1); /* no temporary is left */
}

TEST(writes_obey_the_umask) {
    cloak_error error;
    struct stat info;
    char *path = in_folder("masked");
    mode_t before = umask(027);
    CHECK_OK(cloak_file_write(path, "x", 1, &error));
    CHECK_INT(umask(before), 027); /* and leave it alone */
    CHECK_INT(stat(path, &info), 0);
    CHECK_INT(info.st_mode & 07777, 0640);
}

TEST(failed_writes_leave_nothing) {
    cloak_error error;
    char *folder = in_folder("taken");
    CHECK_OK(cloak_file_mkdirs(in_folder("taken/by/a folder"), &error));
    CHECK_INT(cloak_file_write(in_folder("taken/by"), "x", 1, &error), CLOAK_E_PERMANENT);
    CHECK_INT(entries(folder), 1);
    CHECK_OK(cloak_file_write(in_folder("taken/file"), "x", 1, &error));
    CHECK_INT(cloak_file_write(in_folder("taken/file/in/it"), "x", 1, &error), CLOAK_E_PERMANENT);
    CHECK_INT(cloak_file_mkdirs(in_folder("taken/file"), &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "in the way"));
    CHECK_INT(entries(folder), 2);
    CHECK_INT(cloak_file_mkdirs("", &error), CLOAK_E_USAGE);
    CHECK_OK(cloak_file_mkdirs("/", &error));
    CHECK_OK(cloak_file_mkdirs(folder, &error));
}

TEST(a_folder_without_permission_is_transient) {
    if (geteuid() != 0) {
        check_skip("needs root to become someone else");
        return;
    }
    char *folder = in_folder("locked");
    CHECK_INT(mkdir(folder, 0755), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        cloak_error error;
        char *path = cloak_path_join(folder, "f");
        if (chmod(check_folder(), 0755) != 0 || seteuid(65534) != 0)
            _exit(9);
        _exit(cloak_file_write(path, "x", 1, &error) == CLOAK_E_TRANSIENT &&
                      strstr(error.text, "permissions")
                  ? 0
                  : 1);
    }
    int result;
    waitpid(child, &result, 0);
    CHECK_INT(result, 0);
    CHECK_INT(entries(folder), 0);
}

/* Readers during many writes see whole files only. */
static void *rewrite(void *path) {
    static char content[2][60000];
    cloak_error error;
    for (int i = 0; i < 2; i++)
        memset(content[i], 'a' + i, sizeof content[i]);
    for (int i = 0; i < 60; i++)
        CHECK_OK(cloak_file_write(path, content[i % 2], i % 2 ? 60000 : 30000, &error));
    return NULL;
}

TEST(readers_never_see_half_a_file) {
    pthread_t writer;
    char *path = in_folder("contended");
    cloak_error error;
    CHECK_OK(cloak_file_write(path, "", 0, &error));
    CHECK_INT(pthread_create(&writer, NULL, rewrite, path), 0);
    for (int i = 0; i < 300; i++) {
        char *data;
        size_t length;
        CHECK_OK(cloak_file_read(path, 1 << 20, (void **)&data, &length, &error));
        CHECK(length == 0 || length == 30000 || length == 60000);
        for (size_t k = 0; k < length; k++)
            CHECK(data[k] == (length == 60000 ? 'b' : 'a'));
        free(data);
    }
    pthread_join(writer, NULL);
}

static void check_path(char *got, const char *want) {
    CHECK_TEXT(got, want);
    free(got);
}

TEST(paths_are_joined_and_split) {
    check_path(cloak_path_join("a", "b"), "a/b");
    check_path(cloak_path_join("a/", "b"), "a/b");
    check_path(cloak_path_join("/", "b"), "/b");
    check_path(cloak_path_folder("a/b"), "a");
    check_path(cloak_path_folder("/b"), "/");
    check_path(cloak_path_folder("b"), ".");
    CHECK(cloak_path_inside("/a/b", "/a"));
    CHECK(cloak_path_inside("/a", "/a"));
    CHECK(cloak_path_inside("/a", "/"));
    CHECK(!cloak_path_inside("/ab", "/a"));
    CHECK(!cloak_path_inside("/", "/a"));
}

TEST(absolute_paths_resolve_what_exists) {
    cloak_error error;
    char *real = realpath(check_folder(), NULL);
    CHECK_OK(cloak_file_mkdirs(in_folder("abs/inner"), &error));
    CHECK_INT(symlink("abs/inner", in_folder("link")), 0);
    char *want = cloak_path_join(real, "abs/inner/not/there");
    check_path(cloak_path_absolute(in_folder("link/not/there")), want);
    check_path(cloak_path_absolute(in_folder("link/not//there//")), want);
    free(want);
    want = cloak_path_join(real, "abs");
    check_path(cloak_path_absolute(in_folder("link/..")), want);
    check_path(cloak_path_absolute(in_folder("abs/")), want);
    free(want);
    check_path(cloak_path_absolute("/"), "/");
    check_path(cloak_path_absolute("//no-such-thing"), "/no-such-thing");
    char *here = getcwd(NULL, 0);
    check_path(cloak_path_absolute("."), here);
    check_path(cloak_path_absolute(""), here);
    want = cloak_path_join(here, "no-such-thing");
    check_path(cloak_path_absolute("no-such-thing"), want);
    free(want);
    free(here);
    free(real);
}

TEST(a_working_folder_may_be_gone) {
    char *gone = in_folder("gone");
    CHECK_INT(mkdir(gone, 0755), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(10); /* this once never ended */
        if (chdir(gone) != 0 || rmdir(gone) != 0)
            _exit(9);
        char *path = cloak_path_absolute("some/file");
        _exit(strcmp(path, "some/file") == 0 ? 0 : 1);
    }
    int result;
    waitpid(child, &result, 0);
    CHECK_INT(result, 0);
}

TEST(sibling_programs) {
    char *self = realpath("/proc/self/exe", NULL);
    check_path(cloak_install_program(strrchr(self, '/') + 1), self);
    check_path(cloak_install_program("no-such-program"), "no-such-program");
    free(self);
}

/* FIPS 180-4's example. */
TEST(digest_of_abc) {
    char hex[CLOAK_DIGEST_SIZE];
    cloak_digest_hex("abc", 3, hex);
    CHECK_TEXT(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
