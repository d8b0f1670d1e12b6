/* See srgb.h. The profiles are Little CMS'; relative colorimetric with black point compensation, as browsers do it. */
#include "common/photo/srgb.h"

#include <stdlib.h>
#include <string.h>

#include <lcms2.h>
#include <vips/vips.h>

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

/* The data of one of the kept chunks of a PNG, which were checked when they were kept; or NULL. */
static const uint8_t *chunk_of(const cloak_photo *photo, uint32_t kind) {
    for (size_t at = 0; at + 12 <= photo->png_colour_length;) {
        const uint8_t *chunk = photo->png_colour + at;
        if (number(chunk + 4) == kind)
            return chunk + 8;
        at += 12 + (size_t)number(chunk);
    }
    return NULL;
}

/* What sRGB, gAMA and cHRM say. A gamma that nobody uses says nothing. */
static cmsHPROFILE of_chunks(const cloak_photo *photo) {
    enum { LEAST = 20000, MOST = 500000 };
    const uint8_t *gamma = chunk_of(photo, CLOAK_FOUR('g', 'A', 'M', 'A')), *colours = chunk_of(photo, CLOAK_FOUR('c', 'H', 'R', 'M'));
    if (chunk_of(photo, CLOAK_FOUR('s', 'R', 'G', 'B')) || !gamma || number(gamma) < LEAST || number(gamma) > MOST)
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

/* Of a PNG in the order of its third edition, 4.3: cICP, profile, sRGB, gAMA and cHRM. */
static cmsHPROFILE own_profile(const cloak_photo *photo) {
    const uint8_t *code = chunk_of(photo, CLOAK_FOUR('c', 'I', 'C', 'P'));
    if (code)
        return of_code_points(code[0], code[1]);
    if (photo->icc)
        return cmsOpenProfileFromMem(photo->icc, (cmsUInt32Number)photo->icc_length);
    return photo->png_colour_length ? of_chunks(photo) : of_code_points(photo->primaries, photo->transfer);
}

/* --- the tables --------------------------------------------------------------------------------- */

static uint16_t grid_level(int i) {
    return (uint16_t)((i * UINT16_MAX + (GRID - 1) / 2) / (GRID - 1));
}

/* Converts colours; the types are Little CMS's. */
static bool convert(cmsHPROFILE from, cmsUInt32Number type_in, cmsHPROFILE to, cmsUInt32Number type_out, const uint16_t *in,
    size_t count, uint16_t *out) {
    cmsHTRANSFORM transform = cmsCreateTransform(from, type_in, to, type_out, INTENT_RELATIVE_COLORIMETRIC,
        cmsFLAGS_BLACKPOINTCOMPENSATION | cmsFLAGS_NOCACHE);
    if (!transform)
        return false;
    cmsDoTransform(transform, in, out, (cmsUInt32Number)count);
    cmsDeleteTransform(transform);
    return true;
}

static void fill_grid(uint16_t *grid) {
    for (int i = 0; i < POINTS; i++) {
        grid[3 * i] = grid_level(i / (GRID * GRID));
        grid[3 * i + 1] = grid_level(i / GRID % GRID);
        grid[3 * i + 2] = grid_level(i % GRID);
    }
}

/* Whether white is lighter than black by half of what there is, in every colour. */
static bool rises(const uint16_t *table) {
    for (int c = 0; c < 3; c++)
        if (table[3 * (POINTS - 1) + c] - table[c] < UINT16_MAX / 2)
            return false;
    return true;
}

/* Whether the greys come back to about where they were. */
static bool comes_back(const uint16_t *tables) {
    enum { GREY = 3 * (GRID * GRID + GRID + 1), FAR = 32 * LEVEL };
    for (int i = GRID / 4; i < GRID; i += GRID / 4) {
        const int there = (tables[GREY * i + 1] + UINT16_MAX / (GRID - 1) / 2) / (UINT16_MAX / (GRID - 1)),
                  back = tables[CLOAK_SRGB_TABLE + GREY * (there < GRID ? there : GRID - 1) + 1];
        if (abs(back - grid_level(i)) > FAR)
            return false;
    }
    return rises(tables + CLOAK_SRGB_TABLE);
}

/* A profile may lead to sRGB only, as scanners' do: changes are then carried level for level. */
static bool fill_colour(cmsHPROFILE own, cmsHPROFILE srgb, uint16_t *grid, uint16_t *tables) {
    fill_grid(grid);
    if (!convert(own, TYPE_RGB_16, srgb, TYPE_RGB_16, grid, POINTS, tables))
        return false;
    if (!convert(srgb, TYPE_RGB_16, own, TYPE_RGB_16, grid, POINTS, tables + CLOAK_SRGB_TABLE) || !comes_back(tables))
        memcpy(tables + CLOAK_SRGB_TABLE, grid, CLOAK_SRGB_TABLE * sizeof *grid);
    return true;
}

/* A curve becomes a table in which each colour goes its own way. */
static bool fill_grey(cmsHPROFILE own, cmsHPROFILE srgb, uint16_t *tables) {
    uint16_t grey[GRID], colour[GRID * 3], ways[2][GRID];
    for (int i = 0; i < GRID; i++)
        grey[i] = colour[3 * i] = colour[3 * i + 1] = colour[3 * i + 2] = grid_level(i);
    if (!convert(srgb, TYPE_RGB_16, own, TYPE_GRAY_16, colour, GRID, ways[1]) ||
        !convert(own, TYPE_GRAY_16, srgb, TYPE_RGB_16, grey, GRID, colour))
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

/* The profile of a CMYK photo, or libvips's where there is none that can be read and has this intent: as libvips itself
 * chooses in decode.c. */
static cmsHPROFILE ink_profile(const cloak_photo *photo) {
    cmsHPROFILE profile = own_profile(photo);
    VipsBlob *common = NULL;
    if (profile && !cmsIsIntentSupported(profile, INTENT_RELATIVE_COLORIMETRIC, LCMS_USED_AS_INPUT)) {
        cmsCloseProfile(profile);
        profile = NULL;
    }
    if (!profile && vips_profile_load("cmyk", &common, NULL) == 0) {
        size_t length = 0;
        const void *bytes = vips_blob_get(common, &length);
        profile = cmsOpenProfileFromMem(bytes, (cmsUInt32Number)length);
        vips_area_unref(VIPS_AREA(common));
    }
    return profile;
}

static void find_ink(cloak_photo *photo) {
    cmsHPROFILE own = ink_profile(photo), srgb = own ? cmsCreate_sRGBProfile() : NULL;
    uint16_t *grid = srgb ? cloak_try_alloc(CLOAK_INK_TABLE / 3 * 4 * sizeof *grid) : NULL,
             *table = grid ? cloak_try_alloc(CLOAK_INK_TABLE * sizeof *table) : NULL;
    for (int i = 0; table && i < CLOAK_INK_TABLE / 3; i++)
        for (int k = 3, at = i; k >= 0; k--, at /= CLOAK_INK_GRID)
            grid[4 * i + k] = (uint16_t)(at % CLOAK_INK_GRID * UINT16_MAX / (CLOAK_INK_GRID - 1));
    if (table && cmsGetColorSpace(own) == cmsSigCmykData &&
        convert(own, TYPE_CMYK_16, srgb, TYPE_RGB_16, grid, CLOAK_INK_TABLE / 3, table)) {
        photo->ink_view = table;
        table = NULL;
    }
    if (!photo->ink_view) {
        free(photo->ink);
        free(photo->icc);
        photo->ink = photo->icc = NULL;
        photo->icc_length = 0;
    }
    free(grid);
    free(table);
    if (srgb)
        cmsCloseProfile(srgb);
    if (own)
        cmsCloseProfile(own);
}

static void find_colours(cloak_photo *photo) {
    cmsHPROFILE own = own_profile(photo), srgb = own ? cmsCreate_sRGBProfile() : NULL;
    uint16_t *tables = srgb ? cloak_try_alloc(CLOAK_SRGB_LENGTH * sizeof *tables) : NULL,
             *grid = tables ? cloak_try_alloc(CLOAK_SRGB_TABLE * sizeof *grid) : NULL;
    const bool grey = own && cmsGetColorSpace(own) == cmsSigGrayData, colour = own && cmsGetColorSpace(own) == cmsSigRgbData;
    if (grid && ((grey && photo->grey && fill_grey(own, srgb, tables)) || (colour && fill_colour(own, srgb, grid, tables))) &&
        rises(tables) && !is_srgb(tables)) {
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

void cloak_photo_find_srgb(cloak_photo *photo) {
    if (photo->ink)
        find_ink(photo);
    else
        find_colours(photo);
    vips_error_clear(); /* where it listens to Little CMS, what that says would become the next photo's error */
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

/* --- inks --------------------------------------------------------------------------------------- */

typedef struct {
    float rgb[3], slope[4][3]; /* levels, and levels per level of each ink */
} InkView;

/* What inks (levels) look like, and how that changes with each of them: linear between the table's points. */
static InkView see_ink(const uint16_t *table, const float *ink) {
    enum { CORNERS = 16 };
    const float scale = (CLOAK_INK_GRID - 1) / 255.f;
    InkView view = {0};
    float part[4];
    int first = 0;
    for (int k = 0; k < 4; k++) {
        const int at = (int)(ink[k] * scale), below = at < CLOAK_INK_GRID - 1 ? at : CLOAK_INK_GRID - 2;
        part[k] = ink[k] * scale - (float)below;
        first = first * CLOAK_INK_GRID + below;
    }
    for (int corner = 0; corner < CORNERS; corner++) {
        float share[4], weight = 1;
        int at = 0;
        for (int k = 0; k < 4; k++) {
            const int on = corner >> k & 1;
            share[k] = on ? part[k] : 1 - part[k];
            at = at * CLOAK_INK_GRID + on;
            weight *= share[k];
        }
        const uint16_t *p = table + 3 * (first + at);
        for (int c = 0; c < 3; c++) {
            const float value = (float)p[c] / LEVEL;
            view.rgb[c] += weight * value;
            for (int k = 0; k < 4; k++)
                view.slope[k][c] += (corner >> k & 1 ? scale : -scale) * value * share[(k + 1) % 4] * share[(k + 2) % 4] *
                                    share[(k + 3) % 4];
        }
    }
    return view;
}

/* The smallest step of the inks by which they look different by `by`, to first order: damped least squares
 * (Levenberg 1944), by Cramer's rule. The damping keeps a step finite where inks show next to nothing. */
static void least_step(const InkView *view, const bool *fixed, const float *by, float *step) {
    const float damping = .002f;
    float m[3][3], cofactor[3][3], det = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            m[i][j] = i == j ? damping : 0;
            for (int k = 0; k < 4; k++)
                m[i][j] += fixed[k] ? 0 : view->slope[k][i] * view->slope[k][j];
        }
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            cofactor[i][j] = m[(i + 1) % 3][(j + 1) % 3] * m[(i + 2) % 3][(j + 2) % 3] -
                             m[(i + 1) % 3][(j + 2) % 3] * m[(i + 2) % 3][(j + 1) % 3];
    for (int j = 0; j < 3; j++)
        det += m[0][j] * cofactor[0][j];
    for (int k = 0; k < 4; k++) {
        step[k] = 0;
        for (int i = 0; i < 3 && !fixed[k]; i++)
            for (int j = 0; j < 3; j++)
                step[k] += view->slope[k][i] * cofactor[i][j] * by[j] / det;
    }
}

/* One pixel: from its own inks to those that look as its view with the change from `seen` to `changed`. */
static void move_ink(const uint16_t *table, const uint8_t *own, const uint8_t *seen, const uint8_t *changed, uint8_t *out) {
    enum { ROUNDS = 3 };
    float ink[4], want[3], by[3], step[4];
    bool fixed[4] = {false}; /* at an end, and would go on */
    for (int k = 0; k < 4; k++)
        ink[k] = own[k];
    for (int round = 0; round < ROUNDS; round++) {
        const InkView view = see_ink(table, ink);
        for (int c = 0; c < 3; c++) {
            if (round == 0)
                want[c] = view.rgb[c] + (float)(changed[c] - seen[c]);
            by[c] = want[c] - view.rgb[c];
        }
        least_step(&view, fixed, by, step);
        for (int k = 0; k < 4; k++) {
            const float to = ink[k] + step[k];
            fixed[k] = fixed[k] || to < 0 || to > 255;
            ink[k] = to < 0 ? 0 : to > 255 ? 255 : to;
        }
    }
    for (int k = 0; k < 4; k++)
        out[k] = (uint8_t)(ink[k] + .5f);
}

void cloak_srgb_carry_ink(const cloak_photo *photo, const uint8_t *changed, uint8_t *ink) {
    const size_t pixels = (size_t)photo->width * (size_t)photo->height;
    for (size_t i = 0; i < pixels; i++)
        if (memcmp(photo->rgb + 3 * i, changed + 3 * i, 3) == 0)
            memcpy(ink + 4 * i, photo->ink + 4 * i, 4);
        else
            move_ink(photo->ink_view, photo->ink + 4 * i, photo->rgb + 3 * i, changed + 3 * i, ink + 4 * i);
}
