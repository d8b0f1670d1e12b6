/* What a worker tells of itself; see the header.
 *
 * The speed is an exponentially weighted mean: photos of the last minute count most. Early on, when less than that has
 * gone by, it is taken over the time there was.
 */
#include "worker/pulse.h"

#include <math.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"

static const double MEAN_SECONDS = 60;

void cloak_pulse_start(cloak_pulse *pulse, const cloak_model *model, const cloak_stages *stages) {
    *pulse = (cloak_pulse){.model = cloak_model_describe(model), .stages = stages};
    pthread_mutex_init(&pulse->lock, NULL);
    pulse->began = pulse->at = cloak_now();
}

void cloak_pulse_end(cloak_pulse *pulse) {
    pthread_mutex_destroy(&pulse->lock);
}

/* Lets the mean fade up to now. The lock is held. */
static void fade(cloak_pulse *pulse, double now) {
    pulse->per_second *= exp((pulse->at - now) / MEAN_SECONDS);
    pulse->at = now;
}

void cloak_pulse_photo(cloak_pulse *pulse) {
    pthread_mutex_lock(&pulse->lock);
    fade(pulse, cloak_now());
    pulse->per_second += 1 / MEAN_SECONDS;
    pulse->photos++;
    pthread_mutex_unlock(&pulse->lock);
}

char *cloak_pulse_text(cloak_pulse *pulse) {
    const double now = cloak_now();
    pthread_mutex_lock(&pulse->lock);
    fade(pulse, now);
    const double share = 1 - exp((pulse->began - now) / MEAN_SECONDS);
    const double per_second = share > 1e-3 ? pulse->per_second / share : 0;
    const uint64_t photos = pulse->photos;
    pthread_mutex_unlock(&pulse->lock);
    return cloak_format("{\"device\":\"%s\",\"model_sha256\":\"%s\",\"build\":\"%s\",\"stage\":\"%s\",\"photos\":%llu,"
                        "\"photos_per_second\":%.4g}",
        pulse->model.device, pulse->model.sha256, CLOAK_VERSION, cloak_stage_word((cloak_stage)pulse->stages->now),
        (unsigned long long)photos, per_second);
}
