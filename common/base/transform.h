/* What may happen to a photo between its delivery and a detector, in words and in numbers: the
 * changes that a cloak is to survive. */
#ifndef CLOAK_BASE_TRANSFORM_H
#define CLOAK_BASE_TRANSFORM_H

#include "common/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CLOAK_TRANSFORMS_MAX = 32, CLOAK_TRANSFORM_NAME = 64 };

/* One chain of changes, applied in this order. Its name is its parts with + between them, such as
 * "x0.6+jpeg75", or "raw" for none:
 *   X(field, type, neutral value, word, least, most, meaning) */
#define CLOAK_TRANSFORM_TABLE(X)                                                                   \
    X(shrink, float, 1, "x", 0.1, 1, "shrunk to so much of its width and height")                  \
    X(blur, float, 0, "blur", 0.1, 16, "Gaussian of this sigma in pixels")                         \
    X(quality, int, 0, "jpeg", 1, 100, "JPEG of this quality with halved chroma")                  \
    X(whole, int, 0, "jpegfull", 1, 100, "JPEG of this quality with whole chroma, instead of jpeg") \
    X(view, float, 1, "view", 0.25, 4, "the detector looks at so many times its own input size")

typedef struct {
    char name[CLOAK_TRANSFORM_NAME];
#define X(field, type, neutral, word, least, most, doc) type field;
    CLOAK_TRANSFORM_TABLE(X)
#undef X
} cloak_transform;

/* The transform that changes nothing, "raw". */
cloak_transform cloak_transform_raw(void);

/* Reads names with commas between them; an empty text has none. A name that is not known, a value
 * out of its bounds or more than CLOAK_TRANSFORMS_MAX of them are CLOAK_E_USAGE, and the text says
 * what there is. Any thread. */
CLOAK_MUST_CHECK cloak_status cloak_transforms_parse(const char *names,
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX], size_t *count, cloak_error *error);

#ifdef __cplusplus
}
#endif
#endif
