/* JSON as text. */
#ifndef CLOAK_BASE_JSON_H
#define CLOAK_BASE_JSON_H

#include <cjson/cJSON.h>

/* The object on one line, a new string (free()), never NULL. The object is freed. */
char *cloak_json_text(cJSON *object);

#endif
