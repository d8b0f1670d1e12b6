/* The talk with the reader of photos where the reader says nothing; tests/integration/intake.py has the rest. */
#include "intake/intake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "intake/wire.h"
#include "tests/check.h"

static int looks;

static bool never(void *context) {
    (void)context;
    looks++;
    return false;
}

/* What the reader makes once it has a photo. */
static const char *taken(void) {
    static char *path;
    if (!path)
        path = cloak_path_join(check_folder(), "taken");
    return path;
}

static bool soon(void *context) {
    (void)context;
    return access(taken(), F_OK) == 0 && ++looks > 3;
}

/* A reader that is ready, takes a photo and thinks about it for ever. */
static void start_silent_reader(void) {
    char *path = cloak_path_join(check_folder(), "silent");
    char *script = cloak_format("#!/usr/bin/python3 -I\nimport socket, time\nworker = socket.socket(fileno=3)\n"
                                "worker.send(bytes(%zu))\nworker.recv(65536)\nopen('%s', 'w')\ntime.sleep(1000)\n",
        sizeof(cloak_intake_answer), taken());
    cloak_error error;
    CHECK_OK(cloak_file_write(path, script, strlen(script), &error));
    CHECK_INT(chmod(path, 0700), 0);
    CHECK_INT(setenv("CLOAK_INTAKE", path, 1), 0);
    free(script);
    free(path);
}

static cloak_status read_photo(double seconds, bool (*stop)(void *), cloak_error *error) {
    cloak_intake *intake = cloak_intake_new(seconds, stop, NULL);
    cloak_photo photo;
    void *core = NULL;
    size_t length = 0;
    looks = 0;
    const cloak_status status =
        cloak_intake_photo(intake, "bytes", 5, "a.jpg", "owner", CLOAK_METADATA_SAFE, &photo, &core, &length, error);
    cloak_intake_free(intake);
    return status;
}

/* What takes long here may be quick elsewhere: the photo is tried again. */
TEST(a_silent_reader_is_given_up) {
    cloak_error error;
    start_silent_reader();
    CHECK_INT(read_photo(0.5, never, &error), CLOAK_E_TRANSIENT);
    CHECK(strstr(error.text, "a.jpg takes too long to read, here and now"));
    CHECK(looks > 1); /* whoever waits is asked whether to */
}

TEST(a_stop_is_heard) {
    cloak_error error;
    start_silent_reader();
    (void)!unlink(taken());
    CHECK_INT(read_photo(1000, soon, &error), CLOAK_E_INTERRUPTED);
}
