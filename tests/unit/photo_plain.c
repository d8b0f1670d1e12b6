/* What hides behind coded pixels, where no decoder looks, does not pass, and the pixels stay as they are coded. */
#include <math.h>

#include "common/photo/parts.h"
#include "tests/unit/samples.h"

static const char secret[] = "SECRET-FACE";

/* The start of a JPEG, as a second picture has it. */
static const char second[] = "SECRET-FACE\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0";

typedef struct {
    size_t length;
    bool encoded;
} Cleaned;

/* Cleans a file; what comes out has the same pixels and no secret. */
static Cleaned clean(bytes file, int tolerance) {
    Cleaned result = {0};
    cloak_photo photo = decode(file), back;
    void *out = NULL;
    cloak_error error;
    CHECK_OK(cloak_photo_clean(file.data, file.length, &photo, &out, &result.length, &result.encoded, &error));
    CHECK(!memmem(out, result.length, secret, strlen(secret)));
    back = decode((bytes){out, result.length});
    CHECK_INT(back.width, photo.width);
    CHECK_INT(back.height, photo.height);
    for (size_t i = 0; i < (size_t)photo.width * (size_t)photo.height * 3; i++)
        CHECK_NEAR(back.rgb[i], photo.rgb[i], tolerance);
    cloak_photo_free(&back);
    cloak_photo_free(&photo);
    free(out);
    return result;
}

/* As clean, for a file whose coded pixels can stay. */
static void check_kept(bytes file) {
    CHECK(memmem(file.data, file.length, secret, strlen(secret)));
    CHECK(!clean(file, 0).encoded);
}

TEST(nothing_hides_in_a_jpeg) {
    bytes jpeg = encoded_sample(CLOAK_FORMAT_JPEG, 40, 24, false), adobe = {0}, tail = {0}, fills = {0};
    put(&adobe, "Adobe\0\x64\0\0\0\0\1", 12);
    put(&adobe, second, sizeof second);
    bytes longer = with_segment(jpeg, 0xee, adobe.data, adobe.length);
    check_kept(longer);
    bytes bare = {0}; /* without JFIF's header what Adobe's says counts */
    put(&bare, longer.data, 2 + 4 + adobe.length);
    put(&bare, jpeg.data + 20, jpeg.length - 20);
    bare.data[2 + 4 + 11] = 0; /* RGB, of components that are called 1, 2 and 3: the pixels stay what they are */
    cloak_photo ycc = decode(longer), rgb = decode(bare);
    CHECK(memcmp(ycc.rgb, rgb.rgb, 3) != 0);
    cloak_photo_free(&rgb);
    cloak_photo_free(&ycc);
    check_kept(bare);
    free(bare.data);
    bytes lines = with_segment(jpeg, 0xdc, second, sizeof second); /* their number, which no decoder of ours asks for */
    check_kept(lines);
    put(&tail, jpeg.data, jpeg.length - 2); /* behind the last block */
    put_text(&tail, secret);
    put(&tail, jpeg.data + jpeg.length - 2, 2);
    check_kept(tail);
    put(&fills, jpeg.data, jpeg.length - 2);
    for (int i = 0; i < 20; i++) /* between restart markers that nobody waits for */
        put(&fills, "\xff\xd0SECRET-FACE", 13);
    put(&fills, jpeg.data + jpeg.length - 2, 2);
    check_kept(fills);
    CHECK(!clean(jpeg, 0).encoded);
    free(fills.data);
    free(tail.data);
    free(lines.data);
    free(longer.data);
    free(adobe.data);
    free(jpeg.data);
}

/* A picture of `height` grey rows of 16 pixels, of which the header says 8. */
static bytes png_of_rows(int height, const void *tail, size_t tail_length) {
    bytes file = {0}, rows = {0};
    put_png_start(&file, 16, 8, 8, 0, 0);
    for (int y = 0; y < height; y++) {
        put_byte(&rows, 0);
        put(&rows, y < 8 ? "0123456789abcdef" : "SECRET-FACE-0123", 16);
    }
    bytes packed = stored(rows.data, rows.length);
    put(&packed, tail, tail_length);
    put_chunk(&file, "IDAT", packed.data, packed.length);
    put_chunk(&file, "IEND", "", 0);
    free(packed.data);
    free(rows.data);
    return file;
}

TEST(nothing_hides_in_a_png) {
    bytes plain = png_of_rows(8, "", 0), rows = png_of_rows(9, "", 0), behind = png_of_rows(8, second, sizeof second), parts = {0};
    CHECK(!clean(plain, 0).encoded);
    CHECK(clean(rows, 0).encoded);
    CHECK(clean(behind, 0).encoded);
    put(&parts, plain.data, plain.length - 12);
    put_chunk(&parts, "IDAT", second, sizeof second);
    put(&parts, plain.data + plain.length - 12, 12);
    CHECK(clean(parts, 0).encoded);
    free(parts.data);
    free(behind.data);
    free(rows.data);
    free(plain.data);
}

/* Adam7's passes, as the specification draws them: the bytes of all rows, counted pixel by pixel. */
static size_t rows_of(int width, int height, int bits, bool interlaced) {
    static const char *const drawing[] = {"16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"};
    size_t size = 0;
    for (char pass = '1'; pass <= (interlaced ? '7' : '1'); pass++)
        for (int y = 0; y < height; y++) {
            int pixels = 0;
            for (int x = 0; x < width; x++)
                pixels += !interlaced || drawing[y % 8][x % 8] == pass;
            size += pixels ? 1 + ((size_t)pixels * (size_t)bits + 7) / 8 : 0;
        }
    return size;
}

TEST(any_png_is_plain) {
    static const struct {
        int colour, depth, bits;
    } kinds[] = {{0, 1, 1}, {0, 4, 4}, {3, 2, 2}, {0, 16, 16}, {2, 8, 24}, {4, 8, 16}, {6, 16, 64}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int i = 0; i < 2 * 10 * 10; i++) {
            const int width = 1 + i / 2 % 10, height = 1 + i / 20;
            const size_t size = rows_of(width, height, kinds[k].bits, i % 2 == 1);
            for (size_t more = 0; more < 2; more++) {
                bytes file = {0}, rows = {calloc(1, size + 1), size + more};
                put_png_start(&file, width, height, kinds[k].depth, kinds[k].colour, i % 2);
                put_png_end(&file, rows);
                CHECK_INT(cloak_is_plain(CLOAK_FORMAT_PNG, file.data, file.length, false), more == 0);
                free(rows.data);
                free(file.data);
            }
        }
}

TEST(nothing_hides_in_a_webp) {
    bytes webp = encoded_sample(CLOAK_FORMAT_WEBP, 40, 24, false), chunks = {0}, pixels = {0};
    const uint32_t length = (uint32_t)webp.data[16] | (uint32_t)webp.data[17] << 8;
    CHECK(!clean(webp, 0).encoded);
    put(&pixels, webp.data + 20, length);
    put(&pixels, second, sizeof second);
    char name[5] = {0};
    memcpy(name, webp.data + 12, 4);
    put_riff(&chunks, name, pixels.data, pixels.length);
    bytes longer = webp_of(chunks);
    CHECK(memmem(longer.data, longer.length, secret, strlen(secret)));
    CHECK(clean(longer, 3).encoded);
    free(longer.data);
    free(pixels.data);
    free(chunks.data);
    free(webp.data);
}

TEST(nothing_hides_in_a_profile) {
    bytes jpeg = encoded_sample(CLOAK_FORMAT_JPEG, 24, 16, false), icc = icc_profile("RGB "), head = {0};
    CHECK(cloak_is_profile(icc.data, icc.length));
    for (int gamma = 30; gamma <= 300; gamma++) { /* curves of 16 bits are full of a JPEG's first bytes */
        uint8_t curve[2 * 4096];
        for (int i = 0; i < 4096; i++) {
            const unsigned level = (unsigned)lround(65535 * pow(i / 4095.0, gamma / 100.0));
            curve[2 * i] = (uint8_t)(level >> 8);
            curve[2 * i + 1] = (uint8_t)level;
        }
        CHECK(!cloak_holds_picture(curve, sizeof curve));
    }
    memcpy(icc.data + icc.length - 40, second, sizeof second); /* in a tag that nobody knows */
    CHECK(!cloak_is_profile(icc.data, icc.length));
    put(&head, "ICC_PROFILE\0\1\1", 14);
    put(&head, icc.data, icc.length);
    bytes file = with_segment(jpeg, 0xe2, head.data, head.length);
    check_kept(file);
    free(file.data);
    free(head.data);
    free(icc.data);
    free(jpeg.data);
}

