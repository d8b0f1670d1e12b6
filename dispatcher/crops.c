/* Small pictures of where a photo was changed; see the header.
 *
 * Nobody kept the faces' boxes, and nobody need: what was changed is where they were. The place is the 16 x 16 block
 * that differs most, grown over its neighbours that differ by a good part of that: coders change a little everywhere.
 */
#include "dispatcher/crops.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/report/delivery.h"
#include "common/store/store.h"
#include "intake/intake.h"

enum { BLOCK = 16, SIDE = 160, READ_SECONDS = 120 };

struct cloak_crops {
    cloak_store *source, *destination;
    cloak_intake *intake;
    char *owner;
};

typedef struct {
    int x, y, size; /* a square; it sticks out only of a photo that has a shorter side */
} Place;

cloak_status cloak_crops_open(const cloak_album_spec *album, cloak_crops **out, cloak_error *error) {
    cloak_crops *crops = cloak_alloc(sizeof *crops);
    cloak_status status = cloak_store_open(album->source, &crops->source, error);
    if (status == CLOAK_OK)
        status = cloak_store_open(album->destination, &crops->destination, error);
    if (status != CLOAK_OK) {
        cloak_crops_close(crops);
        return status;
    }
    crops->owner = cloak_strdup(album->tenant);
    crops->intake = cloak_intake_new(READ_SECONDS, NULL, NULL);
    *out = crops;
    return CLOAK_OK;
}

void cloak_crops_close(cloak_crops *crops) {
    if (!crops)
        return;
    cloak_store_close(crops->source);
    cloak_store_close(crops->destination);
    cloak_intake_free(crops->intake);
    free(crops->owner);
    free(crops);
}

static bool read_photo(cloak_crops *crops, cloak_store *store, const char *key, cloak_photo *photo) {
    void *bytes = NULL, *core = NULL;
    size_t length = 0, core_length = 0;
    bool read = cloak_store_get(store, key, CLOAK_PHOTO_FILE_MAX, &bytes, &length, NULL) == CLOAK_OK &&
                cloak_intake_photo(crops->intake, bytes, length, key, crops->owner, CLOAK_METADATA_NONE, photo, &core,
                    &core_length, NULL) == CLOAK_OK;
    free(bytes);
    free(core);
    return read;
}

/* How much the pixels of each block differ, row by row of blocks. */
static uint32_t *differences(const cloak_photo *a, const cloak_photo *b, int columns, int rows) {
    uint32_t *sums = cloak_alloc((size_t)columns * (size_t)rows * sizeof *sums);
    for (int y = 0; y < a->height; y++)
        for (int x = 0; x < a->width; x++) {
            const size_t at = 3 * ((size_t)y * (size_t)a->width + (size_t)x);
            for (int c = 0; c < 3; c++)
                sums[(y / BLOCK) * columns + x / BLOCK] += (uint32_t)abs(a->rgb[at + (size_t)c] - b->rgb[at + (size_t)c]);
        }
    return sums;
}

/* The box of blocks [x0, x1] x [y0, y1] grows from the worst one while a neighbour of it differs by a fourth as
 * much. */
static Place grow(const uint32_t *sums, int columns, int rows, int worst) {
    int x0 = worst % columns, x1 = x0, y0 = worst / columns, y1 = y0;
    for (bool grown = true; grown;) {
        grown = false;
        for (int y = y0 > 0 ? y0 - 1 : 0; y <= y1 + 1 && y < rows; y++)
            for (int x = x0 > 0 ? x0 - 1 : 0; x <= x1 + 1 && x < columns; x++)
                if (sums[y * columns + x] > sums[worst] / 4 && (x < x0 || x > x1 || y < y0 || y > y1)) {
                    x0 = x < x0 ? x : x0;
                    x1 = x > x1 ? x : x1;
                    y0 = y < y0 ? y : y0;
                    y1 = y > y1 ? y : y1;
                    grown = true;
                }
    }
    const int width = (x1 - x0 + 1) * BLOCK, height = (y1 - y0 + 1) * BLOCK, size = width > height ? width : height;
    return (Place){x0 * BLOCK + (width - size) / 2, y0 * BLOCK + (height - size) / 2, size};
}

/* Moves [at, at + size) into [0, most) as far as it fits. */
static int moved(int at, int size, int most) {
    at = at + size > most ? most - size : at;
    return at < 0 ? 0 : at;
}

/* False when nothing differs. */
static bool find_place(const cloak_photo *before, const cloak_photo *after, Place *place) {
    const int columns = (before->width + BLOCK - 1) / BLOCK, rows = (before->height + BLOCK - 1) / BLOCK;
    uint32_t *sums = differences(before, after, columns, rows);
    int worst = 0;
    for (int i = 1; i < columns * rows; i++)
        worst = sums[i] > sums[worst] ? i : worst;
    const bool found = sums[worst] > 0;
    if (found) {
        *place = grow(sums, columns, rows, worst);
        place->x = moved(place->x, place->size, before->width);
        place->y = moved(place->y, place->size, before->height);
    }
    free(sums);
    return found;
}

static int within(int value, int most) {
    return value < 0 ? 0 : value >= most ? most - 1 : value;
}

/* The square at SIDE x SIDE or, where it is smaller, at its own size: means of whole pixels. */
static char *picture(const cloak_photo *photo, Place place) {
    const int side = place.size < SIDE ? place.size : SIDE;
    cloak_photo small = {.width = side, .height = side, .format = CLOAK_FORMAT_JPEG, .icc = photo->icc,
        .icc_length = photo->icc_length, .grey = photo->grey}; /* borrows the profile */
    small.rgb = cloak_alloc(3 * (size_t)side * (size_t)side);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int x0 = place.x + x * place.size / side, x1 = place.x + (x + 1) * place.size / side;
            const int y0 = place.y + y * place.size / side, y1 = place.y + (y + 1) * place.size / side;
            unsigned sum[3] = {0}, count = 0;
            for (int v = y0; v < y1; v++)
                for (int u = x0; u < x1; u++, count++)
                    for (int c = 0; c < 3; c++)
                        sum[c] += photo->rgb[3 * ((size_t)within(v, photo->height) * (size_t)photo->width +
                                                     (size_t)within(u, photo->width)) +
                                             (size_t)c];
            for (int c = 0; c < 3; c++)
                small.rgb[3 * (y * side + x) + c] = (uint8_t)((sum[c] + count / 2) / count);
        }
    void *bytes = NULL;
    size_t length = 0;
    char *text = NULL;
    if (cloak_photo_encode(&small, &bytes, &length, NULL) == CLOAK_OK) {
        char *coded = cloak_alloc(4 * (length / 3 + 1) + 1);
        EVP_EncodeBlock((unsigned char *)coded, bytes, (int)length);
        text = cloak_format("data:image/jpeg;base64,%s", coded);
        free(coded);
    }
    free(bytes);
    free(small.rgb);
    return text;
}

bool cloak_crops_make(cloak_crops *crops, const char *name, char **before, char **after) {
    cloak_photo source = {0}, delivered = {0};
    char *key = cloak_text_decode(name);
    Place place;
    *before = *after = NULL;
    if (key && read_photo(crops, crops->source, key, &source) && read_photo(crops, crops->destination, key, &delivered) &&
        source.width == delivered.width && source.height == delivered.height && find_place(&source, &delivered, &place)) {
        *before = picture(&source, place);
        *after = picture(&delivered, place);
    }
    cloak_photo_free(&source);
    cloak_photo_free(&delivered);
    free(key);
    if (*before && *after)
        return true;
    free(*before);
    free(*after);
    *before = *after = NULL;
    return false;
}
