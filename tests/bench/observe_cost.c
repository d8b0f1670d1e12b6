/* What a worker spends per photo on being observed, for tests/bench/observe: all that it does for logs, metrics, the
 * album's sums and its beats, on a real record.
 *
 *   bench_observe RECEIPT ROUNDS SCRAPES BEATS >RESULT 2>/dev/null
 *
 * RECEIPT is a record as a worker wrote it. Per round (a photo): the stages' clock, the metrics, the log line, the sums
 * for Redis, the record's text for the queue. After each round SCRAPES times the text for Prometheus and BEATS times
 * the beat's text, both shares of one. Prints microseconds per photo by part, as one line of JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/report/metrics.h"
#include "worker/pulse.h"

enum { MOST_ROUNDS = 1000000, STAGES_PER_PHOTO = 16 };

static void keep(void *context, const char *name, int64_t add) {
    (void)add;
    size_t *count = context;
    char *copy = cloak_strdup(name); /* as the worker does */
    ++*count;
    free(copy);
}

typedef struct {
    cloak_record record;
    cloak_metrics *metrics;
    cloak_stages stages;
    cloak_pulse pulse;
} Observed;

static void do_stages(Observed *o) {
    cloak_record copy = o->record; /* its numbers grow */
    cloak_stages_begin(&o->stages, &copy);
    for (int i = 0; i < STAGES_PER_PHOTO; i++)
        cloak_stages_enter(&o->stages, (cloak_stage)(1 + i % (CLOAK_STAGE_COUNT - 1)));
    cloak_stages_end(&o->stages);
    cloak_pulse_photo(&o->pulse);
}

static void do_metrics(Observed *o) {
    cloak_metrics_record(o->metrics, &o->record);
}

static void do_log(Observed *o) {
    char *fields = cloak_record_log(&o->record, false);
    cloak_log_object(CLOAK_LOG_INFO, "photo_done", fields);
    free(fields);
}

static void do_sums(Observed *o) {
    size_t count = 0;
    if (cloak_record_stats(&o->record, keep, &count, NULL) != CLOAK_OK || count == 0)
        abort();
}

static void do_record(Observed *o) {
    free(cloak_record_json(&o->record));
}

static void do_scrape(Observed *o) {
    free(cloak_metrics_text(o->metrics));
}

static void do_beat(Observed *o) {
    free(cloak_pulse_text(&o->pulse));
}

/* Microseconds per photo of something that is done `times` per round. */
static double time_of(Observed *o, void (*part)(Observed *o), long rounds, double times) {
    const double start = cloak_now();
    for (long i = 0; i < rounds; i++)
        part(o);
    return (cloak_now() - start) / (double)rounds * 1e6 * times;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*part)(Observed *o);
    } parts[] = {{"stages", do_stages}, {"metrics", do_metrics}, {"log", do_log}, {"sums", do_sums}, {"record", do_record},
        {"scrape", do_scrape}, {"beat", do_beat}};
    Observed o = {0};
    cloak_error error = {0};
    char *text = NULL;
    size_t length = 0;
    const long rounds = argc == 5 ? atol(argv[2]) : 0;
    if (rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: bench_observe RECEIPT ROUNDS SCRAPES BEATS\n");
        return 2;
    }
    if (cloak_file_read(argv[1], 1 << 20, (void **)&text, &length, &error) != CLOAK_OK ||
        cloak_record_parse(text, argv[1], &o.record, &error) != CLOAK_OK) {
        fprintf(stderr, "bench_observe: %s\n", error.text);
        return 1;
    }
    o.metrics = cloak_metrics_new();
    cloak_metrics_start(o.metrics);
    cloak_pulse_start(&o.pulse, NULL, &o.stages);
    printf("{");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const double times = parts[i].part == do_scrape ? atof(argv[3]) : parts[i].part == do_beat ? atof(argv[4]) : 1;
        printf("%s\"%s\":%.3f", i ? "," : "", parts[i].name, time_of(&o, parts[i].part, rounds, times));
    }
    printf("}\n");
    cloak_pulse_end(&o.pulse);
    cloak_metrics_free(o.metrics);
    cloak_record_free(&o.record);
    free(text);
    return 0;
}
