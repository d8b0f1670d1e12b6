/* cloak-eval: the verbs of `cloak` that need the model. Its own name is the verb. */
#include <stdio.h>
#include <string.h>

#include "common/base/waiting.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/verbs.h"

int main(int argc, char **argv) {
    cloak_wait_without_spinning(argv);
    if (strcmp(argv[0], "targets") == 0)
        return cloak_verb_targets(argc, argv);
    if (argc >= 2 && strcmp(argv[1], "detector") == 0)
        return cloak_eval_detector(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "attack") == 0)
        return cloak_eval_attack(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "survival") == 0)
        return cloak_eval_survival(argc - 1, argv + 1);
    bool help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    fprintf(help ? stdout : stderr, "usage: cloak eval detector --photos DIR --labels FILE …\n"
                                    "       cloak eval attack --photos DIR --labels FILE …\n"
                                    "       cloak eval survival --photos DIR --labels FILE …\n\n"
                                    "Each takes --help.\n");
    return help ? CLOAK_EXIT_OK : CLOAK_EXIT_USAGE;
}
