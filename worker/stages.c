/* Where a photo's time goes; see the header. */
#include "worker/stages.h"

#include <math.h>

#include "common/base/clock.h"

const char *cloak_stage_word(cloak_stage stage) {
    static const char *const words[] = {"idle",
#define X(name, word, field) word,
        CLOAK_STAGE_TABLE(X)
#undef X
    };
    return words[stage];
}

static double *field_of(cloak_record *record, cloak_stage stage) {
    switch (stage) {
#define X(name, word, field)                                                                       \
    case name:                                                                                     \
        return &record->field;
        CLOAK_STAGE_TABLE(X)
#undef X
    default:
        return NULL;
    }
}

void cloak_stages_begin(cloak_stages *stages, cloak_record *record) {
    stages->record = record;
    stages->since = cloak_now();
    stages->now = CLOAK_STAGE_NONE;
}

void cloak_stages_enter(cloak_stages *stages, cloak_stage stage) {
    const double now = cloak_now();
    double *field = field_of(stages->record, (cloak_stage)stages->now);
    if (field) /* absent until now: NaN */
        *field = (isnan(*field) ? 0 : *field) + now - stages->since;
    stages->since = now;
    stages->now = (int)stage;
}

cloak_stage cloak_stages_end(cloak_stages *stages) {
    const cloak_stage last = (cloak_stage)stages->now;
    stages->now = CLOAK_STAGE_NONE;
    return last;
}
