/* Labels: the WIDER FACE reader, the lookup by name, and one photo's boxes as JSON; see the header.
 * The COCO reader is in labels_coco.c.
 *
 * Nothing is allocated from a number that a file states: arrays grow with what was read, up to the
 * limits. */
#include "common/report/labels.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/report/labels_parse.h"

enum { MAX_FILE = 256 << 20, MAX_TRUTH_JSON = 8 << 20, MAX_COORDINATE = 1000000 };

cloak_status cloak_labels_fail(
    const cloak_label_file *file, size_t line, cloak_error *error, const char *format, ...) {
    char what[256], *shown = cloak_text_brief(file->path);
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    cloak_fail(error, CLOAK_E_PERMANENT, "%s:%zu: %s", shown, line, what);
    free(shown);
    return CLOAK_E_PERMANENT;
}

cloak_status cloak_labels_add_photo(cloak_labels *labels, const cloak_label_file *file, size_t line,
    const char *key, cloak_error *error) {
    if (labels->count == CLOAK_LABELS_MAX_PHOTOS)
        return cloak_labels_fail(file, line, error, "more than %d photos", CLOAK_LABELS_MAX_PHOTOS);
    while (strncmp(key, "./", 2) == 0)
        key += 2;
    if (!*key)
        return cloak_labels_fail(file, line, error, "a photo without a name");
    if (labels->count == labels->room) {
        labels->room = labels->room ? 2 * labels->room : 256;
        labels->photos = cloak_realloc(labels->photos, labels->room * sizeof *labels->photos);
    }
    labels->photos[labels->count++] =
        (cloak_label){.key = cloak_strdup(key), .line = line, .first = labels->box_count};
    return CLOAK_OK;
}

cloak_status cloak_labels_add_box(cloak_labels *labels, const cloak_label_file *file, size_t line,
    cloak_box box, cloak_truth_kind kind, cloak_error *error) {
    cloak_label *photo = &labels->photos[labels->count - 1];
    if (photo->truth.count == CLOAK_LABELS_MAX_BOXES_PER_PHOTO)
        return cloak_labels_fail(
            file, line, error, "more than %d boxes in one photo", CLOAK_LABELS_MAX_BOXES_PER_PHOTO);
    if (labels->box_count == CLOAK_LABELS_MAX_BOXES)
        return cloak_labels_fail(file, line, error, "more than %d boxes", CLOAK_LABELS_MAX_BOXES);
    if (labels->box_count == labels->box_room) {
        labels->box_room = labels->box_room ? 2 * labels->box_room : 1024;
        labels->boxes = cloak_realloc(labels->boxes, labels->box_room * sizeof *labels->boxes);
        labels->ignore = cloak_realloc(labels->ignore, labels->box_room);
    }
    labels->boxes[labels->box_count] = box;
    labels->ignore[labels->box_count++] = (uint8_t)kind;
    photo->truth.count++;
    return CLOAK_OK;
}

bool cloak_labels_box(const double xywh[4], cloak_box *box, bool *empty) {
    for (int i = 0; i < 4; i++)
        if (!(fabs(xywh[i]) <= MAX_COORDINATE))
            return false;
    if (xywh[2] < 0 || xywh[3] < 0)
        return false;
    *box = (cloak_box){
        (float)xywh[0], (float)xywh[1], (float)(xywh[0] + xywh[2]), (float)(xywh[1] + xywh[3]), 1};
    *empty = !(box->x2 > box->x1 && box->y2 > box->y1);
    return true;
}

/* ---- WIDER FACE ---- */

typedef struct {
    const cloak_label_file *file;
    char *at, *end;
    size_t line; /* of the line returned last */
} lines;

/* The next line without its end, or NULL behind the last one. */
static char *next_line(lines *in) {
    char *line = in->at, *stop;
    if (line >= in->end)
        return NULL;
    stop = memchr(line, '\n', (size_t)(in->end - line));
    if (!stop)
        stop = in->end;
    in->at = stop + 1;
    in->line++;
    while (stop > line && stop[-1] == '\r')
        stop--;
    *stop = 0;
    return line;
}

/* Reads up to `limit` numbers that make up the whole line. Returns how many, or -1. */
static int read_numbers(const char *line, double *numbers, int limit) {
    int count = 0;
    if (line[strspn(line, "+-.0123456789eE \t")])
        return -1; /* strtod would take "nan" and "0x10" too */
    for (const char *p = line + strspn(line, " \t"); *p; p += strspn(p, " \t")) {
        char *stop;
        if (count == limit)
            return -1;
        numbers[count++] = strtod(p, &stop);
        if (stop == p || (*stop && *stop != ' ' && *stop != '\t'))
            return -1;
        p = stop;
    }
    return count;
}

/* Whether the text goes on with a line of several zeros, as after a count of 0. */
static bool zeros_follow(const lines *in) {
    if (in->at >= in->end)
        return false;
    size_t n = strspn(in->at, "0 \t\r");
    return memchr(in->at, ' ', n) && memchr(in->at, '0', n) &&
           (in->at[n] == '\n' || in->at + n == in->end);
}

static cloak_status read_box_line(
    cloak_labels *labels, lines *in, const char *line, cloak_error *error) {
    enum { INVALID = 7, COLUMNS = 10 };
    double v[COLUMNS] = {0};
    cloak_box box;
    bool empty;
    int count = read_numbers(line, v, COLUMNS);
    if ((count != 4 && count != COLUMNS) || !cloak_labels_box(v, &box, &empty)) {
        char shown[64];
        cloak_text_json(line, shown, sizeof shown);
        return cloak_labels_fail(in->file, in->line, error,
            "\"%s\" is no box: expected \"x y w h\", or these and the six attributes", shown);
    }
    if (empty)
        return CLOAK_OK;
    return cloak_labels_add_box(labels, in->file, in->line, box,
        v[INVALID] != 0 ? CLOAK_TRUTH_IGNORE : CLOAK_TRUTH_FACE, error);
}

/* Reads the count and the boxes that follow a photo's name. */
static cloak_status read_boxes(cloak_labels *labels, lines *in, cloak_error *error) {
    double count;
    size_t named = in->line;
    const char *line = next_line(in);
    if (!line)
        return cloak_labels_fail(in->file, named, error, "the file ends behind a photo's name");
    if (read_numbers(line, &count, 1) != 1 || count < 0 || count != floor(count) ||
        count > CLOAK_LABELS_MAX_BOXES_PER_PHOTO) {
        char shown[64];
        cloak_text_json(line, shown, sizeof shown);
        return cloak_labels_fail(in->file, in->line, error,
            "\"%s\" is no number of boxes (0 to %d)", shown, CLOAK_LABELS_MAX_BOXES_PER_PHOTO);
    }
    if (count == 0 && zeros_follow(in))
        next_line(in);
    for (int i = 0; i < (int)count; i++) {
        line = next_line(in);
        if (!line)
            return cloak_labels_fail(in->file, in->line, error,
                "the file ends after %d of %.0f boxes of the photo named in line %zu", i, count,
                named);
        cloak_status status = read_box_line(labels, in, line, error);
        if (status != CLOAK_OK)
            return status;
    }
    return CLOAK_OK;
}

static cloak_status read_wider(
    cloak_labels *labels, const cloak_label_file *file, cloak_error *error) {
    lines in = {file, file->text, file->text + file->length, 0};
    cloak_status status = CLOAK_OK;
    char *line;
    while (status == CLOAK_OK && (line = next_line(&in))) {
        if (!line[strspn(line, " \t")])
            continue;
        status = cloak_labels_add_photo(labels, file, in.line, line, error);
        if (status == CLOAK_OK)
            status = read_boxes(labels, &in, error);
    }
    return status;
}

/* ---- loading and lookup ---- */

static int by_key(const void *a, const void *b) {
    return strcmp(((const cloak_label *)a)->key, ((const cloak_label *)b)->key);
}

static int by_base(const void *a, const void *b) {
    const cloak_label *x = *(cloak_label *const *)a, *y = *(cloak_label *const *)b;
    return strcmp(x->base, y->base);
}

static const char *base_of(const char *key) {
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

/* Sorts the photos and points them at their boxes, which no longer move. */
static cloak_status complete(
    cloak_labels *labels, const cloak_label_file *file, cloak_error *error) {
    labels->by_base = cloak_alloc(labels->count * sizeof *labels->by_base);
    if (labels->count)
        qsort(labels->photos, labels->count, sizeof *labels->photos, by_key);
    for (size_t p = 0; p < labels->count; p++) {
        cloak_label *photo = &labels->photos[p];
        if (p && strcmp(photo[-1].key, photo->key) == 0) {
            size_t first = photo[-1].line < photo->line ? photo[-1].line : photo->line;
            return cloak_labels_fail(file, photo[-1].line + photo->line - first, error,
                "the photo of line %zu again; label each photo once", first);
        }
        photo->base = base_of(photo->key);
        if (photo->truth.count) {
            photo->truth.boxes = labels->boxes + photo->first;
            photo->truth.ignore = labels->ignore + photo->first;
        }
        labels->by_base[p] = photo;
    }
    if (labels->count)
        qsort(labels->by_base, labels->count, sizeof *labels->by_base, by_base);
    return CLOAK_OK;
}

cloak_status cloak_labels_load(const char *path, cloak_labels **labels, cloak_error *error) {
    cloak_label_file file = {.path = path};
    void *bytes;
    cloak_status status = cloak_file_read(path, MAX_FILE, &bytes, &file.length, error);
    if (status != CLOAK_OK)
        return status;
    cloak_labels *read = cloak_alloc(sizeof *read);
    file.text = bytes;
    if (file.length >= 3 && memcmp(file.text, "\xEF\xBB\xBF", 3) == 0) {
        file.text += 3; /* a byte order mark */
        file.length -= 3;
    }
    if (memchr(file.text, 0, file.length))
        status = cloak_labels_fail(&file, 1, error, "not a text file: it holds NUL bytes");
    else if (file.text[strspn(file.text, " \t\r\n")] == '{')
        status = cloak_labels_read_coco(read, &file, error);
    else
        status = read_wider(read, &file, error);
    if (status == CLOAK_OK && read->count == 0)
        status = cloak_labels_fail(&file, 1, error, "no photo is named in here");
    if (status == CLOAK_OK)
        status = complete(read, &file, error);
    free(bytes);
    if (status == CLOAK_OK)
        *labels = read;
    else
        cloak_labels_free(read);
    return status;
}

void cloak_labels_free(cloak_labels *labels) {
    if (!labels)
        return;
    for (size_t p = 0; p < labels->count; p++)
        free(labels->photos[p].key);
    free(labels->photos);
    free(labels->boxes);
    free(labels->ignore);
    free(labels->by_base);
    free(labels);
}

/* Whether `longer` is `tail` or ends in '/' and `tail`. */
static bool ends_in(const char *longer, const char *tail) {
    size_t n = strlen(longer), t = strlen(tail);
    return n >= t && strcmp(longer + n - t, tail) == 0 && (n == t || longer[n - t - 1] == '/');
}

/* The only photo of this base name whose key fits, or NULL. */
static const cloak_truth *find_by_base(const cloak_labels *labels, const char *key) {
    const char *base = base_of(key);
    const cloak_truth *found = NULL;
    size_t low = 0, high = labels->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(labels->by_base[middle]->base, base) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < labels->count && strcmp(labels->by_base[low]->base, base) == 0; low++) {
        const cloak_label *photo = labels->by_base[low];
        if (!ends_in(key, photo->key) && !ends_in(photo->key, key))
            continue;
        if (found)
            return NULL;
        found = &photo->truth;
    }
    return found;
}

const cloak_truth *cloak_labels_find(const cloak_labels *labels, const char *key) {
    cloak_label wanted = {.key = (char *)key};
    const cloak_label *exact =
        bsearch(&wanted, labels->photos, labels->count, sizeof *labels->photos, by_key);
    return exact ? &exact->truth : find_by_base(labels, key);
}

size_t cloak_labels_photos(const cloak_labels *labels) {
    return labels->count;
}

uint64_t cloak_labels_faces(const cloak_labels *labels) {
    uint64_t faces = 0;
    for (size_t b = 0; b < labels->box_count; b++)
        faces += labels->ignore[b] == CLOAK_TRUTH_FACE;
    return faces;
}

/* ---- one photo as JSON ---- */

char *cloak_truth_json(const cloak_truth *truth) {
    enum { BOX_TEXT = 80 }; /* four floats of at most 16 characters and the rest */
    size_t size = truth->count * BOX_TEXT + 3, used = 1;
    char *text = cloak_alloc(size);
    text[0] = '[';
    for (size_t b = 0; b < truth->count; b++) {
        const cloak_box *box = &truth->boxes[b];
        used += (size_t)snprintf(text + used, size - used, "%s[%.9g,%.9g,%.9g,%.9g,%d]",
            b ? "," : "", (double)box->x1, (double)box->y1, (double)box->x2, (double)box->y2,
            truth->ignore ? truth->ignore[b] : CLOAK_TRUTH_FACE);
    }
    text[used] = ']';
    return text;
}

/* Reads one [x1,y1,x2,y2,kind]. */
static bool read_truth_box(const cJSON *item, cloak_box *box, uint8_t *kind) {
    double v[5];
    int n = 0;
    for (const cJSON *value = cJSON_IsArray(item) ? item->child : NULL; value;
         value = value->next) {
        if (n == 5 || !cJSON_IsNumber(value) || !(fabs(value->valuedouble) <= 2 * MAX_COORDINATE))
            return false;
        v[n++] = value->valuedouble;
    }
    if (n != 5 ||
        (v[4] != CLOAK_TRUTH_FACE && v[4] != CLOAK_TRUTH_IGNORE && v[4] != CLOAK_TRUTH_CROWD))
        return false;
    *box = (cloak_box){(float)v[0], (float)v[1], (float)v[2], (float)v[3], 1};
    *kind = (uint8_t)v[4];
    return box->x2 > box->x1 && box->y2 > box->y1;
}

cloak_status cloak_truth_parse(const char *json, cloak_truth *truth, cloak_error *error) {
    size_t length = strlen(json), count = 0;
    cloak_box *boxes = NULL;
    uint8_t *ignore = NULL;
    const char *problem = "too many boxes";
    cJSON *root = NULL;
    for (const char *p = json; length <= MAX_TRUTH_JSON && (p = strchr(p, ',')); p++)
        count++; /* so that the tree has a bounded number of nodes */
    if (length > MAX_TRUTH_JSON || count >= 5 * CLOAK_LABELS_MAX_BOXES_PER_PHOTO)
        goto bad;
    problem = "expected an array";
    root = cJSON_ParseWithOpts(json, NULL, 1);
    if (!cJSON_IsArray(root))
        goto bad;
    count = (size_t)cJSON_GetArraySize(root);
    boxes = cloak_alloc(count * sizeof *boxes);
    ignore = cloak_alloc(count);
    problem = "expected [x1,y1,x2,y2,kind] for each box";
    count = 0;
    for (const cJSON *item = root->child; item; item = item->next, count++)
        if (!read_truth_box(item, &boxes[count], &ignore[count]))
            goto bad;
    cJSON_Delete(root);
    *truth = (cloak_truth){count, boxes, ignore};
    return CLOAK_OK;
bad:
    cJSON_Delete(root);
    free(boxes);
    free(ignore);
    return cloak_fail(
        error, CLOAK_E_PERMANENT, "a photo's ground truth cannot be read: %s", problem);
}

void cloak_truth_free(cloak_truth *truth) {
    free((void *)truth->boxes);
    free((void *)truth->ignore);
    *truth = (cloak_truth){0};
}
