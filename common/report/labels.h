/* Ground truth of an album from a label file.
 *
 * Two formats, told apart by content:
 *   WIDER FACE bbx_gt   lines of text: file name; number of boxes; then one line per box, "x y w h
 *                       blur expression illumination invalid occlusion pose" or just "x y w h". A
 *                       count of 0 may be followed by a line of zeros. Invalid boxes are ignored
 *                       (CLOAK_TRUTH_IGNORE).
 *   COCO JSON           "images" (id, file_name) and "annotations" (image_id, bbox [x, y, w, h],
 *                       iscrowd); crowds become CLOAK_TRUTH_CROWD. Where "categories" has one
 *                       named "face", only its annotations are read, otherwise all are.
 * Boxes are in pixels of the upright photo. Boxes without width or height are left out.
 *
 * Limits: 256 MiB a file, 5,000,000 photos, 10,000,000 boxes, 65,536 boxes a photo; coordinates up
 * to 1,000,000 in magnitude; 1 MiB for one element of a COCO list.
 */
#ifndef CLOAK_REPORT_LABELS_H
#define CLOAK_REPORT_LABELS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/report/boxes.h"

typedef struct cloak_labels cloak_labels;

/* Reads a label file. `*labels` is new (cloak_labels_free). A file that is missing, too large or
 * malformed is CLOAK_E_PERMANENT, and the text names file and line. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_labels_load(
    const char *path, cloak_labels **labels, cloak_error *error);

/* Frees the labels and all that was found in them. NULL is fine. */
void cloak_labels_free(cloak_labels *labels);

/* The ground truth of the photo with this store key (raw bytes, not percent-encoded), or NULL when
 * the file says nothing about it. First the photo of exactly this name counts; else the only one
 * whose name ends in the key or is what the key ends in, by whole parts of the path: "x.jpg",
 * "0--Parade/x.jpg" and "val/0--Parade/x.jpg" find each other, "a/1.jpg" and "b/1.jpg" do not.
 * Borrowed, lives with the labels. Any thread. */
const cloak_truth *cloak_labels_find(const cloak_labels *labels, const char *key);

/* How many photos the file names, and how many faces that are to be found it holds. Any thread. */
size_t cloak_labels_photos(const cloak_labels *labels);
uint64_t cloak_labels_faces(const cloak_labels *labels);

/* One photo's ground truth as compact JSON, [[x1,y1,x2,y2,kind],…] with a cloak_truth_kind at the
 * end. Returns a new string (free()), never NULL. Any thread. */
char *cloak_truth_json(const cloak_truth *truth);

/* The reverse. The arrays of `*truth` are new: free them with cloak_truth_free. Anything else, more
 * than 65,536 boxes or 8 MiB is CLOAK_E_PERMANENT. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_truth_parse(
    const char *json, cloak_truth *truth, cloak_error *error);

/* Frees arrays that cloak_truth_parse made and zeroes the struct. Not for borrowed ones. */
void cloak_truth_free(cloak_truth *truth);

#endif
