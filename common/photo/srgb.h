/* What a photo's numbers look like in sRGB, and what a change of that is in the photo's own numbers.
 *
 * DESIGN. Detectors were taught on sRGB, and whoever shows a photo of another colour space takes it there first. So the
 * attack sees sRGB, and what it changes is carried over into the file's own space; a pixel that it has left alone keeps
 * its own numbers. CMYK has many inks for one colour, and a printer's choice is kept: a change goes the shortest way
 * from the pixel's own inks. Both ways are tables of a grid of colours, linear between its points: the profile, which
 * is as hostile as the rest of the file, is read once, where files are read (intake/), and a photo looks the same
 * wherever the tables are used. What it cannot follow are the darkest levels of linear light, of which the grid has a
 * point in eight, and eight bits few.
 */
#ifndef CLOAK_PHOTO_SRGB_H
#define CLOAK_PHOTO_SRGB_H

#include "common/photo/photo.h"

/* Points of the grid per colour, and the numbers of both tables together: first to sRGB, then back. Each is
 * red × green × blue × 3, a colour's level times 257. */
enum { CLOAK_SRGB_GRID = 33, CLOAK_SRGB_TABLE = CLOAK_SRGB_GRID * CLOAK_SRGB_GRID * CLOAK_SRGB_GRID * 3,
    CLOAK_SRGB_LENGTH = 2 * CLOAK_SRGB_TABLE };

/* The points per ink and the numbers of the table from CMYK to sRGB: cyan × magenta × yellow × black × 3, likewise. */
enum { CLOAK_INK_GRID = 17, CLOAK_INK_TABLE = CLOAK_INK_GRID * CLOAK_INK_GRID * CLOAK_INK_GRID * CLOAK_INK_GRID * 3 };

/* Makes photo->srgb by the photo's profile, or by what a PNG's chunks or a HEIC's code points say. It stays NULL where
 * the photo is in sRGB (to within a level at the grid's points), says nothing, says what makes no sense (viewers take
 * it for sRGB then), or is HDR (PQ, HLG), of which sRGB is no view; and without memory. Of a CMYK photo it makes
 * photo->ink_view, by its profile or libvips's; where that cannot be made, the photo becomes sRGB: `ink` and profile
 * are dropped. After cloak_photo_init. */
void cloak_photo_find_srgb(cloak_photo *photo);

/* `rgb`, of the photo's size and in its own numbers, in sRGB: `rgb` itself where photo->srgb is NULL, else a new block,
 * which is `*room`, too (free()). NULL without memory. Any thread. */
const uint8_t *cloak_srgb_see(const cloak_photo *photo, const uint8_t *rgb, uint8_t **room);

/* The photo's own pixels with the change from `seen` to `changed` (both sRGB, of the photo's size). A number moves by
 * no more levels than the pixel's most changed colour. `out` may be `changed`. Any thread. */
void cloak_srgb_carry(const cloak_photo *photo, const uint8_t *seen, const uint8_t *changed, uint8_t *out);

/* The inks of a CMYK photo with the change from photo->rgb to `changed`, into `ink` (height × width × 4). Of all inks
 * that show it, those that differ least from the photo's. Any thread. */
void cloak_srgb_carry_ink(const cloak_photo *photo, const uint8_t *changed, uint8_t *ink);

#endif
