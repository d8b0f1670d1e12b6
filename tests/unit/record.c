/* The job record: every field's way through JSON, the sums, the receipt, and its page in docs/.
 *
 * With CLOAK_WRITE_DOCS=1 in the environment the last test rewrites the tables of
 * docs/job-record.md instead of comparing them. */
#include "common/report/record.h"

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "tests/check.h"

static void *field_of(cloak_record *record, size_t i) {
    return (char *)record + cloak_record_fields[i].offset;
}

/* Gives every field but the schema and the outcome a value of its own. */
static void fill(cloak_record *record) {
    for (size_t i = 1; i < cloak_record_field_count; i++) {
        char text[64];
        switch (cloak_record_fields[i].type) {
        case CLOAK_FIELD_STRING:
            snprintf(text, sizeof text, "\"%zu\"\n\xC3\xA9 %s", i, cloak_record_fields[i].name);
            cloak_record_set(field_of(record, i), text);
            break;
        case CLOAK_FIELD_INT:
            *(int64_t *)field_of(record, i) = 9007199254740991 - (int64_t)i;
            break;
        case CLOAK_FIELD_REAL:
            *(double *)field_of(record, i) = (double)i / 7;
            break;
        case CLOAK_FIELD_BOOL:
            *(int *)field_of(record, i) = 1;
            break;
        }
    }
    cloak_record_set(&record->outcome, "residual");
}

TEST(every_field_survives_json) {
    cloak_record record, read;
    cloak_error error;
    cloak_record_init(&record);
    fill(&record);
    char *json = cloak_record_json(&record);
    CHECK(!strchr(json, '\n'));
    CHECK_OK(cloak_record_parse(json, "it", &read, &error));
    for (size_t i = 0; i < cloak_record_field_count; i++) {
        const void *a = field_of(&record, i), *b = field_of(&read, i);
        const char *name = cloak_record_fields[i].name;
        bool same = false;
        switch (cloak_record_fields[i].type) {
        case CLOAK_FIELD_STRING:
            same = strcmp(*(char *const *)a, *(char *const *)b) == 0;
            break;
        case CLOAK_FIELD_INT:
            same = *(const int64_t *)a == *(const int64_t *)b;
            break;
        case CLOAK_FIELD_REAL:
            same = *(const double *)a == *(const double *)b;
            break;
        case CLOAK_FIELD_BOOL:
            same = *(const int *)a == *(const int *)b;
            break;
        }
        if (!same)
            check_failed(__FILE__, __LINE__, "%s came back changed in %s", name, json);
        char *quoted = cloak_format("\"%s\":", name);
        CHECK(strstr(json, quoted));
        free(quoted);
    }
    free(json);
    cloak_record_free(&record);
    cloak_record_free(&read);
}

TEST(absent_fields_are_left_out) {
    cloak_record record, read;
    cloak_error error;
    cloak_record_init(&record);
    char *json = cloak_record_json(&record);
    CHECK_TEXT(json, "{\"schema\":\"cloakfleet.job/1\"}");
    CHECK_OK(cloak_record_parse(json, "it", &read, &error));
    CHECK(read.steps == CLOAK_RECORD_NO_INT && isnan(read.eps) && !read.worker);
    CHECK_INT(read.success, CLOAK_RECORD_NO_BOOL);
    free(json);
    cloak_record_free(&read);
    cloak_record_free(&read); /* twice is fine */
    cloak_record_free(&record);
    json = cloak_record_json(&record);
    CHECK_TEXT(json, "{}");
    free(json);
}

TEST(what_json_cannot_hold_is_not_printed) {
    cloak_record record;
    cloak_record_init(&record);
    record.eps = INFINITY;
    record.psnr_db = -INFINITY;
    record.seed = INT64_MAX;
    record.steps = 9007199254740992;
    record.width = 0;
    record.region = 0;
    record.success = 0;
    cloak_record_set(&record.device, "");
    cloak_record_set(&record.error_text, "a\xFF"
                                         "b\xC3\x01\xE2\x82");
    char *json = cloak_record_json(&record);
    CHECK_TEXT(json, "{\"schema\":\"cloakfleet.job/1\",\"region\":0,\"device\":\"\",\"width\":0,"
                     "\"success\":false,\"error_text\":\"a?b?\\u0001??\"}");
    free(json);
    cloak_record_free(&record);
}

TEST(set_copies_and_replaces) {
    char text[] = "one", *field = NULL;
    cloak_record_set(&field, text);
    text[0] = 'O';
    CHECK_TEXT(field, "one");
    cloak_record_set(&field, field + 1);
    CHECK_TEXT(field, "ne");
    cloak_record_set(&field, NULL);
    CHECK(!field);
}

/* Expects a refusal that names the record and `part`, and a record left alone. */
static void refuse(const char *json, const char *part) {
    cloak_record record = {.steps = 77};
    cloak_error error = {0};
    if (cloak_record_parse(json, "a.cloak.json", &record, &error) != CLOAK_E_PERMANENT)
        check_failed(__FILE__, __LINE__, "taken: %s", json);
    if (!strstr(error.text, part) || !strstr(error.text, "a.cloak.json"))
        check_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", error.text, part);
    CHECK_INT(record.steps, 77);
    CHECK(!record.schema);
}

TEST(parse_is_strict_about_types) {
    static const struct {
        const char *json;
        unsigned fits; /* bit per cloak_field_type */
    } values[] = {{"\"1\"", 1 << CLOAK_FIELD_STRING},
        {"1", 1 << CLOAK_FIELD_INT | 1 << CLOAK_FIELD_REAL}, {"1.5", 1 << CLOAK_FIELD_REAL},
        {"true", 1 << CLOAK_FIELD_BOOL}, {"null", 0}, {"[]", 0}, {"{}", 0}, {"1e999", 0}};
    for (size_t i = 1; i < cloak_record_field_count; i++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            const cloak_record_field *f = &cloak_record_fields[i];
            if (values[v].fits >> f->type & 1)
                continue;
            char *json = cloak_format(
                "{\"schema\":\"cloakfleet.job/1\",\"%s\":%s}", f->name, values[v].json);
            char *part =
                cloak_format("\"%s\" must be of type %s", f->name, cloak_field_type_word(f->type));
            refuse(json, part);
            free(part);
            free(json);
        }
    refuse("{\"schema\":\"cloakfleet.job/1\",\"steps\":9007199254740992}", "\"steps\"");
    refuse("{\"schema\":\"cloakfleet.job/1\",\"outcome\":\"fine\"}", "\"fine\" is no outcome");
}

TEST(parse_checks_the_schema) {
    refuse("", "not JSON");
    refuse("{\"schema\":\"cloakfleet.job/1\"", "not JSON");
    refuse("{\"schema\":\"cloakfleet.job/1\"} x", "not JSON");
    refuse("{}", "no \"schema\"");
    refuse("[]", "no \"schema\"");
    refuse("\"cloakfleet.job/1\"", "no \"schema\"");
    refuse("{\"schema\":1}", "no \"schema\"");
    refuse("{\"schema\":\"cloakfleet.job/2\",\"steps\":\"x\"}", "\"cloakfleet.job/2\"");
    refuse("{\"schema\":\"\"}", "the schema \"\"");
}

TEST(unknown_fields_are_passed_over) {
    cloak_record record;
    cloak_error error;
    CHECK_OK(cloak_record_parse(" {\"new\":[1,{\"steps\":2}],\"steps\":3,\"Width\":\"x\","
                                "\"schema\":\"cloakfleet.job/1\"}\n",
        "it", &record, &error));
    CHECK_INT(record.steps, 3);
    CHECK(record.width == CLOAK_RECORD_NO_INT);
    cloak_record_free(&record);
}

TEST(outcome_words) {
    cloak_outcome outcome = CLOAK_OUTCOME_DEAD;
    for (int o = 0; o < CLOAK_OUTCOME_COUNT; o++) {
        CHECK(cloak_outcome_parse(cloak_outcome_word((cloak_outcome)o), &outcome));
        CHECK_INT(outcome, o);
    }
    CHECK(!cloak_outcome_parse("cloakedx", &outcome) && !cloak_outcome_parse(NULL, &outcome));
    CHECK_INT(outcome, CLOAK_OUTCOME_COUNT - 1);
    CHECK(cloak_outcome_delivered(CLOAK_OUTCOME_RESIDUAL));
    CHECK(!cloak_outcome_delivered(CLOAK_OUTCOME_DEAD));
}

/* ---- sums ---- */

typedef struct {
    char text[4096];
    size_t used;
} sums;

static void collect(void *context, const char *name, int64_t value) {
    sums *to = context;
    CHECK(strlen(name) >= 1 && strlen(name) <= 48);
    CHECK_INT(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.:"), strlen(name));
    to->used += (size_t)snprintf(
        to->text + to->used, sizeof to->text - to->used, "%s=%lld ", name, (long long)value);
    CHECK(to->used < sizeof to->text);
}

/* The sums of a record whose numbers all differ. */
static void check_sums(const char *outcome, const char *want) {
    cloak_record record;
    cloak_error error;
    sums to = {.used = 0};
    cloak_record_init(&record);
    cloak_record_set(&record.outcome, outcome);
    record.seconds_queue_wait = 1;
    record.seconds_fetch = 2;
    record.seconds_decode = .0000031;
    record.seconds_detect = 4;
    record.seconds_attack = 0;
    record.seconds_encode = -1;
    record.seconds_verify = NAN;
    record.seconds_put = INFINITY;
    record.seconds_total = 9.0000006;
    record.steps = 17;
    record.faces_before = 3;
    record.faces_after = 0;
    record.bytes_in = 5000000000;
    record.bytes_out = 6;
    record.psnr_db = 40.1236;
    cloak_record_set(&record.ap_reference, "labels");
    cloak_record_set(&record.ap_before, "3 12:ff:2 900:0:1");
    cloak_record_set(&record.ap_after, "3");
    CHECK_OK(cloak_record_stats(&record, collect, &to, &error));
    CHECK_TEXT(to.text, want);
    cloak_record_free(&record);
}

TEST(sums_of_a_job) {
    check_sums("cloaked",
        "ap.before.faces=3 ap.before.12.ff=2 ap.before.900.0=1 ap.after.faces=3 outcome.cloaked=1 "
        "us.queue_wait=1000000 us.fetch=2000000 us.decode=3 us.detect=4000000 us.total=9000001 "
        "steps=17 faces_before=3 bytes_in=5000000000 bytes_out=6 psnr_millidb=40124 psnr_photos=1 "
        "reference.labels=1 ");
    check_sums("no_face",
        "ap.before.faces=3 ap.before.12.ff=2 ap.before.900.0=1 ap.after.faces=3 outcome.no_face=1 "
        "us.queue_wait=1000000 us.fetch=2000000 us.decode=3 us.detect=4000000 us.total=9000001 "
        "steps=17 faces_before=3 bytes_in=5000000000 bytes_out=6 reference.labels=1 ");
}

TEST(sums_of_a_bare_or_broken_record) {
    cloak_record record;
    cloak_error error;
    sums to = {.used = 0};
    cloak_record_init(&record);
    CHECK_INT(cloak_record_stats(&record, collect, &to, &error), CLOAK_E_INTERNAL);
    cloak_record_set(&record.outcome, "residual");
    cloak_record_set(&record.ap_before, "3 12:ff:2");
    cloak_record_set(&record.ap_after, "3 12:ff:x");
    CHECK_INT(cloak_record_stats(&record, collect, &to, &error), CLOAK_E_INTERNAL);
    cloak_record_set(&record.ap_after, NULL);
    cloak_record_set(&record.ap_reference, "guess");
    CHECK_INT(cloak_record_stats(&record, collect, &to, &error), CLOAK_E_INTERNAL);
    CHECK_INT(to.used, 0);
    cloak_record_set(&record.ap_before, NULL);
    cloak_record_set(&record.ap_reference, "clean");
    CHECK_OK(cloak_record_stats(&record, collect, &to, &error));
    CHECK_TEXT(to.text, "outcome.residual=1 reference.clean=1 ");
    cloak_record_free(&record);
}

/* ---- receipt ---- */

TEST(receipts) {
    cloak_record record, read;
    cloak_error error;
    char *key = cloak_receipt_key("a/b.jpg");
    CHECK_TEXT(key, "a/b.jpg.cloak.json");
    CHECK(cloak_receipt_is_key(key));
    CHECK(!cloak_receipt_is_key("a/b.jpg") && !cloak_receipt_is_key("a/.cloak.json"));
    CHECK(!cloak_receipt_is_key(".cloak.json") && !cloak_receipt_is_key("a.cloak.jsonx"));
    free(key);
    cloak_record_init(&record);
    fill(&record);
    char *text = cloak_receipt_text(&record);
    CHECK(strstr(text, "\n\t\"album\":") && text[strlen(text) - 1] == '\n');
    CHECK_OK(cloak_record_parse(text, "it", &read, &error));
    char *a = cloak_record_json(&record), *b = cloak_record_json(&read);
    CHECK_TEXT(a, b);
    free(a);
    free(b);
    free(text);
    cloak_record_free(&record);
    cloak_record_free(&read);
}

/* ---- docs ---- */

static char *field_table(void) {
    char *table = cloak_strdup("| field | type | unit | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < cloak_record_field_count; i++) {
        const cloak_record_field *f = &cloak_record_fields[i];
        char *longer = cloak_format("%s| `%s` | %s | %s | %s |\n", table, f->name,
            cloak_field_type_word(f->type), f->unit, f->doc);
        free(table);
        table = longer;
    }
    return table;
}

static char *outcome_table(void) {
    char *table = cloak_strdup("| outcome | delivered | meaning |\n|---|---|---|\n");
    for (int o = 0; o < CLOAK_OUTCOME_COUNT; o++) {
        char *longer =
            cloak_format("%s| `%s` | %s | %s |\n", table, cloak_outcome_word((cloak_outcome)o),
                cloak_outcome_delivered((cloak_outcome)o) ? "yes" : "no",
                cloak_outcome_doc((cloak_outcome)o));
        free(table);
        table = longer;
    }
    return table;
}

/* The page with `table` between the marks of this name. */
static char *with_table(const char *page, const char *name, const char *table) {
    char *begin = cloak_format("<!-- %s: begin -->\n", name);
    char *end = cloak_format("<!-- %s: end -->\n", name);
    const char *from = strstr(page, begin), *to = strstr(page, end);
    if (!from || !to || to < from)
        check_failed(__FILE__, __LINE__, "the page has no table \"%s\"", name);
    from += strlen(begin);
    char *whole = cloak_format("%.*s%s%s", (int)(from - page), page, table, to);
    free(begin);
    free(end);
    return whole;
}

TEST(the_page_in_docs_has_these_tables) {
    static const char path[] = "docs/job-record.md";
    cloak_error error;
    void *page;
    size_t length;
    CHECK_OK(cloak_file_read(path, 1 << 20, &page, &length, &error));
    char *fields = field_table(), *outcomes = outcome_table();
    char *half = with_table(page, "fields", fields);
    char *whole = with_table(half, "outcomes", outcomes);
    if (getenv("CLOAK_WRITE_DOCS")) {
        CHECK_OK(cloak_file_write(path, whole, strlen(whole), &error));
    } else if (strcmp(page, whole) != 0) {
        check_failed(__FILE__, __LINE__,
            "%s differs from the table in record.h; rewrite it: CLOAK_WRITE_DOCS=1 and this test "
            "again",
            path);
    }
    free(page);
    free(fields);
    free(outcomes);
    free(half);
    free(whole);
}
