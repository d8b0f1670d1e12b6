/* Average precision and recall that add up over photos.
 *
 * A histogram counts the detections of any number of photos by score and by what they turned out to
 * be at each of eight IoU thresholds. Histograms of photos add, in any order and by any grouping,
 * to the histogram of the album; AP and recall are computed from the sum, so an album of a million
 * photos needs no list of detections.
 *
 * Matching (Lin et al. 2014, COCO): per photo and IoU threshold, detections in descending score
 * (equal scores in the order given) each take the still unmatched face with the highest IoU of at
 * least the threshold: a true positive. One that finds no face but reaches the threshold on an
 * ignored box is neither true nor false; ignored boxes take any number of detections, and over a
 * crowd region the overlap is divided by the detection's area instead of the union. Everything else
 * is a false positive.
 *
 * Scores fall into 2048 bins over their log-odds ln(s / (1 - s)): bin b holds the log-odds from
 * -3 + b/80 up to -3 + (b + 1)/80, the first bin everything below as well (-3 is score 0.047) and
 * the last everything above, which a float below 1 does not reach (17). Detections of one bin enter
 * the precision-recall curve together. Callers pass all detections with a score above 0.05, and
 * only those; recall is over all of them.
 *
 * A cloak_ap may be used by one thread at a time. Memory that runs out aborts (alloc.h).
 */
#ifndef CLOAK_REPORT_AP_H
#define CLOAK_REPORT_AP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/report/boxes.h"

enum {
    CLOAK_AP_IOUS = 8,    /* 0.3, 0.4, … 1.0 */
    CLOAK_AP_IOU_50 = 2,  /* the one most tables show */
    CLOAK_AP_BINS = 2048, /* of the log-odds of the score */
};

/* `count` detections in score bin `bin` with one and the same fate: bit i of `mask` is set when
 * they are true positives at IoU i, bit 8 + i when they count as neither; a detection with neither
 * bit is a false positive at IoU i. */
typedef struct {
    uint16_t bin, mask;
    uint64_t count;
} cloak_ap_cell;

/* All zero is the empty histogram. */
typedef struct {
    uint64_t faces;       /* in the ground truth, without ignored boxes */
    size_t count, room;   /* cells in use, cells allocated */
    cloak_ap_cell *cells; /* ascending by bin, then mask; owned */
} cloak_ap;

/* A point of the precision-recall curve: what remains when every detection whose score lies below
 * `score` (the lower edge of a bin) is dropped. */
typedef struct {
    double score, recall, precision;
    double envelope; /* highest precision at this recall or a higher one */
} cloak_ap_point;

/* A range of heights in pixels: from `least` up to, not including, `below`. */
typedef struct {
    double least, below;
} cloak_ap_heights;

/* Receives one named number. `name` is borrowed for the call. */
typedef void (*cloak_sum_visit)(void *context, const char *name, int64_t add);

/* The IoU threshold of index i (0…7) as number and as word ("0.5"; static storage). Any thread. */
double cloak_ap_iou(int i);
const char *cloak_ap_iou_word(int i);

/* Makes `ap` the empty histogram without looking at what it held. */
void cloak_ap_init(cloak_ap *ap);

/* Frees the cells and leaves the empty histogram. */
void cloak_ap_free(cloak_ap *ap);

/* Adds one photo: its `count` detections in any order, and its ground truth. Both are borrowed for
 * the call. The time grows with detections × boxes; meant for up to some 2,000 of each. A score
 * that is not a number counts as 0. */
void cloak_ap_add(
    cloak_ap *ap, const cloak_box *detections, size_t count, const cloak_truth *truth);

/* The same for the faces whose height lies in a range. Every other face counts as ignored (found or
 * not, it is neither right nor wrong), and a detection that is not true counts as neither, not as
 * false, when its own height lies outside of the range: it may well be a face of another size
 * (COCO's rule for ranges of area). Ignored boxes and crowds stay what they are, whatever their
 * height. NULL is every height. */
void cloak_ap_add_heights(cloak_ap *ap, const cloak_box *detections, size_t count,
    const cloak_truth *truth, const cloak_ap_heights *heights);

/* Adds all of `from` to `ap`. They must be different objects. */
void cloak_ap_merge(cloak_ap *ap, const cloak_ap *from);

/* Detections in the histogram, of whatever fate. */
uint64_t cloak_ap_detections(const cloak_ap *ap);

/* The histogram as one line "FACES BIN:MASK:COUNT BIN:MASK:COUNT …", numbers in decimal, the mask
 * in hexadecimal, cells in ascending order. Returns a new string (free()), never NULL. */
char *cloak_ap_text(const cloak_ap *ap);

/* Reads what cloak_ap_text writes, with counts up to 2^48, and nothing else: any other text is
 * CLOAK_E_PERMANENT. `*ap` becomes a new histogram (cloak_ap_free); what it held before is not
 * freed. */
CLOAK_MUST_CHECK cloak_status cloak_ap_parse(const char *text, cloak_ap *ap, cloak_error *error);

/* Visits the histogram as named sums for the queue: PREFIX "faces", and PREFIX "BIN.MASK" for each
 * cell (numbers as in the text). Numbers that are 0 are left out. The prefix, such as "ap.before.",
 * has up to 32 characters. */
void cloak_ap_visit(const cloak_ap *ap, const char *prefix, cloak_sum_visit visit, void *context);

/* The reverse: adds the sum `name` with its value to `ap`. Names that do not begin with `prefix`
 * are passed over. CLOAK_E_PERMANENT when the rest of the name or the value makes no sense. */
CLOAK_MUST_CHECK cloak_status cloak_ap_take(
    cloak_ap *ap, const char *prefix, const char *name, int64_t value, cloak_error *error);

/* Average precision at IoU i: the area under the envelope of the precision-recall curve, every
 * point of it (PASCAL VOC 2010 and later). NaN when there is no face to find. */
double cloak_ap_average(const cloak_ap *ap, int i);

/* Share of the faces that some detection found at IoU i. NaN when there is no face to find. */
double cloak_ap_recall(const cloak_ap *ap, int i);

/* The curve at IoU i in ascending recall: writes one point per score bin in which anything counts,
 * and returns their number. Without a face to find every recall is NaN. */
size_t cloak_ap_curve(const cloak_ap *ap, int i, cloak_ap_point points[CLOAK_AP_BINS]);

#endif
