/* cloak run: an album on this machine, with a private Redis and workers of its own.
 *
 * DESIGN. Everything that must survive is in the state folder (manifest, Redis with every write on
 * disk) and in the destination; this process, its workers and its Redis may die at any moment, in
 * any order. The children are told by the kernel when this process dies (PR_SET_PDEATHSIG), and the
 * state folder's lock is theirs too, so that the next run starts only when all are gone. It then
 * finds the leases of the dead and takes them back without counting a loss: who killed the whole
 * run is not the photo's fault. A worker that dies alone does cost its photo a loss, so that a
 * photo that kills workers is given up after three.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "common/report/targets.h"
#include "dispatcher/choices.h"
#include "dispatcher/feeder.h"
#include "dispatcher/place.h"
#include "dispatcher/private_redis.h"
#include "dispatcher/process.h"
#include "dispatcher/progress.h"
#include "dispatcher/state.h"
#include "dispatcher/survey.h"
#include "dispatcher/verbs.h"

enum { MAX_WORKERS = 64, MAX_IDLE_DEATHS = 8, DRAIN_SECONDS = 10, FEED_BATCHES = 20 };
static const double lock_seconds = 60, look_seconds = 0.5;

typedef struct {
    const char *album, *out;
    const char *model, *device;
    long workers, threads;
    bool json, follow_links;
    cloak_choices choices;
} Options;

typedef struct {
    pid_t pid;
    char name[20];
    bool dead; /* ended, its leases not taken back yet */
} Worker;

typedef struct {
    Options options;
    cloak_settings settings;
    cloak_place place;
    cloak_manifest manifest;
    cloak_private_redis redis;
    cloak_queue *queue;
    cloak_feeder feeder;
    Worker workers[MAX_WORKERS];
    char *worker_log;
    int lock;
    int idle_deaths; /* of workers and of Redis, since the last photo was delivered */
    uint64_t delivered, delivered_before; /* now, and by earlier runs */
    bool looked;
    bool worker_died; /* one at least, without saying good-bye */
    unsigned next_worker;
    double began;
} Run;

static volatile sig_atomic_t signals;

static void on_signal(int number) {
    (void)number;
    signals++;
}

static bool is_stopping(void *context) {
    (void)context;
    return signals > 0;
}

/* --- workers ------------------------------------------------------------------------------- */

static cloak_status start_worker(Run *run, Worker *worker, cloak_error *error) {
    char *program = cloak_install_program("cloak-worker");
    char *model = run->options.model ? cloak_strdup(run->options.model) : cloak_install_model();
    char threads[24], drain[24];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long share = cores / run->options.workers > 0 ? cores / run->options.workers : 1;
    snprintf(threads, sizeof threads, "%ld",
        run->options.threads > 0 ? run->options.threads : run->options.workers > 1 ? share : 0);
    snprintf(drain, sizeof drain, "%d", DRAIN_SECONDS);
    snprintf(worker->name, sizeof worker->name, "run-%d-%u", (int)getpid(), run->next_worker++);
    char *argv[] = {program, "--redis", run->redis.url, "--queue", "run", "--name", worker->name,
        "--model", model, "--device", (char *)run->options.device, "--threads", threads,
        "--drain-seconds", drain, NULL};
    /* when we die, its Redis dies too: there is nobody left to drain for */
    cloak_status status =
        cloak_process_start(argv, run->worker_log, SIGKILL, &worker->pid, error);
    free(program);
    free(model);
    return status;
}

/* The last line of the workers' log, for a failure's text. */
static void last_words(const Run *run, char *text, size_t size) {
    FILE *file = fopen(run->worker_log, "re");
    char line[1024];
    text[0] = 0;
    if (!file)
        return;
    if (fseek(file, -4000, SEEK_END) != 0)
        rewind(file);
    while (fgets(line, sizeof line, file))
        snprintf(text, size, "%.*s", (int)strcspn(line, "\n"), line);
    fclose(file);
}

static cloak_status give_up(const Run *run, const char *how, cloak_error *error) {
    char words[400];
    last_words(run, words, sizeof words);
    return cloak_fail(error, CLOAK_E_INTERNAL,
        "the worker keeps ending (%s) without getting anything done; its log is %s and ends with: %s",
        how, run->worker_log, words);
}

/* A Redis that ends again and again cannot write its file: say why, if it can be known. */
static cloak_status mend_redis(Run *run, cloak_error *error) {
    bool restarted = false;
    struct statvfs disk;
    cloak_status status = cloak_private_redis_mend(&run->redis, &restarted, error);
    if (!restarted)
        return status;
    fprintf(stderr, "\n  the private Redis had died; it was started again\n");
    bool full = statvfs(run->place.state, &disk) == 0 &&
                (uint64_t)disk.f_bavail * disk.f_frsize < (1u << 20);
    if (full || ++run->idle_deaths > MAX_IDLE_DEATHS)
        return cloak_fail(error, CLOAK_E_TRANSIENT,
            "the private Redis keeps ending%s; its log is %s/redis/redis.log",
            full ? ": no space left for the state folder (free some, then run again)" : "",
            run->place.state);
    return status;
}

/* Replaces workers that have died; gives up when they die without getting anything done. */
static cloak_status mend_workers(Run *run, cloak_error *error) {
    for (long i = 0; i < run->options.workers; i++) {
        Worker *worker = &run->workers[i];
        int ended = 0;
        size_t moved = 0;
        if (worker->pid && !cloak_process_ended(worker->pid, &ended))
            continue;
        if (worker->pid) {
            char how[64];
            cloak_process_describe(ended, how);
            fprintf(stderr, "\n  a worker ended with %s; its photos go back to the queue\n", how);
            worker->pid = 0;
            worker->dead = run->worker_died = true;
            bool refused = WIFEXITED(ended) && WEXITSTATUS(ended) == 2;
            if (++run->idle_deaths > MAX_IDLE_DEATHS || refused)
                return give_up(run, how, error);
        }
        cloak_status status = CLOAK_OK;
        if (worker->dead)
            status = cloak_queue_recover(run->queue, worker->name, true, &moved, error);
        worker->dead = worker->dead && status != CLOAK_OK;
        if (status == CLOAK_OK)
            status = start_worker(run, worker, error);
        if (status != CLOAK_OK)
            return status;
    }
    return CLOAK_OK;
}

/* Lets workers finish or give back what they hold. A second signal cuts it short. */
static void stop_workers(Run *run) {
    double until = cloak_now() + DRAIN_SECONDS + 5;
    int seen = signals;
    for (long i = 0; i < run->options.workers; i++)
        if (run->workers[i].pid > 0)
            kill(run->workers[i].pid, SIGTERM);
    for (long i = 0; i < run->options.workers; i++) {
        Worker *worker = &run->workers[i];
        while (worker->pid > 0 && !cloak_process_ended(worker->pid, NULL)) {
            if (signals > seen || cloak_now() > until) {
                cloak_process_stop(worker->pid, SIGTERM, 0.5);
                run->worker_died = true;
                break;
            }
            cloak_clock_system.sleep(0.05);
        }
        worker->pid = 0;
    }
}

/* --- before, while and after --------------------------------------------------------------- */

static void show_skipped(const cloak_manifest *manifest) {
    enum { SHOWN = 20 };
    for (size_t i = 0; i < manifest->skipped_count && i < SHOWN; i++)
        fprintf(stderr, "  skipped   %s\n", manifest->skipped[i]);
    if (manifest->skipped_count > SHOWN)
        fprintf(stderr, "  … and %zu more, listed in %s\n", manifest->skipped_count - SHOWN,
            manifest->path);
}

/* Says which detectors the album is hidden from. */
static void show_targets(const cloak_settings *settings) {
    cloak_target_list list;
    if (cloak_targets_parse(settings->targets, &list, NULL) != CLOAK_OK)
        return;
    fprintf(stderr, "  hiding    from our own detector");
    for (size_t i = 0; i < list.count; i++)
        fprintf(stderr, ", %s", list.items[i].name);
    fprintf(stderr, "%s\n", list.count ? "" : " alone (`cloak targets --help` says how to add others)");
    cloak_targets_free(&list);
}

/* Everything up to a queue that knows the album. */
static cloak_status prepare(Run *run, cloak_error *error) {
    const Options *o = &run->options;
    size_t moved = 0;
    cloak_status status = cloak_choices_settings(&o->choices, &run->settings, error);
    if (status == CLOAK_OK)
        status = cloak_place_open(o->album, o->out, o->follow_links, &run->place, error);
    if (status == CLOAK_OK) {
        cloak_store_set_stop(run->place.source, is_stopping, NULL);
        cloak_store_set_stop(run->place.destination, is_stopping, NULL);
    }
    if (status == CLOAK_OK)
        status = cloak_state_lock(run->place.state, lock_seconds, &run->lock, error);
    if (status == CLOAK_OK && !cloak_store_is_folder(run->place.destination))
        fprintf(stderr, "  state     %s\n", run->place.state);
    if (status != CLOAK_OK)
        return status;
    char *settings = cloak_settings_json(&run->settings);
    char *redis_folder = cloak_path_join(run->place.state, "redis");
    run->worker_log = cloak_path_join(run->place.state, "worker.log");
    status = cloak_state_fetch(run->place.destination, error);
    if (status == CLOAK_OK)
        status = cloak_manifest_open(run->place.manifest, run->place.source_url,
            run->place.destination_url, settings, &run->manifest, error);
    if (status == CLOAK_OK)
        status = cloak_survey_album(&run->place, &run->manifest, error);
    if (status == CLOAK_OK)
        status = cloak_state_save(run->place.destination, error);
    if (status == CLOAK_OK)
        cloak_place_sweep(&run->place, &run->manifest, 0); /* the lock is ours, and no worker runs */
    if (status == CLOAK_OK)
        fprintf(stderr, "  album     %s: %zu photos, %zu other files\n", run->place.source_url,
            run->manifest.count, run->manifest.skipped_count);
    if (status == CLOAK_OK)
        show_targets(&run->settings);
    show_skipped(&run->manifest);
    if (status == CLOAK_OK)
        status = cloak_private_redis_start(redis_folder, &run->redis, error);
    if (status == CLOAK_OK)
        status = cloak_queue_open(run->redis.url, "run", 10, &run->queue, error);
    if (status == CLOAK_OK)
        status = cloak_feeder_create(run->queue, &run->manifest, "local", "interactive", error);
    if (status == CLOAK_OK)
        status = cloak_queue_recover(run->queue, NULL, false, &moved, error);
    if (status == CLOAK_OK)
        status = cloak_queue_retry(run->queue, run->manifest.id, NULL, &moved, error);
    if (status == CLOAK_OK) /* the same command again goes on, whatever was paused meanwhile */
        status = cloak_queue_resume(run->queue, run->manifest.id, error);
    if (status == CLOAK_OK)
        status = cloak_queue_resume(run->queue, NULL, error);
    free(settings);
    free(redis_folder);
    return status;
}

/* One look at everything: Redis, feeding, workers, progress. `*complete` ends the run. */
static cloak_status look_after(
    Run *run, cloak_progress *progress, bool *complete, cloak_error *error) {
    cloak_album_report report = {0};
    cloak_status status = mend_redis(run, error);
    if (status == CLOAK_OK)
        status = cloak_feeder_run(&run->feeder, FEED_BATCHES, error);
    if (status == CLOAK_OK)
        status = cloak_album_report_read(run->queue, run->manifest.id, &report, error);
    if (status == CLOAK_OK) {
        *complete = cloak_album_report_complete(&report);
        if (progress->began == 0)
            *progress = cloak_progress_start(stderr, &report);
        if (!run->looked)
            run->delivered_before = run->delivered = report.books.done;
        run->looked = true;
        if (report.books.done != run->delivered)
            run->idle_deaths = 0;
        run->delivered = report.books.done;
        if (*complete && report.settled == progress->settled_before)
            fprintf(stderr, "  everything is done already\n");
        else
            cloak_progress_show(progress, &report, run->manifest.count);
    }
    if (status == CLOAK_OK && !*complete)
        status = mend_workers(run, error);
    cloak_album_report_free(&report);
    return status;
}

/* A Redis that was killed a moment ago looks like a failure until it is mended: such errors are
 * given a few more looks. */
static cloak_status supervise(Run *run, cloak_error *error) {
    cloak_progress progress = {0};
    bool complete = false;
    int failures = 0;
    while (!complete && !signals) {
        cloak_status status = look_after(run, &progress, &complete, error);
        if (status == CLOAK_OK)
            failures = 0;
        else if (status != CLOAK_E_QUEUE || ++failures > 10)
            return status;
        if (!complete && !signals)
            cloak_clock_system.sleep(look_seconds);
    }
    if (progress.began > 0)
        cloak_progress_end(&progress);
    return complete ? CLOAK_OK : cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted");
}

static int conclude(Run *run, cloak_error *error) {
    cloak_album_report report;
    double seconds = cloak_now() - run->began;
    if (cloak_album_report_read(run->queue, run->manifest.id, &report, error) != CLOAK_OK)
        return cloak_verb_fail("run", error);
    int code = cloak_album_report_exit(&report);
    cloak_album_report_print(&report, seconds, run->place.destination_url, stderr);
    if (run->options.json) {
        char *json = cloak_album_report_json(&report, seconds,
            report.books.done - run->delivered_before, run->manifest.skipped_count);
        printf("%s\n", json);
        free(json);
    }
    cloak_album_report_free(&report);
    return code;
}

static int run_album(Run *run) {
    cloak_error error = {0};
    run->began = cloak_now();
    cloak_status status = prepare(run, &error);
    if (status == CLOAK_OK) {
        run->feeder = (cloak_feeder){.queue = run->queue, .manifest = &run->manifest, .max_backlog = 100000};
        status = supervise(run, &error);
    }
    if (status == CLOAK_E_INTERRUPTED)
        fprintf(stderr, "\n  stopping: the photo in hand has %d s to finish; Ctrl-C again stops at "
                        "once\n",
            DRAIN_SECONDS);
    stop_workers(run);
    if (run->worker_died)
        cloak_place_sweep(&run->place, &run->manifest, 0);
    if (status == CLOAK_E_INTERRUPTED) {
        fprintf(stderr, "  nothing is lost: the same command goes on from here\n");
        return CLOAK_EXIT_INTERRUPTED;
    }
    return status == CLOAK_OK ? conclude(run, &error) : cloak_verb_fail("run", &error);
}

static void clean_up(Run *run) {
    cloak_queue_close(run->queue);
    cloak_private_redis_stop(&run->redis);
    cloak_manifest_close(&run->manifest);
    cloak_place_close(&run->place);
    cloak_settings_free(&run->settings);
    free(run->worker_log);
    if (run->lock >= 0)
        close(run->lock);
}

int cloak_verb_run(int argc, char **argv) {
    Run *run = cloak_alloc(sizeof *run);
    run->lock = -1;
    run->options = (Options){.device = "cpu", .workers = 1, .choices = CLOAK_CHOICES_DEFAULT};
    Options *o = &run->options;
    const cloak_option table[] = {CLOAK_CHOICES_OPTIONS(o->choices),
        {"model", "FILE", "CLOAK_MODEL", CLOAK_OPTION_TEXT, &o->model, 0, 0, "detector to defeat"},
        {"device", "NAME", "CLOAK_DEVICE", CLOAK_OPTION_TEXT, &o->device, 0, 0, "cpu or cuda:N"},
        {"workers", "N", NULL, CLOAK_OPTION_INT, &o->workers, 1, MAX_WORKERS,
            "worker processes (one per device is right)"},
        {"threads", "N", NULL, CLOAK_OPTION_INT, &o->threads, 0, 1024,
            "compute threads per worker, 0 for a fair share of the cores"},
        CLOAK_LINKS_OPTION(o->follow_links),
        {"json", NULL, NULL, CLOAK_OPTION_FLAG, &o->json, 0, 0,
            "one JSON object as the last line of stdout"},
        {0}};
    int code = 0;
    if (cloak_verb_parse("run ALBUM OUT [OPTIONS]",
            "Cloaks the faces in every photo below ALBUM (JPEG, HEIC, PNG, WebP, AVIF, TIFF) and writes the photos\n"
            "and a receipt each (NAME.cloak.json) to OUT. The same command resumes after Ctrl-C or "
            "a crash.\nState is kept in OUT.cloak; remove it together with OUT to start afresh (for a\nbucket also what `cloak run` names as its state here).\n"
            "ALBUM and OUT are folders or buckets (s3://BUCKET/FOLDER).",
            table, argc, argv, 2, &code)) {
        struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        struct sigaction hangup;
        if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup */
            sigaction(SIGHUP, &action, NULL);
        signal(SIGPIPE, SIG_IGN);
        o->album = argv[0];
        o->out = argv[1];
        code = run_album(run);
    }
    clean_up(run);
    free(run);
    return code;
}
