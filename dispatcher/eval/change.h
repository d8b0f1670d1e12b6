/* What platforms do to a photo after its delivery, done for real: libvips resizes, libjpeg-turbo
 * and libwebp write and read files. The attack's loop only simulates some of it (models/kernels).
 */
#ifndef CLOAK_EVAL_CHANGE_H
#define CLOAK_EVAL_CHANGE_H

#include "common/photo/photo.h"
#include "models/cloak_model.h"

/* A changed photo. Free `rgb`. */
typedef struct {
    uint8_t *rgb; /* height × width × 3 */
    int width, height;
    double view;       /* the detector is to look at so many times its own input size */
    double back[2][3]; /* from its pixels to the original's: x = b00·x' + b01·y' + b02, y alike */
    double scale;      /* length of a side in the original per length here */
} cloak_eval_changed;

/* Puts the photo through a chain of changes with + between them, in the order they are named: raw,
 * xS (resized to S times its size; Lanczos when it shrinks), jpegQ (halved chroma), jpegfullQ (whole
 * chroma), webpQ, cropS (S of the width and height cut off at each side), rotateD (by D degrees about its
 * centre, at its own size), viewS. CLOAK_E_USAGE names a part that is not known. */
CLOAK_MUST_CHECK cloak_status cloak_eval_change(
    const char *chain, const cloak_photo *photo, cloak_eval_changed *changed, cloak_error *error);

/* Brings detections on the changed photo to the original's pixels, in place. */
void cloak_eval_change_back(const cloak_eval_changed *changed, cloak_detections *found);

#endif
