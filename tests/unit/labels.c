/* Label files of both formats, the lookup by name, and one photo's boxes as JSON. */
#include "common/report/labels.h"

#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "tests/check.h"

static char *written(const void *bytes, size_t length) {
    cloak_error error;
    char *path = cloak_format("%s/labels", check_folder());
    CHECK_OK(cloak_file_write(path, bytes, length, &error));
    return path;
}

static cloak_labels *load(const char *text) {
    cloak_error error;
    cloak_labels *labels;
    char *path = written(text, strlen(text));
    CHECK_OK(cloak_labels_load(path, &labels, &error));
    free(path);
    return labels;
}

/* Expects a refusal whose text names the file with ":LINE: " and holds `part`. */
static void refuse_bytes(const void *bytes, size_t length, int line, const char *part) {
    cloak_error error = {0};
    cloak_labels *labels = NULL;
    char *path = written(bytes, length), *place = cloak_format("%s:%d: ", path, line);
    if (cloak_labels_load(path, &labels, &error) != CLOAK_E_PERMANENT || labels)
        check_failed(__FILE__, __LINE__, "taken: %.60s", (const char *)bytes);
    if (strncmp(error.text, place, strlen(place)) != 0 || !strstr(error.text, part))
        check_failed(
            __FILE__, __LINE__, "\"%s\" does not say line %d and \"%s\"", error.text, line, part);
    free(place);
    free(path);
}

static void refuse(const char *text, int line, const char *part) {
    refuse_bytes(text, strlen(text), line, part);
}

static void check_photo(const cloak_labels *labels, const char *key, const char *json) {
    const cloak_truth *truth = cloak_labels_find(labels, key);
    if (!truth)
        check_failed(__FILE__, __LINE__, "%s is not found", key);
    char *got = cloak_truth_json(truth);
    CHECK_TEXT(got, json);
    free(got);
}

static const char wider[] = "0--Parade/0_Parade 1.jpg\n"
                            "3\n"
                            "10 20 30 40 0 0 0 0 0 0 \n"
                            "5 6 7 8 2 0 0 1 0 0\n"
                            "-3.5 1 9 2\n"
                            "1--Other/empty.jpg\n"
                            "0\n"
                            "0 0 0 0 0 0 0 0 0 0\n"
                            "2--More/empty too.jpg\n"
                            "0\n"
                            "2--More/last.jpg\n"
                            "2\n"
                            "1 1 0 5 0 0 0 0 0 0\n"
                            "1 2 3 4 0 0 0 0 0 0";

TEST(wider_file) {
    cloak_labels *labels = load(wider);
    CHECK_INT(cloak_labels_photos(labels), 4);
    CHECK_INT(cloak_labels_faces(labels), 3);
    check_photo(
        labels, "0--Parade/0_Parade 1.jpg", "[[10,20,40,60,0],[5,6,12,14,1],[-3.5,1,5.5,3,0]]");
    check_photo(labels, "1--Other/empty.jpg", "[]");
    check_photo(labels, "2--More/empty too.jpg", "[]");
    check_photo(labels, "2--More/last.jpg", "[[1,2,4,6,0]]"); /* without the one of no width */
    cloak_labels_free(labels);
}

TEST(wider_file_from_windows) {
    cloak_labels *labels =
        load("\xEF\xBB\xBF\r\na b.jpg\r\n1\r\n1 2 3 4\r\n\r\n./c.jpg\r\n0\r\n0 0 0 0\r\n"
             "d.jpg\r\n0\r\n");
    CHECK_INT(cloak_labels_photos(labels), 3);
    check_photo(labels, "a b.jpg", "[[1,2,4,6,0]]");
    check_photo(labels, "c.jpg", "[]");
    cloak_labels_free(labels);
}

TEST(wider_errors_name_the_line) {
    refuse("a.jpg\n", 1, "ends");
    refuse("a.jpg\nb.jpg\n", 2, "number of boxes");
    refuse("a.jpg\n-1\n", 2, "number of boxes");
    refuse("a.jpg\n1.5\n1 2 3 4\n", 2, "number of boxes");
    refuse("a.jpg\n65537\n", 2, "number of boxes");
    refuse("a.jpg\n99999999999999999999\n", 2, "number of boxes");
    refuse("a.jpg\n60000\n1 2 3 4\n", 3, "after 1 of 60000");
    refuse("a.jpg\n2\n1 2 3 4\nb.jpg\n0\n", 4, "no box");
    refuse("a.jpg\n1\n1 2 3\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 3 4 5\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 3 4 0 0 0 0 0 0 0\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 -3 4\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 nan 4\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 0x10 4\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 1e999 4\n", 3, "no box");
    refuse("a.jpg\n1\n1 2 3 1000001\n", 3, "no box");
    refuse("a.jpg\n1\n1,2,3,4\n", 3, "no box");
    refuse("a.jpg\n0\nb.jpg\n0\n./a.jpg\n0\n", 5, "line 1");
    refuse("./\n0\n", 1, "without a name");
    refuse("", 1, "no photo");
    refuse("\n \n", 1, "no photo");
    refuse_bytes("a\0b.jpg\n0\n", 10, 1, "NUL");
}

static const char coco[] =
    "{\"info\": {\"text\": \"a \\\" ] } quote\", \"images\": [1]}, \"annotations\": [\n"
    "{\"id\": 1, \"image_id\": 7, \"bbox\": [10, 20, 30, 40], \"category_id\": 1, \"iscrowd\": 0,"
    " \"segmentation\": [[1, 2, 3]]},\n"
    "{\"id\": 2, \"image_id\": 9, \"bbox\": [1, 2, 3, 4], \"category_id\": 1},\n"
    "{\"id\": 3, \"image_id\": 7, \"bbox\": [5, 6, 7, 8], \"category_id\": 1, \"iscrowd\": 1},\n"
    "{\"id\": 4, \"image_id\": 7, \"bbox\": [5, 6, 7, 0], \"category_id\": 1}\n"
    "], \"licenses\": [], \"x\": null, \"images\": [\n"
    "{\"id\": 9, \"file_name\": \"caf\\u00e9/b.jpg\"},\n"
    "{\"id\": 7, \"file_name\": \"a.jpg\", \"width\": 100},\n"
    "{\"id\": 8, \"file_name\": \"none.jpg\"}]}\n";

TEST(coco_file) {
    cloak_labels *labels = load(coco);
    CHECK_INT(cloak_labels_photos(labels), 3);
    CHECK_INT(cloak_labels_faces(labels), 2);
    check_photo(labels, "a.jpg", "[[10,20,40,60,0],[5,6,12,14,2]]");
    check_photo(labels, "caf\xC3\xA9/b.jpg", "[[1,2,4,6,0]]");
    check_photo(labels, "none.jpg", "[]");
    cloak_labels_free(labels);
}

TEST(coco_reads_only_faces_where_there_are_several_categories) {
    static const char format[] =
        "{\"categories\":[{\"id\":3,\"name\":\"plate\"},{\"id\":4,\"name\":\"%s\"}],"
        "\"images\":[{\"id\":1,\"file_name\":\"a.jpg\"}],\"annotations\":["
        "{\"image_id\":1,\"bbox\":[1,1,1,1],\"category_id\":3},"
        "{\"image_id\":1,\"bbox\":[2,2,2,2],\"category_id\":4}]}";
    char text[512];
    snprintf(text, sizeof text, format, "Face");
    cloak_labels *labels = load(text);
    check_photo(labels, "a.jpg", "[[2,2,4,4,0]]");
    cloak_labels_free(labels);
    snprintf(text, sizeof text, format, "person");
    labels = load(text);
    check_photo(labels, "a.jpg", "[[1,1,2,2,0],[2,2,4,4,0]]");
    cloak_labels_free(labels);
}

TEST(coco_errors_name_the_line) {
    refuse("{", 1, "name in quotes");
    refuse("{}", 1, "no photo");
    refuse("\n{\"images\": 5}", 2, "list");
    refuse("{\"images\": [\n", 2, "not JSON");
    refuse("{\"images\": [\n{\"id\":1,", 2, "ends inside");
    refuse("{\"images\": [\n{\"id\":1]}]}", 2, "not JSON");
    refuse("{\"images\": [\n{\"id\":\"1\",\"file_name\":\"a\"}]}", 2, "\"id\"");
    refuse("{\"images\": [\n{\"id\":1.5,\"file_name\":\"a\"}]}", 2, "\"id\"");
    refuse("{\"images\": [\n{\"id\":1e300,\"file_name\":\"a\"}]}", 2, "\"id\"");
    refuse("{\"images\": [\n{\"id\":1,\"file_name\":\"\"}]}", 2, "file_name");
    refuse("{\"images\": [\n{\"id\":1,\"file_name\":7}]}", 2, "file_name");
    refuse("{\"images\": [\n7]}", 2, "file_name");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}\n{}]}", 2, "\",\"");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"},\n,]}", 2, "not JSON");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"},\n{\"id\":1,\"file_name\":\"b\"}]}", 2,
        "two images");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"},\n{\"id\":2,\"file_name\":\"a\"}]}", 2,
        "line 1");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}]}\nx", 2, "behind the end");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}],\n\"x\": }", 2, "a value");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}],\n\"x\" 5}", 2, "\":\"");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}],\n\"x", 2, "inside a string");
    refuse("{\"images\": [{\"id\":1,\"file_name\":\"a\"}],\n\"x\": [[[", 2, "ends inside");
    refuse("{\"categories\": [\n{\"id\":1}]}", 2, "category");
    refuse("{\"categories\": [{\"id\":1,\"name\":\"face\"},\n{\"id\":2,\"name\":\"FACE\"}]}", 2,
        "second");
    static const char *const bad[] = {"{}", "7", "{\"image_id\":1}",
        "{\"image_id\":1,\"bbox\":[1,2,3]}", "{\"image_id\":1,\"bbox\":[1,2,3,4,5]}",
        "{\"image_id\":1,\"bbox\":[1,2,-3,4]}", "{\"image_id\":1,\"bbox\":[1,2,3,\"4\"]}",
        "{\"image_id\":1,\"bbox\":[1,2,3,1e7]}", "{\"image_id\":1,\"bbox\":{\"a\":1}}",
        "{\"image_id\":1,\"bbox\":[1,2,3,4],\"iscrowd\":\"no\"}", "{\"bbox\":[1,2,3,4]}"};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        char *text = cloak_format("{\"annotations\": [\n%s]}", bad[b]);
        refuse(text, 2, "an annotation needs");
        free(text);
    }
    refuse("{\"annotations\": [\n{\"image_id\":5,\"bbox\":[1,2,3,4]}], \"images\": []}", 2, "id 5");
    refuse("{\"annotations\": [\n{\"image_id\":5,\"bbox\":[1,2,3,4],\"category_id\":\"x\"}]}", 2,
        "category_id");
}

/* Depth must cost neither stack nor memory where it is skipped, and be refused where it is read. */
TEST(coco_depth_and_size_have_limits) {
    size_t depth = 3 << 20, n = 0;
    char *text = cloak_alloc(2 * depth + 100);
    n += (size_t)sprintf(text, "{\"x\":");
    memset(text + n, '[', depth);
    memset(text + n + depth, ']', depth);
    n += 2 * depth;
    strcpy(text + n, ",\"images\":[{\"id\":1,\"file_name\":\"a\"}]}");
    cloak_labels *labels = load(text);
    CHECK_INT(cloak_labels_photos(labels), 1);
    cloak_labels_free(labels);
    memcpy(text, "{\"images\":[", 11);
    memset(text + 11, '[', 5000);
    memset(text + 5011, ']', 5000);
    strcpy(text + 10011, "]}");
    refuse(text, 1, "not JSON");
    memset(text + 11, ' ', depth);
    memcpy(text + 11, "[1", 2);
    strcpy(text + 11 + depth, "]]}");
    refuse(text, 1, "1 MiB");
    free(text);
}

TEST(both_formats_agree_with_the_same_photo_as_key) {
    cloak_labels *a = load(wider), *b = load(coco);
    char *x = cloak_truth_json(cloak_labels_find(a, "2--More/last.jpg"));
    char *y = cloak_truth_json(cloak_labels_find(b, "b.jpg"));
    CHECK_TEXT(x, y);
    free(x);
    free(y);
    cloak_labels_free(a);
    cloak_labels_free(b);
}

TEST(lookup_by_parts_of_the_path) {
    cloak_labels *labels = load("0--Parade/x.jpg\n1\n1 1 1 1\n"
                                "flat.jpg\n1\n2 2 2 2\n"
                                "a/1.jpg\n1\n3 3 3 3\n"
                                "b/1.jpg\n1\n4 4 4 4\n"
                                "c/2.jpg\n1\n5 5 5 5\n");
    check_photo(labels, "x.jpg", "[[1,1,2,2,0]]");
    check_photo(labels, "val/images/0--Parade/x.jpg", "[[1,1,2,2,0]]");
    check_photo(labels, "any/where/flat.jpg", "[[2,2,4,4,0]]");
    check_photo(labels, "a/1.jpg", "[[3,3,6,6,0]]");
    check_photo(labels, "z/b/1.jpg", "[[4,4,8,8,0]]");
    static const char *const unknown[] = {"1.jpg", "d/1.jpg", "d/2.jpg", "ac/2.jpg", "2.jpg/",
        "Parade/x.jpg", "", "x.jp", "xx.jpg", "X.jpg"};
    for (size_t u = 0; u < sizeof unknown / sizeof *unknown; u++)
        if (cloak_labels_find(labels, unknown[u]))
            check_failed(__FILE__, __LINE__, "%s is found", unknown[u]);
    cloak_labels_free(labels);
}

TEST(many_photos_and_boxes) {
    enum { PHOTOS = 3000 };
    char *text, key[32], *want;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int p = 0; p < PHOTOS; p++) {
        fprintf(out, "f%d/%d.jpg\n%d\n", p % 7, p * 7919 % PHOTOS, p % 5);
        for (int b = 0; b < p % 5; b++)
            fprintf(out, "%d %d 10 20 0 0 0 0 0 0\n", p, b);
    }
    fclose(out);
    cloak_labels *labels = load(text);
    CHECK_INT(cloak_labels_photos(labels), PHOTOS);
    CHECK_INT(cloak_labels_faces(labels), PHOTOS * 2);
    for (int p = 1; p < PHOTOS; p += 5) {
        snprintf(key, sizeof key, "%d.jpg", p * 7919 % PHOTOS);
        want = cloak_format("[[%d,0,%d,20,0]]", p, p + 10);
        check_photo(labels, key, want);
        free(want);
    }
    cloak_labels_free(labels);
    free(text);
}

TEST(missing_and_too_large_files) {
    cloak_error error;
    cloak_labels *labels = NULL;
    CHECK_INT(cloak_labels_load("/nonexistent/labels", &labels, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "/nonexistent/labels"));
    char *path = written("", 0);
    CHECK_INT(truncate(path, (256 << 20) + 1), 0); /* sparse */
    CHECK_INT(cloak_labels_load(path, &labels, &error), CLOAK_E_PERMANENT);
    CHECK(strstr(error.text, "limit"));
    CHECK(!labels);
    free(path);
}

TEST(truth_round_trip) {
    static const char *const texts[] = {
        "[]", "[[0,0,1,1,0]]", "[[-3.5,0.100000001,1e+06,22.3333340,2],[1,2,3,4,1]]"};
    static const char *const again[] = {
        "[]", "[[0,0,1,1,0]]", "[[-3.5,0.100000001,1000000,22.333334,2],[1,2,3,4,1]]"};
    cloak_error error;
    for (size_t t = 0; t < 3; t++) {
        cloak_truth truth;
        CHECK_OK(cloak_truth_parse(texts[t], &truth, &error));
        char *json = cloak_truth_json(&truth);
        CHECK_TEXT(json, again[t]);
        free(json);
        cloak_truth_free(&truth);
    }
    cloak_box box = {1023.99994f, -123456.789f, 987654.321f, 1e6f, .5f};
    cloak_truth truth = {1, &box, NULL}, read;
    char *json = cloak_truth_json(&truth);
    CHECK_OK(cloak_truth_parse(json, &read, &error));
    CHECK(memcmp(&read.boxes[0], &box, 4 * sizeof(float)) == 0);
    free(json);
    cloak_truth_free(&read);
}

TEST(hostile_truth_is_refused) {
    static const char *const texts[] = {"", "{}", "null", "[1]", "[[1,2,3,4]]", "[[1,2,3,4,0,0]]",
        "[[1,2,3,4,3]]", "[[1,2,3,4,0.5]]", "[[1,2,3,4,-1]]", "[[1,2,3,4,false]]",
        "[[1,2,3,\"4\",0]]", "[[3,2,1,4,0]]", "[[1,4,3,2,0]]", "[[1,2,1,4,0]]", "[[1,2,3e9,4,0]]",
        "[[1,2,1e999,4,0]]", "[[1,2,3,4,0]", "[[1,2,3,4,0]]x", "[[1,2,3,4,0],]", "[[[1],2,3,4,0]]",
        "[{\"a\":1}]", "[[1,2,3,4,0],null]"};
    cloak_error error;
    cloak_truth truth = {.count = 77};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        if (cloak_truth_parse(texts[t], &truth, &error) != CLOAK_E_PERMANENT || truth.count != 77)
            check_failed(__FILE__, __LINE__, "%s was taken", texts[t]);
    size_t n = 0, boxes = 65537;
    char *text = cloak_alloc(9 << 20);
    text[n++] = '[';
    for (size_t b = 0; b < boxes; b++)
        n += (size_t)sprintf(text + n, "%s[1,2,3,4,0]", b ? "," : "");
    strcpy(text + n, "]");
    CHECK_INT(cloak_truth_parse(text, &truth, &error), CLOAK_E_PERMANENT);
    strcpy(text + n - 12, "]"); /* without the last one it is allowed */
    CHECK_OK(cloak_truth_parse(text, &truth, &error));
    CHECK_INT(truth.count, boxes - 1);
    cloak_truth_free(&truth);
    memset(text, ' ', (8 << 20) + 1);
    memcpy(text, "[]", 2);
    text[(8 << 20) + 1] = 0;
    CHECK_INT(cloak_truth_parse(text, &truth, &error), CLOAK_E_PERMANENT);
    free(text);
}

TEST(wider_validation_labels) {
    static const char path[] = "../shared/data/wider/val_bbx_gt.txt";
    cloak_error error;
    cloak_labels *labels;
    if (access(path, R_OK) != 0) {
        check_skip("../shared/data/wider is not here");
        return;
    }
    CHECK_OK(cloak_labels_load(path, &labels, &error));
    CHECK_INT(cloak_labels_photos(labels), 244);
    const cloak_truth *truth = cloak_labels_find(labels, "val/0_Parade_Parade_0_120.jpg");
    CHECK(truth && truth->count == 21);
    CHECK_NEAR(truth->boxes[0].x2, 107 + 45, 0);
    CHECK_NEAR(truth->boxes[0].y2, 304 + 50, 0);
    cloak_labels_free(labels);
}
