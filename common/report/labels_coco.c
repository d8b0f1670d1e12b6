/* The COCO reader of the labels.
 *
 * A whole label file as a cJSON tree would take many times its size. So a small scanner
 * walks the outer object and the elements of its lists, and hands cJSON one element at a time. What
 * is neither "images", "annotations" nor "categories" is skipped by its brackets and strings alone.
 *
 * The lists may come in any order; annotations are joined with their images at the end. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/alloc.h"
#include "common/report/labels_parse.h"

enum { MAX_ELEMENT = 1 << 20 };
static const double MAX_ID = 9007199254740991; /* integers are exact up to here */

typedef struct {
    int64_t id;
    char *key;
    size_t line;
    size_t boxes; /* number of them, then where the next one goes */
} image;

typedef struct {
    cloak_box box;
    uint8_t kind;
    uint32_t line;
    int64_t image_id, category_id;
} annotation;

typedef struct {
    const cloak_label_file *file;
    cloak_error *error;
    const char *at;      /* the text ends with a NUL and holds no other */
    const char *counted; /* lines are counted up to here */
    size_t line;
    image *images;
    size_t image_count, image_room;
    annotation *annotations;
    size_t annotation_count, annotation_room;
    bool only_faces; /* there is a category named "face" */
    int64_t face_category;
} reader;

/* The line of the place the reader has reached. */
static size_t line_here(reader *in) {
    for (; in->counted < in->at; in->counted++)
        in->line += *in->counted == '\n';
    return in->line;
}

static cloak_status fail_here(reader *in, const char *what) {
    return cloak_labels_fail(in->file, line_here(in), in->error, "%s", what);
}

/* ---- the scanner ---- */

/* Skips white space, then returns the next character, or 0 at the end. */
static char peek(reader *in) {
    in->at += strspn(in->at, " \t\r\n");
    return *in->at;
}

/* Takes the character `wanted` if it comes next. */
static bool take(reader *in, char wanted) {
    if (peek(in) != wanted)
        return false;
    in->at++;
    return true;
}

/* Moves `at`, which is at a '"', behind the string. False when the text ends first. */
static bool skip_string(const char **at) {
    const char *p = *at + 1;
    while (*p && *p != '"')
        p += *p == '\\' && p[1] ? 2 : 1;
    *at = *p ? p + 1 : p;
    return *p != 0;
}

/* The end of the value that starts at `at`, or NULL when the text ends first. */
static const char *value_end(const char *at) {
    size_t depth = 0;
    do {
        if (*at == '"') {
            if (!skip_string(&at))
                return NULL;
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0)
                return at; /* an empty value, which cJSON refuses */
            depth--;
            at++;
        } else if (depth == 0) {
            at += strcspn(at, ",]}\"[{ \t\r\n");
            return at;
        } else {
            at += strcspn(at, "\"{}[]");
        }
        if (depth && !*at)
            return NULL;
    } while (depth);
    return at;
}

/* Hands each element of the list that comes next to `take_element`. */
static cloak_status read_list(
    reader *in, cloak_status (*take_element)(reader *in, const cJSON *element)) {
    if (!take(in, '['))
        return fail_here(in, "expected a list");
    if (take(in, ']'))
        return CLOAK_OK;
    do {
        peek(in);
        const char *stop = value_end(in->at);
        if (!stop)
            return fail_here(in, "the file ends inside this element");
        if (stop - in->at > MAX_ELEMENT)
            return fail_here(in, "this element is larger than 1 MiB");
        cJSON *element = cJSON_ParseWithLength(in->at, (size_t)(stop - in->at));
        cloak_status status =
            element ? take_element(in, element) : fail_here(in, "this element is not JSON");
        cJSON_Delete(element);
        if (status != CLOAK_OK)
            return status;
        in->at = stop;
    } while (take(in, ','));
    return take(in, ']') ? CLOAK_OK : fail_here(in, "expected \",\" or \"]\"");
}

/* ---- elements ---- */

static bool get_id(const cJSON *element, const char *name, int64_t *id) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(element, name);
    if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= MAX_ID) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *id = (int64_t)item->valuedouble;
    return true;
}

static cloak_status take_image(reader *in, const cJSON *element) {
    const char *key = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(element, "file_name"));
    int64_t id;
    if (!key || !*key || !get_id(element, "id", &id))
        return fail_here(in, "an image needs a whole number \"id\" and a \"file_name\"");
    if (in->image_count == CLOAK_LABELS_MAX_PHOTOS)
        return fail_here(in, "too many images");
    if (in->image_count == in->image_room) {
        in->image_room = in->image_room ? 2 * in->image_room : 256;
        in->images = cloak_realloc(in->images, in->image_room * sizeof *in->images);
    }
    in->images[in->image_count++] = (image){id, cloak_strdup(key), line_here(in), 0};
    return CLOAK_OK;
}

/* Reads "bbox" and "iscrowd". */
static bool get_box(const cJSON *element, annotation *a, bool *empty) {
    const cJSON *bbox = cJSON_GetObjectItemCaseSensitive(element, "bbox");
    const cJSON *crowd = cJSON_GetObjectItemCaseSensitive(element, "iscrowd");
    double xywh[4];
    int n = 0;
    for (const cJSON *v = cJSON_IsArray(bbox) ? bbox->child : NULL; v; v = v->next) {
        if (n == 4 || !cJSON_IsNumber(v))
            return false;
        xywh[n++] = v->valuedouble;
    }
    if (n != 4 || !cloak_labels_box(xywh, &a->box, empty))
        return false;
    if (crowd && !cJSON_IsBool(crowd) && !cJSON_IsNumber(crowd))
        return false;
    a->kind = cJSON_IsTrue(crowd) || (cJSON_IsNumber(crowd) && crowd->valuedouble != 0)
                  ? CLOAK_TRUTH_CROWD
                  : CLOAK_TRUTH_FACE;
    return true;
}

static cloak_status take_annotation(reader *in, const cJSON *element) {
    annotation a = {.category_id = -1};
    bool empty;
    if (!get_id(element, "image_id", &a.image_id) || !get_box(element, &a, &empty))
        return fail_here(in, "an annotation needs a whole number \"image_id\", a \"bbox\" of four "
                             "numbers, width and height not below 0, and \"iscrowd\" 0, 1 or none");
    if (!get_id(element, "category_id", &a.category_id) &&
        cJSON_GetObjectItemCaseSensitive(element, "category_id"))
        return fail_here(in, "\"category_id\" is no whole number");
    if (empty)
        return CLOAK_OK;
    if (in->annotation_count == CLOAK_LABELS_MAX_BOXES)
        return fail_here(in, "too many annotations");
    if (in->annotation_count == in->annotation_room) {
        in->annotation_room = in->annotation_room ? 2 * in->annotation_room : 1024;
        in->annotations =
            cloak_realloc(in->annotations, in->annotation_room * sizeof *in->annotations);
    }
    a.line = (uint32_t)line_here(in);
    in->annotations[in->annotation_count++] = a;
    return CLOAK_OK;
}

static cloak_status take_category(reader *in, const cJSON *element) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(element, "name"));
    int64_t id;
    if (!name || !get_id(element, "id", &id))
        return fail_here(in, "a category needs a whole number \"id\" and a \"name\"");
    if (strcasecmp(name, "face") == 0) {
        if (in->only_faces && in->face_category != id)
            return fail_here(in, "a second category named \"face\"");
        in->only_faces = true;
        in->face_category = id;
    }
    return CLOAK_OK;
}

static cloak_status skip_value(reader *in) {
    const char *stop = value_end(in->at);
    if (!stop || stop == in->at)
        return fail_here(in, stop ? "expected a value" : "the file ends inside this value");
    in->at = stop;
    return CLOAK_OK;
}

static cloak_status read_outer(reader *in) {
    if (!take(in, '{'))
        return fail_here(in, "expected an object");
    if (take(in, '}'))
        return CLOAK_OK;
    do {
        if (peek(in) != '"')
            return fail_here(in, "expected a name in quotes");
        const char *name = in->at;
        cloak_status status = CLOAK_OK;
        if (!skip_string(&in->at))
            return fail_here(in, "the file ends inside a string");
        size_t n = (size_t)(in->at - name);
        if (!take(in, ':'))
            return fail_here(in, "expected \":\"");
        peek(in);
        if (n == 8 && memcmp(name, "\"images\"", n) == 0)
            status = read_list(in, take_image);
        else if (n == 13 && memcmp(name, "\"annotations\"", n) == 0)
            status = read_list(in, take_annotation);
        else if (n == 12 && memcmp(name, "\"categories\"", n) == 0)
            status = read_list(in, take_category);
        else
            status = skip_value(in);
        if (status != CLOAK_OK)
            return status;
    } while (take(in, ','));
    if (!take(in, '}'))
        return fail_here(in, "expected \",\" or \"}\"");
    return peek(in) ? fail_here(in, "text behind the end of the object") : CLOAK_OK;
}

/* ---- the join ---- */

static int by_id(const void *a, const void *b) {
    const image *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static cloak_status sort_images(reader *in) {
    if (in->image_count)
        qsort(in->images, in->image_count, sizeof *in->images, by_id);
    for (size_t i = 1; i < in->image_count; i++)
        if (in->images[i - 1].id == in->images[i].id)
            return cloak_labels_fail(in->file, in->images[i].line, in->error,
                "two images have the id %lld", (long long)in->images[i].id);
    return CLOAK_OK;
}

/* The annotations' indices grouped by image, in the file's order within one (counting sort). Each
 * image's `boxes` ends up as where the next image's begin. NULL after an error. */
static size_t *group(reader *in) {
    size_t *order = cloak_alloc(in->annotation_count * sizeof *order), next = 0;
    image **of = cloak_alloc(in->annotation_count * sizeof *of);
    for (size_t a = 0; a < in->annotation_count; a++) {
        image wanted = {.id = in->annotations[a].image_id};
        of[a] = in->image_count
                    ? bsearch(&wanted, in->images, in->image_count, sizeof *in->images, by_id)
                    : NULL;
        if (!of[a]) {
            cloak_labels_fail(in->file, in->annotations[a].line, in->error,
                "there is no image with the id %lld", (long long)wanted.id);
            free(of);
            free(order);
            return NULL;
        }
        of[a]->boxes++;
    }
    for (size_t i = 0; i < in->image_count; i++) {
        size_t boxes = in->images[i].boxes;
        in->images[i].boxes = next;
        next += boxes;
    }
    for (size_t a = 0; a < in->annotation_count; a++)
        order[of[a]->boxes++] = a;
    free(of);
    return order;
}

static cloak_status join(reader *in, cloak_labels *labels) {
    cloak_status status = sort_images(in);
    size_t *order = status == CLOAK_OK ? group(in) : NULL, next = 0;
    if (!order)
        return CLOAK_E_PERMANENT;
    for (size_t i = 0; i < in->image_count && status == CLOAK_OK; i++) {
        const image *of = &in->images[i];
        status = cloak_labels_add_photo(labels, in->file, of->line, of->key, in->error);
        for (; next < of->boxes && status == CLOAK_OK; next++) {
            const annotation *a = &in->annotations[order[next]];
            if (!in->only_faces || a->category_id == in->face_category)
                status = cloak_labels_add_box(
                    labels, in->file, a->line, a->box, (cloak_truth_kind)a->kind, in->error);
        }
    }
    free(order);
    return status;
}

cloak_status cloak_labels_read_coco(
    cloak_labels *labels, const cloak_label_file *file, cloak_error *error) {
    reader in = {.file = file, .error = error, .at = file->text, .counted = file->text, .line = 1};
    cloak_status status = read_outer(&in);
    if (status == CLOAK_OK)
        status = join(&in, labels);
    for (size_t i = 0; i < in.image_count; i++)
        free(in.images[i].key);
    free(in.images);
    free(in.annotations);
    return status;
}
