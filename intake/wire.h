/* Private to this folder: what parent and child send each other. Both are of one build on one machine. */
#ifndef CLOAK_INTAKE_WIRE_H
#define CLOAK_INTAKE_WIRE_H

#include "common/photo/photo.h"

enum { CLOAK_INTAKE_SOCKET = 3 /* the child's end */, CLOAK_INTAKE_NAME = 8192 };

/* With the descriptor of a file that holds the name, then the photo's bytes. `number` comes back in the answer. */
typedef struct {
    uint64_t number;
    uint64_t name_length, length;
    int32_t policy;
} cloak_intake_request;

/* What follows each other in the answer's file. */
enum { CLOAK_INTAKE_RGB, CLOAK_INTAKE_ALPHA, CLOAK_INTAKE_DEEP, CLOAK_INTAKE_DEEP_ALPHA, CLOAK_INTAKE_INK, CLOAK_INTAKE_ICC, CLOAK_INTAKE_SRGB,
    CLOAK_INTAKE_INK_VIEW, CLOAK_INTAKE_EXIF, CLOAK_INTAKE_XMP, CLOAK_INTAKE_IPTC,
    CLOAK_INTAKE_CORE, CLOAK_INTAKE_PARTS };

/* With the descriptor of a file that holds the parts, one after the other; without one when `status` is not CLOAK_OK.
 * The child sends one with number 0 and nothing else when it is confined and ready, or cannot be. */
typedef struct {
    uint64_t number;
    int32_t status;
    char text[768]; /* of the error */
    int32_t width, height, primaries, transfer, format, quality;
    int32_t depth, grey, lossless, png_colour_length;
    uint8_t png_colour[CLOAK_PNG_COLOUR];
    uint64_t lengths[CLOAK_INTAKE_PARTS];
} cloak_intake_answer;

/* Sends a message with a descriptor (-1 for none) over a socket, without waiting; false when the other side is gone or
 * does not read. */
bool cloak_intake_send(int socket, const void *message, size_t length, int fd);

/* Receives a message of exactly `length` bytes. `*fd` is -1 where none came with it; the caller closes it. False at the
 * end, and for a message of another length or with more than one descriptor, which are closed. */
bool cloak_intake_receive(int socket, void *message, size_t length, int *fd);

/* A new anonymous file, or -1 and errno. */
int cloak_intake_file(const char *name);

/* All of it, or false. */
bool cloak_intake_write(int fd, const void *bytes, size_t length);
bool cloak_intake_read(int fd, void *bytes, size_t length, uint64_t offset);

#endif
