/* JSON as text; see the header. */
#include "common/base/json.h"

#include <stdlib.h>

char *cloak_json_text(cJSON *object) {
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    if (!text)
        abort(); /* out of memory, small allocation: see alloc.h */
    return text;
}
