/* Between labels.c, which looks photos up, and the readers of the two formats. Nobody else includes
 * this. */
#ifndef CLOAK_REPORT_LABELS_PARSE_H
#define CLOAK_REPORT_LABELS_PARSE_H

#include "common/report/labels.h"

enum {
    CLOAK_LABELS_MAX_PHOTOS = 5000000,
    CLOAK_LABELS_MAX_BOXES = 10000000,
    CLOAK_LABELS_MAX_BOXES_PER_PHOTO = 65536,
};

/* A photo of the file. Its boxes are `count` from `first` on in the labels' arrays. */
typedef struct {
    char *key;
    const char *base; /* the part of the key behind the last '/' */
    size_t line;      /* where the file names it */
    size_t first;
    cloak_truth truth;
} cloak_label;

struct cloak_labels {
    size_t count, room;
    cloak_label *photos; /* sorted by key once the file is read */
    size_t box_count, box_room;
    cloak_box *boxes;
    uint8_t *ignore;
    cloak_label **by_base; /* the photos sorted by base name */
};

/* A file that is being read: its name for error texts and its bytes, followed by a NUL. */
typedef struct {
    const char *path;
    char *text;
    size_t length;
} cloak_label_file;

/* Fills the error with "PATH:LINE: …" and returns CLOAK_E_PERMANENT. */
cloak_status cloak_labels_fail(const cloak_label_file *file, size_t line, cloak_error *error,
    const char *format, ...) CLOAK_PRINTF(4, 5);

/* Adds a photo; boxes added from now on are its own. The key is copied. */
CLOAK_MUST_CHECK cloak_status cloak_labels_add_photo(cloak_labels *labels,
    const cloak_label_file *file, size_t line, const char *key, cloak_error *error);

/* Adds a box to the latest photo. */
CLOAK_MUST_CHECK cloak_status cloak_labels_add_box(cloak_labels *labels,
    const cloak_label_file *file, size_t line, cloak_box box, cloak_truth_kind kind,
    cloak_error *error);

/* Turns x, y, width, height into a box. One without area gives true with `*empty` set; numbers that
 * can be no box give false. */
CLOAK_MUST_CHECK bool cloak_labels_box(const double xywh[4], cloak_box *box, bool *empty);

/* Reads a COCO file into empty labels. */
CLOAK_MUST_CHECK cloak_status cloak_labels_read_coco(
    cloak_labels *labels, const cloak_label_file *file, cloak_error *error);

#endif
