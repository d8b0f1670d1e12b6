/* A self-contained page about an album; see the header. Numbers are the album report's, but for the lists of photos
 * and the histograms, which come from the records. */
#include "dispatcher/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

enum { LISTED = 15, BINS = 24, SHOWN_DEAD = 200 };

extern const unsigned char cloak_page_report_css[];

/* A photo in a list; `rank` is what the list is sorted by, the largest first. */
typedef struct {
    char *key;
    double rank, seconds, residual, psnr, ssim;
    int64_t steps, faces_before, faces_after;
} Photo;

typedef struct {
    Photo photos[LISTED];
    size_t count;
} List;

typedef struct {
    double low, high;
    uint64_t bins[BINS], count;
} Histogram;

struct cloak_summary {
    List slowest, left, changed;
    Histogram seconds, psnr;
};

cloak_summary *cloak_summary_new(void) {
    cloak_summary *summary = cloak_alloc(sizeof *summary);
    summary->seconds = (Histogram){.low = -2, .high = 3}; /* powers of ten of seconds */
    summary->psnr = (Histogram){.low = 24, .high = 60};
    return summary;
}

static void list_free(List *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->photos[i].key);
}

void cloak_summary_free(cloak_summary *summary) {
    if (!summary)
        return;
    list_free(&summary->slowest);
    list_free(&summary->left);
    list_free(&summary->changed);
    free(summary);
}

/* Keeps the photo if it ranks among the first; NaN ranks nowhere. */
static void rank(List *list, const cloak_record *r, double by) {
    if (!isfinite(by) || (list->count == LISTED && by <= list->photos[LISTED - 1].rank))
        return;
    if (list->count == LISTED)
        free(list->photos[--list->count].key);
    size_t at = list->count++;
    for (; at > 0 && list->photos[at - 1].rank < by; at--)
        list->photos[at] = list->photos[at - 1];
    list->photos[at] = (Photo){cloak_strdup(r->key ? r->key : "?"), by, r->seconds_total, r->residual_score, r->psnr_db,
        r->ssim_worst_face, r->steps, r->faces_before, r->faces_after};
}

static void count(Histogram *h, double value) {
    if (!isfinite(value))
        return;
    double at = (value - h->low) / (h->high - h->low) * BINS;
    h->bins[at < 0 ? 0 : at >= BINS ? BINS - 1 : (int)at]++;
    h->count++;
}

void cloak_summary_add(cloak_summary *summary, const cloak_record *r) {
    cloak_outcome outcome;
    if (!cloak_outcome_parse(r->outcome, &outcome) || !cloak_outcome_delivered(outcome))
        return;
    rank(&summary->slowest, r, r->seconds_total);
    if (r->residual_score > 0)
        rank(&summary->left, r, r->residual_score);
    if (outcome != CLOAK_OUTCOME_NO_FACE) {
        rank(&summary->changed, r, -r->psnr_db);
        count(&summary->psnr, r->psnr_db);
    }
    if (r->seconds_total > 0)
        count(&summary->seconds, log10(r->seconds_total));
}

/* --- writing ------------------------------------------------------------------------------- */

static void text(FILE *to, const char *s) {
    for (; *s; s++)
        switch (*s) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        default: fputc(*s, to);
        }
}

/* A cell of a table with a number, or a dash where there is none. */
static void number(FILE *to, double value, int digits) {
    if (isfinite(value))
        fprintf(to, "<td class=n>%.*f</td>", digits, value);
    else
        fputs("<td class=n>–</td>", to);
}

static void whole(FILE *to, int64_t value) {
    number(to, value == CLOAK_RECORD_NO_INT ? NAN : (double)value, 0);
}

/* Where the photo was changed most, in a row of its own. */
static void write_pictures(FILE *to, cloak_crops *crops, const char *key) {
    char *before, *after;
    if (crops && cloak_crops_make(crops, key, &before, &after))
        fprintf(to, "<tr><td colspan=8 class=p><img src=\"%s\" alt=\"before\"> <img src=\"%s\" alt=\"after\"></td></tr>\n", before, after);
    else if (crops)
        fputs("<tr><td colspan=8 class=p>no picture: the photo is gone, has another size now, or nothing was changed</td></tr>\n", to);
    else
        return;
    free(before);
    free(after);
}

static void write_list(FILE *to, const char *title, const List *list, cloak_crops *crops) {
    if (!list->count)
        return;
    fprintf(to, "<section><h2>%s</h2><table><tr><th>Photo<th class=n>Seconds<th class=n>Steps<th class=n>Faces before"
                "<th class=n>after<th class=n>Score left<th class=n>PSNR<th class=n>SSIM, worst face</tr>\n", title);
    for (size_t i = 0; i < list->count; i++) {
        const Photo *p = &list->photos[i];
        fputs("<tr><td class=k>", to);
        text(to, p->key);
        fputs("</td>", to);
        number(to, p->seconds, 2);
        whole(to, p->steps);
        whole(to, p->faces_before);
        whole(to, p->faces_after);
        number(to, p->residual, 3);
        number(to, p->psnr, 1);
        number(to, p->ssim, 3);
        fputs("</tr>\n", to);
        write_pictures(to, crops, p->key);
    }
    fputs("</table></section>\n", to);
}

/* Bars over an axis whose ends are named. */
static void write_histogram(FILE *to, const char *title, const Histogram *h, const char *low, const char *high) {
    enum { WIDTH = 480, HEIGHT = 110 };
    uint64_t most = 1;
    for (int i = 0; i < BINS; i++)
        most = h->bins[i] > most ? h->bins[i] : most;
    fprintf(to, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %d %d\" role=img aria-label=\"%s, %llu photos\">", title,
        WIDTH, HEIGHT + 18, title, (unsigned long long)h->count);
    for (int i = 0; i < BINS; i++) {
        double height = (double)h->bins[i] / (double)most * HEIGHT;
        fprintf(to, "<rect x=%d y=%.1f width=%d height=%.1f><title>%llu photos</title></rect>", i * WIDTH / BINS, HEIGHT - height,
            WIDTH / BINS - 2, height, (unsigned long long)h->bins[i]);
    }
    fprintf(to, "<text x=0 y=%d>%s</text><text x=%d y=%d text-anchor=end>%s</text></svg></figure>\n", HEIGHT + 14, low, WIDTH,
        HEIGHT + 14, high);
}

static void write_rates(FILE *to, const cloak_album_report *r) {
    fputs("<section><h2>What the detector finds</h2><table><tr><th>IoU<th class=n>Recall before<th class=n>after"
          "<th class=n>AP before<th class=n>after</tr>\n", to);
    for (int i = 0; i < CLOAK_AP_IOUS; i++) {
        fprintf(to, "<tr><td>%s</td>", cloak_ap_iou_word(i));
        number(to, cloak_ap_recall(&r->before, i), 3);
        number(to, cloak_ap_recall(&r->after, i), 3);
        number(to, cloak_ap_average(&r->before, i), 3);
        number(to, cloak_ap_average(&r->after, i), 3);
        fputs("</tr>\n", to);
    }
    fputs("</table><p>Recall counts every detection above 0.05. AP alone misleads: false detections lower it while the faces "
          "are still found.</p></section>\n", to);
}

static void write_stages(FILE *to, const cloak_album_report *r) {
    static const char *const stages[] = {"fetch", "decode", "detect", "attack", "encode", "verify", "put"};
    const double photos = r->books.done ? (double)r->books.done : 1;
    fputs("<section><h2>Where the time goes</h2><table><tr><th>Stage<th class=n>Seconds per photo<th class=n>Share</tr>\n", to);
    double all = (double)cloak_sums_get(&r->sums, "us.total");
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        char name[24];
        snprintf(name, sizeof name, "us.%s", stages[i]);
        double us = (double)cloak_sums_get(&r->sums, name);
        fprintf(to, "<tr><td>%s</td>", stages[i]);
        number(to, us / 1e6 / photos, 3);
        fprintf(to, "<td class=n>%.1f %%</td></tr>\n", all > 0 ? 100 * us / all : 0);
    }
    fputs("</table></section>\n", to);
}

static void fact(FILE *to, const char *name, int digits, const char *unit, double value) {
    if (isfinite(value))
        fprintf(to, "<div><dt>%s</dt><dd>%.*f%s</dd></div>", name, digits, value, unit);
    else
        fprintf(to, "<div><dt>%s</dt><dd>–</dd></div>", name);
}

static void write_head(FILE *to, const cloak_album_report *r, const cloak_album_spec *album) {
    char when[32];
    cloak_time_format(cloak_clock_system.wall_ms(), when);
    const double photos = (double)cloak_sums_get(&r->sums, "psnr_photos");
    fprintf(to, "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
                "content=\"width=device-width, initial-scale=1\"><title>Album %s</title><style>%s</style></head><body>\n"
                "<header><h1>Album %s</h1><p>", r->album, (const char *)cloak_page_report_css, r->album);
    text(to, album->source);
    fputs(" → ", to);
    text(to, album->destination);
    fprintf(to, "<br>as of %s%s</p></header>\n<section><dl>", when,
        r->books.balanced ? "" : " — <strong>the books do not balance</strong>");
    fact(to, "Photos", 0, "", (double)r->books.total);
    fact(to, "Cloaked", 0, "", (double)r->cloaked);
    fact(to, "Without a face", 0, "", (double)r->no_face);
    fact(to, "Residual", 0, "", (double)r->residual);
    fact(to, "Dead", 0, "", (double)r->books.dead);
    fact(to, "Cancelled", 0, "", (double)r->books.cancelled);
    fact(to, "To do", 0, "", r->books.total > r->settled ? (double)(r->books.total - r->settled) : 0);
    fact(to, "Faces before", 0, "", (double)cloak_sums_get(&r->sums, "faces_before"));
    fact(to, "Faces after", 0, "", (double)cloak_sums_get(&r->sums, "faces_after"));
    fact(to, "PSNR, mean", 1, " dB", photos ? (double)cloak_sums_get(&r->sums, "psnr_millidb") / 1000 / photos : NAN);
    fact(to, "Seconds per photo", 2, "",
        r->books.done ? (double)cloak_sums_get(&r->sums, "us.total") / 1e6 / (double)r->books.done : NAN);
    fact(to, "Size after / before", 3, "",
        (double)cloak_sums_get(&r->sums, "bytes_out") / (double)cloak_sums_get(&r->sums, "bytes_in"));
    fputs("</dl><p class=s>Settings: ", to);
    text(to, album->settings);
    fputs("</p></section>\n", to);
}

static void write_dead(FILE *to, const cloak_album_report *r) {
    if (!r->dead_count)
        return;
    fprintf(to, "<section><h2>Dead photos%s</h2><table><tr><th>Photo<th>Class<th>Why</tr>\n",
        r->dead_count > SHOWN_DEAD ? ", the first 200" : "");
    for (size_t i = 0; i < r->dead_count && i < SHOWN_DEAD; i++) {
        fputs("<tr><td class=k>", to);
        text(to, r->dead[i].key);
        fputs("</td><td>", to);
        text(to, r->dead[i].class_word);
        fputs("</td><td>", to);
        text(to, r->dead[i].text);
        fputs("</td></tr>\n", to);
    }
    fputs("</table></section>\n", to);
}

void cloak_summary_write(const cloak_summary *summary, const cloak_album_report *report,
    const cloak_album_spec *album, cloak_crops *crops, FILE *to) {
    write_head(to, report, album);
    write_rates(to, report);
    write_stages(to, report);
    if (summary->seconds.count) {
        fputs("<section class=g>", to);
        write_histogram(to, "Seconds per photo", &summary->seconds, "0.01 s", "1000 s");
        write_histogram(to, "PSNR of cloaked photos", &summary->psnr, "24 dB", "60 dB");
        fputs("</section>\n", to);
    }
    write_list(to, "Photos on which something is left", &summary->left, crops);
    write_list(to, "The slowest photos", &summary->slowest, NULL);
    write_list(to, "The photos that were changed most", &summary->changed, crops);
    write_dead(to, report);
    fputs("</body></html>\n", to);
}
