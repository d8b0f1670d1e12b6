/* The parent's side; see the header. */
#include "intake/intake.h"

#include <errno.h>
#include <fcntl.h>
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
#include "common/photo/parts.h"
#include "common/photo/srgb.h"
#include "intake/wire.h"

enum { PART_MOST = 1 << 20 /* of metadata: 64 KiB in fact */ };

extern char **environ;

struct cloak_intake {
    pid_t pid; /* 0 for none */
    int socket;
    char *owner;     /* whose photos the child has read */
    uint64_t number; /* of the last request */
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

/* Ends the child and says how it ended. One that has let go of its socket may take a moment to end by itself, no
 * longer: NOT_BY_ITSELF then. */
enum { NOT_BY_ITSELF = -1 };

static int reap(cloak_intake *intake, bool kill_it) {
    enum { LOOKS = 100 };
    int ended = 0;
    if (!intake->pid)
        return 0;
    close(intake->socket);
    for (int i = 0; !kill_it && i < LOOKS; i++) {
        if (waitpid(intake->pid, &ended, WNOHANG) == intake->pid)
            goto gone;
        cloak_clock_system.sleep(0.01);
    }
    kill(intake->pid, SIGKILL);
    while (waitpid(intake->pid, &ended, 0) < 0 && errno == EINTR)
        ;
    ended = NOT_BY_ITSELF;
gone:
    intake->pid = 0;
    intake->socket = -1;
    return ended;
}

void cloak_intake_free(cloak_intake *intake) {
    if (!intake)
        return;
    reap(intake, true);
    free(intake->owner);
    free(intake);
}

/* What the child may know of our environment: no keys. `few` has room for all of it and the end. */
static void choose_environment(char *few[]) {
    static const char *const names[] = {"PATH=", "LANG=", "LC_ALL=", "TZ=", "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=",
        "LSAN_OPTIONS="};
    size_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (char **variable = environ; *variable; variable++)
            if (strncmp(*variable, names[i], strlen(names[i])) == 0) {
                few[count++] = *variable;
                break;
            }
    few[count] = NULL;
}

/* The child gets one end of a socket, stderr, and nothing else of ours. */
static int spawn(const char *program, int socket, pid_t *pid) {
    char *argv[] = {(char *)program, NULL}, *few[16];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    choose_environment(few);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID); /* Ctrl-C is the worker's to answer */
    posix_spawnattr_setsigmask(&attributes, &none);
    int failed = posix_spawn_file_actions_adddup2(&actions, socket, CLOAK_INTAKE_SOCKET);
    if (!failed)
        failed = posix_spawn_file_actions_addclosefrom_np(&actions, CLOAK_INTAKE_SOCKET + 1);
    if (!failed)
        failed = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!failed)
        failed = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (!failed)
        failed = posix_spawnp(pid, program, &actions, &attributes, argv, few);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

static void clean_text(char *text, size_t size);

typedef enum { CAME, LATE, STOPPED, GONE, NO_ROOM } Came;

/* Waits for a message from the child, for so many seconds, but not through a stop. */
static Came await(cloak_intake *intake, double seconds, cloak_intake_answer *answer, int *fd) {
    enum { LOOK_MS = 100 };
    for (const double until = cloak_now() + seconds; cloak_now() < until;) {
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

/* Waits for the child to say that it is confined. What goes wrong until then is no photo's fault. */
static cloak_status await_ready(cloak_intake *intake, const char *program, cloak_error *error) {
    const double start_seconds = 30;
    cloak_intake_answer answer = {0};
    int fd = -1;
    Came came = await(intake, start_seconds, &answer, &fd);
    if (fd >= 0)
        close(fd);
    if (came == CAME && answer.number == 0 && answer.status == CLOAK_OK)
        return CLOAK_OK;
    int ended = reap(intake, came != GONE);
    if (came == STOPPED)
        return cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted");
    if (came == CAME)
        clean_text(answer.text, sizeof answer.text);
    else
        snprintf(answer.text, sizeof answer.text, "it ended with status %d", ended);
    return cloak_fail(error, CLOAK_E_TRANSIENT, "the reader of photos %s does not start: %.500s", program, answer.text);
}

/* Starts a child where there is none for this owner. CLOAK_INTAKE names another program: a seam for tests. */
static cloak_status start(cloak_intake *intake, const char *owner, cloak_error *error) {
    int pair[2];
    const char *other = getenv("CLOAK_INTAKE");
    if (intake->pid && strcmp(intake->owner, owner) == 0)
        return CLOAK_OK;
    reap(intake, true);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return cloak_fail(error, CLOAK_E_TRANSIENT, "no socket for the reader of photos: %s", strerror(errno));
    char *program = other && *other ? cloak_strdup(other) : cloak_install_program("cloak-intake");
    cloak_status status = CLOAK_OK;
    int failed = spawn(program, pair[1], &intake->pid);
    close(pair[1]);
    if (failed) {
        close(pair[0]);
        intake->pid = 0;
        status = cloak_fail(
            error, CLOAK_E_TRANSIENT, "cannot start the reader of photos %s: %s", program, strerror(failed));
    } else {
        intake->socket = pair[0];
        free(intake->owner);
        intake->owner = cloak_strdup(owner);
        status = await_ready(intake, program, error);
    }
    free(program);
    return status;
}

static Came send_request(cloak_intake *intake, const void *bytes, size_t length, const char *name,
    cloak_metadata_policy policy) {
    cloak_intake_request request;
    memset(&request, 0, sizeof request);
    request.number = ++intake->number;
    request.name_length = strnlen(name, CLOAK_INTAKE_NAME);
    request.length = length;
    request.policy = (int32_t)policy;
    int fd = cloak_intake_file("cloak-photo");
    bool written = fd >= 0 && cloak_intake_write(fd, name, request.name_length) && cloak_intake_write(fd, bytes, length);
    bool sent = written && cloak_intake_send(intake->socket, &request, sizeof request, fd);
    if (fd >= 0)
        close(fd);
    return sent ? CAME : written ? GONE : NO_ROOM;
}

/* Waits for the answer to the last request. Another one is nonsense. */
static Came await_answer(cloak_intake *intake, cloak_intake_answer *answer, int *fd) {
    Came came = await(intake, intake->seconds, answer, fd);
    if (came != CAME || answer->number == intake->number)
        return came;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return GONE;
}

static cloak_status fail_named(cloak_error *error, cloak_status code, const char *name, const char *what) {
    char *shown = cloak_text_brief(name);
    cloak_fail(error, code, "%s %s", shown, what);
    free(shown);
    return code;
}

/* A fresh child has ended with a photo in hand, in one of the ways in which code breaks of its input. */
static cloak_status blame(int ended, const char *name, cloak_error *error) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGTRAP, SIGPROF};
    const int number = WIFSIGNALED(ended) ? WTERMSIG(ended) : 0;
    char what[160];
    if (ended == NOT_BY_ITSELF)
        return fail_named(error, CLOAK_E_PERMANENT, name, "makes its reader talk nonsense: replace it with an intact copy");
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (number != faults[i])
            continue;
        if (number == SIGPROF)
            return fail_named(error, CLOAK_E_PERMANENT, name, "takes too long to read: replace it with a simpler copy");
        snprintf(what, sizeof what, "breaks the reader of photos (signal %d, %s): replace it with an intact copy", number,
            strsignal(number));
        return fail_named(error, CLOAK_E_PERMANENT, name, what);
    }
    if (number)
        return fail_named(error, CLOAK_E_TRANSIENT, name, "could not be read: its reader was killed, for want of memory perhaps");
    snprintf(what, sizeof what, "breaks the reader of photos (exit status %d): replace it with an intact copy",
        WEXITSTATUS(ended));
    return fail_named(error, CLOAK_E_PERMANENT, name, what);
}

/* Takes out of a text from the child what does not belong into logs. */
static void clean_text(char *text, size_t size) {
    text[size - 1] = 0;
    for (unsigned char *c = (unsigned char *)text; *c;) {
        int n = cloak_text_utf8_length(c);
        bool control = *c < 32 || *c == 127 || (*c == 0xc2 && c[1] < 0xa0);
        if (n == 0 || control)
            *c = '?';
        c += n > 0 && !control ? n : 1;
    }
}

/* Whether the inks are of a CMYK photo: such a one is what it is and nothing else. */
static bool inks_make_sense(const cloak_intake_answer *a, uint64_t pixels) {
    const uint64_t *n = a->lengths;
    if (n[CLOAK_INTAKE_INK] == 0)
        return n[CLOAK_INTAKE_INK_VIEW] == 0;
    return n[CLOAK_INTAKE_INK] == pixels * 4 && n[CLOAK_INTAKE_INK_VIEW] == CLOAK_INK_TABLE * sizeof(uint16_t) &&
           (a->format == CLOAK_FORMAT_JPEG || a->format == CLOAK_FORMAT_TIFF) && !a->depth && !a->grey &&
           n[CLOAK_INTAKE_ALPHA] == 0 && n[CLOAK_INTAKE_SRGB] == 0;
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
           (n[CLOAK_INTAKE_ALPHA] == 0 || n[CLOAK_INTAKE_ALPHA] == pixels) &&
           n[CLOAK_INTAKE_DEEP] == (a->depth ? pixels * 6 : 0) &&
           n[CLOAK_INTAKE_DEEP_ALPHA] == (a->depth ? n[CLOAK_INTAKE_ALPHA] * 2 : 0) &&
           (a->depth == 0 || (a->depth > 8 && a->depth <= 16)) && n[CLOAK_INTAKE_ICC] <= CLOAK_PROFILE_MOST &&
           (n[CLOAK_INTAKE_SRGB] == 0 || n[CLOAK_INTAKE_SRGB] == CLOAK_SRGB_LENGTH * sizeof(uint16_t)) &&
           inks_make_sense(a, pixels) && n[CLOAK_INTAKE_CORE] <= (uint64_t)1 << 31 && a->format > CLOAK_FORMAT_UNKNOWN && a->format <= CLOAK_FORMAT_TIFF &&
           a->png_colour_length >= 0 && a->png_colour_length <= CLOAK_PNG_COLOUR && a->quality >= 0 && a->quality <= 100;
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
        .format = (cloak_format_id)a->format, .quality = a->quality, .depth = a->depth, .grey = a->grey != 0, .lossless = a->lossless != 0};
    memcpy(photo->png_colour, a->png_colour, sizeof photo->png_colour);
    photo->png_colour_length = (size_t)a->png_colour_length;
    cloak_metadata *m = &photo->metadata;
    void *const to[CLOAK_INTAKE_PARTS] = {&photo->rgb, &photo->alpha, &photo->deep, &photo->deep_alpha, &photo->ink, &photo->icc,
        &photo->srgb, &photo->ink_view, &m->exif, &m->xmp, &m->iptc, core};
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

/* What the answer says, unpacked. */
static cloak_status read_answer(cloak_intake_answer *answer, int fd, const char *name, cloak_photo *photo, void **core,
    size_t *core_length, cloak_error *error) {
    clean_text(answer->text, sizeof answer->text);
    if (answer->status != CLOAK_OK)
        return cloak_fail(error, answer->status == CLOAK_E_PERMANENT ? CLOAK_E_PERMANENT : CLOAK_E_TRANSIENT, "%s",
            answer->text);
    if (fd < 0 || !makes_sense(answer))
        return fail_named(error, CLOAK_E_PERMANENT, name, "was read as what no photo can be");
    if (!unpack(answer, fd, photo, core, core_length))
        return fail_named(error, CLOAK_E_TRANSIENT, name, "needs more memory than is free");
    return CLOAK_OK;
}

cloak_status cloak_intake_photo(cloak_intake *intake, const void *bytes, size_t length, const char *name,
    const char *owner, cloak_metadata_policy policy, cloak_photo *photo, void **core, size_t *core_length,
    cloak_error *error) {
    cloak_intake_answer answer;
    int fd = -1;
    for (;;) {
        const bool fresh = intake->pid == 0 || strcmp(intake->owner, owner) != 0;
        cloak_status status = start(intake, owner, error);
        if (status != CLOAK_OK)
            return status;
        Came came = send_request(intake, bytes, length, name, policy);
        if (came == CAME)
            came = await_answer(intake, &answer, &fd);
        if (came == CAME) {
            status = read_answer(&answer, fd, name, photo, core, core_length, error);
            if (fd >= 0)
                close(fd);
            return status;
        }
        if (came == NO_ROOM)
            return fail_named(error, CLOAK_E_TRANSIENT, name, "cannot be handed to its reader: no memory, or too many open files");
        int ended = reap(intake, came != GONE);
        if (came == STOPPED)
            return cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted");
        if (came == LATE)
            return fail_named(error, CLOAK_E_TRANSIENT, name, "takes too long to read, here and now");
        cloak_log(CLOAK_LOG_WARN, "intake_died", "status %d", ended);
        if (fresh)
            return blame(ended, name, error);
        /* it may have died of an earlier photo, or while it waited: a fresh one tells */
    }
}
