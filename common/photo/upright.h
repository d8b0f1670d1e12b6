/* Private to this folder: from stored rows of any kind to upright RGB. */
#ifndef CLOAK_PHOTO_UPRIGHT_H
#define CLOAK_PHOTO_UPRIGHT_H

#include "common/photo/photo.h"

/* Where stored pixels go in the upright picture: pixel (x, y) is number start + x·right + y·down.
 */
typedef struct {
    int width, height; /* upright */
    int64_t start, right, down;
} cloak_upright;

/* For a stored picture of width × height and an EXIF orientation of 1…8. */
cloak_upright cloak_upright_of(int width, int height, int orientation);

/* Puts the stored row `y` in place: `bands` samples per pixel (1 grey, 2 grey and alpha, 3 RGB, 4
 * RGBA) of 8 bits, or of 16 in the machine's byte order. `alpha` may be NULL for 1 and 3 bands. */
void cloak_upright_row(const cloak_upright *place, int y, const void *row, int width, int bands,
    bool wide, uint8_t *rgb, uint8_t *alpha);

#endif
