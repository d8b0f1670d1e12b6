/* Private to this folder. Whether coded pixels are one picture and no more: HEVC as in HEIC, AV1 as in AVIF. */
#ifndef CLOAK_PHOTO_BMFF_CODED_H
#define CLOAK_PHOTO_BMFF_CODED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of a length in the data that go with this hvcC (1, 2 or 4); 0 where it holds anything but parameter
 * sets. */
int cloak_bmff_hevc_config(const uint8_t *config, size_t length);

/* The size in which its pictures are coded, before anything is cropped off (H.265, 7.3.2.2). False where there is not
 * exactly one sequence parameter set, or one of an unusual make. */
bool cloak_bmff_hevc_size(const uint8_t *config, size_t length, uint32_t *width, uint32_t *height);

/* Whether an av1C holds nothing but a sequence header. */
bool cloak_bmff_av1_config(const uint8_t *config, size_t length);

/* Copies one picture's units into `out`, which has room for `length` bytes, and leaves out what is no picture: messages
 * (SEI, metadata), padding, delimiters. Returns the length, or 0 where there is anything that we do not know, a second
 * picture, or, in HEVC, another parameter set. */
size_t cloak_bmff_hevc(const uint8_t *data, size_t length, int length_size, uint8_t *out);
size_t cloak_bmff_av1(const uint8_t *data, size_t length, uint8_t *out);

#endif
