/* The looking part of the JSON API: one function per path below /v1. */
#ifndef CLOAK_DISPATCHER_API_LOOKS_H
#define CLOAK_DISPATCHER_API_LOOKS_H

#include "dispatcher/api.h"

cloak_http_answer cloak_api_server(const cloak_api *api);
cloak_http_answer cloak_api_album(cloak_api *api, const char *id);
cloak_http_answer cloak_api_dead(cloak_api *api, const char *id, const cloak_http_request *request);

typedef cloak_http_answer cloak_api_look(cloak_api *api, const cloak_http_request *request);
cloak_api_look cloak_api_queue, cloak_api_workers, cloak_api_albums, cloak_api_jobs;

#endif
