/* An album's state for scripts and for people; see the header. */
#include "dispatcher/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/report/record.h"

static void keep_dead(void *context, const cloak_dead *dead) {
    cloak_album_report *report = context;
    report->dead =
        cloak_realloc(report->dead, (report->dead_count + 1) * sizeof *report->dead);
    report->dead[report->dead_count++] = (cloak_dead_photo){dead->index,
        cloak_text_encode(dead->key), cloak_strdup(dead->class_word), cloak_strdup(dead->text)};
}

static int by_index(const void *a, const void *b) {
    const cloak_dead_photo *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

static cloak_status add_up(cloak_album_report *report, cloak_error *error) {
    const cloak_sums *sums = &report->sums;
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < sums->count && status == CLOAK_OK; i++) {
        status = cloak_ap_take(
            &report->before, "ap.before.", sums->names[i], sums->values[i], error);
        if (status == CLOAK_OK)
            status = cloak_ap_take(
                &report->after, "ap.after.", sums->names[i], sums->values[i], error);
    }
    report->cloaked = cloak_sums_get(sums, "outcome.cloaked");
    report->no_face = cloak_sums_get(sums, "outcome.no_face");
    report->residual = cloak_sums_get(sums, "outcome.residual");
    return status;
}

cloak_status cloak_album_report_read_sums(
    cloak_queue *queue, const char *album, cloak_album_report *report, cloak_error *error) {
    *report = (cloak_album_report){0};
    memcpy(report->album, album, strnlen(album, sizeof report->album - 1));
    cloak_status status = cloak_queue_books(queue, album, &report->books, error);
    if (status == CLOAK_OK)
        status = cloak_queue_sums(queue, album, &report->sums, error);
    if (status == CLOAK_OK)
        status = add_up(report, error);
    if (status != CLOAK_OK) {
        cloak_album_report_free(report);
        return status;
    }
    report->settled = report->books.done + report->books.dead + report->books.cancelled;
    return CLOAK_OK;
}

cloak_status cloak_album_report_read(
    cloak_queue *queue, const char *album, cloak_album_report *report, cloak_error *error) {
    cloak_status status = cloak_album_report_read_sums(queue, album, report, error);
    if (status == CLOAK_OK && report->books.dead > 0)
        status = cloak_queue_dead(queue, album, keep_dead, report, error);
    if (status != CLOAK_OK) {
        cloak_album_report_free(report);
        return status;
    }
    if (report->dead_count)
        qsort(report->dead, report->dead_count, sizeof *report->dead, by_index);
    return CLOAK_OK;
}

void cloak_album_report_free(cloak_album_report *report) {
    cloak_sums_free(&report->sums);
    cloak_ap_free(&report->before);
    cloak_ap_free(&report->after);
    for (size_t i = 0; i < report->dead_count; i++) {
        free(report->dead[i].key);
        free(report->dead[i].class_word);
        free(report->dead[i].text);
    }
    free(report->dead);
    *report = (cloak_album_report){0};
}

/* --- JSON ---------------------------------------------------------------------------------- */

/* A number with four decimals, or null when it is not one. */
static void add_rounded(cJSON *to, const char *name, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(to, name, round(value * 1e4) / 1e4);
    else
        cJSON_AddNullToObject(to, name);
}

static void add_curve(
    cJSON *to, const char *name, const cloak_ap *ap, double (*measure)(const cloak_ap *, int)) {
    cJSON *object = cJSON_AddObjectToObject(to, name);
    for (int i = 0; i < CLOAK_AP_IOUS; i++)
        add_rounded(object, cloak_ap_iou_word(i), measure(ap, i));
}

static const char *reference(const cloak_sums *sums) {
    bool labels = cloak_sums_get(sums, "reference.labels") > 0;
    bool clean = cloak_sums_get(sums, "reference.clean") > 0;
    return labels && clean ? "mixed" : labels ? "labels" : "clean";
}

static void add_stages(cJSON *to, const cloak_sums *sums) {
    static const char *const stages[] = {
        "queue_wait", "fetch", "decode", "detect", "attack", "encode", "verify", "put", NULL};
    cJSON *object = cJSON_AddObjectToObject(to, "stage_seconds");
    for (int i = 0; stages[i]; i++) {
        char name[32];
        snprintf(name, sizeof name, "us.%s", stages[i]);
        add_rounded(object, stages[i], (double)cloak_sums_get(sums, name) / 1e6);
    }
}

static double mean_psnr(const cloak_sums *sums) {
    int64_t photos = cloak_sums_get(sums, "psnr_photos");
    return photos ? (double)cloak_sums_get(sums, "psnr_millidb") / 1000 / (double)photos : NAN;
}

char *cloak_album_report_json(const cloak_album_report *r, double seconds,
    uint64_t delivered, size_t skipped) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "album", r->album);
    cJSON_AddNumberToObject(object, "total", (double)r->books.total);
    cJSON_AddNumberToObject(object, "waiting",
        (double)(r->books.waiting + r->books.delayed));
    cJSON_AddNumberToObject(object, "leased", (double)r->books.leased);
    cJSON_AddNumberToObject(object, "delivered", (double)r->books.done);
    cJSON_AddNumberToObject(object, "cloaked", (double)r->cloaked);
    cJSON_AddNumberToObject(object, "no_face", (double)r->no_face);
    cJSON_AddNumberToObject(object, "residual", (double)r->residual);
    cJSON_AddNumberToObject(object, "dead", (double)r->books.dead);
    cJSON_AddNumberToObject(object, "cancelled", (double)r->books.cancelled);
    cJSON_AddBoolToObject(object, "paused", r->books.paused);
    cJSON_AddNumberToObject(object, "skipped", (double)skipped);
    cJSON_AddNumberToObject(
        object, "faces_before", (double)cloak_sums_get(&r->sums, "faces_before"));
    cJSON_AddNumberToObject(
        object, "faces_after", (double)cloak_sums_get(&r->sums, "faces_after"));
    cJSON_AddNumberToObject(object, "steps", (double)cloak_sums_get(&r->sums, "steps"));
    add_rounded(object, "seconds", seconds);
    add_rounded(
        object, "photos_per_second", seconds > 0 && delivered ? (double)delivered / seconds : NAN);
    add_stages(object, &r->sums);
    cJSON *ap = cJSON_AddObjectToObject(object, "ap");
    cJSON_AddStringToObject(ap, "reference", reference(&r->sums));
    add_curve(ap, "before", &r->before, cloak_ap_average);
    add_curve(ap, "after", &r->after, cloak_ap_average);
    cJSON *recall = cJSON_AddObjectToObject(object, "recall");
    add_curve(recall, "before", &r->before, cloak_ap_recall);
    add_curve(recall, "after", &r->after, cloak_ap_recall);
    add_rounded(object, "psnr_db", mean_psnr(&r->sums));
    cJSON_AddBoolToObject(object, "books_balanced", r->books.balanced);
    return cloak_json_text(object);
}

/* --- for people ---------------------------------------------------------------------------- */

static void print_dead(const cloak_album_report *r, FILE *to) {
    enum { SHOWN = 20 };
    for (size_t i = 0; i < r->dead_count && i < SHOWN; i++)
        fprintf(to, "  dead      %s: %s (%s)\n", r->dead[i].key, r->dead[i].text,
            r->dead[i].class_word);
    if (r->dead_count > SHOWN)
        fprintf(to, "  … and %zu more: cloak dead ALBUM\n", r->dead_count - SHOWN);
}

void cloak_album_report_print(
    const cloak_album_report *r, double seconds, const char *destination, FILE *to) {
    int64_t before = cloak_sums_get(&r->sums, "faces_before");
    int64_t after = cloak_sums_get(&r->sums, "faces_after");
    fprintf(to, "\n  photos    %llu: %lld cloaked, %lld without a face, %lld residual, %llu dead",
        (unsigned long long)r->books.total, (long long)r->cloaked, (long long)r->no_face,
        (long long)r->residual, (unsigned long long)r->books.dead);
    if (r->books.cancelled)
        fprintf(to, ", %llu cancelled", (unsigned long long)r->books.cancelled);
    if (r->books.total > r->settled)
        fprintf(to, ", %llu to do%s", (unsigned long long)(r->books.total - r->settled),
            r->books.paused ? ", paused: cloak resume lets them go on" : "");
    fprintf(to, "\n  faces     %lld found before, %lld after (any score above 0.05)\n",
        (long long)before, (long long)after);
    if (isfinite(mean_psnr(&r->sums)))
        fprintf(to, "  quality   PSNR %.1f dB on average\n", mean_psnr(&r->sums));
    if (r->books.done && seconds > 0)
        fprintf(to, "  time      %.2f s per photo\n",
            (double)cloak_sums_get(&r->sums, "us.total") / 1e6 / (double)r->books.done);
    if (!r->books.balanced)
        fprintf(to, "  BOOKS     do not balance: run cloak audit %s\n", r->album);
    print_dead(r, to);
    if (r->residual)
        fprintf(to, "  residual  delivered, but a face may still be found: see residual_score in "
                    "the receipts\n");
    if (destination)
        fprintf(to, "  results   %s\n", destination);
}

int cloak_album_report_exit(const cloak_album_report *report) {
    if (!report->books.balanced)
        return 1;
    if (report->books.dead || report->books.cancelled)
        return 4;
    return report->residual ? 3 : 0;
}

bool cloak_album_report_complete(const cloak_album_report *report) {
    return report->books.sealed && report->books.total >= report->books.expected &&
           report->settled == report->books.total;
}

bool cloak_is_dead_class(const char *word) {
    static const cloak_status classes[] = {
        CLOAK_E_PERMANENT, CLOAK_E_TRANSIENT, CLOAK_E_DEVICE, CLOAK_E_LOST, CLOAK_E_INTERNAL};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strcmp(cloak_status_word(classes[i]), word) == 0)
            return true;
    return false;
}
