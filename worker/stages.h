/* Where a photo is, and where its time goes: each moment of a photo's work belongs to one stage. */
#ifndef CLOAK_WORKER_STAGES_H
#define CLOAK_WORKER_STAGES_H

#include "common/report/record.h"

/*   X(enumerator, word, the record's field) */
#define CLOAK_STAGE_TABLE(X)                                                                       \
    X(CLOAK_STAGE_FETCH, "fetch", seconds_fetch)                                                   \
    X(CLOAK_STAGE_DECODE, "decode", seconds_decode)                                                \
    X(CLOAK_STAGE_DETECT, "detect", seconds_detect)                                                \
    X(CLOAK_STAGE_ATTACK, "attack", seconds_attack)                                                \
    X(CLOAK_STAGE_ENCODE, "encode", seconds_encode)                                                \
    X(CLOAK_STAGE_VERIFY, "verify", seconds_verify)                                                \
    X(CLOAK_STAGE_PUT, "put", seconds_put)

typedef enum {
    CLOAK_STAGE_NONE,
#define X(name, word, field) name,
    CLOAK_STAGE_TABLE(X)
#undef X
        CLOAK_STAGE_COUNT
} cloak_stage;

/* "idle" for CLOAK_STAGE_NONE. Static storage. */
const char *cloak_stage_word(cloak_stage stage);

typedef struct {
    cloak_record *record; /* of the photo in work, borrowed */
    double since;         /* when the stage was entered */
    _Atomic int now;      /* a cloak_stage; other threads may look */
} cloak_stages;

/* A photo's work begins, in no stage yet. */
void cloak_stages_begin(cloak_stages *stages, cloak_record *record);

/* The next stage begins, or this one once more. The seconds of the one that ends here are added to the record. */
void cloak_stages_enter(cloak_stages *stages, cloak_stage stage);

/* The work ends; the record stays as it is. Returns the stage that it was in: after a failure, the one that failed. */
cloak_stage cloak_stages_end(cloak_stages *stages);

#endif
