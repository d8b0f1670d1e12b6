/* Metrics and their text; see the header. */
#include "common/report/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

static const double bounds[] = {0.005, 0.01, 0.025, 0.06, 0.15, 0.4, 1, 2.5, 6, 15, 40, 150};
enum { BOUNDS = sizeof bounds / sizeof *bounds, MOST_SERIES = 256, HOUR_SECONDS = 3600 };

typedef enum { COUNTER, GAUGE, HISTOGRAM } type;

static const struct {
    type type;
    const char *name, *label, *help;
} table[] = {
#define X(name, type, text, label, help) {type, text, label, help},
    CLOAK_METRIC_TABLE(X)
#undef X
};

typedef struct {
    cloak_metric metric;
    char *label; /* its value, or NULL */
    double value; /* of a histogram: the sum */
    uint64_t count, buckets[BOUNDS];
} series;

struct cloak_metrics {
    pthread_mutex_t lock;
    series *items;
    size_t count;
    cloak_ap before[2], after[2]; /* [0], which is told, since an hour or two; [1] since the last hour began */
    double hour;                  /* when that was */
};

cloak_metrics *cloak_metrics_new(void) {
    cloak_metrics *metrics = cloak_alloc(sizeof *metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    metrics->hour = cloak_now();
    metrics->items = cloak_alloc(MOST_SERIES * sizeof *metrics->items);
    return metrics;
}

void cloak_metrics_free(cloak_metrics *metrics) {
    if (!metrics)
        return;
    for (size_t i = 0; i < metrics->count; i++)
        free(metrics->items[i].label);
    free(metrics->items);
    for (int i = 0; i < 2; i++) {
        cloak_ap_free(&metrics->before[i]);
        cloak_ap_free(&metrics->after[i]);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* The series, made where it is not there yet. Past the bound all others share the last one: the bound is ours, and
 * labels are words of ours. The lock is held. */
static series *find(cloak_metrics *metrics, cloak_metric metric, const char *label) {
    for (size_t i = 0; i < metrics->count; i++) {
        series *s = &metrics->items[i];
        if (s->metric == metric && (label ? s->label && strcmp(s->label, label) == 0 : !s->label))
            return s;
    }
    if (metrics->count == MOST_SERIES)
        return &metrics->items[MOST_SERIES - 1];
    series *s = &metrics->items[metrics->count++];
    *s = (series){.metric = metric, .label = label ? cloak_strdup(label) : NULL};
    return s;
}

void cloak_metrics_add(cloak_metrics *metrics, cloak_metric metric, const char *label, double value) {
    pthread_mutex_lock(&metrics->lock);
    find(metrics, metric, label)->value += value;
    pthread_mutex_unlock(&metrics->lock);
}

void cloak_metrics_set(cloak_metrics *metrics, cloak_metric metric, const char *label, double value) {
    pthread_mutex_lock(&metrics->lock);
    find(metrics, metric, label)->value = value;
    pthread_mutex_unlock(&metrics->lock);
}

void cloak_metrics_observe(cloak_metrics *metrics, cloak_metric metric, const char *label, double value) {
    if (!(value >= 0))
        return; /* absent in the record */
    pthread_mutex_lock(&metrics->lock);
    series *s = find(metrics, metric, label);
    s->value += value;
    s->count++;
    for (int i = 0; i < BOUNDS; i++)
        s->buckets[i] += value <= bounds[i];
    pthread_mutex_unlock(&metrics->lock);
}

static void add_number(cloak_metrics *metrics, cloak_metric metric, const char *label, int64_t value) {
    if (value != CLOAK_RECORD_NO_INT)
        cloak_metrics_add(metrics, metric, label, (double)value);
}

/* A new hour: what is older than the last one is forgotten. */
static void begin_hour(cloak_ap sums[2]) {
    cloak_ap_free(&sums[0]);
    sums[0] = sums[1];
    cloak_ap_init(&sums[1]);
}

static void add_histogram(cloak_metrics *metrics, const char *when, const char *text, cloak_ap sums[2]) {
    cloak_ap one;
    if (!text || cloak_ap_parse(text, &one, NULL) != CLOAK_OK)
        return;
    pthread_mutex_lock(&metrics->lock);
    if (cloak_now() - metrics->hour > HOUR_SECONDS) {
        begin_hour(metrics->before);
        begin_hour(metrics->after);
        metrics->hour = cloak_now();
    }
    cloak_ap_merge(&sums[0], &one);
    cloak_ap_merge(&sums[1], &one);
    find(metrics, CLOAK_METRIC_RECALL, when)->value = cloak_ap_recall(&sums[0], CLOAK_AP_IOU_50);
    find(metrics, CLOAK_METRIC_AP, when)->value = cloak_ap_average(&sums[0], CLOAK_AP_IOU_50);
    pthread_mutex_unlock(&metrics->lock);
    cloak_ap_free(&one);
}

void cloak_metrics_start(cloak_metrics *metrics) {
    static const cloak_status failures[] = {CLOAK_E_PERMANENT, CLOAK_E_TRANSIENT, CLOAK_E_DEVICE, CLOAK_E_INTERNAL};
    static const struct {
        cloak_metric metric;
        const char *label;
    } others[] = {{CLOAK_METRIC_FENCED, NULL}, {CLOAK_METRIC_RELEASED, NULL}, {CLOAK_METRIC_STEPS, NULL},
        {CLOAK_METRIC_RESTS, NULL}, {CLOAK_METRIC_FACES, "before"}, {CLOAK_METRIC_FACES, "after"},
        {CLOAK_METRIC_BYTES, "in"}, {CLOAK_METRIC_BYTES, "out"}, {CLOAK_METRIC_FAILED_STAGES, "fetch"},
        {CLOAK_METRIC_FAILED_STAGES, "put"}};
    for (int outcome = 0; outcome < CLOAK_OUTCOME_COUNT; outcome++)
        if (cloak_outcome_delivered((cloak_outcome)outcome))
            cloak_metrics_add(metrics, CLOAK_METRIC_PHOTOS, cloak_outcome_word((cloak_outcome)outcome), 0);
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        cloak_metrics_add(metrics, CLOAK_METRIC_FAILURES, cloak_status_word(failures[i]), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cloak_metrics_add(metrics, others[i].metric, others[i].label, 0);
    cloak_metrics_set(metrics, CLOAK_METRIC_START, NULL, (double)cloak_clock_system.wall_ms() / 1000);
}

void cloak_metrics_record(cloak_metrics *metrics, const cloak_record *record) {
    static const char seconds[] = "seconds_";
    cloak_metrics_add(metrics, CLOAK_METRIC_PHOTOS, record->outcome ? record->outcome : "unknown", 1);
#define X(type, name, json, unit, doc)                                                             \
    if (strcmp(json, "seconds_total") == 0)                                                        \
        cloak_metrics_observe(metrics, CLOAK_METRIC_SECONDS, NULL, record->name);                  \
    else                                                                                           \
        cloak_metrics_observe(metrics, CLOAK_METRIC_STAGES, &(json)[sizeof seconds - 1], record->name);
    CLOAK_RECORD_STAGE_TABLE(X)
#undef X
    add_number(metrics, CLOAK_METRIC_STEPS, NULL, record->steps);
    add_number(metrics, CLOAK_METRIC_FACES, "before", record->faces_before);
    add_number(metrics, CLOAK_METRIC_FACES, "after", record->faces_after);
    add_number(metrics, CLOAK_METRIC_BYTES, "in", record->bytes_in);
    add_number(metrics, CLOAK_METRIC_BYTES, "out", record->bytes_out);
    add_histogram(metrics, "before", record->ap_before, metrics->before);
    add_histogram(metrics, "after", record->ap_after, metrics->after);
}

/* --- the text ------------------------------------------------------------------------------ */

static void print_name(FILE *to, const series *s, const char *suffix, const char *bound) {
    const char *label = table[s->metric].label;
    fprintf(to, "%s%s", table[s->metric].name, suffix);
    if (s->label || bound) {
        fprintf(to, "{");
        if (s->label)
            fprintf(to, "%s=\"%s\"", label, s->label);
        if (bound)
            fprintf(to, "%sle=\"%s\"", s->label ? "," : "", bound);
        fprintf(to, "}");
    }
    fprintf(to, " ");
}

static void print_value(FILE *to, double value) {
    if (isnan(value))
        fprintf(to, "NaN\n");
    else
        fprintf(to, "%.15g\n", value);
}

static void print_series(FILE *to, const series *s) {
    if (table[s->metric].type != HISTOGRAM) {
        print_name(to, s, "", NULL);
        print_value(to, s->value);
        return;
    }
    for (int i = 0; i < BOUNDS; i++) {
        char bound[32];
        snprintf(bound, sizeof bound, "%g", bounds[i]);
        print_name(to, s, "_bucket", bound);
        fprintf(to, "%llu\n", (unsigned long long)s->buckets[i]);
    }
    print_name(to, s, "_bucket", "+Inf");
    fprintf(to, "%llu\n", (unsigned long long)s->count);
    print_name(to, s, "_sum", NULL);
    print_value(to, s->value);
    print_name(to, s, "_count", NULL);
    fprintf(to, "%llu\n", (unsigned long long)s->count);
}

char *cloak_metrics_text(cloak_metrics *metrics) {
    static const char *const words[] = {"counter", "gauge", "histogram"};
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    if (!to)
        abort(); /* out of memory, small allocation: see alloc.h */
    pthread_mutex_lock(&metrics->lock);
    for (int metric = 0; metric < CLOAK_METRIC_COUNT; metric++) {
        bool told = false;
        for (size_t i = 0; i < metrics->count; i++) {
            if ((int)metrics->items[i].metric != metric)
                continue;
            if (!told)
                fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", table[metric].name, table[metric].help,
                    table[metric].name, words[table[metric].type]);
            told = true;
            print_series(to, &metrics->items[i]);
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    if (fclose(to) != 0)
        abort();
    return text;
}
