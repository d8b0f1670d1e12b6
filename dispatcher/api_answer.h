/* What the answers of the JSON API have in common. */
#ifndef CLOAK_DISPATCHER_API_ANSWER_H
#define CLOAK_DISPATCHER_API_ANSWER_H

#include "common/base/json.h"
#include "dispatcher/api.h"

/* An answer of `text`, or of `object`, which are taken over. */
cloak_http_answer cloak_api_text(char *text);
cloak_http_answer cloak_api_json(int code, cJSON *object);

/* {"error": text}. */
cloak_http_answer cloak_api_refuse(int code, const char *text);

/* What came of asking the queue: an album that is not there is 404, a Redis that does not answer 503. */
cloak_http_answer cloak_api_failed(cloak_api *api, const cloak_error *error);

/* Reads a whole number from the query; one that is missing stays as it is. False when it makes no sense. */
bool cloak_api_number(
    const cloak_http_request *request, const char *name, size_t least, size_t most, size_t *value);

#endif
