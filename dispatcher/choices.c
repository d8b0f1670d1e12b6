/* From command line choices to album settings; see the header. */
#include "dispatcher/choices.h"

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/report/labels.h"

cloak_status cloak_choices_settings(
    const cloak_choices *choices, cloak_settings *settings, cloak_error *error) {
    cloak_settings s;
    cloak_status status = cloak_settings_preset(choices->preset, &s, error);
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
    /* a budget below one level would change nothing: say so before anything is written */
    if (status == CLOAK_OK && s.eps * 255 + 1e-3 < 1)
        status = cloak_fail(error, CLOAK_E_USAGE,
            "eps %g is less than one 8-bit level (1/255): nothing would change", s.eps);
    if (status == CLOAK_OK)
        *settings = s;
    else
        cloak_settings_free(&s);
    return status;
}
