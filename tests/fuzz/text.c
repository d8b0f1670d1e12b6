/* Whatever the bytes are: texts that come from Redis, from a destination or from an S3 server. The first byte
 * chooses what they are taken for. */
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/transform.h"
#include "common/report/record.h"
#include "common/report/settings.h"
#include "common/report/targets.h"
#include "common/store/s3/xml.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    return 0;
}

static bool unquote(void *context, const char *parent, const char *name, const char *text) {
    (void)context, (void)parent, (void)name;
    char *copy = strdup(text);
    if (!copy)
        abort();
    (void)cloak_s3_xml_unquote(copy);
    (void)cloak_s3_xml_time(text);
    free(copy);
    return true;
}

static void parse(int kind, const char *text, size_t length) {
    cloak_record record = {0};
    cloak_settings settings = {0};
    cloak_target_list targets = {0};
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    size_t count = 0;
    char *decoded, *found;
    switch (kind) {
    case 0:
        if (cloak_record_parse(text, "fuzz", &record, NULL) == CLOAK_OK)
            cloak_record_free(&record);
        break;
    case 1:
        if (cloak_settings_parse(text, &settings, NULL) == CLOAK_OK)
            cloak_settings_free(&settings);
        break;
    case 2:
        if (cloak_targets_parse(text, &targets, NULL) == CLOAK_OK)
            cloak_targets_free(&targets);
        break;
    case 3:
        if (cloak_transforms_parse(text, transforms, &count, NULL) == CLOAK_OK && count > CLOAK_TRANSFORMS_MAX)
            abort();
        break;
    case 4:
        decoded = cloak_text_decode(text);
        if (decoded) { /* what decodes, encodes and decodes to itself */
            char *encoded = cloak_text_encode(decoded), *again = cloak_text_decode(encoded);
            if (!again || strcmp(decoded, again) != 0)
                abort();
            free(encoded);
            free(again);
        }
        free(decoded);
        break;
    default:
        (void)cloak_s3_xml_walk(text, length, unquote, NULL);
        found = cloak_s3_xml_text(text, length, "Error", "Code");
        free(found);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { KINDS = 6 };
    if (size < 1)
        return 0;
    char *text = malloc(size);
    if (!text)
        abort();
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    parse(data[0] % KINDS, text, size - 1);
    free(text);
    return 0;
}
