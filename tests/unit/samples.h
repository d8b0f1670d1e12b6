/* Photos made by code, byte by byte where the encoder under test must not be trusted: a growing
 * byte string, a PNG writer of all kinds, a JPEG writer of flat 8×8 blocks, RIFF, EXIF and ICC. */
#ifndef CLOAK_TESTS_SAMPLES_H
#define CLOAK_TESTS_SAMPLES_H

#include <stdint.h>

#include "common/base/alloc.h"
#include "common/photo/photo.h"
#include "tests/check.h"

typedef struct {
    uint8_t *data; /* free() */
    size_t length;
} bytes;

static inline void put(bytes *b, const void *data, size_t n) {
    b->data = cloak_realloc(b->data, b->length + n);
    if (n)
        memcpy(b->data + b->length, data, n);
    b->length += n;
}

static inline void put_byte(bytes *b, unsigned value) {
    put(b, &(uint8_t){(uint8_t)value}, 1);
}

static inline void put_big(bytes *b, uint32_t value, int n) {
    while (n-- > 0)
        put_byte(b, value >> (8 * n));
}

static inline void put_little(bytes *b, uint32_t value, int n) {
    for (int i = 0; i < n; i++)
        put_byte(b, value >> (8 * i));
}

static inline void put_text(bytes *b, const char *text) {
    put(b, text, strlen(text));
}

/* The same numbers on every machine. */
static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline void start_library(void) {
    static bool started;
    cloak_error error;
    if (!started)
        CHECK_OK(cloak_photo_init("test", &error));
    started = true;
}

/* Soft slopes, an edge and a little noise: what photos are made of. */
static inline cloak_photo make_photo(cloak_format_id format, int width, int height, bool alpha) {
    size_t pixels = (size_t)width * (size_t)height;
    cloak_photo p = {.width = width, .height = height, .format = format};
    uint32_t state = 7;
    p.rgb = cloak_alloc(pixels * 3);
    p.alpha = alpha ? cloak_alloc(pixels) : NULL;
    p.lossless = format != CLOAK_FORMAT_JPEG;
    for (size_t i = 0; i < pixels; i++) {
        int x = (int)(i % (size_t)width), y = (int)(i / (size_t)width);
        int edge = x * 2 > width ? 60 : 0, noise = (int)(next_random(&state) % 5);
        p.rgb[3 * i] = (uint8_t)(40 + 120 * x / width + noise);
        p.rgb[3 * i + 1] = (uint8_t)(60 + 100 * y / height + edge + noise);
        p.rgb[3 * i + 2] = (uint8_t)(200 - 90 * x / width - noise);
        if (alpha)
            p.alpha[i] = (uint8_t)(255 - (x + y) % 200);
    }
    return p;
}

/* The same at more than 8 bits: every step of 8 bits has what lies between it and the next. */
static inline cloak_photo make_deep(cloak_format_id format, int width, int height, bool alpha, int depth) {
    cloak_photo p = make_photo(format, width, height, alpha);
    const size_t pixels = (size_t)width * (size_t)height;
    const uint32_t most = (1u << depth) - 1;
    uint32_t state = 5;
    p.depth = depth;
    p.deep = cloak_alloc(pixels * 3 * sizeof *p.deep);
    p.deep_alpha = alpha ? cloak_alloc(pixels * sizeof *p.deep) : NULL;
    for (size_t i = 0; i < pixels * (alpha ? 4 : 3); i++) {
        uint8_t *level = i < pixels * 3 ? &p.rgb[i] : &p.alpha[i - pixels * 3];
        uint32_t fine = *level * 257u + next_random(&state) % 129;
        fine = fine > 65535 ? 65535 : fine;
        fine = ((fine * most + 32767) / 65535 * 65535 + most / 2) / most; /* what the depth can hold */
        *(i < pixels * 3 ? &p.deep[i] : &p.deep_alpha[i - pixels * 3]) = (uint16_t)fine;
        *level = (uint8_t)((fine + 128) / 257);
    }
    return p;
}

static inline bytes encode(const cloak_photo *photo) {
    void *data = NULL;
    size_t length = 0;
    cloak_error error;
    start_library();
    CHECK_OK(cloak_photo_encode(photo, &data, &length, &error));
    return (bytes){data, length};
}

static inline bytes encoded_sample(cloak_format_id format, int width, int height, bool alpha) {
    cloak_photo photo = make_photo(format, width, height, alpha);
    bytes b = encode(&photo);
    cloak_photo_free(&photo);
    return b;
}

static inline cloak_photo decode(bytes file) {
    cloak_photo photo;
    cloak_error error;
    start_library();
    CHECK_OK(cloak_photo_decode(file.data, file.length, "sample", NULL, &photo, &error));
    return photo;
}

/* An ICC header and one tag of noise: libpng looks at the header, and takes a profile that
 * compresses too well for none. */
static inline bytes icc_profile(const char *space) {
    enum { NOISE = 400, TAG = 144 };
    bytes b = {0};
    uint32_t state = 3;
    put_big(&b, TAG + NOISE, 4);
    put_text(&b, "test");
    put_big(&b, 0x02400000, 4);
    put_text(&b, "mntr");
    put_text(&b, space);
    put_text(&b, "XYZ ");
    for (int i = 0; i < 12; i++)
        put_byte(&b, 0);
    put_text(&b, "acsp");
    while (b.length < 68)
        put_byte(&b, 0);
    put_big(&b, 0xf6d6, 4);
    put_big(&b, 0x10000, 4);
    put_big(&b, 0xd32d, 4);
    while (b.length < 128)
        put_byte(&b, 0);
    put_big(&b, 1, 4);
    put_text(&b, "A2B0");
    put_big(&b, TAG, 4);
    put_big(&b, NOISE, 4);
    while (b.length < TAG + NOISE)
        put_byte(&b, next_random(&state) & 0xff);
    return b;
}

/* --- EXIF ------------------------------------------------------------------------------------ */

/* A TIFF block whose first folder holds a camera name, the orientation and a link to GPS data, and
 * whose second holds a thumbnail; `secret` appears in all three. */
static inline bytes exif_block(int orientation, bool big_endian, const char *secret) {
    bytes b = {0};
    void (*number)(bytes *, uint32_t, int) = big_endian ? put_big : put_little;
    uint32_t size = (uint32_t)strlen(secret) + 1;
    uint32_t text = 8 + 2 + 3 * 12 + 4, gps = text + size, gps_text = gps + 2 + 12 + 4;
    uint32_t second = gps_text + size, thumbnail = second + 2 + 2 * 12 + 4;
    put_text(&b, big_endian ? "MM" : "II");
    number(&b, 42, 2);
    number(&b, 8, 4);
    number(&b, 3, 2);
    struct {
        uint32_t tag, type, count, value;
    } first[] = {{0x010f, 2, size, text}, {0x0112, 3, 1, 0}, {0x8825, 4, 1, gps}};
    for (int i = 0; i < 3; i++) {
        number(&b, first[i].tag, 2);
        number(&b, first[i].type, 2);
        number(&b, first[i].count, 4);
        if (first[i].tag == 0x0112) {
            number(&b, (uint32_t)orientation, 2);
            number(&b, 0, 2);
        } else {
            number(&b, first[i].value, 4);
        }
    }
    number(&b, second, 4);
    put(&b, secret, size);
    number(&b, 1, 2); /* GPS: GPSMapDatum as a text */
    number(&b, 0x12, 2);
    number(&b, 2, 2);
    number(&b, size, 4);
    number(&b, gps_text, 4);
    number(&b, 0, 4);
    put(&b, secret, size);
    number(&b, 2, 2); /* thumbnail: JPEGInterchangeFormat and its length */
    for (uint32_t i = 0; i < 2; i++) {
        number(&b, 0x0201 + i, 2);
        number(&b, 4, 2);
        number(&b, 1, 4);
        number(&b, i == 0 ? thumbnail : size + 4, 4);
    }
    number(&b, 0, 4);
    put(&b, "\xff\xd8", 2);
    put(&b, secret, size);
    put(&b, "\xff\xd9", 2);
    return b;
}

/* --- JPEG ------------------------------------------------------------------------------------ */

static inline void put_segment(bytes *b, unsigned marker, const void *data, size_t n) {
    put_byte(b, 0xff);
    put_byte(b, marker);
    put_big(b, (uint32_t)n + 2, 2);
    put(b, data, n);
}

/* A copy of `jpeg` with a segment behind its start marker. */
static inline bytes with_segment(bytes jpeg, unsigned marker, const void *data, size_t n) {
    bytes b = {0};
    put(&b, jpeg.data, 2);
    put_segment(&b, marker, data, n);
    put(&b, jpeg.data + 2, jpeg.length - 2);
    return b;
}

static inline bytes with_exif(bytes jpeg, bytes exif) {
    bytes payload = {0};
    put(&payload, "Exif\0", 6);
    put(&payload, exif.data, exif.length);
    bytes b = with_segment(jpeg, 0xe1, payload.data, payload.length);
    free(payload.data);
    return b;
}

typedef struct {
    bytes *to;
    uint32_t bits;
    int count;
} bit_writer;

static inline void put_bits(bit_writer *w, uint32_t value, int n) {
    while (n-- > 0) {
        w->bits = w->bits << 1 | (value >> n & 1);
        if (++w->count < 8)
            continue;
        put_byte(w->to, w->bits & 0xff);
        if ((w->bits & 0xff) == 0xff)
            put_byte(w->to, 0);
        w->count = 0;
    }
}

/* A baseline JPEG of flat blocks: block i has the sample values levels[i × components …].
 * `tables` are one or two quantisation tables in zigzag order (NULL: all ones, no loss; then a
 * sample comes back as it was). `adobe` is the transform of an Adobe marker, or -1 for none. */
static inline bytes flat_jpeg(int across, int down, int components, const uint8_t *levels,
    const uint8_t (*tables)[64], int table_count, int adobe) {
    bytes b = {0};
    uint8_t ones[64], quant[65], frame[6 + 12] = {8}, scan[1 + 8 + 3];
    memset(ones, 1, sizeof ones);
    put_big(&b, 0xffd8, 2);
    if (adobe >= 0) {
        uint8_t marker[12] = {'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, (uint8_t)adobe};
        put_segment(&b, 0xee, marker, sizeof marker);
    }
    for (int t = 0; t < (tables ? table_count : 1); t++) {
        quant[0] = (uint8_t)t;
        memcpy(quant + 1, tables ? tables[t] : ones, 64);
        put_segment(&b, 0xdb, quant, 65);
    }
    frame[1] = (uint8_t)(down * 8 >> 8);
    frame[2] = (uint8_t)(down * 8);
    frame[3] = (uint8_t)(across * 8 >> 8);
    frame[4] = (uint8_t)(across * 8);
    frame[5] = (uint8_t)components;
    scan[0] = (uint8_t)components;
    for (int c = 0; c < components; c++) {
        uint8_t table = tables && table_count > 1 && c > 0;
        memcpy(frame + 6 + 3 * c, (uint8_t[]){(uint8_t)(c + 1), 0x11, table}, 3);
        memcpy(scan + 1 + 2 * c, (uint8_t[]){(uint8_t)(c + 1), 0}, 2);
    }
    memcpy(scan + 1 + 2 * components, (uint8_t[]){0, 63, 0}, 3);
    put_segment(&b, 0xc0, frame, 6 + 3 * (size_t)components);
    /* DC: twelve codes of four bits; AC: one code of one bit, the end of a block */
    uint8_t dc[1 + 16 + 12] = {0x00, 0, 0, 0, 12}, ac[1 + 16 + 1] = {0x10, 1};
    for (uint8_t i = 0; i < 12; i++)
        dc[17 + i] = i;
    put_segment(&b, 0xc4, dc, sizeof dc);
    put_segment(&b, 0xc4, ac, sizeof ac);
    put_segment(&b, 0xda, scan, 4 + 2 * (size_t)components);
    bit_writer w = {&b, 0, 0};
    int before[4] = {0};
    for (int i = 0; i < across * down * components; i++) {
        int c = i % components, q = tables ? tables[table_count > 1 && c > 0][0] : 1;
        int level = 8 * (levels[i] - 128) / q, difference = level - before[c], size = 0;
        before[c] = level;
        while (abs(difference) >> size)
            size++;
        put_bits(&w, (uint32_t)size, 4);
        put_bits(&w, (uint32_t)(difference < 0 ? difference - 1 : difference), size);
        put_bits(&w, 0, 1);
    }
    put_bits(&w, 0x7f, 7); /* fills the last byte with ones */
    put_big(&b, 0xffd9, 2);
    return b;
}

/* --- PNG ------------------------------------------------------------------------------------- */

static inline uint32_t png_crc(const uint8_t *p, size_t n) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

static inline void put_chunk(bytes *b, const char *name, const void *data, size_t n) {
    put_big(b, (uint32_t)n, 4);
    size_t start = b->length;
    put_text(b, name);
    put(b, data, n);
    put_big(b, png_crc(b->data + start, n + 4), 4);
}

/* zlib's format without compression (RFC 1950, RFC 1951). */
static inline bytes stored(const void *data, size_t n) {
    const uint8_t *p = data;
    bytes b = {0};
    uint32_t s1 = 1, s2 = 0;
    put_big(&b, 0x7801, 2);
    size_t at = 0;
    do {
        size_t piece = n - at < 65535 ? n - at : 65535;
        put_byte(&b, at + piece == n);
        put_little(&b, (uint32_t)piece, 2);
        put_little(&b, ~(uint32_t)piece, 2);
        put(&b, p + at, piece);
        at += piece;
    } while (at < n);
    for (size_t i = 0; i < n; i++) {
        s1 = (s1 + p[i]) % 65521;
        s2 = (s2 + s1) % 65521;
    }
    put_big(&b, s2 << 16 | s1, 4);
    return b;
}

static inline void put_png_start(
    bytes *b, int width, int height, int depth, int colour, int interlace) {
    bytes header = {0};
    put(b, "\x89PNG\r\n\x1a\n", 8);
    put_big(&header, (uint32_t)width, 4);
    put_big(&header, (uint32_t)height, 4);
    put(&header, (uint8_t[]){(uint8_t)depth, (uint8_t)colour, 0, 0, (uint8_t)interlace}, 5);
    put_chunk(b, "IHDR", header.data, header.length);
    free(header.data);
}

/* The pixels and the end; `rows` hold a filter byte (0) before each row. */
static inline void put_png_end(bytes *b, bytes rows) {
    bytes packed = stored(rows.data, rows.length);
    put_chunk(b, "IDAT", packed.data, packed.length);
    put_chunk(b, "IEND", "", 0);
    free(packed.data);
}

/* Makes all checksums right again after bytes were changed, as far as the chunks can be walked. */
static inline void mend_png(bytes file) {
    for (size_t at = 8; file.length - at >= 12;) {
        const uint8_t *p = file.data + at;
        size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        if (n > file.length - at - 12)
            return;
        uint32_t crc = png_crc(p + 4, n + 4);
        for (int i = 0; i < 4; i++)
            file.data[at + 8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += n + 12;
    }
}

/* --- WebP ------------------------------------------------------------------------------------ */

static inline void put_riff(bytes *b, const char *name, const void *data, size_t n) {
    put_text(b, name);
    put_little(b, (uint32_t)n, 4);
    put(b, data, n);
    if (n & 1)
        put_byte(b, 0);
}

/* RIFF around `chunks`. */
static inline bytes webp_of(bytes chunks) {
    bytes b = {0};
    put_text(&b, "RIFF");
    put_little(&b, (uint32_t)chunks.length + 4, 4);
    put_text(&b, "WEBP");
    put(&b, chunks.data, chunks.length);
    return b;
}

static inline void put_vp8x(bytes *b, unsigned flags, int width, int height) {
    bytes payload = {0};
    put_little(&payload, flags, 4);
    put_little(&payload, (uint32_t)width - 1, 3);
    put_little(&payload, (uint32_t)height - 1, 3);
    put_riff(b, "VP8X", payload.data, payload.length);
    free(payload.data);
}

#endif
