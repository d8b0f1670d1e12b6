/* cloak-eval: the verbs of `cloak` that need the model. Its own name is the verb. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/computing.h"
#include "common/base/install.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"

/* Other detectors are measured by their own runtimes, which are Python's: models/eval does it. */
static int transfer(int argc, char **argv) {
    const char *given = getenv("CLOAK_PYTHON");
    char *python = cloak_strdup(given && *given ? given : "python3");
    char *script = cloak_install_transfer_script();
    char **words = cloak_alloc(((size_t)argc + 3) * sizeof *words);
    words[0] = python;
    words[1] = (char *)"-B";
    words[2] = script;
    for (int i = 1; i < argc; i++)
        words[i + 2] = argv[i];
    if (access(script, R_OK) != 0)
        fprintf(stderr, "cloak eval transfer: there is no %s; it is run from the source tree\n", script);
    else if (execvp(python, words) != 0)
        fprintf(stderr, "cloak eval transfer: cannot start %s; name a Python with the packages of "
                        "models/eval/requirements.txt in CLOAK_PYTHON\n",
            python);
    free(python);
    free(script);
    free(words);
    return CLOAK_EXIT_FAILURE;
}

int main(int argc, char **argv) {
    cloak_begin_computing(argv);
    if (strcmp(argv[0], "doctor") == 0)
        return cloak_verb_doctor(argc, argv);
    if (strcmp(argv[0], "targets") == 0)
        return cloak_verb_targets(argc, argv);
    if (argc >= 2 && strcmp(argv[1], "detector") == 0)
        return cloak_eval_detector(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "attack") == 0)
        return cloak_eval_attack(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "survival") == 0)
        return cloak_eval_survival(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "look") == 0)
        return cloak_eval_look(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "transfer") == 0)
        return transfer(argc - 1, argv + 1);
    bool help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    fprintf(help ? stdout : stderr, "usage: cloak eval detector --photos DIR --labels FILE …\n"
                                    "       cloak eval attack --photos DIR --labels FILE …\n"
                                    "       cloak eval survival --photos DIR --labels FILE …\n"
                                    "       cloak eval transfer --photos DIR --labels FILE …\n"
                                    "       cloak eval look OUT\n\n"
                                    "Each takes --help.\n");
    return help ? CLOAK_EXIT_OK : CLOAK_EXIT_USAGE;
}
