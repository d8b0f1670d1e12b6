/* cloak-intake: reads one photo's file after the other, confined; see intake.h. Started by the worker, not by people. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "intake/confine.h"
#include "intake/wire.h"

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
        fd = memfd_create("cloak-pixels", MFD_CLOEXEC);
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0)
        return -1;
    return fd;
}

/* Answers with a photo. False when the parent is gone. */
static bool answer_found(const Found *found) {
    const cloak_photo *p = &found->photo;
    const cloak_metadata *m = &p->metadata;
    const size_t pixels = (size_t)p->width * (size_t)p->height;
    const struct {
        const void *bytes;
        size_t length;
    } parts[CLOAK_INTAKE_PARTS] = {{p->rgb, pixels * 3}, {p->alpha, p->alpha ? pixels : 0},
        {p->icc, p->icc ? p->icc_length : 0}, {m->exif, m->exif ? m->exif_length : 0}, {m->xmp, m->xmp ? m->xmp_length : 0},
        {m->iptc, m->iptc ? m->iptc_length : 0}, {found->core, found->core ? found->core_length : 0}};
    cloak_intake_answer answer = {.status = CLOAK_OK, .width = p->width, .height = p->height, .primaries = p->primaries,
        .transfer = p->transfer, .format = (int32_t)p->format, .quality = p->quality, .grey = p->grey,
        .lossless = p->lossless};
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

static bool answer_error(const cloak_error *error) {
    cloak_intake_answer answer = {.status = (int32_t)error->code};
    memcpy(answer.text, error->text, sizeof answer.text);
    return cloak_intake_send(CLOAK_INTAKE_SOCKET, &answer, sizeof answer, -1);
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
    if (bytes && cloak_intake_read(fd, name, request->name_length, 0) &&
        cloak_intake_read(fd, bytes, request->length, request->name_length))
        status = read_photo(bytes, request->length, name, (cloak_metadata_policy)request->policy, &found, &error);
    bool sent = status == CLOAK_OK ? answer_found(&found) : answer_error(&error);
    found_free(&found);
    free(bytes);
    free(name);
    return sent;
}

int main(void) {
    cloak_error error;
    cloak_intake_request request;
    int fd;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (cloak_photo_init("cloak-intake", &error) != CLOAK_OK || cloak_confine(&error) != CLOAK_OK) {
        answer_error(&error);
        fprintf(stderr, "cloak-intake: %s\n", error.text);
        _exit(1);
    }
    while (cloak_intake_receive(CLOAK_INTAKE_SOCKET, &request, sizeof request, &fd)) {
        bool sent = fd >= 0 && serve(&request, fd);
        if (fd >= 0)
            close(fd);
        if (!sent)
            break;
    }
    _exit(0); /* nothing to leave in order, and a sanitizer's last look needs rights that are gone */
}
