/* How well a JPEG was encoded, from its quantisation tables: the delivered photo should be no worse
 * than its source. Most encoders scale the example tables of ITU-T T.81 annex K as the IJG's does
 * (jcparam.c), so their quality can be read back exactly; for others the nearest one is taken. */
#include <stdlib.h>
#include <string.h>

#include "common/photo/parts.h"

/* Annex K.1 and K.2, row by row. */
static const uint8_t luma_example[64] = {16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60,
    55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109,
    103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,
    112, 100, 103, 99};
static const uint8_t chroma_example[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99,
    99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99};
static const uint8_t zigzag[64] = {0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19,
    26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22,
    15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/* Sum of the differences between a table and an example scaled to `quality`. */
static long distance(const uint16_t table[64], const uint8_t example[64], int quality) {
    int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    long sum = 0;
    for (int i = 0; i < 64; i++) {
        int step = (example[zigzag[i]] * scale + 50) / 100;
        step = step < 1 ? 1 : step > 255 ? 255 : step;
        sum += labs((long)table[i] - step);
    }
    return sum;
}

int cloak_quality_estimate(const uint16_t luma[64], const uint16_t *chroma) {
    int best = 0;
    long least = 0;
    for (int quality = 100; quality >= 1; quality--) {
        long sum = distance(luma, luma_example, quality);
        if (chroma)
            sum += distance(chroma, chroma_example, quality);
        if (best == 0 || sum < least) {
            best = quality;
            least = sum;
        }
    }
    return best;
}

typedef struct {
    uint16_t table[4][64];
    bool defined[4];
} tables;

/* A DQT segment holds any number of tables, of one or two bytes per entry. */
static void read_tables(const cloak_part *part, tables *t) {
    size_t at = 0;
    while (at < part->length) {
        int wide = part->data[at] >> 4, id = part->data[at] & 15;
        size_t bytes = wide ? 128 : 64;
        if (wide > 1 || id > 3 || part->length - at - 1 < bytes)
            return;
        const uint8_t *p = part->data + at + 1;
        for (int i = 0; i < 64; i++)
            t->table[id][i] = wide ? (uint16_t)(p[2 * i] << 8 | p[2 * i + 1]) : p[i];
        t->defined[id] = true;
        at += 1 + bytes;
    }
}

int cloak_quality_read(const void *bytes, size_t length) {
    tables t = {0};
    int luma = -1, chroma = -1;
    cloak_parts parts = cloak_parts_of(CLOAK_FORMAT_JPEG, bytes, length);
    cloak_part part;
    while (cloak_parts_next(&parts, &part) && part.kind != CLOAK_JPEG_SOS) {
        if (part.kind == CLOAK_JPEG_DQT)
            read_tables(&part, &t);
        /* a frame header: 6 bytes, then 3 per component, the third being its table */
        if (part.kind >= 0xc0 && part.kind <= 0xc2 && part.length >= 9) {
            luma = part.data[8] & 3;
            chroma = part.data[5] == 3 && part.length >= 12 ? part.data[11] & 3 : -1;
        }
    }
    if (luma < 0 || !t.defined[luma])
        return 0;
    bool own_chroma = chroma >= 0 && chroma != luma && t.defined[chroma];
    return cloak_quality_estimate(t.table[luma], own_chroma ? t.table[chroma] : NULL);
}
