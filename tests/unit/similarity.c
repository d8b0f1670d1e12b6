/* PSNR and SSIM against plain implementations of their definitions. */
#include <stdint.h>

#include "common/base/clock.h"
#include "common/photo/photo.h"
#include "tests/check.h"

static uint32_t state = 5;

static uint8_t noise(int range) {
    state = state * 1664525u + 1013904223u;
    return (uint8_t)((state >> 16) % (unsigned)range);
}

static uint8_t *image(size_t n, int range) {
    uint8_t *rgb = malloc(n);
    for (size_t i = 0; i < n; i++)
        rgb[i] = (uint8_t)((i / 7) % 180 + noise(range));
    return rgb;
}

static uint8_t *disturbed(const uint8_t *rgb, size_t n, int levels) {
    uint8_t *other = malloc(n);
    for (size_t i = 0; i < n; i++) {
        int v = rgb[i] + noise(2 * levels + 1) - levels;
        other[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
    return other;
}

TEST(psnr_of_known_errors) {
    enum { N = 300000 };
    uint8_t *a = calloc(N, 1), *b = calloc(N, 1);
    CHECK_NEAR(cloak_photo_psnr(a, b, N), 99, 0);
    CHECK_NEAR(cloak_photo_psnr(a, b, 0), 99, 0);
    memset(b, 255, N); /* also the largest sum there is */
    CHECK_NEAR(cloak_photo_psnr(a, b, N), 0, 1e-12);
    memset(b, 1, N);
    CHECK_NEAR(cloak_photo_psnr(a, b, N), 20 * log10(255), 1e-9);
    CHECK_NEAR(cloak_photo_psnr(b, a, N), 20 * log10(255), 1e-9);
    memset(b, 0, N);
    b[N - 1] = 10; /* the last byte counts */
    CHECK_NEAR(cloak_photo_psnr(a, b, N), 10 * log10(65025.0 * N / 100), 1e-9);
    b[N - 1] = 0;
    b[70000] = 1; /* nearly the same is never more alike than the same */
    CHECK(cloak_photo_psnr(a, b, N) <= 99);
    free(a);
    free(b);
}

static double luma(const uint8_t *p) {
    return floor(.299 * p[0] + .587 * p[1] + .114 * p[2] + .5);
}

/* The definition, window by window, in floating point and in two passes. */
static double plain_ssim(
    const uint8_t *a, const uint8_t *b, int width, int x0, int y0, int x1, int y1) {
    double total = 0, c1 = 6.5025, c2 = 58.5225;
    int count = 0;
    for (int y = y0; y + 8 <= y1; y += 4)
        for (int x = x0; x + 8 <= x1; x += 4, count++) {
            double ma = 0, mb = 0, va = 0, vb = 0, cov = 0;
            for (int i = 0; i < 64; i++) {
                size_t at = 3 * (size_t)((y + i / 8) * width + x + i % 8);
                ma += luma(a + at) / 64;
                mb += luma(b + at) / 64;
            }
            for (int i = 0; i < 64; i++) {
                size_t at = 3 * (size_t)((y + i / 8) * width + x + i % 8);
                double da = luma(a + at) - ma, db = luma(b + at) - mb;
                va += da * da / 64;
                vb += db * db / 64;
                cov += da * db / 64;
            }
            total +=
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
        }
    return count ? total / count : 1;
}

TEST(ssim_is_its_definition) {
    enum { W = 71, H = 53 };
    static const int rects[][4] = {{0, 0, W, H}, {3, 5, 60, 50}, {10, 10, 18, 18}, {10, 10, 21, 30},
        {1, 0, 9, H}, {63, 45, 71, 53}};
    for (int grey = 0; grey < 2; grey++) {
        uint8_t *a = image(3 * W * H, 40), *b = disturbed(a, 3 * W * H, 12);
        for (int i = 0; grey && i < 3 * W * H; i++) {
            a[i] = a[i - i % 3];
            b[i] = b[i - i % 3];
        }
        /* a colour's luma may round to the other side of one half; grey's cannot */
        double tolerance = grey ? 1e-9 : 1e-4;
        for (size_t i = 0; i < sizeof rects / sizeof *rects; i++) {
            const int *r = rects[i];
            double want = plain_ssim(a, b, W, r[0], r[1], r[2], r[3]);
            CHECK(want < .9999);
            CHECK_NEAR(cloak_photo_ssim(a, b, W, r[0], r[1], r[2], r[3]), want, tolerance);
            CHECK_NEAR(cloak_photo_ssim(b, a, W, r[0], r[1], r[2], r[3]), want, tolerance);
            CHECK_NEAR(cloak_photo_ssim(a, a, W, r[0], r[1], r[2], r[3]), 1, 0);
        }
        free(a);
        free(b);
    }
}

TEST(ssim_of_a_tiny_rectangle_is_one) {
    uint8_t a[3 * 8 * 8] = {0}, b[3 * 8 * 8];
    memset(b, 200, sizeof b);
    CHECK_NEAR(cloak_photo_ssim(a, b, 8, 0, 0, 7, 8), 1, 0);
    CHECK_NEAR(cloak_photo_ssim(a, b, 8, 0, 0, 8, 7), 1, 0);
    CHECK_NEAR(cloak_photo_ssim(a, b, 8, 5, 5, 5, 5), 1, 0);
    CHECK(cloak_photo_ssim(a, b, 8, 0, 0, 8, 8) < .01);
}

TEST(ssim_falls_with_the_damage) {
    enum { W = 200, H = 100 };
    uint8_t *a = image(3 * W * H, 30);
    double before = 1;
    for (int levels = 2; levels <= 32; levels *= 2) {
        uint8_t *b = disturbed(a, 3 * W * H, levels);
        double ssim = cloak_photo_ssim(a, b, W, 0, 0, W, H);
        CHECK(ssim < before);
        before = ssim;
        free(b);
    }
    free(a);
}

TEST(twelve_megapixels_take_seconds_at_most) {
    enum { W = 4000, H = 3000 };
    size_t n = 3 * (size_t)W * H;
    uint8_t *a = image(n, 30), *b = disturbed(a, n, 3);
    double start = cloak_now();
    double psnr = cloak_photo_psnr(a, b, n), between = cloak_now();
    double ssim = cloak_photo_ssim(a, b, W, 0, 0, W, H);
    double end = cloak_now();
    printf("  psnr %.2f dB in %.3f s, ssim %.4f in %.3f s\n", psnr, between - start, ssim,
        end - between);
    CHECK(end - start < 10); /* generous: sanitizers and busy machines */
    free(a);
    free(b);
}
