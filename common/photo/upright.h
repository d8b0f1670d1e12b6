/* Private to this folder: from stored rows of any kind to upright RGB. */
#ifndef CLOAK_PHOTO_UPRIGHT_H
#define CLOAK_PHOTO_UPRIGHT_H

#include "common/photo/photo.h"

/* Takes blocks for the pixels of a photo whose size is set, at both depths where `deep`. False without memory; what was
 * taken is the photo's. */
CLOAK_MUST_CHECK bool cloak_photo_room(cloak_photo *photo, bool alpha, bool deep);

/* Where stored pixels go in the upright picture: pixel (x, y) is number start + x·right + y·down.
 */
typedef struct {
    int width, height; /* upright */
    int64_t start, right, down;
} cloak_upright;

/* For a stored picture of width × height and an EXIF orientation of 1…8. */
cloak_upright cloak_upright_of(int width, int height, int orientation);

/* 16 to 8 bits, to the nearest: 65535 is 255 × 257. */
static inline uint8_t cloak_narrow(uint16_t value) {
    return (uint8_t)((value + 128u) / 257u);
}

/* The other way: a sample of `deep` whose 8 bits were changed to `level`, moved by as many of their steps. */
static inline uint16_t cloak_deepen(uint16_t deep, uint8_t level) {
    const int value = deep + 257 * ((int)level - (int)cloak_narrow(deep));
    return (uint16_t)(value < 0 ? 0 : value > UINT16_MAX ? UINT16_MAX : value);
}

/* Samples per pixel of CMYK with what it looks like in sRGB behind it. */
enum { CLOAK_INK_BANDS = 4 + 3 };

/* Puts the stored row `y` in place in the photo's blocks: `bands` samples per pixel (1 grey, 2 grey and alpha, 3 RGB, 4
 * RGBA, CLOAK_INK_BANDS where the photo has `ink`) of 8 bits, or, where the photo has `deep`, of 16 in the machine's
 * byte order. */
void cloak_upright_row(
    const cloak_upright *place, int y, const void *row, int width, int bands, const cloak_photo *photo);

#endif
