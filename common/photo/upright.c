/* Turns and widens pixels while they are copied, so that a photo is never in memory twice;
 * libvips's own rotation needs the whole picture in memory first. */
#include "common/photo/upright.h"

#include <string.h>

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

/* 16 to 8 bits, to the nearest: 65535 is 255 × 257. */
static uint8_t narrow(uint16_t value) {
    return (uint8_t)((value + 128u) / 257u);
}

void cloak_upright_row(const cloak_upright *place, int y, const void *row, int width, int bands,
    bool wide, uint8_t *rgb, uint8_t *alpha) {
    const uint8_t *p8 = row;
    const uint16_t *p16 = row;
    int64_t at = place->start + y * place->down;
    if (!wide && bands == 3 && place->right == 1) {
        memcpy(rgb + 3 * at, row, 3 * (size_t)width);
        return;
    }
    int green = bands >= 3 ? 1 : 0, blue = bands >= 3 ? 2 : 0;
    for (int x = 0; x < width; x++, at += place->right) {
        size_t from = (size_t)x * (size_t)bands;
        uint8_t *to = rgb + 3 * at;
        to[0] = wide ? narrow(p16[from]) : p8[from];
        to[1] = wide ? narrow(p16[from + green]) : p8[from + green];
        to[2] = wide ? narrow(p16[from + blue]) : p8[from + blue];
        if (bands == 2 || bands == 4)
            alpha[at] = wide ? narrow(p16[from + bands - 1]) : p8[from + bands - 1];
    }
}
