/* What photos look like in sRGB, held against arithmetic of its own, and changes carried over into their numbers. */
#include <lcms2.h>
#include <lcms2.h>
#include <zlib.h>

#include "common/photo/srgb.h"
#include "tests/unit/samples.h"

enum { SIDE = 64 };

/* All kinds of colours, the darkest and lightest among them; of grey, all of a kind. */
static cloak_photo colours(bool grey) {
    start_library();
    cloak_photo p = make_photo(CLOAK_FORMAT_PNG, SIDE, SIDE, false);
    uint32_t state = 11;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        p.rgb[i] = grey && i % 3 ? p.rgb[i - 1] : (uint8_t)next_random(&state);
    memset(p.rgb, 0, 3);
    memset(p.rgb + 3, 255, 3);
    p.grey = grey;
    return p;
}

static double linear(double v) {
    return v <= .04045 ? v / 12.92 : pow((v + .055) / 1.055, 2.4);
}

static double coded(double v) {
    v = v < 0 ? 0 : v > 1 ? 1 : v;
    return v <= .0031308 ? v * 12.92 : 1.055 * pow(v, 1 / 2.4) - .055;
}

/* Display P3 to sRGB: the primaries of SMPTE EG 432-1 with D65, in terms of BT.709's. */
static void p3_to_srgb(const uint8_t *own, double *seen) {
    static const double m[3][3] = {{1.2249, -.2249, 0}, {-.0421, 1.0421, 0}, {-.0196, -.0786, 1.0983}};
    for (int c = 0; c < 3; c++) {
        double sum = 0;
        for (int k = 0; k < 3; k++)
            sum += m[c][k] * linear(own[k] / 255.);
        seen[c] = coded(sum) * 255;
    }
}

static void gamma_to_srgb(const uint8_t *own, double *seen) {
    for (int c = 0; c < 3; c++)
        seen[c] = coded(pow(own[c] / 255., 1.8)) * 255;
}

/* Mean and largest distance of what is seen from what should be, in levels. A grid cannot
 * follow where colours leave what sRGB can show, and what steps of its own are rounded to is .25 on average. */
static void compare(const cloak_photo *p, void (*to_srgb)(const uint8_t *, double *), double *mean, double *worst) {
    uint8_t *room = NULL;
    const uint8_t *seen = cloak_srgb_see(p, p->rgb, &room);
    CHECK(seen && seen == room);
    *mean = *worst = 0;
    for (int i = 0; i < SIDE * SIDE * 3; i += 3) {
        double want[3];
        to_srgb(p->rgb + i, want);
        for (int c = 0; c < 3; c++) {
            double off = fabs(want[c] - seen[i + c]);
            *mean += off / (SIDE * SIDE * 3);
            *worst = off > *worst ? off : *worst;
        }
    }
    free(room);
}

static void add_chunk(cloak_photo *p, const char *kind, const void *data, size_t length) {
    bytes b = {0};
    put_big(&b, (uint32_t)length, 4);
    put_text(&b, kind);
    put(&b, data, length);
    put_big(&b, (uint32_t)crc32(0, b.data + 4, (uInt)b.length - 4), 4);
    memcpy(p->png_colour + p->png_colour_length, b.data, b.length);
    p->png_colour_length += b.length;
    free(b.data);
}

TEST(code_points_say_what_is_seen) {
    double mean, worst;
    cloak_photo p = colours(false);
    p.primaries = 12;
    p.transfer = 13;
    cloak_photo_find_srgb(&p);
    CHECK(p.srgb);
    compare(&p, p3_to_srgb, &mean, &worst);
    CHECK(mean < .4 && worst < 20);
    cloak_photo_free(&p);
}

TEST(chunks_of_a_png_say_it_too) {
    double mean, worst;
    cloak_photo p = colours(false);
    add_chunk(&p, "cICP", "\x0c\x0d\0\1", 4);
    cloak_photo_find_srgb(&p);
    CHECK(p.srgb);
    compare(&p, p3_to_srgb, &mean, &worst);
    CHECK(mean < .4 && worst < 20);
    cloak_photo_free(&p);

    p = colours(false);
    add_chunk(&p, "gAMA", "\0\0\xd9\x03", 4); /* 1 / 1.8 */
    cloak_photo_find_srgb(&p);
    CHECK(p.srgb);
    compare(&p, gamma_to_srgb, &mean, &worst);
    CHECK(mean < .4 && worst < 4);
    cloak_photo_free(&p);
}

/* Grey with a power for its curve, version 2 (ICC.1:2001-04). */
static void add_grey_profile(cloak_photo *p, unsigned gamma_256ths) {
    enum { TABLE = 132, CURVE = TABLE + 2 * 12, WHITE = CURVE + 16, LENGTH = WHITE + 20 };
    bytes model = icc_profile("GRAY"), b = {0};
    put_big(&b, LENGTH, 4);
    put(&b, model.data + 4, 124);
    put_big(&b, 2, 4);
    put_text(&b, "kTRC");
    put_big(&b, CURVE, 4);
    put_big(&b, 14, 4);
    put_text(&b, "wtpt");
    put_big(&b, WHITE, 4);
    put_big(&b, 20, 4);
    put_text(&b, "curv");
    put_big(&b, 0, 4);
    put_big(&b, 1, 4);
    put_big(&b, gamma_256ths, 2);
    put_big(&b, 0, 2);
    put_text(&b, "XYZ ");
    put_big(&b, 0, 4);
    put_big(&b, 0xf6d6, 4);
    put_big(&b, 0x10000, 4);
    put_big(&b, 0xd32d, 4);
    CHECK_INT(b.length, LENGTH);
    free(model.data);
    p->icc = b.data;
    p->icc_length = b.length;
}

TEST(a_grey_profile_is_a_curve) {
    double mean, worst;
    cloak_photo p = colours(true);
    add_grey_profile(&p, 461); /* 1.8 */
    cloak_photo_find_srgb(&p);
    CHECK(p.srgb);
    compare(&p, gamma_to_srgb, &mean, &worst);
    CHECK(mean < .4 && worst < 4);
    uint8_t *room = NULL;
    const uint8_t *seen = cloak_srgb_see(&p, p.rgb, &room);
    for (int i = 0; i < SIDE * SIDE * 3; i += 3)
        CHECK(seen[i] == seen[i + 1] && seen[i] == seen[i + 2]);
    free(room);
    cloak_photo_free(&p);
    p = colours(false); /* which no grey profile describes */
    add_grey_profile(&p, 461);
    cloak_photo_find_srgb(&p);
    CHECK(!p.srgb);
    cloak_photo_free(&p);
}

static void add_profile(cloak_photo *p, cmsHPROFILE profile) {
    cmsUInt32Number length = 0;
    CHECK(cmsSaveProfileToMem(profile, NULL, &length));
    p->icc = cloak_alloc(length);
    p->icc_length = length;
    CHECK(cmsSaveProfileToMem(profile, p->icc, &length));
    cmsCloseProfile(profile);
}

/* Display P3 with sRGB's curve. */
static cmsHPROFILE p3_profile(void) {
    static const double curve[] = {2.4, 1 / 1.055, .055 / 1.055, 1 / 12.92, .04045};
    static const cmsCIExyY d65 = {.3127, .3290, 1};
    static const cmsCIExyYTRIPLE p3 = {{.680, .320, 1}, {.265, .690, 1}, {.150, .060, 1}};
    cmsToneCurve *tone = cmsBuildParametricToneCurve(NULL, 4, curve), *const tones[] = {tone, tone, tone};
    cmsHPROFILE profile = cmsCreateRGBProfile(&d65, &p3, tones);
    cmsFreeToneCurve(tone);
    return profile;
}

TEST(a_colour_profile_says_it) {
    double mean, worst;
    cloak_photo p = colours(false);
    add_profile(&p, p3_profile());
    cloak_photo_find_srgb(&p);
    CHECK(p.srgb);
    compare(&p, p3_to_srgb, &mean, &worst);
    CHECK(mean < .4 && worst < 20);
    cloak_photo_free(&p);
}

/* Such a photo is its own view, and no block is made. */
static void check_plain(cloak_photo *p) {
    uint8_t *room = NULL;
    cloak_photo_find_srgb(p);
    CHECK(!p->srgb && cloak_srgb_see(p, p->rgb, &room) == p->rgb && !room);
    cloak_photo_free(p);
}

TEST(what_is_srgb_says_nothing_or_makes_no_sense_stays_as_it_is) {
    cloak_photo p = colours(false);
    check_plain(&p);
    p = colours(false);
    p.primaries = p.transfer = 1;
    check_plain(&p);
    p = colours(false); /* HDR */
    p.primaries = 9;
    p.transfer = 16;
    check_plain(&p);
    p = colours(false);
    add_chunk(&p, "sRGB", "", 1);
    add_chunk(&p, "gAMA", "\0\0\xd9\x03", 4); /* sRGB goes before it */
    check_plain(&p);
    p = colours(false);
    add_chunk(&p, "gAMA", "\0\0\0\0", 4);
    check_plain(&p);
    p = colours(false); /* a white that is none */
    add_chunk(&p, "gAMA", "\0\0\xb1\x8f", 4);
    add_chunk(&p, "cHRM", "\0\0\x7a\x26\0\0\0\0\0\0\xfa\0\0\0\x80\xe8\0\0\x75\x30\0\0\xea\x60\0\0\x3a\x98\0\0\x17\x70", 32);
    check_plain(&p);
    p = colours(false);
    add_profile(&p, cmsCreate_sRGBProfile());
    check_plain(&p);
    p = colours(false); /* cICP goes before a profile */
    add_chunk(&p, "cICP", "\1\x0d\0\1", 4);
    add_profile(&p, p3_profile());
    check_plain(&p);
    p = colours(false);
    bytes noise = icc_profile("RGB ");
    p.icc = noise.data;
    p.icc_length = noise.length;
    check_plain(&p);
}

TEST(a_change_is_carried_over_and_nothing_else) {
    enum { BY = 8 };
    cloak_photo p = colours(false);
    for (int i = 0; i < SIDE * SIDE * 3; i++) /* away from what sRGB cannot show */
        p.rgb[i] = (uint8_t)(96 + p.rgb[i] / 4);
    p.primaries = 12;
    p.transfer = 13;
    cloak_photo_find_srgb(&p);
    uint8_t *room = NULL, changed[SIDE * SIDE * 3], *room_after = NULL;
    const uint8_t *seen = cloak_srgb_see(&p, p.rgb, &room);
    uint32_t state = 3;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        changed[i] = (uint8_t)(i < 3 * SIDE * SIDE / 2 ? seen[i] : seen[i] + (next_random(&state) & 1 ? BY : -BY));
    uint8_t own[SIDE * SIDE * 3];
    cloak_srgb_carry(&p, seen, changed, own);
    CHECK(memcmp(own, p.rgb, sizeof own / 2) == 0);
    const uint8_t *after = cloak_srgb_see(&p, own, &room_after);
    double off = 0;
    int most = 0;
    for (int i = (int)sizeof own / 2; i < (int)sizeof own; i++) {
        int by = abs(own[i] - p.rgb[i]);
        most = by > most ? by : most;
        off += abs((int)after[i] - (int)changed[i]) / (sizeof own / 2.);
    }
    CHECK_INT(most, BY);
    CHECK(off < 1);
    uint8_t in_place[sizeof own];
    memcpy(in_place, changed, sizeof own);
    cloak_srgb_carry(&p, seen, in_place, in_place);
    CHECK(memcmp(in_place, own, sizeof own) == 0);
    free(room);
    free(room_after);
    cloak_photo_free(&p);
}

/* --- CMYK --------------------------------------------------------------------------------------- */

/* A simple printer: an ink takes away its light, black of all three. */
static int ink_to_lab(const uint16_t *in, uint16_t *out, void *to_lab) {
    uint16_t rgb[3];
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint16_t)((65535u - in[c]) * (uint64_t)(65535u - in[3]) / 65535u);
    cmsDoTransform(to_lab, rgb, out, 1);
    return 1;
}

static cmsStage *curves(unsigned count) {
    return cmsStageAllocToneCurves(NULL, count, NULL);
}

/* Its profile with one table: by AToB0 for photos' looks only, which libvips passes over, or by AToB1 for colours. It
 * is more than a JPEG's segment holds. */
static bytes ink_profile(cmsTagSignature tag) {
    cmsHPROFILE srgb = cmsCreate_sRGBProfile(), lab = cmsCreateLab4Profile(NULL), own = cmsCreateProfilePlaceholder(NULL);
    cmsHTRANSFORM to_lab = cmsCreateTransform(srgb, TYPE_RGB_16, lab, TYPE_Lab_16, INTENT_RELATIVE_COLORIMETRIC, 0);
    cmsPipeline *pipeline = cmsPipelineAlloc(NULL, 4, 3);
    cmsStage *grid = cmsStageAllocCLut16bit(NULL, 11, 4, 3, NULL);
    cmsUInt32Number length = 0;
    cmsSetProfileVersion(own, 4.3);
    cmsSetDeviceClass(own, cmsSigInputClass);
    cmsSetColorSpace(own, cmsSigCmykData);
    cmsSetPCS(own, cmsSigLabData);
    CHECK(to_lab && cmsStageSampleCLut16bit(grid, ink_to_lab, to_lab, 0));
    CHECK(cmsPipelineInsertStage(pipeline, cmsAT_END, curves(4)) && cmsPipelineInsertStage(pipeline, cmsAT_END, grid) &&
          cmsPipelineInsertStage(pipeline, cmsAT_END, curves(3)));
    CHECK(cmsWriteTag(own, tag, pipeline) && cmsWriteTag(own, cmsSigMediaWhitePointTag, cmsD50_XYZ()));
    CHECK(cmsSaveProfileToMem(own, NULL, &length));
    bytes b = {cloak_alloc(length), length};
    CHECK(cmsSaveProfileToMem(own, b.data, &length) && length > 65536);
    cmsPipelineFree(pipeline);
    cmsDeleteTransform(to_lab);
    cmsCloseProfile(own);
    cmsCloseProfile(lab);
    cmsCloseProfile(srgb);
    return b;
}

/* Inks of all kinds: thin, heavy with black and without. `rgb` is left out, as decoding makes it. */
static bytes ink_sample(cloak_format_id format, bytes profile) {
    cloak_photo p = colours(false);
    uint32_t state = 23;
    p.format = format;
    p.quality = 97;
    p.icc = profile.data;
    p.icc_length = profile.length;
    p.ink = cloak_alloc(SIDE * SIDE * 4);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            uint8_t *ink = p.ink + 4 * (y * SIDE + x);
            for (int c = 0; c < 3; c++)
                ink[c] = (uint8_t)(20 + 2 * (c == 1 ? x : y) + (int)(next_random(&state) % 5));
            ink[3] = (uint8_t)(x < SIDE / 2 ? 0 : 2 * x);
        }
    bytes file = encode(&p);
    p.icc = NULL;
    cloak_photo_free(&p);
    return file;
}

/* Lifts the left upper quarter of what is seen, and the lower right one that has black. */
static bool is_lifted(int i) {
    const int x = i % SIDE, y = i / SIDE;
    return (x < SIDE / 2) == (y < SIDE / 2);
}

TEST(cmyk_stays_cmyk_and_a_change_goes_into_its_inks) {
    enum { BY = 8, PIXELS = SIDE * SIDE };
    for (int kind = 0; kind < 4; kind++) {
        const bool jpeg = kind & 1;
        bytes profile = ink_profile(kind & 2 ? cmsSigAToB0Tag : cmsSigAToB1Tag),
              file = ink_sample(jpeg ? CLOAK_FORMAT_JPEG : CLOAK_FORMAT_TIFF, profile);
        cloak_photo p = decode(file);
        CHECK(p.ink && !p.alpha && !p.srgb);
        cloak_photo_find_srgb(&p);
        CHECK(p.ink_view && !p.srgb);
        cloak_photo changed = p;
        uint8_t rgb[PIXELS * 3], ink[PIXELS * 4];
        changed.rgb = rgb;
        changed.ink = ink;
        for (int i = 0; i < PIXELS * 3; i++)
            rgb[i] = (uint8_t)(p.rgb[i] + (is_lifted(i / 3) ? BY : 0));
        cloak_srgb_carry_ink(&p, rgb, ink);
        bytes out = encode(&changed);
        cloak_photo after = decode(out);
        CHECK_INT(after.icc_length, profile.length);
        CHECK(after.ink && memcmp(after.icc, profile.data, profile.length) == 0);
        double lift = 0, off = 0, still = 0;
        for (int i = 0; i < PIXELS; i++) {
            if (!is_lifted(i))
                CHECK(memcmp(ink + 4 * i, p.ink + 4 * i, 4) == 0);
            for (int c = 3 * i; c < 3 * i + 3; c++)
                if (is_lifted(i)) {
                    lift += (after.rgb[c] - p.rgb[c]) / (PIXELS * 1.5);
                    off += abs(after.rgb[c] - rgb[c]) / (PIXELS * 1.5);
                } else {
                    still += abs(after.rgb[c] - p.rgb[c]) / (PIXELS * 1.5);
                }
        }
        CHECK_NEAR(lift, BY, .1);
        CHECK(off < .5 && still < (jpeg ? .5 : 1e-9));
        if (!jpeg)
            CHECK(memcmp(after.ink, ink, sizeof ink) == 0);
        cloak_photo_free(&after);
        cloak_photo_free(&p);
        free(out.data);
        free(profile.data);
        free(file.data);
    }
}

/* A profile that cannot be read stays, as in other photos; what the photo looks like is then said by libvips's own. */
TEST(cmyk_whose_profile_is_noise) {
    bytes noise = icc_profile("CMYK"), file = ink_sample(CLOAK_FORMAT_TIFF, noise);
    cloak_photo p = decode(file);
    CHECK_INT(p.icc_length, noise.length);
    cloak_photo_find_srgb(&p);
    CHECK(p.ink && p.ink_view && p.icc);
    cloak_photo_free(&p);
    free(noise.data);
    free(file.data);
}

TEST(cmyk_of_other_formats_is_refused) {
    cloak_photo p = colours(false);
    cloak_error error;
    void *out = NULL;
    size_t length = 0;
    p.ink = cloak_alloc(SIDE * SIDE * 4);
    memset(p.ink, 9, SIDE * SIDE * 4);
    CHECK_INT(cloak_photo_encode(&p, &out, &length, &error), CLOAK_E_USAGE);
    CHECK(!out && strstr(error.text, "png"));
    cloak_photo_free(&p);
}
