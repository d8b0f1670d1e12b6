/* What a worker tells of itself with every beat: what it is, where its photo is, how fast it goes. */
#ifndef CLOAK_WORKER_PULSE_H
#define CLOAK_WORKER_PULSE_H

#include <pthread.h>

#include "models/cloak_model.h"
#include "worker/stages.h"

typedef struct {
    cloak_model_info model;     /* its texts are the model's */
    const cloak_stages *stages; /* borrowed */
    pthread_mutex_t lock;
    /* Guarded by `lock`: */
    uint64_t photos;             /* finished since the start */
    double began, at, per_second; /* the start; the time that the mean belongs to; photos per second of late */
} cloak_pulse;

void cloak_pulse_start(cloak_pulse *pulse, const cloak_model *model, const cloak_stages *stages);
void cloak_pulse_end(cloak_pulse *pulse);

/* A photo was finished. */
void cloak_pulse_photo(cloak_pulse *pulse);

/* JSON, a new string (free()): device, model_sha256, build, stage, photos, photos_per_second. Any thread. */
char *cloak_pulse_text(cloak_pulse *pulse);

#endif
