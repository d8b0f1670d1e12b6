/* The parent's side; see the header. */
#include "intake/intake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/install.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "intake/wire.h"

enum { PART_MOST = 1 << 20 /* of profile and metadata: 4 MiB and 64 KiB in fact */, PROFILE_MOST = 64 << 20 };

extern char **environ;

struct cloak_intake {
    pid_t pid; /* 0 for none */
    int socket;
    double seconds;
    bool (*stop)(void *context);
    void *stop_context;
};

cloak_intake *cloak_intake_new(double seconds, bool (*stop)(void *context), void *stop_context) {
    cloak_intake *intake = cloak_alloc(sizeof *intake);
    intake->socket = -1;
    intake->seconds = seconds;
    intake->stop = stop;
    intake->stop_context = stop_context;
    return intake;
}

/* Ends the child and says how it ended. */
static int reap(cloak_intake *intake, bool kill_it) {
    int ended = 0;
    if (!intake->pid)
        return 0;
    if (kill_it)
        kill(intake->pid, SIGKILL);
    close(intake->socket);
    while (waitpid(intake->pid, &ended, 0) < 0 && errno == EINTR)
        ;
    intake->pid = 0;
    intake->socket = -1;
    return ended;
}

void cloak_intake_free(cloak_intake *intake) {
    if (!intake)
        return;
    reap(intake, true);
    free(intake);
}

/* The child inherits one end of a socket and nothing else. CLOAK_INTAKE names another program: a seam for tests. */
static cloak_status start(cloak_intake *intake, cloak_error *error) {
    int pair[2];
    const char *other = getenv("CLOAK_INTAKE");
    if (intake->pid)
        return CLOAK_OK;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "no socket for the reader of photos: %s", strerror(errno));
    char *program = other && *other ? cloak_strdup(other) : cloak_install_program("cloak-intake");
    char *argv[] = {program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is the worker's to answer */
    posix_spawn_file_actions_adddup2(&actions, pair[1], CLOAK_INTAKE_SOCKET);
    int failed = posix_spawnp(&intake->pid, program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    if (failed) {
        close(pair[0]);
        intake->pid = 0;
        cloak_fail(error, CLOAK_E_TRANSIENT, "cannot start the reader of photos %s: %s", program, strerror(failed));
    } else {
        intake->socket = pair[0];
    }
    free(program);
    return failed ? CLOAK_E_TRANSIENT : CLOAK_OK;
}

static bool send_request(cloak_intake *intake, const void *bytes, size_t length, const char *name,
    cloak_metadata_policy policy) {
    const cloak_intake_request request = {strnlen(name, CLOAK_INTAKE_NAME), length, policy};
    int fd = memfd_create("cloak-photo", MFD_CLOEXEC);
    bool sent = fd >= 0 && cloak_intake_write(fd, name, request.name_length) &&
                cloak_intake_write(fd, bytes, length) &&
                cloak_intake_send(intake->socket, &request, sizeof request, fd);
    if (fd >= 0)
        close(fd);
    return sent;
}

typedef enum { CAME, LATE, STOPPED, GONE } Came;

static Came await(cloak_intake *intake, cloak_intake_answer *answer, int *fd) {
    enum { LOOK_MS = 100 };
    for (const double until = cloak_now() + intake->seconds; cloak_now() < until;) {
        struct pollfd wait = {intake->socket, POLLIN, 0};
        int ready = poll(&wait, 1, LOOK_MS);
        if (ready < 0 && errno != EINTR)
            return GONE;
        if (ready > 0)
            return cloak_intake_receive(intake->socket, answer, sizeof *answer, fd) ? CAME : GONE;
        if (intake->stop && intake->stop(intake->stop_context))
            return STOPPED;
    }
    return LATE;
}

static cloak_status fail_named(cloak_error *error, cloak_status code, const char *name, const char *what) {
    char *shown = cloak_text_brief(name);
    cloak_fail(error, code, "%s %s", shown, what);
    free(shown);
    return code;
}

/* The child has ended with a photo in hand. */
static cloak_status blame(int ended, const char *name, cloak_error *error) {
    char what[160];
    if (WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL)
        return fail_named(error, CLOAK_E_TRANSIENT, name, "could not be read: its reader was killed, for want of memory perhaps");
    if (WIFSIGNALED(ended))
        snprintf(what, sizeof what, "breaks the reader of photos (signal %d, %s): replace it with an intact copy",
            WTERMSIG(ended), strsignal(WTERMSIG(ended)));
    else
        snprintf(what, sizeof what, "breaks the reader of photos (exit status %d): replace it with an intact copy",
            WEXITSTATUS(ended));
    return fail_named(error, CLOAK_E_PERMANENT, name, what);
}

/* Whether the answer describes a photo that there can be, and the sizes that it must then have. */
static bool makes_sense(const cloak_intake_answer *a) {
    const cloak_photo_limits limits = cloak_photo_default_limits();
    const uint64_t *n = a->lengths;
    if (a->width < 1 || a->height < 1 || a->width > limits.max_side || a->height > limits.max_side)
        return false;
    const uint64_t pixels = (uint64_t)a->width * (uint64_t)a->height;
    for (int i = CLOAK_INTAKE_EXIF; i <= CLOAK_INTAKE_IPTC; i++)
        if (n[i] > PART_MOST)
            return false;
    return pixels <= limits.max_pixels && n[CLOAK_INTAKE_RGB] == pixels * 3 &&
           (n[CLOAK_INTAKE_ALPHA] == 0 || n[CLOAK_INTAKE_ALPHA] == pixels) && n[CLOAK_INTAKE_ICC] <= PROFILE_MOST &&
           n[CLOAK_INTAKE_CORE] <= (uint64_t)1 << 31 && a->format > CLOAK_FORMAT_UNKNOWN && a->format <= CLOAK_FORMAT_TIFF &&
           a->quality >= 0 && a->quality <= 100;
}

/* Copies one part out of the answer's file; an empty one is NULL. */
static bool take(int fd, uint64_t length, uint64_t *offset, void *to) {
    void *block = length ? cloak_try_alloc(length) : NULL;
    if (length && (!block || !cloak_intake_read(fd, block, length, *offset))) {
        free(block);
        return false;
    }
    *offset += length;
    memcpy(to, &block, sizeof block);
    return true;
}

static bool unpack(const cloak_intake_answer *a, int fd, cloak_photo *photo, void **core, size_t *core_length) {
    const uint64_t *n = a->lengths;
    uint64_t offset = 0;
    *photo = (cloak_photo){.width = a->width, .height = a->height, .primaries = a->primaries, .transfer = a->transfer,
        .format = (cloak_format_id)a->format, .quality = a->quality, .grey = a->grey != 0, .lossless = a->lossless != 0};
    cloak_metadata *m = &photo->metadata;
    void *const to[CLOAK_INTAKE_PARTS] = {&photo->rgb, &photo->alpha, &photo->icc, &m->exif, &m->xmp, &m->iptc, core};
    *core = NULL;
    photo->icc_length = n[CLOAK_INTAKE_ICC];
    m->exif_length = n[CLOAK_INTAKE_EXIF];
    m->xmp_length = n[CLOAK_INTAKE_XMP];
    m->iptc_length = n[CLOAK_INTAKE_IPTC];
    *core_length = n[CLOAK_INTAKE_CORE];
    bool fine = true;
    for (int i = 0; i < CLOAK_INTAKE_PARTS && fine; i++)
        fine = take(fd, n[i], &offset, to[i]);
    if (!fine)
        cloak_photo_free(photo);
    return fine;
}

cloak_status cloak_intake_photo(cloak_intake *intake, const void *bytes, size_t length, const char *name,
    cloak_metadata_policy policy, cloak_photo *photo, void **core, size_t *core_length, cloak_error *error) {
    cloak_intake_answer answer;
    int fd = -1;
    cloak_status status = start(intake, error);
    if (status != CLOAK_OK)
        return status;
    Came came = send_request(intake, bytes, length, name, policy) ? await(intake, &answer, &fd) : GONE;
    if (came == STOPPED) {
        reap(intake, true);
        return cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted");
    }
    if (came == LATE) {
        char what[120];
        reap(intake, true);
        snprintf(what, sizeof what, "takes longer than %.0f s to read: replace it with a simpler copy", intake->seconds);
        return fail_named(error, CLOAK_E_PERMANENT, name, what);
    }
    if (came == GONE) {
        int ended = reap(intake, false);
        cloak_log(CLOAK_LOG_WARN, "intake_died", "status %d", ended);
        return blame(ended, name, error);
    }
    answer.text[sizeof answer.text - 1] = 0;
    if (answer.status != CLOAK_OK)
        status = cloak_fail(error, answer.status == CLOAK_E_TRANSIENT ? CLOAK_E_TRANSIENT : CLOAK_E_PERMANENT, "%s",
            answer.text);
    else if (fd < 0 || !makes_sense(&answer))
        status = fail_named(error, CLOAK_E_PERMANENT, name, "was read as what no photo can be");
    else if (!unpack(&answer, fd, photo, core, core_length))
        status = fail_named(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free");
    if (fd >= 0)
        close(fd);
    return status;
}
