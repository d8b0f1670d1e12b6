/* cloak serve: what the queue holds, for people, for Prometheus, for scripts and for load balancers.
 *
 *   /          the page of dispatcher/page, which asks /v1
 *   /metrics   Prometheus' text
 *   /v1/…      JSON, and actions (api.h); /v1/events tells the same as it changes
 *   /healthz   the process lives
 *   /readyz    Redis answers
 *
 * Requests are answered one after the other over one connection to Redis, and those who listen to events are told over
 * a second, every other second whoever they are: any number of readers costs the queue no more than two.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/http/http.h"
#include "common/report/metrics.h"
#include "dispatcher/api.h"
#include "dispatcher/overview.h"
#include "dispatcher/verbs.h"

enum { METRICS_ALBUMS = 1000, TELL_SECONDS = 2, QUIET_SECONDS = 5 };

/* What was told last to those who listen. */
typedef struct {
    char *text;
    double at;
} Said;

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static cloak_http_answer text_answer(int code, const char *text) {
    return (cloak_http_answer){.code = code, .content_type = "text/plain; charset=utf-8", .body = cloak_format("%s\n", text)};
}

static void set_metrics(const cloak_overview *overview, cloak_metrics *metrics) {
    const cloak_load *load = &overview->load;
    double dead = 0, imbalanced = 0;
    for (size_t i = 0; i < overview->count; i++) {
        dead += (double)overview->albums[i].books.dead;
        imbalanced += !overview->albums[i].books.balanced;
    }
    cloak_metrics_set(metrics, CLOAK_METRIC_WAITING, "waiting", (double)load->waiting);
    cloak_metrics_set(metrics, CLOAK_METRIC_WAITING, "delayed", (double)load->delayed);
    cloak_metrics_set(metrics, CLOAK_METRIC_WAITING, "leased", (double)load->leased);
    cloak_metrics_set(metrics, CLOAK_METRIC_EVENTS, "lost", (double)load->lost);
    cloak_metrics_set(metrics, CLOAK_METRIC_EVENTS, "retried", (double)load->retried);
    cloak_metrics_set(metrics, CLOAK_METRIC_EVENTS, "dead", (double)load->dead);
    if (load->memory_used)
        cloak_metrics_set(metrics, CLOAK_METRIC_REDIS_MEMORY, "used", (double)load->memory_used);
    if (load->memory_most)
        cloak_metrics_set(metrics, CLOAK_METRIC_REDIS_MEMORY, "limit", (double)load->memory_most);
    cloak_metrics_set(metrics, CLOAK_METRIC_BACKLOG, NULL, load->backlog_seconds);
    cloak_metrics_set(metrics, CLOAK_METRIC_OLDEST, NULL, load->oldest_seconds);
    cloak_metrics_set(metrics, CLOAK_METRIC_WORKERS, NULL, (double)load->workers);
    cloak_metrics_set(metrics, CLOAK_METRIC_PAUSED, NULL, load->paused);
    cloak_metrics_set(metrics, CLOAK_METRIC_ALBUMS, NULL, (double)overview->count);
    cloak_metrics_set(metrics, CLOAK_METRIC_DEAD, NULL, dead);
    cloak_metrics_set(metrics, CLOAK_METRIC_IMBALANCED, NULL, imbalanced);
}

static void forget(Said *said) {
    free(said->text);
    *said = (Said){0};
}

/* Tells who listens how things stand, when that is something new or it has been quiet for a while. `*said` is what was
 * told last. Returns whether they were told. */
static bool tell(cloak_http *http, const char *event, char *text, Said *said) {
    const double now = cloak_now();
    if (said->text && strcmp(text, said->text) == 0 && now - said->at <= QUIET_SECONDS) {
        free(text);
        return false;
    }
    cloak_http_publish(http, event, text);
    free(said->text);
    *said = (Said){text, now};
    return true;
}

/* One round for all who listen, over a connection of its own. */
static void tell_all(cloak_http *http, cloak_api *api, Said *queue, Said *workers) {
    cloak_error error = {0};
    char *how = cloak_api_queue_text(api, &error), *who = how ? cloak_api_workers_text(api, &error) : NULL;
    const bool away = !how || !who;
    if (away) {
        char quoted[2048];
        cloak_text_json(error.text, quoted, sizeof quoted);
        free(how);
        how = cloak_format("{\"error\":\"%s\"}", quoted);
        cloak_api_close(api);
    }
    if (tell(http, "queue", how, queue) && away)
        cloak_log(CLOAK_LOG_WARN, "queue_away", "%s", error.text);
    if (who)
        tell(http, "workers", who, workers);
}

/* Also when Redis is away: then that is what they say. */
static cloak_http_answer answer_metrics(cloak_api *api) {
    cloak_error error = {0};
    cloak_overview overview = {0};
    cloak_metrics *metrics = cloak_metrics_new();
    cloak_metrics_set(metrics, CLOAK_METRIC_BUILD, CLOAK_VERSION, 1);
    cloak_status status = cloak_api_open(api, &error);
    if (status == CLOAK_OK)
        status = cloak_overview_read(api->queue, api->name, 0, METRICS_ALBUMS, &overview, &error);
    cloak_metrics_set(metrics, CLOAK_METRIC_REDIS_UP, NULL, status == CLOAK_OK);
    if (status == CLOAK_OK)
        set_metrics(&overview, metrics);
    else
        cloak_log(CLOAK_LOG_WARN, "queue_away", "%s", error.text);
    cloak_overview_free(&overview);
    char *text = cloak_metrics_text(metrics);
    cloak_metrics_free(metrics);
    return (cloak_http_answer){.code = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8", .body = text};
}

extern const unsigned char cloak_page_index_html[], cloak_page_page_js[], cloak_page_style_css[];

/* A file of the page; false for any other path. */
static bool answer_page(const char *path, cloak_http_answer *out) {
    static const struct {
        const char *path, *type;
        const unsigned char *text;
    } files[] = {{"/", "text/html; charset=utf-8", cloak_page_index_html},
        {"/page.js", "text/javascript; charset=utf-8", cloak_page_page_js},
        {"/style.css", "text/css; charset=utf-8", cloak_page_style_css}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(path, files[i].path) == 0) {
            *out = (cloak_http_answer){.code = 200, .content_type = files[i].type, .body = cloak_strdup((const char *)files[i].text)};
            return true;
        }
    return false;
}

static cloak_http_answer answer_ready(cloak_api *api) {
    cloak_load load;
    cloak_error error = {0};
    cloak_status status = cloak_api_open(api, &error);
    if (status == CLOAK_OK)
        status = cloak_queue_load(api->queue, &load, &error);
    if (status == CLOAK_OK)
        return text_answer(200, "ready");
    cloak_api_close(api);
    return text_answer(503, error.text);
}

static cloak_http_answer answer(void *context, const cloak_http_request *request) {
    cloak_api *api = context;
    cloak_http_answer page;
    if (strncmp(request->path, "/v1/", 4) == 0)
        return cloak_api_answer(api, request);
    if (request->method != CLOAK_HTTP_GET) {
        page = text_answer(405, "only GET and HEAD");
        page.allow = "GET, HEAD";
        return page;
    }
    if (answer_page(request->path, &page))
        return page;
    if (strcmp(request->path, "/metrics") == 0)
        return answer_metrics(api);
    if (strcmp(request->path, "/readyz") == 0)
        return answer_ready(api);
    return text_answer(404, "there are /, /metrics, /v1/openapi.json, /healthz and /readyz");
}

int cloak_verb_serve(int argc, char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *listen = "127.0.0.1:8181";
    cloak_http_access access = {0};
    cloak_api api = {0};
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"listen", "HOST:PORT", "CLOAK_LISTEN", CLOAK_OPTION_TEXT, &listen, 0, 0,
            "where; on another address than loopback set CLOAK_HTTP_TOKEN"},
        {"actions", NULL, NULL, CLOAK_OPTION_FLAG, &api.actions, 0, 0,
            "let the page and POST requests pause, resume, cancel and retry"},
        {0}};
    struct sigaction action = {.sa_handler = on_signal};
    cloak_http *http = NULL;
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse("serve [OPTIONS]",
            "Tells by HTTP what the queue holds: a page for people at /, /metrics for Prometheus, JSON below\n"
            "/v1 (described by /v1/openapi.json), /healthz and /readyz. Ends with SIGTERM or Ctrl-C.",
            table, argc, argv, 0, &code))
        return code;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    api.redis = o.redis;
    api.name = o.queue;
    if (cloak_api_open(&api, &error) == CLOAK_E_USAGE) /* Redis may come later; a URL that is none never does */
        return cloak_verb_fail("serve", &error);
    cloak_status status = cloak_http_access_read(&access, &error);
    if (status == CLOAK_OK)
        status = cloak_http_start(listen, &access, true, answer, &api, &http, &error);
    if (status != CLOAK_OK) {
        cloak_http_access_free(&access);
        cloak_api_close(&api);
        return cloak_verb_fail("serve", &error);
    }
    fprintf(stderr, "  http%s://%.*s:%d/\n", access.cert ? "s" : "", (int)(strrchr(listen, ':') - listen), listen, cloak_http_port(http));
    cloak_log(CLOAK_LOG_INFO, "serve_start", "port %d", cloak_http_port(http));
    cloak_api teller = {.redis = o.redis, .name = o.queue};
    Said queue = {0}, workers = {0};
    for (double next = 0; !stopping; cloak_clock_system.sleep(0.1)) {
        if (cloak_http_listeners(http) == 0) { /* who comes then is told at once, whatever was said before */
            forget(&queue);
            forget(&workers);
            next = 0;
        } else if (cloak_now() >= next) {
            tell_all(http, &teller, &queue, &workers);
            next = cloak_now() + TELL_SECONDS;
        }
    }
    forget(&queue);
    forget(&workers);
    cloak_api_close(&teller);
    cloak_http_stop(http);
    cloak_http_access_free(&access);
    cloak_api_close(&api);
    return CLOAK_EXIT_OK;
}
