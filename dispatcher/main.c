/* cloak: the program people use. Verbs live in files of their own. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/computing.h"
#include "common/base/install.h"
#include "dispatcher/verbs.h"

/* Some verbs need the model, and with it libtorch: a program of their own, so that the others start at
 * once. */
static int verb_with_model(int argc, char **argv) {
    (void)argc;
    char *program = cloak_install_program("cloak-eval");
    execvp(program, argv);
    fprintf(stderr, "cloak: cannot start %s\n", program);
    return CLOAK_EXIT_FAILURE;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} verbs[] = {
    {"run", cloak_verb_run, "cloak an album on this machine: cloak run ALBUM OUT"},
    {"submit", cloak_verb_submit, "hand an album to a fleet: cloak submit ALBUM OUT"},
    {"status", cloak_verb_status, "how an album stands: cloak status [ALBUM-ID]"},
    {"watch", cloak_verb_watch, "follow an album until it is done: cloak watch ALBUM-ID"},
    {"cancel", cloak_verb_cancel, "cancel what is left of an album: cloak cancel ALBUM-ID"},
    {"pause", cloak_verb_pause, "let an album's photos wait: cloak pause ALBUM-ID"},
    {"resume", cloak_verb_resume, "let them go on: cloak resume ALBUM-ID"},
    {"share", cloak_verb_share, "a tenant's part of the devices' time: cloak share TENANT N"},
    {"dead", cloak_verb_dead, "photos that were given up, and why: cloak dead ALBUM-ID"},
    {"retry", cloak_verb_retry, "try an album's dead photos again: cloak retry ALBUM-ID"},
    {"audit", cloak_verb_audit, "prove that nothing was lost: cloak audit ALBUM-ID"},
    {"report", cloak_verb_report, "an album's photos as a page, as CSV or as JSON lines: cloak report ALBUM-ID -o FILE"},
    {"serve", cloak_verb_serve, "show how it goes, to people and to Prometheus: cloak serve --listen HOST:PORT"},
    {"doctor", verb_with_model, "look at Redis, model, targets and a folder: cloak doctor [OUT]"},
    {"targets", verb_with_model, "detectors to hide from: cloak targets [add NAME | remove NAME]"},
    {"eval", verb_with_model, "measure detector and attack: cloak eval detector|attack|survival|look|transfer …"},
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static int help(FILE *to) {
    fprintf(to, "usage: cloak VERB …\n\nHides the faces in photos from face detectors.\n\n");
    for (int i = 0; i < VERBS; i++)
        fprintf(to, "  %-8s %s\n", verbs[i].name, verbs[i].about);
    fprintf(to, "\ncloak VERB --help tells more. Exit codes: 0 all delivered and verified, 1 "
                "failure, 2 usage,\n3 some photos are residual, 4 some photos are dead, 130 "
                "interrupted and resumable.\n");
    return to == stdout ? CLOAK_EXIT_OK : CLOAK_EXIT_USAGE;
}

int main(int argc, char **argv) {
    cloak_prepare_computing(); /* for workers and the verbs with a model */
    if (argc < 2)
        return help(stderr);
    for (int i = 0; i < VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(stdout);
    if (strcmp(argv[1], "--version") == 0) {
        printf("cloak %s\n", CLOAK_VERSION);
        return CLOAK_EXIT_OK;
    }
    fprintf(stderr, "cloak: there is no verb \"%s\"\n\n", argv[1]);
    return help(stderr);
}
