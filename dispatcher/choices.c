/* From command line choices to album settings; see the header. */
#include "dispatcher/choices.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/report/labels.h"

cloak_status cloak_choices_settings(
    const cloak_choices *choices, cloak_settings *settings, cloak_error *error) {
    cloak_settings s;
    cloak_status status = cloak_settings_preset(choices->preset, choices->targets, &s, error);
    if (status != CLOAK_OK)
        return status;
    if (choices->eps > 0)
        s.eps = choices->eps;
    if (choices->region > 0)
        s.region = choices->region;
    if (choices->steps >= 0)
        s.max_steps = choices->steps;
    if (choices->restarts >= 0)
        s.restarts = choices->restarts;
    if (choices->rounds >= 0)
        s.encoder_rounds = choices->rounds;
    if (choices->diversity >= 0)
        s.diversity = choices->diversity;
    if (choices->survive) {
        free(s.survive);
        s.survive = cloak_strdup(strcmp(choices->survive, "none") == 0 ? "" : choices->survive);
    }
    if (choices->metadata) {
        free(s.metadata);
        s.metadata = cloak_strdup(choices->metadata);
    }
    s.polish = choices->polish;
    s.seed = choices->seed;
    if (choices->labels) {
        cloak_labels *labels = NULL;
        status = cloak_labels_load(choices->labels, &labels, error);
        if (status != CLOAK_OK)
            error->code = status = CLOAK_E_USAGE;
        cloak_labels_free(labels);
        free(s.labels);
        s.labels = cloak_path_absolute(choices->labels);
    }
    if (status == CLOAK_OK) /* what no worker would accept is refused before anything is written */
        status = cloak_settings_check(&s, error);
    if (status == CLOAK_OK)
        *settings = s;
    else
        cloak_settings_free(&s);
    return status;
}
