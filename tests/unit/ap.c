/* AP histograms against a second implementation that shares nothing with the first: it keeps every
 * detection, counts pixels instead of computing overlaps, compares them as whole numbers, and works
 * through one IoU threshold at a time over all photos. */
#include "common/report/ap.h"

#include "tests/check.h"

enum { SIDE = 40, MAX_BOXES = 24, MAX_PHOTOS = 12 };

typedef struct {
    cloak_box detections[MAX_BOXES], truth[MAX_BOXES];
    uint8_t kind[MAX_BOXES];
    size_t count, faces;
} photo;

static uint64_t state = 1;

static unsigned below(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % n;
}

/* A score in the middle of a bin. */
static float score_of(int bin) {
    return (float)(1 / (1 + exp(3 - (bin + .5) / 80)));
}

static cloak_truth truth_of(const photo *p) {
    return (cloak_truth){p->faces, p->truth, p->kind};
}

static cloak_box random_box(void) {
    float x = (float)below(SIDE - 2), y = (float)below(SIDE - 2);
    float w = (float)(1 + below(SIDE - 1 - (unsigned)x)),
          h = (float)(1 + below(SIDE - 1 - (unsigned)y));
    return (cloak_box){x, y, x + w, y + h, 0};
}

static float nudged(float v) {
    float moved = v + (float)below(5) - 2;
    return moved < 0 ? 0 : moved > SIDE ? SIDE : moved;
}

/* Detections are mostly nudged copies of the truth, often several of one face and with few distinct
 * scores, so that ties, duplicates and contested faces are common. */
static void random_photo(photo *p, unsigned scores) {
    p->faces = below(4) ? below(7) : 0;
    p->count = below(5) ? below(MAX_BOXES) : 0;
    for (size_t g = 0; g < p->faces; g++) {
        p->truth[g] = random_box();
        p->kind[g] = below(4) ? CLOAK_TRUTH_FACE : (uint8_t)(1 + below(2));
    }
    for (size_t d = 0; d < p->count; d++) {
        cloak_box box = random_box();
        if (p->faces && below(5)) {
            box = p->truth[below((unsigned)p->faces)];
            if (below(4))
                box =
                    (cloak_box){nudged(box.x1), nudged(box.y1), nudged(box.x2), nudged(box.y2), 0};
        }
        if (box.x2 <= box.x1 || box.y2 <= box.y1)
            box = random_box();
        box.score = score_of((int)(below(scores) * 2047 / scores));
        p->detections[d] = box;
    }
}

/* ---- the second implementation ---- */

static int covers(const cloak_box *b, int x, int y) {
    return x >= b->x1 && x < b->x2 && y >= b->y1 && y < b->y2;
}

/* Overlap as a fraction of whole pixels. */
static void pixels(const cloak_box *d, const cloak_box *g, bool crowd, int *part, int *whole) {
    *part = *whole = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            *part += covers(d, x, y) && covers(g, x, y);
            *whole += covers(d, x, y) || (!crowd && covers(g, x, y));
        }
}

static bool inside(const cloak_box *b, const cloak_ap_heights *range) {
    return !range || (b->y2 - b->y1 >= range->least && b->y2 - b->y1 < range->below);
}

/* Takes a range of heights out of the matching: the faces outside of it are marked as ignored, and
 * the heights of detections are looked at afterwards, in reference(). */
static void restrict_truth(photo *p, const cloak_ap_heights *range) {
    for (size_t g = 0; g < p->faces; g++)
        if (p->kind[g] == CLOAK_TRUTH_FACE && !inside(&p->truth[g], range))
            p->kind[g] = CLOAK_TRUTH_IGNORE;
}

typedef struct {
    const photo *in;
    int at, tenths; /* which detection, at which IoU in tenths */
    enum { FALSE_POSITIVE, TRUE_POSITIVE, NEITHER } fate;
} entry;

static int by_score_then_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    float p = x->in->detections[x->at].score, q = y->in->detections[y->at].score;
    if (p != q)
        return p > q ? -1 : 1;
    return x->in != y->in ? (x->in > y->in) - (x->in < y->in) : x->at - y->at;
}

static void decide(entry *e, bool *taken) {
    int best = -1, best_part = 0, best_whole = 1;
    bool near_ignored = false;
    for (int g = 0; g < (int)e->in->faces; g++) {
        int part, whole, kind = e->in->kind[g];
        pixels(
            &e->in->detections[e->at], &e->in->truth[g], kind == CLOAK_TRUTH_CROWD, &part, &whole);
        if (10 * part < e->tenths * whole)
            continue;
        if (kind != CLOAK_TRUTH_FACE)
            near_ignored = true;
        else if (!taken[g] && (best < 0 || part * best_whole > best_part * whole)) {
            best = g;
            best_part = part;
            best_whole = whole;
        }
    }
    if (best >= 0)
        taken[best] = true;
    e->fate = best >= 0 ? TRUE_POSITIVE : near_ignored ? NEITHER : FALSE_POSITIVE;
}

/* AP by its other definition: the mean over faces 1…F of the highest precision among the cuts that
 * find at least that many faces. Cuts are made between different scores only. */
static void reference(const photo *photos, int n, int i, const cloak_ap_heights *range,
    double *average, double *recall) {
    static entry all[MAX_PHOTOS * MAX_BOXES];
    static bool taken[MAX_PHOTOS][MAX_BOXES];
    int count = 0, faces = 0, found = 0;
    memset(taken, 0, sizeof taken);
    for (int p = 0; p < n; p++) {
        for (size_t g = 0; g < photos[p].faces; g++)
            faces += photos[p].kind[g] == CLOAK_TRUTH_FACE;
        for (size_t d = 0; d < photos[p].count; d++)
            all[count++] = (entry){&photos[p], (int)d, 3 + i, FALSE_POSITIVE};
    }
    qsort(all, (size_t)count, sizeof *all, by_score_then_place);
    for (int d = 0; d < count; d++) {
        decide(&all[d], taken[all[d].in - photos]);
        if (all[d].fate == FALSE_POSITIVE && !inside(&all[d].in->detections[all[d].at], range))
            all[d].fate = NEITHER;
        found += all[d].fate == TRUE_POSITIVE;
    }
    *average = 0;
    for (int wanted = 1; wanted <= found; wanted++) {
        double highest = 0;
        for (int cut = 1; cut <= count; cut++) {
            int tp = 0, fp = 0;
            if (cut < count && all[cut].in->detections[all[cut].at].score ==
                                   all[cut - 1].in->detections[all[cut - 1].at].score)
                continue;
            for (int d = 0; d < cut; d++) {
                tp += all[d].fate == TRUE_POSITIVE;
                fp += all[d].fate == FALSE_POSITIVE;
            }
            if (tp >= wanted && (double)tp / (tp + fp) > highest)
                highest = (double)tp / (tp + fp);
        }
        *average += highest / faces;
    }
    *recall = (double)found / faces;
    if (faces == 0)
        *average = *recall = NAN;
}

static void check_same(double got, double want, double tolerance) {
    if (isnan(want))
        CHECK(isnan(got));
    else
        CHECK_NEAR(got, want, tolerance);
}

static void compare(unsigned scores, int albums, const cloak_ap_heights *range, double tolerance) {
    static photo photos[MAX_PHOTOS];
    for (int album = 0; album < albums; album++) {
        int n = 1 + (int)below(MAX_PHOTOS);
        cloak_ap ap;
        cloak_ap_init(&ap);
        for (int p = 0; p < n; p++) {
            random_photo(&photos[p], scores);
            cloak_truth truth = truth_of(&photos[p]);
            cloak_ap_add_heights(&ap, photos[p].detections, photos[p].count, &truth, range);
            restrict_truth(&photos[p], range);
        }
        for (int i = 0; i < CLOAK_AP_IOUS; i++) {
            double average, recall;
            reference(photos, n, i, range, &average, &recall);
            check_same(cloak_ap_average(&ap, i), average, tolerance);
            check_same(cloak_ap_recall(&ap, i), recall, 1e-12);
        }
        cloak_ap_free(&ap);
    }
}

TEST(equals_the_second_implementation) {
    compare(6, 120, NULL, 1e-12);
    compare(1, 20, NULL, 1e-12);
    compare(1000, 60, NULL, 1e-12);
}

TEST(ranges_of_height_equal_the_second_implementation) {
    const cloak_ap_heights ranges[] = {{10, 20}, {20, INFINITY}, {0, INFINITY}, {90, 100}};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        compare(6, 60, &ranges[r], 1e-12);
        compare(1000, 60, &ranges[r], 1e-12);
    }
}

/* ---- cases worked out by hand ---- */

static const cloak_box face_a = {0, 0, 10, 10, 0}, face_b = {20, 0, 30, 10, 0};

static cloak_box scored(cloak_box box, float score) {
    box.score = score;
    return box;
}

static void add(cloak_ap *ap, const cloak_box *detections, size_t count, const cloak_box *faces,
    const uint8_t *kinds, size_t face_count) {
    cloak_truth truth = {face_count, faces, kinds};
    cloak_ap_add(ap, detections, count, &truth);
}

/* Compares the text of a histogram, then frees the histogram. */
static void check_text(cloak_ap *ap, const char *want) {
    char *text = cloak_ap_text(ap);
    CHECK_TEXT(text, want);
    free(text);
    cloak_ap_free(ap);
}

TEST(average_by_hand) {
    cloak_box faces[] = {face_a, face_b}, elsewhere = {0, 20, 10, 30, 0};
    cloak_box found[] = {scored(face_b, .7f), scored(elsewhere, .8f), scored(face_a, .9f)};
    cloak_ap_point points[CLOAK_AP_BINS];
    cloak_ap ap = {0};
    add(&ap, found, 3, faces, NULL, 2);
    for (int i = 0; i < CLOAK_AP_IOUS; i++) {
        CHECK_NEAR(cloak_ap_average(&ap, i), .5 * 1 + .5 * 2 / 3, 1e-12);
        CHECK_NEAR(cloak_ap_recall(&ap, i), 1, 0);
    }
    CHECK_INT(cloak_ap_detections(&ap), 3);
    CHECK_INT(cloak_ap_curve(&ap, CLOAK_AP_IOU_50, points), 3);
    const double want[3][4] = {{.9, .5, 1, 1}, {.8, .5, .5, 2. / 3}, {.7, 1, 2. / 3, 2. / 3}};
    for (int p = 0; p < 3; p++) {
        CHECK(points[p].score <= want[p][0] && points[p].score > want[p][0] - .004);
        CHECK_NEAR(points[p].recall, want[p][1], 1e-12);
        CHECK_NEAR(points[p].precision, want[p][2], 1e-12);
        CHECK_NEAR(points[p].envelope, want[p][3], 1e-12);
    }
    cloak_ap_free(&ap);
}

TEST(a_second_detection_of_a_face_is_false) {
    cloak_box found[] = {scored(face_a, .9f), scored(face_a, .8f)};
    cloak_ap ap = {0};
    add(&ap, found, 2, &face_a, NULL, 1);
    check_text(&ap, "1 350:0:1 415:ff:1");
}

TEST(equal_scores_keep_their_order) {
    cloak_box lower = {0, 0, 10, 6, 0};
    cloak_box found[] = {scored(lower, .9f), scored(face_a, .9f)};
    cloak_ap ap = {0};
    add(&ap, found, 2, &face_a, NULL, 1);
    CHECK_NEAR(cloak_ap_recall(&ap, 7), 1, 0);
    check_text(&ap, "1 415:f:1 415:f0:1"); /* the first took the face up to IoU 0.6 */
}

TEST(thresholds_are_matched_independently) {
    cloak_box loose = {0, 0, 10, 4, 0}, closer = {0, 0, 10, 6, 0};
    cloak_box found[] = {scored(loose, .9f), scored(closer, .8f)};
    cloak_ap ap = {0};
    add(&ap, found, 2, &face_a, NULL, 1);
    check_text(&ap, "1 350:c:1 415:3:1");
}

TEST(ignored_boxes_count_as_neither) {
    cloak_box truth[] = {face_a, face_b};
    const uint8_t kinds[] = {CLOAK_TRUTH_IGNORE, CLOAK_TRUTH_FACE};
    cloak_box found[] = {scored(face_a, .9f), scored(face_a, .8f), scored(face_b, .7f)};
    cloak_ap ap = {0};
    add(&ap, found, 3, truth, kinds, 2);
    CHECK_INT(ap.faces, 1);
    CHECK_NEAR(cloak_ap_average(&ap, 2), 1, 1e-12);
    check_text(&ap, "1 307:ff:1 350:ff00:1 415:ff00:1");
}

TEST(a_face_comes_before_an_ignored_box) {
    cloak_box near_face = {0, 0, 10, 7, 0}, truth[] = {near_face, face_a};
    const uint8_t kinds[] = {CLOAK_TRUTH_IGNORE, CLOAK_TRUTH_FACE};
    cloak_box found = scored(near_face, .9f);
    cloak_ap ap = {0};
    add(&ap, &found, 1, truth, kinds, 2);
    check_text(&ap, "1 415:e01f:1"); /* IoU .7 with the face, 1 with the ignored box */
}

TEST(a_crowd_swallows_what_lies_inside) {
    cloak_box crowd = {0, 0, 100, 100, 0}, found = scored(face_a, .9f);
    uint8_t kind = CLOAK_TRUTH_CROWD;
    cloak_ap ap = {0};
    add(&ap, &found, 1, &crowd, &kind, 1);
    CHECK_INT(ap.faces, 0);
    CHECK_INT(ap.cells[0].mask, 0xff00);
    kind = CLOAK_TRUTH_IGNORE;
    add(&ap, &found, 1, &crowd, &kind, 1);
    CHECK_INT(ap.cells[0].mask, 0);
    cloak_ap_free(&ap);
}

/* Adds what was found on a 10 × 10 and a 10 × 40 face, counting only faces of 20 px up to 50 px. */
static void add_tall(cloak_ap *ap, const cloak_box *found, size_t count) {
    const cloak_box truth[] = {face_a, {40, 0, 50, 40, 0}};
    cloak_ap_add_heights(
        ap, found, count, &(cloak_truth){2, truth, NULL}, &(cloak_ap_heights){20, 50});
}

TEST(faces_outside_the_range_are_ignored) {
    cloak_box found[] = {scored(face_a, .9f), scored(face_a, .8f)};
    cloak_ap ap = {0};
    add_tall(&ap, found, 2);
    check_text(&ap, "1 350:ff00:1 415:ff00:1"); /* one face to be found, neither detection wrong */
}

TEST(detections_outside_the_range_are_not_false) {
    cloak_box small = {0, 60, 10, 79, .9f}, least = {0, 60, 10, 80, .8f},
              most = {0, 60, 10, 110, .7f};
    cloak_ap ap = {0};
    add_tall(&ap, &small, 1);
    add_tall(&ap, &least, 1);
    add_tall(&ap, &most, 1);
    check_text(&ap, "3 307:ff00:1 350:0:1 415:ff00:1"); /* 20 lies in the range, 50 does not */
}

TEST(a_detection_outside_the_range_may_find_a_face_inside) {
    cloak_box found = {40, 0, 50, 55, .9f}; /* IoU 40/55 = 0.73 */
    cloak_ap ap = {0};
    add_tall(&ap, &found, 1);
    CHECK_NEAR(cloak_ap_recall(&ap, CLOAK_AP_IOU_50), 1, 0);
    check_text(&ap, "1 415:e01f:1"); /* true up to IoU 0.7, from there on neither */
}

TEST(crowds_stay_crowds_whatever_their_height) {
    cloak_box crowd = {0, 0, 100, 100, 0}, found = {10, 10, 20, 40, .9f};
    const uint8_t kind = CLOAK_TRUTH_CROWD;
    const cloak_ap_heights range = {20, 50};
    cloak_ap ap = {0};
    cloak_ap_add_heights(&ap, &found, 1, &(cloak_truth){1, &crowd, &kind}, &range);
    check_text(&ap, "0 415:ff00:1");
}

TEST(empty_histograms) {
    cloak_ap ap = {0};
    cloak_ap_point points[CLOAK_AP_BINS];
    cloak_box found = scored(face_b, .9f);
    check_text(&ap, "0");
    CHECK(isnan(cloak_ap_average(&ap, 0)) && isnan(cloak_ap_recall(&ap, 0)));
    add(&ap, NULL, 0, &face_a, NULL, 1); /* a missed face */
    CHECK_NEAR(cloak_ap_average(&ap, 0), 0, 0);
    CHECK_NEAR(cloak_ap_recall(&ap, 0), 0, 0);
    CHECK_INT(cloak_ap_curve(&ap, 0, points), 0);
    add(&ap, &found, 1, NULL, NULL, 0); /* a photo without faces */
    CHECK_NEAR(cloak_ap_average(&ap, 0), 0, 0);
    CHECK_INT(ap.faces, 1);
    cloak_ap_free(&ap);
}

TEST(a_photo_against_itself_is_perfect) {
    cloak_box found[50];
    for (int d = 0; d < 50; d++) {
        float x = (float)(d % 10) * 60.3f + .1f, y = (float)(d / 10) * 77.7f;
        found[d] = (cloak_box){x, y, x + 31.41f, y + 27.18f, .06f + (float)d * .018f};
    }
    cloak_ap ap = {0};
    add(&ap, found, 50, found, NULL, 50);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        CHECK_NEAR(cloak_ap_average(&ap, i), 1, 1e-12);
    cloak_ap_free(&ap);
}

TEST(scores_fall_into_documented_bins) {
    const struct {
        float score;
        int bin;
    } cases[] = {{.5f, 240}, {.0475f, 0}, {.05f, 4}, {.9f, 415}, {0, 0}, {1, 2047}, {-1, 0},
        {.99994f, 1017}, {.999999f, 1344}, {NAN, 0}, {INFINITY, 2047}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        cloak_box found = scored(face_a, cases[c].score);
        cloak_ap ap = {0};
        add(&ap, &found, 1, NULL, NULL, 0);
        CHECK_INT(ap.cells[0].bin, cases[c].bin);
        cloak_ap_free(&ap);
    }
}

TEST(odd_boxes_find_nothing) {
    cloak_box found[] = {{NAN, 0, 10, 10, .9f}, {0, 0, INFINITY, INFINITY, .9f}, {5, 5, 5, 5, .9f},
        {10, 10, 0, 0, .9f}, {0, 0, 10, NAN, NAN}};
    cloak_ap ap = {0};
    add(&ap, found, 5, &face_a, NULL, 1);
    CHECK_INT(cloak_ap_detections(&ap), 5);
    CHECK_NEAR(cloak_ap_recall(&ap, 0), 0, 0);
    cloak_ap_free(&ap);
    cloak_box twice[] = {scored(face_a, .9f), scored(face_a, NAN)}; /* no number ranks last */
    add(&ap, twice, 2, &face_a, NULL, 1);
    check_text(&ap, "1 0:0:1 415:ff:1");
}

TEST(iou_words) {
    for (int i = 0; i < CLOAK_AP_IOUS; i++) {
        char word[8];
        snprintf(word, sizeof word, "%.1f", cloak_ap_iou(i));
        CHECK_TEXT(cloak_ap_iou_word(i), word);
    }
    CHECK_TEXT(cloak_ap_iou_word(CLOAK_AP_IOU_50), "0.5");
}

/* ---- sums ---- */

TEST(adds_in_any_order) {
    static photo photos[MAX_PHOTOS];
    cloak_ap parts[MAX_PHOTOS] = {0}, all = {0};
    for (int p = 0; p < MAX_PHOTOS; p++) {
        random_photo(&photos[p], 1000);
        cloak_truth truth = truth_of(&photos[p]);
        cloak_ap_add(&all, photos[p].detections, photos[p].count, &truth);
        cloak_ap_add(&parts[p], photos[p].detections, photos[p].count, &truth);
    }
    char *want = cloak_ap_text(&all);
    CHECK(all.count > 50);
    for (int round = 0; round < 50; round++) { /* merges of random pairs until one is left */
        cloak_ap left[MAX_PHOTOS] = {0};
        for (int p = 0; p < MAX_PHOTOS; p++)
            cloak_ap_merge(&left[p], &parts[p]);
        for (unsigned n = MAX_PHOTOS; n > 1; n--) {
            unsigned a = below(n), b = (a + 1 + below(n - 1)) % n;
            cloak_ap_merge(&left[a], &left[b]);
            cloak_ap_free(&left[b]);
            left[b] = left[n - 1];
            cloak_ap_init(&left[n - 1]);
        }
        check_text(&left[0], want);
    }
    free(want);
    cloak_ap_free(&all);
    for (int p = 0; p < MAX_PHOTOS; p++)
        cloak_ap_free(&parts[p]);
}

TEST(text_round_trip) {
    const char *texts[] = {"0", "7", "0 0:0:1", "157 12:3:4 12:ff:1 512:f00f:99999 1023:ff00:1",
        "281474976710656 3:1f:281474976710656"};
    cloak_error error;
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        cloak_ap ap;
        CHECK_OK(cloak_ap_parse(texts[t], &ap, &error));
        check_text(&ap, texts[t]);
    }
}

TEST(hostile_text_is_refused) {
    const char *texts[] = {"", " ", "x", "-1", "+1", "01", "1 ", " 1", "1  2:3:4", "1 2:3",
        "1 2:3:", "1 2:3:0", "1 2:3:-4", "1 2048:0:1", "1 99999999999999999999:0:1", "1 2:10000:1",
        "1 2:FF:1", "1 2:0x3:1", "1 2:101:1", "1 2:ffff:1", "1 02:3:1", "1 2:03:1", "1 2:3:4 ",
        "1 2:3:4,3:3:4", "1 2:3:4 2:3:4", "1 3:3:4 2:3:4", "1 2:4:1 2:3:1", "1 2:3:4\n",
        "281474976710657", "1 2:3:281474976710657", "18446744073709551616", "1 2:3:1e3", "1 :3:4",
        "1 2::4", "1.5", "1 2:3:4 x"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        cloak_ap ap = {.faces = 77};
        cloak_error error = {0};
        if (cloak_ap_parse(texts[t], &ap, &error) != CLOAK_E_PERMANENT || !error.text[0])
            check_failed(__FILE__, __LINE__, "\"%s\" was taken", texts[t]);
        CHECK_INT(ap.faces, 77);
        CHECK(!ap.cells);
    }
}

typedef struct {
    cloak_ap ap;
    int visits;
} collected;

static void collect(void *context, const char *name, int64_t add_value) {
    collected *to = context;
    cloak_error error;
    to->visits++;
    CHECK(add_value > 0);
    CHECK(strlen(name) <= 48);
    CHECK_INT(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.:"), strlen(name));
    CHECK_OK(cloak_ap_take(&to->ap, "ap.after.", name, add_value, &error));
}

TEST(sums_round_trip) {
    cloak_ap ap = {0};
    cloak_error error;
    for (int p = 0; p < 100; p++) {
        photo one;
        random_photo(&one, 1000);
        cloak_truth truth = truth_of(&one);
        cloak_ap_add(&ap, one.detections, one.count, &truth);
    }
    collected to = {0};
    cloak_ap_visit(&ap, "ap.after.", collect, &to);
    CHECK_INT(to.visits, ap.count + 1);
    CHECK_OK(cloak_ap_take(&to.ap, "ap.after.", "ap.before.3.ff", 5, &error));
    CHECK_OK(cloak_ap_take(&to.ap, "ap.after.", "ap", 5, &error));
    CHECK_OK(cloak_ap_take(&to.ap, "ap.after.", "ap.after.3.f", 0, &error));
    char *want = cloak_ap_text(&ap);
    check_text(&to.ap, want);
    free(want);
    cloak_ap_free(&ap);
}

TEST(hostile_sums_are_refused) {
    const char *names[] = {"ap.", "ap.face", "ap.facess", "ap.3", "ap.3.", "ap.3.ff.1",
        "ap.2048.ff", "ap.3.ffff", "ap.-3.ff", "ap.3:ff"};
    cloak_ap ap = {0};
    cloak_error error;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        if (cloak_ap_take(&ap, "ap.", names[n], 1, &error) != CLOAK_E_PERMANENT)
            check_failed(__FILE__, __LINE__, "%s was taken", names[n]);
    CHECK_INT(cloak_ap_take(&ap, "ap.", "ap.faces", -1, &error), CLOAK_E_PERMANENT);
    CHECK_INT(cloak_ap_take(&ap, "ap.", "ap.3.ff", -1, &error), CLOAK_E_PERMANENT);
    CHECK_INT(ap.faces + ap.count, 0);
}
