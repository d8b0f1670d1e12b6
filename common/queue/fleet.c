/* Who works: heartbeats and their count. */
#include "common/queue/internal.h"

enum { SILENT_MS = 15000 }; /* 3 beats of 5 s */

cloak_status cloak_queue_beat(
    cloak_queue *queue, const char *worker, const char *about, cloak_error *error) {
    cloak_status status = cloak_word_check("worker", worker, 20, error);
    if (status)
        return status;
    cloak_call call;
    long long done = 0;
    cloak_call_begin(&call, queue, &cloak_script_beat);
    cloak_call_key(&call, CLOAK_KEY_WORKERS);
    cloak_call_key(&call, CLOAK_KEY_WORKERS_ABOUT);
    cloak_call_text(&call, worker);
    cloak_call_text(&call, about);
    cloak_call_number(&call, SILENT_MS);
    return cloak_call_integer(&call, &done, error);
}

cloak_status cloak_queue_workers(cloak_queue *queue, size_t *alive, cloak_error *error) {
    cloak_call call;
    long long count = 0;
    cloak_call_begin(&call, queue, &cloak_script_workers);
    cloak_call_key(&call, CLOAK_KEY_WORKERS);
    cloak_call_number(&call, SILENT_MS);
    cloak_status status = cloak_call_integer(&call, &count, error);
    if (!status)
        *alive = (size_t)count;
    return status;
}
