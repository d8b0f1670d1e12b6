/* Average precision from sums; see the header.
 *
 * DESIGN. The eight IoU thresholds could each have a histogram of their own. Instead a detection
 * adds one to a single cell that says what it is at all eight; fewer numbers, since a detection
 * that fits well fits well everywhere. The thresholds are matched independently, so the mask must
 * be able to hold any pattern and cannot shrink to "the highest IoU reached": a detection that
 * overlaps a face by 0.6 is false at 0.3 when a better scored one with an overlap of 0.4 has taken
 * the face, and true at 0.5, where that one could not.
 *
 * Cells are a sorted array: an album fills a few thousand, each insertion moves some tens of
 * kilobytes at worst, and text and sums come out in one order whatever order the photos had.
 */
#include "common/report/ap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { IOU_MASK = (1 << CLOAK_AP_IOUS) - 1 };

static const double FIRST_LOGIT = -3, BINS_PER_LOGIT = 80;

/* Larger counts do not come from photos; the limit keeps sums of hostile texts from wrapping. */
static const uint64_t MAX_COUNT = UINT64_C(1) << 48;

double cloak_ap_iou(int i) {
    return (3 + i) / 10.0;
}

const char *cloak_ap_iou_word(int i) {
    static const char *const words[CLOAK_AP_IOUS] = {
        "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1.0"};
    return words[i];
}

void cloak_ap_init(cloak_ap *ap) {
    memset(ap, 0, sizeof *ap);
}

void cloak_ap_free(cloak_ap *ap) {
    free(ap->cells);
    cloak_ap_init(ap);
}

/* Index of the first cell that is not before (bin, mask). */
static size_t lower_bound(const cloak_ap *ap, unsigned bin, unsigned mask) {
    uint32_t key = (uint32_t)bin << 16 | mask;
    size_t low = 0, high = ap->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (((uint32_t)ap->cells[middle].bin << 16 | ap->cells[middle].mask) < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_cell(cloak_ap *ap, unsigned bin, unsigned mask, uint64_t count) {
    size_t at = lower_bound(ap, bin, mask);
    if (at < ap->count && ap->cells[at].bin == bin && ap->cells[at].mask == mask) {
        ap->cells[at].count += count;
        return;
    }
    if (ap->count == ap->room) {
        ap->room = ap->room ? 2 * ap->room : 16;
        ap->cells = cloak_realloc(ap->cells, ap->room * sizeof *ap->cells);
    }
    memmove(ap->cells + at + 1, ap->cells + at, (ap->count - at) * sizeof *ap->cells);
    ap->cells[at] = (cloak_ap_cell){(uint16_t)bin, (uint16_t)mask, count};
    ap->count++;
}

static unsigned score_bin(double score) {
    if (!(score > 0))
        return 0;
    if (score >= 1)
        return CLOAK_AP_BINS - 1;
    double at = floor((log(score / (1 - score)) - FIRST_LOGIT) * BINS_PER_LOGIT);
    return at < 0 ? 0 : at > CLOAK_AP_BINS - 1 ? CLOAK_AP_BINS - 1 : (unsigned)at;
}

typedef struct {
    float score;
    size_t index;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static double area(const cloak_box *box) {
    return ((double)box->x2 - box->x1) * ((double)box->y2 - box->y1);
}

/* Intersection over union, or over the detection's area for a crowd region. */
static double overlap(const cloak_box *detection, const cloak_box *truth, bool crowd) {
    double x1 = detection->x1 > truth->x1 ? detection->x1 : truth->x1;
    double y1 = detection->y1 > truth->y1 ? detection->y1 : truth->y1;
    double x2 = detection->x2 < truth->x2 ? detection->x2 : truth->x2;
    double y2 = detection->y2 < truth->y2 ? detection->y2 : truth->y2;
    if (!(x2 > x1) || !(y2 > y1))
        return 0;
    double both = (x2 - x1) * (y2 - y1);
    return both / (crowd ? area(detection) : area(detection) + area(truth) - both);
}

static bool within(const cloak_box *box, const cloak_ap_heights *heights) {
    double height = (double)box->y2 - box->y1;
    return !heights || (height >= heights->least && height < heights->below);
}

/* What box g of the truth counts as when only faces of these heights are to be found. */
static unsigned kind_of(const cloak_truth *truth, size_t g, const cloak_ap_heights *heights) {
    unsigned kind = truth->ignore ? truth->ignore[g] : CLOAK_TRUTH_FACE;
    if (kind == CLOAK_TRUTH_FACE && !within(&truth->boxes[g], heights))
        return CLOAK_TRUTH_IGNORE;
    return kind;
}

/* The fate of one detection as a cell's mask. `taken` holds, per box of the truth, a bit for each
 * IoU at which an earlier detection took it; the faces taken here are added. */
static unsigned match(const cloak_box *detection, const cloak_truth *truth,
    const cloak_ap_heights *heights, uint8_t *taken) {
    double best[CLOAK_AP_IOUS] = {0};
    size_t face[CLOAK_AP_IOUS];
    unsigned found = 0, ignored = 0;
    for (size_t g = 0; g < truth->count; g++) {
        unsigned kind = kind_of(truth, g, heights);
        double iou = overlap(detection, &truth->boxes[g], kind == CLOAK_TRUTH_CROWD);
        for (int i = 0; i < CLOAK_AP_IOUS; i++) {
            /* equal boxes may differ from 1 by rounding; COCO's tolerance */
            if (!(iou >= fmin(cloak_ap_iou(i), 1 - 1e-10)))
                break;
            if (kind != CLOAK_TRUTH_FACE) {
                ignored |= 1u << i;
            } else if (!(taken[g] >> i & 1) && iou > best[i]) {
                best[i] = iou;
                face[i] = g;
                found |= 1u << i;
            }
        }
    }
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        if (found >> i & 1)
            taken[face[i]] |= (uint8_t)(1u << i);
    if (!within(detection, heights))
        ignored = IOU_MASK;
    return found | (ignored & ~found) << CLOAK_AP_IOUS;
}

void cloak_ap_add(
    cloak_ap *ap, const cloak_box *detections, size_t count, const cloak_truth *truth) {
    cloak_ap_add_heights(ap, detections, count, truth, NULL);
}

void cloak_ap_add_heights(cloak_ap *ap, const cloak_box *detections, size_t count,
    const cloak_truth *truth, const cloak_ap_heights *heights) {
    ranked *order = cloak_alloc(count * sizeof *order);
    uint8_t *taken = cloak_alloc(truth->count);
    for (size_t d = 0; d < count; d++) {
        float score = detections[d].score;
        order[d] = (ranked){isnan(score) ? 0 : score, d};
    }
    qsort(order, count, sizeof *order, by_score);
    for (size_t d = 0; d < count; d++) {
        unsigned mask = match(&detections[order[d].index], truth, heights, taken);
        add_cell(ap, score_bin(order[d].score), mask, 1);
    }
    for (size_t g = 0; g < truth->count; g++)
        ap->faces += kind_of(truth, g, heights) == CLOAK_TRUTH_FACE;
    free(taken);
    free(order);
}

void cloak_ap_merge(cloak_ap *ap, const cloak_ap *from) {
    ap->faces += from->faces;
    for (size_t c = 0; c < from->count; c++)
        add_cell(ap, from->cells[c].bin, from->cells[c].mask, from->cells[c].count);
}

uint64_t cloak_ap_detections(const cloak_ap *ap) {
    uint64_t sum = 0;
    for (size_t c = 0; c < ap->count; c++)
        sum += ap->cells[c].count;
    return sum;
}

char *cloak_ap_text(const cloak_ap *ap) {
    enum { CELL_TEXT = 32 }; /* " 2047:ff00:18446744073709551615" and its terminator */
    size_t size = (ap->count + 1) * CELL_TEXT, used;
    char *text = cloak_alloc(size);
    used = (size_t)snprintf(text, size, "%llu", (unsigned long long)ap->faces);
    for (size_t c = 0; c < ap->count; c++)
        used += (size_t)snprintf(text + used, size - used, " %u:%x:%llu", ap->cells[c].bin,
            ap->cells[c].mask, (unsigned long long)ap->cells[c].count);
    return text;
}

/* Reads a number as we write it (lower case, no sign, no leading zeros) of at most `limit`, moves
 * `*at` behind it and returns true; else leaves both alone. `limit` is below 2^59. */
static bool read_number(const char **at, unsigned base, uint64_t limit, uint64_t *value) {
    const char *digits = "0123456789abcdef", *p = *at;
    uint64_t sum = 0;
    for (const char *digit; *p && (digit = memchr(digits, *p, base)); p++) {
        sum = sum * base + (uint64_t)(digit - digits);
        if (sum > limit)
            return false;
    }
    if (p == *at || (**at == '0' && p != *at + 1))
        return false;
    *at = p;
    *value = sum;
    return true;
}

/* Reads "BIN" `between` "MASK". A detection cannot count and be ignored at the same IoU. */
static bool read_cell(const char **at, char between, uint64_t *bin, uint64_t *mask) {
    const char *p = *at;
    if (!read_number(&p, 10, CLOAK_AP_BINS - 1, bin) || *p++ != between ||
        !read_number(&p, 16, UINT16_MAX, mask) || (*mask >> CLOAK_AP_IOUS & *mask & IOU_MASK))
        return false;
    *at = p;
    return true;
}

cloak_status cloak_ap_parse(const char *text, cloak_ap *ap, cloak_error *error) {
    cloak_ap read = {0};
    const char *at = text;
    if (!read_number(&at, 10, MAX_COUNT, &read.faces))
        goto bad;
    while (*at == ' ') {
        uint64_t bin, mask, count;
        at++;
        if (!read_cell(&at, ':', &bin, &mask) || *at++ != ':' ||
            !read_number(&at, 10, MAX_COUNT, &count) || count == 0)
            goto bad;
        if (lower_bound(&read, (unsigned)bin, (unsigned)mask) != read.count)
            goto bad; /* ascending order: one text per histogram, and every insertion appends */
        add_cell(&read, (unsigned)bin, (unsigned)mask, count);
    }
    if (*at)
        goto bad;
    *ap = read;
    return CLOAK_OK;
bad:
    cloak_ap_free(&read);
    return cloak_fail(error, CLOAK_E_PERMANENT,
        "not an AP histogram (\"FACES BIN:MASK:COUNT …\") from about character %td on",
        at - text + 1);
}

void cloak_ap_visit(const cloak_ap *ap, const char *prefix, cloak_sum_visit visit, void *context) {
    char name[64];
    if (ap->faces) {
        snprintf(name, sizeof name, "%sfaces", prefix);
        visit(context, name, (int64_t)ap->faces);
    }
    for (size_t c = 0; c < ap->count; c++) {
        snprintf(name, sizeof name, "%s%u.%x", prefix, ap->cells[c].bin, ap->cells[c].mask);
        visit(context, name, (int64_t)ap->cells[c].count);
    }
}

cloak_status cloak_ap_take(
    cloak_ap *ap, const char *prefix, const char *name, int64_t value, cloak_error *error) {
    uint64_t bin, mask;
    if (strncmp(name, prefix, strlen(prefix)) != 0)
        return CLOAK_OK;
    const char *at = name + strlen(prefix);
    bool is_faces = strcmp(at, "faces") == 0;
    if (value < 0 || (uint64_t)value > MAX_COUNT ||
        (!is_faces && (!read_cell(&at, '.', &bin, &mask) || *at)))
        return cloak_fail(error, CLOAK_E_PERMANENT,
            "the sum %.48s = %lld is no part of an AP histogram", name, (long long)value);
    if (is_faces)
        ap->faces += (uint64_t)value;
    else if (value)
        add_cell(ap, (unsigned)bin, (unsigned)mask, (uint64_t)value);
    return CLOAK_OK;
}

double cloak_ap_average(const cloak_ap *ap, int i) {
    cloak_ap_point *points = cloak_alloc(CLOAK_AP_BINS * sizeof *points);
    size_t count = cloak_ap_curve(ap, i, points);
    double sum = ap->faces ? 0 : NAN, recall = 0;
    for (size_t p = 0; p < count; p++) {
        sum += (points[p].recall - recall) * points[p].envelope;
        recall = points[p].recall;
    }
    free(points);
    return sum;
}

double cloak_ap_recall(const cloak_ap *ap, int i) {
    uint64_t found = 0;
    for (size_t c = 0; c < ap->count; c++)
        if (ap->cells[c].mask >> i & 1)
            found += ap->cells[c].count;
    return ap->faces ? (double)found / (double)ap->faces : NAN;
}

size_t cloak_ap_curve(const cloak_ap *ap, int i, cloak_ap_point points[CLOAK_AP_BINS]) {
    uint64_t tp = 0, fp = 0, entered = 0;
    size_t count = 0;
    for (size_t c = ap->count; c-- > 0;) {
        const cloak_ap_cell *cell = &ap->cells[c];
        if (cell->mask >> i & 1)
            tp += cell->count;
        else if (!(cell->mask >> (CLOAK_AP_IOUS + i) & 1))
            fp += cell->count;
        bool bin_complete = c == 0 || ap->cells[c - 1].bin != cell->bin;
        if (!bin_complete || tp + fp == entered)
            continue;
        entered = tp + fp;
        points[count].score = 1 / (1 + exp(-(FIRST_LOGIT + cell->bin / BINS_PER_LOGIT)));
        points[count].recall = ap->faces ? (double)tp / (double)ap->faces : NAN;
        points[count++].precision = (double)tp / (double)entered;
    }
    double highest = 0;
    for (size_t p = count; p-- > 0;) {
        highest = fmax(highest, points[p].precision);
        points[p].envelope = highest;
    }
    return count;
}
