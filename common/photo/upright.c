/* Turns and widens pixels while they are copied, so that a photo is never in memory twice;
 * libvips's own rotation needs the whole picture in memory first. */
#include "common/photo/upright.h"

#include <string.h>

#include "common/base/alloc.h"

bool cloak_photo_room(cloak_photo *photo, bool alpha, bool deep) {
    const size_t pixels = (size_t)photo->width * (size_t)photo->height;
    photo->rgb = cloak_try_alloc(pixels * 3);
    photo->alpha = alpha ? cloak_try_alloc(pixels) : NULL;
    photo->deep = deep ? cloak_try_alloc(pixels * 3 * sizeof *photo->deep) : NULL;
    photo->deep_alpha = alpha && deep ? cloak_try_alloc(pixels * sizeof *photo->deep) : NULL;
    return photo->rgb && (!alpha || photo->alpha) && (!deep || photo->deep) &&
           (!alpha || !deep || photo->deep_alpha);
}

cloak_upright cloak_upright_of(int width, int height, int orientation) {
    bool swaps = orientation >= 5;
    cloak_upright u = {swaps ? height : width, swaps ? width : height, 0, 0, 0};
    /* EXIF 2.32, 4.6.4: which side of the picture the stored first row and first column are */
    bool from_right = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool from_bottom = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    int64_t across = from_right ? -1 : 1, along = from_bottom ? -(int64_t)u.width : u.width;
    u.start =
        (from_right ? u.width - 1 : 0) + (from_bottom ? (int64_t)(u.height - 1) * u.width : 0);
    u.right = swaps ? along : across;
    u.down = swaps ? across : along;
    return u;
}

/* Rows of 16 bits go into both depths. */
static void put_deep(const cloak_upright *place, int64_t at, const uint16_t *row, int width, int bands,
    const cloak_photo *photo) {
    const int colours = bands >= 3 ? 3 : 1;
    for (int x = 0; x < width; x++, at += place->right, row += bands) {
        for (int i = 0; i < 3; i++) {
            const uint16_t value = row[i % colours];
            photo->deep[3 * at + i] = value;
            photo->rgb[3 * at + i] = cloak_narrow(value);
        }
        if (bands == colours)
            continue;
        photo->deep_alpha[at] = row[colours];
        photo->alpha[at] = cloak_narrow(row[colours]);
    }
}

static void put_ink(const cloak_upright *place, int64_t at, const uint8_t *row, int width, const cloak_photo *photo) {
    for (int x = 0; x < width; x++, at += place->right, row += CLOAK_INK_BANDS) {
        memcpy(photo->ink + 4 * at, row, 4);
        memcpy(photo->rgb + 3 * at, row + 4, 3);
    }
}

void cloak_upright_row(
    const cloak_upright *place, int y, const void *row, int width, int bands, const cloak_photo *photo) {
    const uint8_t *from = row;
    int64_t at = place->start + y * place->down;
    if (photo->deep) {
        put_deep(place, at, row, width, bands, photo);
        return;
    }
    if (photo->ink) {
        put_ink(place, at, row, width, photo);
        return;
    }
    if (bands == 3 && place->right == 1) {
        memcpy(photo->rgb + 3 * at, row, 3 * (size_t)width);
        return;
    }
    const int green = bands >= 3 ? 1 : 0, blue = bands >= 3 ? 2 : 0;
    for (int x = 0; x < width; x++, at += place->right, from += bands) {
        uint8_t *to = photo->rgb + 3 * at;
        to[0] = from[0];
        to[1] = from[green];
        to[2] = from[blue];
        if (bands == 2 || bands == 4)
            photo->alpha[at] = from[bands - 1];
    }
}
