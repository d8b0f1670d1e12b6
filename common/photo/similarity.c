/* How alike two pictures are: PSNR and SSIM on 8-bit RGB.
 *
 * SSIM's windows are 8×8 at stride 4, so every window is 2×2 cells of 4×4 pixels: each pixel is
 * read once, each cell summed once, and the sums are exact integers. */
#include <math.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/photo/photo.h"

static const double identical_db = 99;

double cloak_photo_psnr(const uint8_t *a, const uint8_t *b, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n;) {
        uint32_t part = 0; /* 65,536 × 255² fits */
        size_t end = n - i < 65536 ? n : i + 65536;
        for (; i < end; i++) {
            int d = a[i] - b[i];
            part += (uint32_t)(d * d);
        }
        sum += part;
    }
    if (sum == 0)
        return identical_db;
    return fmin(identical_db, 10 * log10(255.0 * 255.0 * (double)n / (double)sum));
}

enum { CELL = 4, WINDOW = 2 * CELL };

typedef struct {
    uint32_t a, b, aa, bb, ab; /* sums of luma, its squares and products */
} sums;

/* BT.601 luma, rounded to 8 bits as the reference implementation's input is. */
static uint32_t luma(const uint8_t *rgb) {
    return (19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u) >> 16;
}

/* Sums a row of cells; `a` and `b` point to the first pixel of the first cell. */
static void sum_cells(const uint8_t *a, const uint8_t *b, int width, int cells, sums *row) {
    for (int c = 0; c < cells; c++) {
        sums s = {0};
        for (int y = 0; y < CELL; y++) {
            size_t at = 3 * ((size_t)y * (size_t)width + (size_t)c * CELL);
            for (int x = 0; x < CELL; x++, at += 3) {
                uint32_t p = luma(a + at), q = luma(b + at);
                s.a += p;
                s.b += q;
                s.aa += p * p;
                s.bb += q * q;
                s.ab += p * q;
            }
        }
        row[c] = s;
    }
}

static sums add(sums s, sums t) {
    return (sums){s.a + t.a, s.b + t.b, s.aa + t.aa, s.bb + t.bb, s.ab + t.ab};
}

static double window_ssim(sums s) {
    const double n = WINDOW * WINDOW;
    const double c1 = .01 * 255 * .01 * 255, c2 = .03 * 255 * .03 * 255;
    double ma = s.a / n, mb = s.b / n;
    double va = s.aa / n - ma * ma, vb = s.bb / n - mb * mb, cov = s.ab / n - ma * mb;
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
}

double cloak_photo_ssim(
    const uint8_t *a, const uint8_t *b, int width, int x0, int y0, int x1, int y1) {
    if (x1 - x0 < WINDOW || y1 - y0 < WINDOW)
        return 1;
    int across = (x1 - x0) / CELL, down = (y1 - y0) / CELL;
    sums *upper = cloak_alloc((size_t)across * sizeof *upper);
    sums *lower = cloak_alloc((size_t)across * sizeof *lower);
    double total = 0;
    for (int r = 0; r < down; r++) {
        size_t at = 3 * ((size_t)(y0 + r * CELL) * (size_t)width + (size_t)x0);
        sum_cells(a + at, b + at, width, across, lower);
        for (int c = 0; r > 0 && c + 1 < across; c++)
            total += window_ssim(add(add(upper[c], upper[c + 1]), add(lower[c], lower[c + 1])));
        sums *swap = upper;
        upper = lower;
        lower = swap;
    }
    free(upper);
    free(lower);
    return total / ((double)(across - 1) * (down - 1));
}
