/* What the answers of the JSON API have in common; see the header. */
#include "dispatcher/api_answer.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"

cloak_http_answer cloak_api_text(char *text) {
    return (cloak_http_answer){.code = 200, .content_type = "application/json", .body = text};
}

cloak_http_answer cloak_api_json(int code, cJSON *object) {
    cloak_http_answer answer = cloak_api_text(cloak_json_text(object));
    answer.code = code;
    return answer;
}

cloak_http_answer cloak_api_refuse(int code, const char *text) {
    char *shown = cloak_text_brief(text); /* an id in it may be any bytes */
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "error", shown);
    free(shown);
    return cloak_api_json(code, object);
}

cloak_http_answer cloak_api_failed(cloak_api *api, const cloak_error *error) {
    if (error->code == CLOAK_E_USAGE)
        return cloak_api_refuse(404, error->text);
    cloak_api_close(api);
    return cloak_api_refuse(503, error->text);
}

bool cloak_api_number(
    const cloak_http_request *request, const char *name, size_t least, size_t most, size_t *value) {
    const char *text = cloak_http_query(request, name);
    if (!text)
        return true;
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 10)
        return false;
    unsigned long long number = strtoull(text, NULL, 10);
    if (number < least || number > most)
        return false;
    *value = (size_t)number;
    return true;
}
