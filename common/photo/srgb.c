/* See srgb.h. The profiles are Little CMS'; relative colorimetric with black point compensation, as browsers do it. */
#include "common/photo/srgb.h"

#include <stdlib.h>
#include <string.h>

#include <lcms2.h>

#include "common/base/alloc.h"
#include "common/photo/parts.h"

enum { GRID = CLOAK_SRGB_GRID, POINTS = GRID * GRID * GRID, LEVEL = 257 };

/* Code points of H.273. */
enum { BT709 = 1, GAMMA_22 = 4, GAMMA_28 = 5, BT601 = 6, LINEAR = 8, BT2020 = 9, P3 = 12, SRGB = 13, BT2020_10 = 14, BT2020_12 = 15 };

static const cmsCIExyY d65 = {.3127, .3290, 1};

/* --- whose numbers these are ------------------------------------------------------------------ */

/* The transfer curves of video count as sRGB's, as viewers take them. NULL for one that is not known, or HDR. */
static cmsToneCurve *curve_of(int transfer) {
    static const double srgb[] = {2.4, 1 / 1.055, .055 / 1.055, 1 / 12.92, .04045};
    switch (transfer) {
    case BT709: case BT601: case SRGB: case BT2020_10: case BT2020_12:
        return cmsBuildParametricToneCurve(NULL, 4, srgb);
    case GAMMA_22:
        return cmsBuildGamma(NULL, 2.2);
    case GAMMA_28:
        return cmsBuildGamma(NULL, 2.8);
    case LINEAR:
        return cmsBuildGamma(NULL, 1);
    default:
        return NULL;
    }
}

static cmsHPROFILE made_of(const cmsCIExyY *white, const cmsCIExyYTRIPLE *primaries, cmsToneCurve *curve) {
    cmsToneCurve *const curves[] = {curve, curve, curve};
    cmsHPROFILE profile = curve ? cmsCreateRGBProfile(white, primaries, curves) : NULL;
    cmsFreeToneCurve(curve);
    return profile;
}

static cmsHPROFILE of_code_points(int primaries, int transfer) {
    static const struct {
        int code;
        cmsCIExyYTRIPLE primaries;
    } known[] = {{BT709, {{.640, .330, 1}, {.300, .600, 1}, {.150, .060, 1}}},
        {BT2020, {{.708, .292, 1}, {.170, .797, 1}, {.131, .046, 1}}},
        {P3, {{.680, .320, 1}, {.265, .690, 1}, {.150, .060, 1}}}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].code == primaries)
            return made_of(&d65, &known[i].primaries, curve_of(transfer));
    return NULL;
}

static uint32_t number(const uint8_t *p) {
    return CLOAK_FOUR(p[0], p[1], p[2], p[3]);
}

static cmsCIExyY chromaticity(const uint8_t *p) {
    return (cmsCIExyY){number(p) / 1e5, number(p + 4) / 1e5, 1};
}

/* What a PNG's chunks say (PNG, third edition, 4.3): cICP before sRGB before gAMA and cHRM. */
static cmsHPROFILE of_chunks(const cloak_photo *photo) {
    const uint8_t *gamma = NULL, *colours = NULL, *code = NULL;
    bool srgb = false;
    for (size_t at = 0; at + 12 <= photo->png_colour_length;) { /* they were checked when they were kept */
        const uint8_t *chunk = photo->png_colour + at, *data = chunk + 8;
        switch (number(chunk + 4)) {
        case CLOAK_FOUR('g', 'A', 'M', 'A'): gamma = data; break;
        case CLOAK_FOUR('c', 'H', 'R', 'M'): colours = data; break;
        case CLOAK_FOUR('c', 'I', 'C', 'P'): code = data; break;
        default: srgb = true;
        }
        at += 12 + (size_t)number(chunk);
    }
    if (code)
        return of_code_points(code[0], code[1]);
    if (srgb || !gamma || number(gamma) == 0)
        return NULL;
    cmsToneCurve *curve = cmsBuildGamma(NULL, 1e5 / number(gamma));
    if (!colours) {
        static const cmsCIExyYTRIPLE bt709 = {{.640, .330, 1}, {.300, .600, 1}, {.150, .060, 1}};
        return made_of(&d65, &bt709, curve);
    }
    const cmsCIExyY white = chromaticity(colours);
    const cmsCIExyYTRIPLE primaries = {chromaticity(colours + 8), chromaticity(colours + 16), chromaticity(colours + 24)};
    return made_of(&white, &primaries, curve);
}

static cmsHPROFILE own_profile(const cloak_photo *photo) {
    if (photo->icc)
        return cmsOpenProfileFromMem(photo->icc, (cmsUInt32Number)photo->icc_length);
    return photo->png_colour_length ? of_chunks(photo) : of_code_points(photo->primaries, photo->transfer);
}

/* --- the tables --------------------------------------------------------------------------------- */

static uint16_t grid_level(int i) {
    return (uint16_t)((i * UINT16_MAX + (GRID - 1) / 2) / (GRID - 1));
}

/* Converts the whole grid. Of grey, `bands` is 1: its points are the grid's diagonal. */
static bool convert(cmsHPROFILE from, cmsHPROFILE to, bool grey_in, bool grey_out, const uint16_t *in, size_t count, uint16_t *out) {
    cmsHTRANSFORM transform = cmsCreateTransform(from, grey_in ? TYPE_GRAY_16 : TYPE_RGB_16, to, grey_out ? TYPE_GRAY_16 : TYPE_RGB_16,
        INTENT_RELATIVE_COLORIMETRIC, cmsFLAGS_BLACKPOINTCOMPENSATION | cmsFLAGS_NOCACHE);
    if (!transform)
        return false;
    cmsDoTransform(transform, in, out, (cmsUInt32Number)count);
    cmsDeleteTransform(transform);
    return true;
}

static bool fill_colour(cmsHPROFILE own, cmsHPROFILE srgb, uint16_t *grid, uint16_t *tables) {
    for (int i = 0; i < POINTS; i++) {
        grid[3 * i] = grid_level(i / (GRID * GRID));
        grid[3 * i + 1] = grid_level(i / GRID % GRID);
        grid[3 * i + 2] = grid_level(i % GRID);
    }
    return convert(own, srgb, false, false, grid, POINTS, tables) &&
           convert(srgb, own, false, false, grid, POINTS, tables + CLOAK_SRGB_TABLE);
}

/* A curve becomes a table in which each colour goes its own way. */
static bool fill_grey(cmsHPROFILE own, cmsHPROFILE srgb, uint16_t *tables) {
    uint16_t grey[GRID], colour[GRID * 3], ways[2][GRID];
    for (int i = 0; i < GRID; i++)
        grey[i] = colour[3 * i] = colour[3 * i + 1] = colour[3 * i + 2] = grid_level(i);
    if (!convert(srgb, own, false, true, colour, GRID, ways[1]) || !convert(own, srgb, true, false, grey, GRID, colour))
        return false;
    for (int i = 0; i < GRID; i++)
        ways[0][i] = colour[3 * i + 1];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < POINTS; i++) {
            uint16_t *to = tables + t * CLOAK_SRGB_TABLE + 3 * i;
            to[0] = ways[t][i / (GRID * GRID)];
            to[1] = ways[t][i / GRID % GRID];
            to[2] = ways[t][i % GRID];
        }
    return true;
}

/* Whether the table to sRGB leaves every colour where it is. */
static bool is_srgb(const uint16_t *table) {
    for (int i = 0; i < POINTS; i++) {
        const int at[] = {grid_level(i / (GRID * GRID)), grid_level(i / GRID % GRID), grid_level(i % GRID)};
        for (int c = 0; c < 3; c++)
            if (abs(at[c] - (int)table[3 * i + c]) > LEVEL)
                return false;
    }
    return true;
}

void cloak_photo_find_srgb(cloak_photo *photo) {
    cmsHPROFILE own = own_profile(photo), srgb = own ? cmsCreate_sRGBProfile() : NULL;
    uint16_t *tables = srgb ? cloak_try_alloc(CLOAK_SRGB_LENGTH * sizeof *tables) : NULL,
             *grid = tables ? cloak_try_alloc(CLOAK_SRGB_TABLE * sizeof *grid) : NULL;
    const bool grey = own && cmsGetColorSpace(own) == cmsSigGrayData, colour = own && cmsGetColorSpace(own) == cmsSigRgbData;
    if (grid && ((grey && photo->grey && fill_grey(own, srgb, tables)) || (colour && fill_colour(own, srgb, grid, tables))) &&
        !is_srgb(tables)) {
        photo->srgb = tables;
        tables = NULL;
    }
    free(grid);
    free(tables);
    if (srgb)
        cmsCloseProfile(srgb);
    if (own)
        cmsCloseProfile(own);
}

/* --- looking and carrying ----------------------------------------------------------------------- */

/* Where each of the 256 levels lies in the grid: the point below, and how far it is on to the next, of 255. */
typedef struct {
    uint8_t below[256], part[256];
} Steps;

static Steps steps(void) {
    Steps s;
    for (int v = 0; v < 256; v++) {
        int at = v * (GRID - 1);
        s.below[v] = (uint8_t)(v == 255 ? GRID - 2 : at / 255);
        s.part[v] = (uint8_t)(at - 255 * s.below[v]);
    }
    return s;
}

/* The table's colour for these three levels, times 257: trilinear. */
static void look_up(const uint16_t *table, const Steps *s, const uint8_t *rgb, int32_t *out) {
    const uint16_t *p = table + 3 * ((s->below[rgb[0]] * GRID + s->below[rgb[1]]) * GRID + s->below[rgb[2]]);
    const int32_t r = s->part[rgb[0]], g = s->part[rgb[1]], b = s->part[rgb[2]];
    enum { B = 3, G = 3 * GRID, R = 3 * GRID * GRID };
    for (int c = 0; c < 3; c++, p++) {
        const int32_t low = (p[0] * (255 - b) + p[B] * b) / 255, high = (p[G] * (255 - b) + p[G + B] * b) / 255,
                      near = (low * (255 - g) + high * g) / 255,
                      far_low = (p[R] * (255 - b) + p[R + B] * b) / 255,
                      far_high = (p[R + G] * (255 - b) + p[R + G + B] * b) / 255,
                      far = (far_low * (255 - g) + far_high * g) / 255;
        out[c] = (near * (255 - r) + far * r) / 255;
    }
}

static uint8_t level(int32_t value) {
    const int32_t near = (value + (value < 0 ? -LEVEL / 2 : LEVEL / 2)) / LEVEL;
    return (uint8_t)(near < 0 ? 0 : near > 255 ? 255 : near);
}

const uint8_t *cloak_srgb_see(const cloak_photo *photo, const uint8_t *rgb, uint8_t **room) {
    *room = NULL;
    if (!photo->srgb)
        return rgb;
    const size_t length = (size_t)photo->width * (size_t)photo->height * 3;
    const Steps s = steps();
    uint8_t *seen = *room = cloak_try_alloc(length);
    for (size_t i = 0; seen && i < length; i += 3) {
        int32_t colour[3];
        if (i && memcmp(rgb + i, rgb + i - 3, 3) == 0) {
            memcpy(seen + i, seen + i - 3, 3);
            continue;
        }
        look_up(photo->srgb, &s, rgb + i, colour);
        for (int c = 0; c < 3; c++)
            seen[i + (size_t)c] = level(colour[c]);
    }
    return seen;
}

void cloak_srgb_carry(const cloak_photo *photo, const uint8_t *seen, const uint8_t *changed, uint8_t *out) {
    const size_t length = (size_t)photo->width * (size_t)photo->height * 3;
    const Steps s = steps();
    for (size_t i = 0; i < length; i += 3) {
        const uint8_t *own = photo->rgb + i;
        int32_t from[3], to[3], most = 0;
        if (memcmp(seen + i, changed + i, 3) == 0) {
            memcpy(out + i, own, 3);
            continue;
        }
        for (int c = 0; c < 3; c++) {
            const int32_t by = abs((int)changed[i + (size_t)c] - (int)seen[i + (size_t)c]) * LEVEL;
            most = by > most ? by : most;
        }
        look_up(photo->srgb + CLOAK_SRGB_TABLE, &s, seen + i, from);
        look_up(photo->srgb + CLOAK_SRGB_TABLE, &s, changed + i, to);
        for (int c = 0; c < 3; c++) {
            const int32_t by = to[c] - from[c], held = by < -most ? -most : by > most ? most : by;
            out[i + (size_t)c] = level(own[c] * LEVEL + held);
        }
    }
}
