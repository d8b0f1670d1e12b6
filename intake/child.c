/* cloak-intake: reads one photo's file after the other, confined; see intake.h. Started by the worker, not by
 * people. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/photo/srgb.h"
#include "intake/confine.h"
#include "intake/wire.h"

enum { CPU_SECONDS = 60 };

/* A photo that was read. */
typedef struct {
    cloak_photo photo;
    void *core;
    size_t core_length;
} Found;

static void found_free(Found *found) {
    cloak_photo_free(&found->photo);
    free(found->core);
    *found = (Found){0};
}

static cloak_status read_photo(const uint8_t *bytes, size_t length, const char *name, cloak_metadata_policy policy,
    Found *found, cloak_error *error) {
    cloak_status status = cloak_photo_decode(bytes, length, name, NULL, &found->photo, error);
    if (status != CLOAK_OK)
        return status;
    cloak_photo_keep_metadata(bytes, length, policy, &found->photo);
    cloak_photo_find_srgb(&found->photo);
    found->core = cloak_photo_core(bytes, length, &found->photo, &found->core_length);
    return CLOAK_OK;
}

/* The file that answers are written into: the same from photo to photo, as fresh pages cost more than copying, unless
 * a large photo has made it large. -1 when there is none to be had. */
static int answer_file(void) {
    enum { KEPT = 256 << 20 };
    static int fd = -1;
    struct stat info;
    if (fd >= 0 && (fstat(fd, &info) != 0 || info.st_size > KEPT)) {
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        fd = cloak_intake_file("cloak-pixels");
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0)
        return -1;
    return fd;
}

/* Answers with a photo. False when the parent is gone. */
static bool answer_found(uint64_t number, const Found *found) {
    const cloak_photo *p = &found->photo;
    const cloak_metadata *m = &p->metadata;
    const size_t pixels = (size_t)p->width * (size_t)p->height;
    const struct {
        const void *bytes;
        size_t length;
    } parts[CLOAK_INTAKE_PARTS] = {{p->rgb, pixels * 3}, {p->alpha, p->alpha ? pixels : 0},
        {p->deep, p->deep ? pixels * 6 : 0}, {p->deep_alpha, p->deep_alpha ? pixels * 2 : 0}, {p->ink, p->ink ? pixels * 4 : 0},
        {p->icc, p->icc ? p->icc_length : 0}, {p->srgb, p->srgb ? CLOAK_SRGB_LENGTH * sizeof *p->srgb : 0},
        {p->ink_view, p->ink_view ? CLOAK_INK_TABLE * sizeof *p->ink_view : 0}, {m->exif, m->exif ? m->exif_length : 0}, {m->xmp, m->xmp ? m->xmp_length : 0},
        {m->iptc, m->iptc ? m->iptc_length : 0}, {found->core, found->core ? found->core_length : 0}};
    cloak_intake_answer answer;
    memset(&answer, 0, sizeof answer);
    answer.number = number;
    answer.width = p->width;
    answer.height = p->height;
    answer.primaries = p->primaries;
    answer.transfer = p->transfer;
    answer.format = (int32_t)p->format;
    answer.quality = p->quality;
    answer.depth = p->depth;
    answer.png_colour_length = (int32_t)p->png_colour_length;
    memcpy(answer.png_colour, p->png_colour, sizeof answer.png_colour);
    answer.grey = p->grey;
    answer.lossless = p->lossless;
    const int fd = answer_file();
    bool fine = fd >= 0;
    for (int i = 0; i < CLOAK_INTAKE_PARTS && fine; i++) {
        answer.lengths[i] = parts[i].length;
        fine = cloak_intake_write(fd, parts[i].bytes, parts[i].length);
    }
    if (!fine) {
        answer.status = CLOAK_E_TRANSIENT;
        snprintf(answer.text, sizeof answer.text, "the reader of photos has no room for the pixels: %s", strerror(errno));
    }
    return cloak_intake_send(CLOAK_INTAKE_SOCKET, &answer, sizeof answer, fine ? fd : -1);
}

/* An answer without a photo: an error, or with number 0 and no error that the child is ready. */
static bool answer_error(uint64_t number, const cloak_error *error) {
    cloak_intake_answer answer;
    memset(&answer, 0, sizeof answer);
    answer.number = number;
    answer.status = (int32_t)error->code;
    snprintf(answer.text, sizeof answer.text, "%s", error->text);
    return cloak_intake_send(CLOAK_INTAKE_SOCKET, &answer, sizeof answer, -1);
}

/* So many seconds of the processor from now on, then SIGPROF ends the process; 0 for no limit. */
static void limit_time(long seconds) {
    const struct itimerval timer = {.it_value = {seconds, 0}};
    setitimer(ITIMER_PROF, &timer, NULL);
}

/* One photo. False when the parent is gone. */
static bool serve(const cloak_intake_request *request, int fd) {
    struct stat info;
    cloak_error error = {.code = CLOAK_E_TRANSIENT, .text = "the reader of photos has no memory for the file"};
    Found found = {0};
    if (fstat(fd, &info) != 0 || request->name_length > CLOAK_INTAKE_NAME || request->length > (uint64_t)info.st_size ||
        request->name_length + request->length != (uint64_t)info.st_size)
        return false;
    char *name = cloak_alloc(request->name_length + 1);
    uint8_t *bytes = cloak_try_alloc(request->length ? request->length : 1);
    cloak_status status = CLOAK_E_TRANSIENT;
    limit_time(CPU_SECONDS);
    if (bytes && cloak_intake_read(fd, name, request->name_length, 0) &&
        cloak_intake_read(fd, bytes, request->length, request->name_length))
        status = read_photo(bytes, request->length, name, (cloak_metadata_policy)request->policy, &found, &error);
    limit_time(0);
    bool sent = status == CLOAK_OK ? answer_found(request->number, &found) : answer_error(request->number, &error);
    found_free(&found);
    free(bytes);
    free(name);
    return sent;
}

int main(void) {
    static const int passed_over[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGXFSZ};
    cloak_error error;
    cloak_intake_request request;
    int fd;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < sizeof passed_over / sizeof *passed_over; i++) /* the worker decides when we end */
        signal(passed_over[i], SIG_IGN);
    if (cloak_photo_init("cloak-intake", &error) != CLOAK_OK || cloak_confine(&error) != CLOAK_OK) {
        answer_error(0, &error);
        _exit(1);
    }
    error = (cloak_error){.code = CLOAK_OK};
    if (!answer_error(0, &error))
        _exit(1);
    while (cloak_intake_receive(CLOAK_INTAKE_SOCKET, &request, sizeof request, &fd)) {
        bool sent = fd >= 0 && serve(&request, fd);
        if (fd >= 0)
            close(fd);
        if (!sent)
            break;
    }
    _exit(0); /* nothing to leave in order, and a sanitizer's last look needs rights that are gone */
}
