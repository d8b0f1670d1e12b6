/* The job record as struct, JSON, sums and receipt; see the header. Everything but the sums goes
 * through the table of fields, so that a new field is one line in the header. */
#include "common/report/record.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"

static const int64_t MAX_INT = 9007199254740991; /* 2^53 - 1, the limit of RFC 7493 */

const cloak_record_field cloak_record_fields[] = {
#define X(type, name, json, unit, doc)                                                             \
    {CLOAK_FIELD_##type, offsetof(cloak_record, name), json, unit, doc},
    CLOAK_RECORD_TABLE(X)
#undef X
};
const size_t cloak_record_field_count = sizeof cloak_record_fields / sizeof *cloak_record_fields;

static const struct {
    const char *word;
    bool delivered;
    const char *doc;
} outcomes[CLOAK_OUTCOME_COUNT] = {
#define X(name, word, delivered, doc) [name] = {word, delivered, doc},
    CLOAK_OUTCOME_TABLE(X)
#undef X
};

const char *cloak_field_type_word(cloak_field_type type) {
    static const char *const words[] = {"string", "int", "real", "bool"};
    return words[type];
}

const char *cloak_outcome_word(cloak_outcome outcome) {
    return outcomes[outcome].word;
}

const char *cloak_outcome_doc(cloak_outcome outcome) {
    return outcomes[outcome].doc;
}

bool cloak_outcome_delivered(cloak_outcome outcome) {
    return outcomes[outcome].delivered;
}

bool cloak_outcome_parse(const char *word, cloak_outcome *outcome) {
    for (int o = 0; word && o < CLOAK_OUTCOME_COUNT; o++)
        if (strcmp(outcomes[o].word, word) == 0) {
            *outcome = (cloak_outcome)o;
            return true;
        }
    return false;
}

/* Where field `f` of a record is. */
static void *place(const cloak_record *record, const cloak_record_field *f) {
    return (char *)record + f->offset;
}

static void clear(cloak_record *record) {
    for (size_t i = 0; i < cloak_record_field_count; i++) {
        const cloak_record_field *f = &cloak_record_fields[i];
        switch (f->type) {
        case CLOAK_FIELD_STRING:
            *(char **)place(record, f) = NULL;
            break;
        case CLOAK_FIELD_INT:
            *(int64_t *)place(record, f) = CLOAK_RECORD_NO_INT;
            break;
        case CLOAK_FIELD_REAL:
            *(double *)place(record, f) = NAN;
            break;
        case CLOAK_FIELD_BOOL:
            *(int *)place(record, f) = CLOAK_RECORD_NO_BOOL;
            break;
        }
    }
}

void cloak_record_init(cloak_record *record) {
    clear(record);
    record->schema = cloak_strdup(CLOAK_RECORD_SCHEMA);
}

void cloak_record_free(cloak_record *record) {
    for (size_t i = 0; i < cloak_record_field_count; i++)
        if (cloak_record_fields[i].type == CLOAK_FIELD_STRING)
            free(*(char **)place(record, &cloak_record_fields[i]));
    clear(record);
}

void cloak_record_set(char **field, const char *text) {
    char *copy = cloak_strdup(text);
    free(*field);
    *field = copy;
}

/* ---- JSON ---- */

/* Memory policy: a record is small. */
static void *survive(void *block) {
    if (!block) {
        fprintf(stderr, "cloak: out of memory writing a job record\n");
        abort();
    }
    return block;
}

/* A copy with '?' for every byte that is not part of valid UTF-8. */
static char *valid_utf8(const char *text) {
    char *copy = cloak_strdup(text);
    for (char *p = copy; *p;) {
        int n = cloak_text_utf8_length((unsigned char *)p);
        if (n == 0)
            *p = '?';
        p += n ? n : 1;
    }
    return copy;
}

/* A number with as few digits as bring it back exactly. Not cJSON_CreateNumber: that is content
 * with 15 digits when they come close. */
static cJSON *number_json(double value) {
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    return survive(cJSON_CreateRaw(text));
}

/* The value of a field as JSON, or NULL when it is absent or cannot be written. */
static cJSON *field_json(const cloak_record *record, const cloak_record_field *f) {
    const void *at = place(record, f);
    switch (f->type) {
    case CLOAK_FIELD_STRING: {
        if (!*(char *const *)at)
            return NULL;
        char *text = valid_utf8(*(char *const *)at);
        cJSON *item = survive(cJSON_CreateString(text));
        free(text);
        return item;
    }
    case CLOAK_FIELD_INT: {
        int64_t value = *(const int64_t *)at;
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)value);
        return value >= -MAX_INT && value <= MAX_INT ? survive(cJSON_CreateRaw(text)) : NULL;
    }
    case CLOAK_FIELD_REAL: {
        double value = *(const double *)at;
        return isfinite(value) ? number_json(value) : NULL;
    }
    case CLOAK_FIELD_BOOL: {
        int value = *(const int *)at;
        return value >= 0 ? survive(cJSON_CreateBool(value != 0)) : NULL;
    }
    }
    return NULL;
}

static bool is_any_field(const char *name) {
    (void)name;
    return true;
}

static bool is_log_field(const char *name) {
    static const char *const left_out[] = {"schema", "album", "index", "ap_before", "ap_after"}; /* `job` says the two */
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++)
        if (strcmp(name, left_out[i]) == 0)
            return false;
    return true;
}

static bool is_nameless_field(const char *name) {
    static const char *const telling[] = {"key", "source", "destination", "error_text"};
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (strcmp(name, telling[i]) == 0)
            return false;
    return is_log_field(name);
}

static char *print(const cloak_record *record, bool indented, bool (*is_wanted)(const char *name)) {
    cJSON *root = survive(cJSON_CreateObject());
    for (size_t i = 0; i < cloak_record_field_count; i++) {
        if (!is_wanted(cloak_record_fields[i].name))
            continue;
        cJSON *item = field_json(record, &cloak_record_fields[i]);
        if (item && !cJSON_AddItemToObject(root, cloak_record_fields[i].name, item))
            survive(NULL);
    }
    char *text = survive(indented ? cJSON_Print(root) : cJSON_PrintUnformatted(root));
    cJSON_Delete(root);
    return text;
}

char *cloak_record_json(const cloak_record *record) {
    return print(record, false, is_any_field);
}

char *cloak_record_log(const cloak_record *record, bool names) {
    return print(record, false, names ? is_log_field : is_nameless_field);
}

/* Reads one field. False when the item has another type. */
static bool read_field(cloak_record *record, const cloak_record_field *f, const cJSON *item) {
    void *at = place(record, f);
    double number = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    switch (f->type) {
    case CLOAK_FIELD_STRING:
        if (!cJSON_IsString(item))
            return false;
        cloak_record_set(at, item->valuestring);
        return true;
    case CLOAK_FIELD_INT:
        if (!(fabs(number) <= (double)MAX_INT) || number != floor(number))
            return false;
        *(int64_t *)at = (int64_t)number;
        return true;
    case CLOAK_FIELD_REAL:
        *(double *)at = number;
        return isfinite(number);
    case CLOAK_FIELD_BOOL:
        *(int *)at = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    return false;
}

/* Checks that `root` is an object of our schema. */
static cloak_status check_schema(const cJSON *root, const char *name, cloak_error *error) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "schema");
    const char *schema = cJSON_GetStringValue(item);
    if (!root)
        return cloak_fail(error, CLOAK_E_PERMANENT, "%s is not JSON", name);
    if (schema && strcmp(schema, CLOAK_RECORD_SCHEMA) == 0)
        return CLOAK_OK;
    if (!schema)
        return cloak_fail(error, CLOAK_E_PERMANENT,
            "%s is not a job record: it has no \"schema\"; expected \"%s\"", name,
            CLOAK_RECORD_SCHEMA);
    char shown[64];
    cloak_text_json(schema, shown, sizeof shown);
    return cloak_fail(error, CLOAK_E_PERMANENT,
        "%s has the schema \"%s\", and this version reads \"%s\"", name, shown,
        CLOAK_RECORD_SCHEMA);
}

/* Reads all fields that are there. What was read stays in the record after an error. */
static cloak_status read_fields(
    cloak_record *record, const cJSON *root, const char *name, cloak_error *error) {
    cloak_outcome outcome;
    for (size_t i = 0; i < cloak_record_field_count; i++) {
        const cloak_record_field *f = &cloak_record_fields[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, f->name);
        if (item && !read_field(record, f, item))
            return cloak_fail(error, CLOAK_E_PERMANENT, "%s: \"%s\" must be of type %s", name,
                f->name, cloak_field_type_word(f->type));
    }
    if (record->outcome && !cloak_outcome_parse(record->outcome, &outcome)) {
        char shown[64];
        cloak_text_json(record->outcome, shown, sizeof shown);
        return cloak_fail(
            error, CLOAK_E_PERMANENT, "%s: \"%s\" is no outcome of a job", name, shown);
    }
    return CLOAK_OK;
}

cloak_status cloak_record_parse(
    const char *json, const char *name, cloak_record *record, cloak_error *error) {
    char *shown = cloak_text_brief(name);
    cJSON *root = cJSON_ParseWithOpts(json, NULL, 1);
    cloak_record read;
    clear(&read);
    cloak_status status = check_schema(root, shown, error);
    if (status == CLOAK_OK)
        status = read_fields(&read, root, shown, error);
    if (status == CLOAK_OK)
        *record = read;
    else
        cloak_record_free(&read);
    cJSON_Delete(root);
    free(shown);
    return status;
}

/* ---- sums ---- */

typedef struct {
    cloak_sum_visit visit;
    void *context;
} visitor;

static void add(const visitor *to, const char *name, int64_t value) {
    if (value > 0)
        to->visit(to->context, name, value);
}

/* Adds `value` in units of 1/scale. */
static void add_scaled(const visitor *to, const char *name, double value, double scale) {
    if (fabs(value) < 1e9)
        add(to, name, llround(value * scale));
}

/* `field` is the JSON name, "seconds_detect"; the sum is "us.detect". */
static void add_stage(const visitor *to, const char *field, double seconds) {
    char name[48];
    snprintf(name, sizeof name, "us.%s", field + strlen("seconds_"));
    add_scaled(to, name, seconds, 1e6);
}

static void add_numbers(const visitor *to, const cloak_record *record, cloak_outcome outcome) {
    char name[48];
    snprintf(name, sizeof name, "outcome.%s", cloak_outcome_word(outcome));
    add(to, name, 1);
#define X(type, field, json, unit, doc) add_stage(to, json, record->field);
    CLOAK_RECORD_STAGE_TABLE(X)
#undef X
    add(to, "steps", record->steps);
    add(to, "faces_before", record->faces_before);
    add(to, "faces_after", record->faces_after);
    add(to, "bytes_in", record->bytes_in);
    add(to, "bytes_out", record->bytes_out);
    /* A photo that passed through is as good as identical; its 99 dB would lift any mean. */
    bool changed = outcome == CLOAK_OUTCOME_CLOAKED || outcome == CLOAK_OUTCOME_RESIDUAL;
    if (changed && record->psnr_db > 0) {
        add_scaled(to, "psnr_millidb", record->psnr_db, 1e3);
        add(to, "psnr_photos", 1);
    }
}

static cloak_status add_histograms(
    const visitor *to, const cloak_record *record, cloak_error *error) {
    cloak_ap before = {0}, after = {0};
    cloak_error why;
    cloak_status status = CLOAK_OK;
    if (record->ap_before)
        status = cloak_ap_parse(record->ap_before, &before, &why);
    if (status == CLOAK_OK && record->ap_after)
        status = cloak_ap_parse(record->ap_after, &after, &why);
    if (status == CLOAK_OK) {
        cloak_ap_visit(&before, "ap.before.", to->visit, to->context);
        cloak_ap_visit(&after, "ap.after.", to->visit, to->context);
    } else {
        status = cloak_fail(error, CLOAK_E_INTERNAL, "the record of job %s: %s",
            record->job ? record->job : "?", why.text);
    }
    cloak_ap_free(&before);
    cloak_ap_free(&after);
    return status;
}

cloak_status cloak_record_stats(
    const cloak_record *record, cloak_sum_visit visit, void *context, cloak_error *error) {
    const visitor to = {visit, context};
    const char *job = record->job ? record->job : "?", *reference = record->ap_reference;
    cloak_outcome outcome;
    if (!cloak_outcome_parse(record->outcome, &outcome))
        return cloak_fail(error, CLOAK_E_INTERNAL, "the record of job %s has no outcome", job);
    bool labels = reference && strcmp(reference, "labels") == 0;
    if (reference && !labels && strcmp(reference, "clean") != 0)
        return cloak_fail(error, CLOAK_E_INTERNAL,
            "the record of job %s has an ap_reference that is neither labels nor clean", job);
    cloak_status status = add_histograms(&to, record, error);
    if (status != CLOAK_OK)
        return status;
    add_numbers(&to, record, outcome);
    if (reference)
        add(&to, labels ? "reference.labels" : "reference.clean", 1);
    return CLOAK_OK;
}

/* ---- receipts ---- */

char *cloak_receipt_key(const char *key) {
    return cloak_format("%s" CLOAK_RECEIPT_ENDING, key);
}

bool cloak_receipt_is_key(const char *key) {
    size_t n = strlen(key), suffix = strlen(CLOAK_RECEIPT_ENDING);
    return n > suffix && strcmp(key + n - suffix, CLOAK_RECEIPT_ENDING) == 0 &&
           key[n - suffix - 1] != '/';
}

char *cloak_receipt_text(const cloak_record *record) {
    char *json = print(record, true, is_any_field), *text = cloak_format("%s\n", json);
    free(json);
    return text;
}
