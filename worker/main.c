/* cloak-worker: claims photos from the queue and cloaks them. Stateless: all it needs is in its
 * flags and environment, Redis, the stores and one model file. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/computing.h"
#include "common/base/install.h"
#include "common/base/log.h"
#include "common/base/options.h"
#include "common/http/http.h"
#include "common/photo/photo.h"
#include "common/report/gpu.h"
#include "models/cloak_model.h"
#include "worker/loop.h"

typedef struct {
    const char *redis, *queue, *name, *model, *device, *log_level, *metrics;
    long threads, most_photos, most_memory;
    double lease, drain, patience;
} Options;

static int usage(const cloak_option *table, FILE *to) {
    fprintf(to, "usage: cloak-worker [OPTIONS]\n\n"
                "Claims photos from the queue, cloaks them, and delivers photo and receipt.\n"
                "SIGTERM or SIGINT drains: photos in hand are finished or given back.\n\n");
    cloak_options_help(table, to);
    return to == stdout ? 0 : 2;
}

/* A name that is unique enough on a fleet: the machine's and the process's. */
static char *default_name(void) {
    char host[64] = "worker", clean[13];
    size_t n = 0;
    gethostname(host, sizeof host - 1);
    for (const char *p = host; *p && *p != '.' && n < sizeof clean - 1; p++)
        clean[n++] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", *p)
                         ? *p
                         : '-';
    clean[n] = 0;
    return cloak_format("%s-%d", clean, (int)getpid());
}

/* /metrics; /healthz is the server's own. */
static cloak_http_answer answer(void *context, const cloak_http_request *request) {
    if (strcmp(request->path, "/metrics") == 0) {
        cloak_gpu_measure(context);
        return (cloak_http_answer){.code = 200,
            .content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = cloak_metrics_text(context)};
    }
    return (cloak_http_answer){.code = 404,
        .content_type = "text/plain; charset=utf-8",
        .body = cloak_strdup("there are /metrics and /healthz\n")};
}

static cloak_status serve_metrics(const char *listen, cloak_http_access *access, cloak_metrics *metrics, cloak_http **http,
    cloak_error *error) {
    cloak_status status = cloak_http_access_read(access, error);
    if (status == CLOAK_OK)
        status = cloak_http_start(listen, access, false, answer, metrics, http, error);
    if (status == CLOAK_OK)
        cloak_log(CLOAK_LOG_INFO, "metrics_start", "port %d", cloak_http_port(*http));
    return status;
}

static int fail(const cloak_error *error) {
    cloak_log(CLOAK_LOG_ERROR, "worker_failed", "%s", error->text);
    return error->code == CLOAK_E_USAGE ? 2 : 1;
}

int main(int argc, char **argv) {
    cloak_begin_computing(argv);
    Options o = {.redis = "redis://127.0.0.1:6379/0", .queue = "default", .device = "cpu",
        .log_level = "info", .lease = 30, .drain = 10, .patience = 60};
    const cloak_option table[] = {
        {"redis", "URL", "CLOAK_REDIS", CLOAK_OPTION_TEXT, &o.redis, 0, 0,
            "queue's server, redis[s]://[user:password@]host:port/db or unix:///path"},
        {"queue", "NAME", "CLOAK_QUEUE", CLOAK_OPTION_TEXT, &o.queue, 0, 0, "queue's name"},
        {"model", "FILE", "CLOAK_MODEL", CLOAK_OPTION_TEXT, &o.model, 0, 0, "detector to defeat"},
        {"device", "NAME", "CLOAK_DEVICE", CLOAK_OPTION_TEXT, &o.device, 0, 0, "cpu or cuda:N"},
        {"threads", "N", NULL, CLOAK_OPTION_INT, &o.threads, 0, 1024,
            "compute threads, 0 for all cores"},
        {"name", "NAME", NULL, CLOAK_OPTION_TEXT, &o.name, 0, 0, "worker's name, 20 characters"},
        {"lease", "SECONDS", NULL, CLOAK_OPTION_REAL, &o.lease, 1, 3600, "length of a lease"},
        {"drain-seconds", "SECONDS", NULL, CLOAK_OPTION_REAL, &o.drain, 0, 3600,
            "time for the photo in hand after a stop signal"},
        {"patience", "SECONDS", NULL, CLOAK_OPTION_REAL, &o.patience, 0, 86400,
            "time without Redis after which to give up"},
        {"max-photos", "N", NULL, CLOAK_OPTION_INT, &o.most_photos, 0, 1000000000,
            "end after so many, to be started afresh; 0: never"},
        {"max-memory", "MIB", NULL, CLOAK_OPTION_INT, &o.most_memory, 0, 1 << 24,
            "end after the photo with which it uses more; 0: never"},
        {"metrics", "HOST:PORT", "CLOAK_METRICS", CLOAK_OPTION_TEXT, &o.metrics, 0, 0,
            "where to tell Prometheus; on another address than loopback set CLOAK_HTTP_TOKEN"},
        {"log-level", "LEVEL", "CLOAK_LOG_LEVEL", CLOAK_OPTION_TEXT, &o.log_level, 0, 0,
            "debug, info, warn or error"},
        {0},
    };
    cloak_error error = {0};
    cloak_log_level level;
    int positional = 0;
    bool help = false;
    if (cloak_options_parse(table, argc, argv, &positional, &help, &error) != CLOAK_OK)
        return fail(&error);
    if (help)
        return usage(table, stdout);
    if (positional > 0 || !cloak_log_parse_level(o.log_level, &level))
        return usage(table, stderr);
    cloak_log_set_level(level);

    char *name = o.name ? cloak_strdup(o.name) : default_name();
    char *model_path = o.model ? cloak_strdup(o.model) : cloak_install_model();
    cloak_model_params params = cloak_model_default_params();
    params.device = o.device;
    params.threads = (int)o.threads;
    cloak_metrics *metrics = cloak_metrics_new();
    cloak_metrics_start(metrics);
    cloak_loop_options loop = {o.redis, o.queue, name, o.lease, o.drain, o.patience, params,
        (size_t)o.most_photos, (size_t)o.most_memory << 20, metrics};
    cloak_model *model = NULL;
    cloak_http *http = NULL;
    cloak_http_access access = {0};
    signal(SIGPIPE, SIG_IGN);
    cloak_status status = cloak_photo_init("cloak-worker", &error); /* before threads */
    if (status == CLOAK_OK && o.metrics)
        status = serve_metrics(o.metrics, &access, metrics, &http, &error);
    if (status == CLOAK_OK)
        status = cloak_model_load(model_path, &params, &model, &error);
    if (status == CLOAK_OK) {
        cloak_log(CLOAK_LOG_INFO, "worker_start", "%s on %s with %s", name, o.device,
            cloak_model_describe(model).name);
        cloak_metrics_set(metrics, CLOAK_METRIC_BUILD, CLOAK_VERSION, 1);
        cloak_metrics_set(metrics, CLOAK_METRIC_MODEL, cloak_model_describe(model).sha256, 1);
        status = cloak_loop_run(model, &loop, &error);
    }
    cloak_http_stop(http);
    cloak_http_access_free(&access);
    cloak_metrics_free(metrics);
    cloak_model_free(model);
    free(model_path);
    free(name);
    if (status != CLOAK_OK)
        return fail(&error);
    cloak_log(CLOAK_LOG_INFO, "worker_stop", "drained");
    return 0;
}
