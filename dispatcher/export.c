/* cloak report: an album's photos as a page, as CSV or as JSON lines. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/photo/photo.h"
#include "dispatcher/records.h"
#include "dispatcher/summary.h"
#include "dispatcher/verbs.h"

typedef enum { HTML, CSV, JSONL, FORMATS } Format;

static const char *const format_words[FORMATS] = {"html", "csv", "jsonl"};

typedef struct {
    Format format;
    FILE *to;
    const char *name; /* of the file, for errors */
    cloak_summary *summary;
    bool pictures;
    size_t photos;
} Output;

/* A field as CSV wants it (RFC 4180); nothing where it is absent. */
static void write_field(const cloak_record *record, const cloak_record_field *field, FILE *to) {
    const void *at = (const char *)record + field->offset;
    const char *string;
    switch (field->type) {
    case CLOAK_FIELD_STRING:
        string = *(char *const *)at;
        if (!string)
            return;
        fputc('"', to);
        for (; *string; string++) {
            if (*string == '"')
                fputc('"', to);
            fputc(*string, to);
        }
        fputc('"', to);
        return;
    case CLOAK_FIELD_INT:
        if (*(const int64_t *)at != CLOAK_RECORD_NO_INT)
            fprintf(to, "%" PRId64, *(const int64_t *)at);
        return;
    case CLOAK_FIELD_REAL:
        if (isfinite(*(const double *)at))
            fprintf(to, "%.9g", *(const double *)at);
        return;
    case CLOAK_FIELD_BOOL:
        if (*(const int *)at != CLOAK_RECORD_NO_BOOL)
            fputs(*(const int *)at ? "true" : "false", to);
        return;
    }
}

static cloak_status failed(const Output *out, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_TRANSIENT, "cannot write %s: %s", out->name, strerror(errno));
}

static cloak_status visit(void *context, const cloak_record *record, cloak_error *error) {
    Output *out = context;
    out->photos++;
    if (out->format == HTML) {
        cloak_summary_add(out->summary, record);
        return CLOAK_OK;
    }
    if (out->format == JSONL) {
        char *json = cloak_record_json(record);
        fprintf(out->to, "%s\n", json);
        free(json);
    } else {
        for (size_t i = 0; i < cloak_record_field_count; i++) {
            fputs(i ? "," : "", out->to);
            write_field(record, &cloak_record_fields[i], out->to);
        }
        fputs("\r\n", out->to);
    }
    return ferror(out->to) ? failed(out, error) : CLOAK_OK;
}

static cloak_status write_all(cloak_album_target *target, Output *out, cloak_error *error) {
    cloak_album_report report = {0};
    cloak_album_spec album = {0};
    size_t unreadable = 0;
    cloak_status status = cloak_album_report_read(target->queue, target->id, &report, error);
    if (status == CLOAK_OK)
        status = cloak_queue_album(target->queue, target->id, &album, error);
    for (size_t i = 0; status == CLOAK_OK && out->format == CSV && i < cloak_record_field_count; i++)
        fprintf(out->to, "%s%s%s", i ? "," : "", cloak_record_fields[i].name, i + 1 < cloak_record_field_count ? "" : "\r\n");
    if (status == CLOAK_OK)
        status = cloak_records_read(target, &report, visit, out, &unreadable, error);
    cloak_crops *crops = NULL;
    if (status == CLOAK_OK && out->pictures)
        status = cloak_crops_open(&album, &crops, error);
    if (status == CLOAK_OK && out->format == HTML)
        cloak_summary_write(out->summary, &report, &album, crops, out->to);
    cloak_crops_close(crops);
    if (status == CLOAK_OK && (fflush(out->to) != 0 || ferror(out->to)))
        status = failed(out, error);
    if (status == CLOAK_OK && unreadable)
        status = cloak_fail(error, CLOAK_E_PERMANENT, "%zu receipts cannot be read; the rest is written", unreadable);
    cloak_album_spec_free(&album);
    cloak_album_report_free(&report);
    return status;
}

/* The format by its word, or by the ending of a file's name. */
static cloak_status choose(const char *word, const char *file, Format *format, cloak_error *error) {
    const char *slash = file ? strrchr(file, '/') : NULL, *dot = file ? strrchr(slash ? slash : file, '.') : NULL;
    if (!word)
        word = dot ? dot + 1 : "html";
    for (int i = 0; i < FORMATS; i++)
        if (strcmp(word, format_words[i]) == 0) {
            *format = (Format)i;
            return CLOAK_OK;
        }
    return cloak_fail(error, CLOAK_E_USAGE, "\"%s\" is no format: html, csv or jsonl, by --format or by the ending of -o FILE", word);
}

/* To a file that gets its name when it is whole, or to stdout. */
static cloak_status export(cloak_album_target *target, const char *file, Output *out, cloak_error *error) {
    char *unfinished = file ? cloak_format("%s.part-%d", file, (int)getpid()) : NULL;
    out->name = file ? file : "stdout";
    out->to = file ? fopen(unfinished, "we") : stdout;
    cloak_status status = out->to ? write_all(target, out, error) : failed(out, error);
    const bool keep = status == CLOAK_OK || status == CLOAK_E_PERMANENT; /* with what could be read */
    if (file && out->to) {
        bool fine = keep && fsync(fileno(out->to)) == 0;
        fine = fclose(out->to) == 0 && fine;
        if (keep && (!fine || rename(unfinished, file) != 0))
            status = failed(out, error);
        if (!keep || status == CLOAK_E_TRANSIENT)
            unlink(unfinished);
    }
    free(unfinished);
    return status;
}

int cloak_verb_report(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *file = NULL, *word = NULL;
    Output out = {0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"o", "FILE", NULL, CLOAK_OPTION_TEXT, &file, 0, 0, "where to; stdout when it is left out"},
        {"format", "NAME", NULL, CLOAK_OPTION_TEXT, &word, 0, 0, "html, csv or jsonl; by FILE's ending when it is left out"},
        {"pictures", NULL, NULL, CLOAK_OPTION_FLAG, &out.pictures, 0, 0,
            "with faces: in an HTML page, where photos were changed most, before and after"},
        {0}};
    cloak_album_target target;
    cloak_error error = {0};
    int code = CLOAK_EXIT_OK;
    if (!cloak_verb_parse("report ALBUM-ID | OUT [OPTIONS]",
            "Writes what is known of each photo of an album: a page for people (its tables, the slowest and the\n"
            "worst photos), or all records as CSV or JSON lines. It names files: keep it to yourself.",
            table, argc, argv, 1, &code))
        return code;
    if (choose(word, file, &out.format, &error) != CLOAK_OK)
        return cloak_verb_fail("report", &error);
    if (out.pictures && out.format != HTML) {
        cloak_fail(&error, CLOAK_E_USAGE, "--pictures is for an HTML page");
        return cloak_verb_fail("report", &error);
    }
    if (out.pictures && cloak_photo_init("cloak", &error) != CLOAK_OK)
        return cloak_verb_fail("report", &error);
    if (cloak_album_target_open(argv[0], &o, &target, &error) != CLOAK_OK)
        return cloak_verb_fail("report", &error);
    out.summary = cloak_summary_new();
    if (export(&target, file, &out, &error) != CLOAK_OK)
        code = cloak_verb_fail("report", &error);
    else if (file && o.json)
        printf("{\"album\":\"%s\",\"photos\":%zu,\"format\":\"%s\"}\n", target.id, out.photos, format_words[out.format]);
    cloak_summary_free(out.summary);
    cloak_album_target_close(&target);
    return code;
}
