/* The verbs of `cloak`, one file each. Each takes its own argv (argv[0] is the verb) and returns
 * the exit code. */
#ifndef CLOAK_DISPATCHER_VERBS_H
#define CLOAK_DISPATCHER_VERBS_H

#include "common/base/options.h"
#include "common/base/status.h"
#include "common/queue/queue.h"

/* Exit codes of all programs. */
enum {
    CLOAK_EXIT_OK = 0,
    CLOAK_EXIT_FAILURE = 1,
    CLOAK_EXIT_USAGE = 2,
    CLOAK_EXIT_RESIDUAL = 3,
    CLOAK_EXIT_DEAD = 4,
    CLOAK_EXIT_INTERRUPTED = 130,
};

int cloak_verb_run(int argc, char **argv);
int cloak_verb_submit(int argc, char **argv);
int cloak_verb_status(int argc, char **argv);
int cloak_verb_watch(int argc, char **argv);
int cloak_verb_cancel(int argc, char **argv);
int cloak_verb_pause(int argc, char **argv);
int cloak_verb_resume(int argc, char **argv);
int cloak_verb_share(int argc, char **argv);
int cloak_verb_dead(int argc, char **argv);
int cloak_verb_retry(int argc, char **argv);
int cloak_verb_audit(int argc, char **argv);
int cloak_verb_report(int argc, char **argv);
int cloak_verb_serve(int argc, char **argv);
int cloak_verb_doctor(int argc, char **argv);
int cloak_verb_targets(int argc, char **argv);

/* Options that every verb with a queue has. */
typedef struct {
    const char *redis, *queue;
    bool json;
} cloak_queue_options;

#define CLOAK_QUEUE_OPTIONS_DEFAULT {"redis://127.0.0.1:6379/0", "default", false}
#define CLOAK_QUEUE_OPTIONS(o)                                                                     \
    {"redis", "URL", "CLOAK_REDIS", CLOAK_OPTION_TEXT, &(o).redis, 0, 0,                           \
        "queue's server, redis[s]://[user:password@]host:port/db or unix:///path"},                \
        {"queue", "NAME", "CLOAK_QUEUE", CLOAK_OPTION_TEXT, &(o).queue, 0, 0, "queue's name"}, {   \
        "json", NULL, NULL, CLOAK_OPTION_FLAG, &(o).json, 0, 0,                                    \
            "one JSON object as the last line of stdout"                                           \
    }

/* Prints the error for people; returns the exit code that fits it. */
int cloak_verb_fail(const char *verb, const cloak_error *error);

/* Parses a verb's command line. Returns true to go on; else `*code` is the exit code (help was
 * printed, or the usage error). `count` positional arguments are wanted; they are argv[0…]. */
bool cloak_verb_parse(const char *usage, const char *about, const cloak_option *table, int argc,
    char **argv, int count, int *code);

/* The same for `least` to `most` positional arguments; `*count` is their number. */
bool cloak_verb_parse_some(const char *usage, const char *about, const cloak_option *table,
    int argc, char **argv, int least, int most, int *count, int *code);

/* The option --error CLASS of verbs about dead photos; whether it names a class, or what the exit code is. */
#define CLOAK_ERROR_CLASS_ABOUT "only photos that died of this class: permanent, transient, device, lost, internal"
bool cloak_verb_check_class(const char *verb, const char *class_word, int *code);

#endif
