/* What `cloak serve` answers below /v1: the queue as JSON, and actions on it. openapi.json beside this file describes
 * it for clients; every error is {"error": text}. */
#ifndef CLOAK_DISPATCHER_API_H
#define CLOAK_DISPATCHER_API_H

#include "common/http/http.h"
#include "common/queue/queue.h"

typedef struct {
    const char *redis, *name; /* borrowed */
    bool actions;             /* whether POST requests may change the queue */
    cloak_queue *queue;       /* opened on first use, and again after an error */
} cloak_api;

/* Connects if need be. */
CLOAK_MUST_CHECK cloak_status cloak_api_open(cloak_api *api, cloak_error *error);
void cloak_api_close(cloak_api *api);

/* What /v1/queue and /v1/workers answer, as new strings (free()), or NULL and `error`. Connect if need be. */
char *cloak_api_queue_text(cloak_api *api, cloak_error *error);
char *cloak_api_workers_text(cloak_api *api, cloak_error *error);

/* Answers a request for a path that begins with "/v1/". */
cloak_http_answer cloak_api_answer(cloak_api *api, const cloak_http_request *request);

#endif
