/* Decoding and encoding of whole, honest photos: kinds of pixels, orientation, colour profile,
 * determinism. Quality is in photo_quality.c; what must not get out in photo_metadata.c, what must
 * not get in in photo_hostile.c. */
#include <pthread.h>

#include "tests/unit/samples.h"

TEST(bytes_tell_the_format) {
    CHECK_INT(cloak_photo_sniff("\xff\xd8\xff\xe0", 4), CLOAK_FORMAT_JPEG);
    CHECK_INT(cloak_photo_sniff("\x89PNG\r\n\x1a\n", 8), CLOAK_FORMAT_PNG);
    CHECK_INT(cloak_photo_sniff("RIFF\0\0\0\0WEBPVP8 ", 16), CLOAK_FORMAT_WEBP);
    CHECK_INT(cloak_photo_sniff("RIFF\0\0\0\0WAVEfmt ", 16), CLOAK_FORMAT_UNKNOWN);
    CHECK_INT(cloak_photo_sniff("RIFF\0\0\0\0WEB", 11), CLOAK_FORMAT_UNKNOWN);
    CHECK_INT(cloak_photo_sniff("\0\0\0\x14""ftypheic\0\0\0\0mif1", 20), CLOAK_FORMAT_HEIC);
    CHECK_INT(cloak_photo_sniff("\0\0\0\x18""ftypmif1\0\0\0\0miafavif", 24), CLOAK_FORMAT_AVIF);
    CHECK_INT(cloak_photo_sniff("\0\0\0\x14""ftypmp42\0\0\0\0isom", 20), CLOAK_FORMAT_UNKNOWN);
    CHECK_INT(cloak_photo_sniff("\0\0\0\x10""ftypmp42\0\0\0\0heic", 20), CLOAK_FORMAT_UNKNOWN);
    CHECK_INT(cloak_photo_sniff("II*\0\x08\0\0\0", 8), CLOAK_FORMAT_TIFF);
    CHECK_INT(cloak_photo_sniff("MM\0*\0\0\0\x08", 8), CLOAK_FORMAT_TIFF);
    CHECK_INT(cloak_photo_sniff("\xff\xd8", 2), CLOAK_FORMAT_UNKNOWN);
    CHECK_INT(cloak_photo_sniff("", 0), CLOAK_FORMAT_UNKNOWN);
    CHECK_TEXT(cloak_format_word(CLOAK_FORMAT_WEBP), "webp");
    CHECK_TEXT(cloak_format_word(CLOAK_FORMAT_UNKNOWN), "unknown");
}

TEST(names_tell_what_is_skipped) {
    static const char *const photos[] = {
        "a.jpg", "b/c.JPEG", "x.y.Jpe", "d.jfif", "e.png", "f.WebP", "IMG_1.HEIC", "a.avif", "b.Tif", "c.tiff"};
    for (size_t i = 0; i < sizeof photos / sizeof *photos; i++)
        CHECK(cloak_photo_skip_reason(photos[i]) == NULL);
    CHECK(strstr(cloak_photo_skip_reason("a.CR2"), "RAW"));
    CHECK(strstr(cloak_photo_skip_reason("a.dng"), "RAW"));
    CHECK(strstr(cloak_photo_skip_reason("a.heics"), "animations"));
    CHECK(strstr(cloak_photo_skip_reason("a.gif"), "GIF"));
    CHECK(strstr(cloak_photo_skip_reason("a.MOV"), "video"));
    CHECK_TEXT(cloak_photo_skip_reason("album/._a.jpg"), "a hidden file");
    CHECK_TEXT(cloak_photo_skip_reason(".DS_Store"), "a hidden file");
    CHECK(strstr(cloak_photo_skip_reason("a.jpg.cloak.json"), "receipt"));
    static const char *const others[] = {
        "notes.txt", "jpg", "a.", "a.jpg.part", "dir.jpg/file", "a.j pg", "a.jpgjpgjpgjpg", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK_TEXT(cloak_photo_skip_reason(others[i]), "not a photo");
}

static void check_same_pixels(const cloak_photo *a, const cloak_photo *b) {
    CHECK_INT(a->width, b->width);
    CHECK_INT(a->height, b->height);
    CHECK(memcmp(a->rgb, b->rgb, 3 * (size_t)a->width * (size_t)a->height) == 0);
    CHECK((a->alpha != NULL) == (b->alpha != NULL));
    if (a->alpha)
        CHECK(memcmp(a->alpha, b->alpha, (size_t)a->width * (size_t)a->height) == 0);
}

TEST(lossless_formats_give_the_same_pixels) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_PNG, CLOAK_FORMAT_WEBP, CLOAK_FORMAT_TIFF};
    for (int i = 0; i < 6; i++) {
        cloak_photo source = make_photo(formats[i / 2], 61, 47, i % 2);
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        check_same_pixels(&source, &back);
        CHECK_INT(back.format, formats[i / 2]);
        CHECK(back.lossless);
        CHECK_INT(back.quality, 0);
        CHECK_INT(cloak_photo_encode_quality(&back), 0);
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        free(file.data);
    }
}

TEST(lossy_formats_come_close) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_JPEG, CLOAK_FORMAT_WEBP};
    for (int i = 0; i < 3; i++) {
        cloak_photo source = make_photo(formats[i > 0], 161, 120, i == 2);
        source.lossless = false;
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        size_t pixels = (size_t)source.width * (size_t)source.height;
        CHECK_INT(back.width, 161);
        CHECK_INT(back.height, 120);
        CHECK(!back.lossless);
        CHECK_INT(cloak_photo_encode_quality(&back), i > 0 ? 98 : 90);
        CHECK(cloak_photo_psnr(source.rgb, back.rgb, 3 * pixels) > 37);
        CHECK((back.alpha != NULL) == (i == 2));
        if (back.alpha) /* alpha itself is kept without loss */
            CHECK(memcmp(back.alpha, source.alpha, pixels) == 0);
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        free(file.data);
    }
}

static void check_deep(const cloak_photo *want, const cloak_photo *got, size_t changed, int by) {
    const size_t pixels = (size_t)want->width * (size_t)want->height;
    CHECK_INT(got->depth, 16);
    CHECK((got->deep_alpha != NULL) == (want->deep_alpha != NULL));
    for (size_t i = 0; i < 3 * pixels; i++) {
        CHECK_INT(got->deep[i], want->deep[i] + (i / 3 == changed ? by * 257 : 0));
        CHECK_INT(got->rgb[i], (got->deep[i] + 128) / 257);
    }
    if (want->deep_alpha)
        CHECK(memcmp(got->deep_alpha, want->deep_alpha, pixels * sizeof *want->deep_alpha) == 0);
}

/* Sixteen bits come back as they were, but for the pixel that was changed in eight, which moves by whole steps of
 * those. */
TEST(sixteen_bits_stay_sixteen) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_PNG, CLOAK_FORMAT_TIFF};
    enum { WIDTH = 33, HEIGHT = 21, PIXEL = 300 };
    for (int i = 0; i < 8; i++) {
        cloak_photo source = make_deep(formats[i % 2], WIDTH, HEIGHT, i & 2, 16);
        source.grey = i & 4;
        for (size_t k = 0; source.grey && k < (size_t)3 * WIDTH * HEIGHT; k++) {
            source.deep[k] = source.deep[k - k % 3];
            source.rgb[k] = source.rgb[k - k % 3];
        }
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        CHECK_INT(back.grey, source.grey);
        check_deep(&source, &back, SIZE_MAX, 0);
        for (int c = 0; c < 3; c++)
            back.rgb[3 * PIXEL + c] = (uint8_t)(back.rgb[3 * PIXEL + c] - 5);
        bytes changed_file = encode(&back);
        cloak_photo changed = decode(changed_file);
        check_deep(&source, &changed, PIXEL, -5);
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        cloak_photo_free(&changed);
        free(file.data);
        free(changed_file.data);
    }
}

/* Samples at the ends of the range stay inside it. */
TEST(sixteen_bits_do_not_wrap) {
    cloak_photo p = make_deep(CLOAK_FORMAT_PNG, 8, 8, false, 16);
    p.deep[0] = 65300;
    p.deep[1] = 100;
    p.rgb[0] = 255; /* one step up from 254 */
    p.rgb[1] = 0;   /* as it is */
    p.deep[2] = 300;
    p.rgb[2] = 0; /* one step down from 1 */
    bytes file = encode(&p);
    cloak_photo back = decode(file);
    CHECK_INT(back.deep[0], 65535);
    CHECK_INT(back.deep[1], 100);
    CHECK_INT(back.deep[2], 43);
    cloak_photo_free(&p);
    cloak_photo_free(&back);
    free(file.data);
}

TEST(ten_bits_stay_ten) {
    for (int i = 0; i < 6; i++) {
        const int depth = i < 4 ? 10 : 12;
        cloak_photo source = make_deep(i % 2 ? CLOAK_FORMAT_HEIC : CLOAK_FORMAT_AVIF, 64, 48, i == 2 || i == 3, depth);
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        size_t between = 0; /* samples that 8 bits cannot hold */
        for (size_t k = 0; k < 3 * 64 * 48; k++)
            between += back.deep && back.deep[k] % 257 != 0;
        CHECK_INT(back.depth, back.format == CLOAK_FORMAT_AVIF ? 12 : depth); /* libheif writes no AVIF of ten */
        CHECK(between > 64 * 48);
        CHECK((back.deep_alpha != NULL) == (source.alpha != NULL));
        CHECK(cloak_photo_psnr(source.rgb, back.rgb, 3 * 64 * 48) > 34);
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        free(file.data);
    }
}

TEST(grey_stays_grey) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_PNG, CLOAK_FORMAT_TIFF, CLOAK_FORMAT_JPEG};
    for (int i = 0; i < 6; i++) {
        const bool alpha = i >= 4 ? false : i % 2;
        cloak_photo source = make_photo(formats[i / 2], 33, 21, alpha);
        source.grey = true;
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        CHECK(back.grey && (back.alpha != NULL) == alpha);
        for (size_t k = 0; k < 33 * 21; k++) {
            double luma = 0.299 * source.rgb[3 * k] + 0.587 * source.rgb[3 * k + 1] + 0.114 * source.rgb[3 * k + 2];
            CHECK(back.rgb[3 * k] == back.rgb[3 * k + 1] && back.rgb[3 * k] == back.rgb[3 * k + 2]);
            CHECK_NEAR(back.rgb[3 * k], luma, formats[i / 2] == CLOAK_FORMAT_JPEG ? 6 : 0.6);
        }
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        free(file.data);
    }
}

TEST(heic_and_avif_come_close) {
    for (int i = 0; i < 4; i++) {
        cloak_photo source = make_photo(i < 2 ? CLOAK_FORMAT_HEIC : CLOAK_FORMAT_AVIF, 161, 121, i % 2);
        bytes file = encode(&source);
        cloak_photo back = decode(file);
        CHECK_INT(back.format, source.format);
        CHECK_INT(back.width, 161);
        CHECK_INT(back.height, 121);
        CHECK(!back.lossless && cloak_photo_encode_quality(&back) == (i < 2 ? 80 : 90));
        CHECK(cloak_photo_psnr(source.rgb, back.rgb, 3 * 161 * 121) > 34);
        CHECK((back.alpha != NULL) == i % 2);
        cloak_photo_free(&source);
        cloak_photo_free(&back);
        free(file.data);
    }
}

/* A PNG of `rows` decoded; `extra` (may be NULL) is put before the pixels. */
static cloak_photo png_photo(int width, int height, int depth, int colour, int interlace,
    const char *extra_name, bytes extra, const void *rows, size_t rows_length) {
    bytes file = {0}, pixels = {0};
    put_png_start(&file, width, height, depth, colour, interlace);
    if (extra_name && strchr(extra_name, ' ')) { /* two chunks: a palette and its alpha */
        put_chunk(&file, "PLTE", extra.data, 9);
        put_chunk(&file, "tRNS", extra.data + 9, extra.length - 9);
    } else if (extra_name) {
        put_chunk(&file, extra_name, extra.data, extra.length);
    }
    put(&pixels, rows, rows_length);
    put_png_end(&file, pixels);
    cloak_photo photo = decode(file);
    CHECK_INT(photo.width, width);
    CHECK_INT(photo.height, height);
    free(file.data);
    free(pixels.data);
    return photo;
}

static void check_bytes(const uint8_t *got, const uint8_t *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (got[i] != want[i])
            check_failed(__FILE__, __LINE__, "byte %zu is %d, not %d", i, got[i], want[i]);
}

TEST(png_of_every_kind_becomes_rgb) {
    bytes none = {0};
    /* 16 bits: to the nearest of 255 steps, not cut */
    const uint8_t deep[] = {
        0, 0x00, 0x80, 0x00, 0x81, 0xff, 0xff, 0x12, 0x34, 0xff, 0x7e, 0xff, 0x7f};
    cloak_photo p = png_photo(2, 1, 16, 2, 0, NULL, none, deep, sizeof deep);
    check_bytes(p.rgb, (uint8_t[]){0, 1, 255, 18, 254, 255}, 6);
    CHECK(!p.alpha);
    cloak_photo_free(&p);
    const uint8_t deep_alpha[] = {0, 0x40, 0x40, 0x80, 0x80, 0xc0, 0xc0, 0x20, 0x20};
    p = png_photo(1, 1, 16, 6, 0, NULL, none, deep_alpha, sizeof deep_alpha);
    check_bytes(p.rgb, (uint8_t[]){0x40, 0x80, 0xc0}, 3);
    check_bytes(p.alpha, (uint8_t[]){0x20}, 1);
    cloak_photo_free(&p);

    const uint8_t grey[] = {0, 10, 200};
    p = png_photo(2, 1, 8, 0, 0, NULL, none, grey, sizeof grey);
    check_bytes(p.rgb, (uint8_t[]){10, 10, 10, 200, 200, 200}, 6);
    CHECK(!p.alpha);
    cloak_photo_free(&p);
    const uint8_t grey_alpha[] = {0, 10, 77, 200, 88};
    p = png_photo(2, 1, 8, 4, 0, NULL, none, grey_alpha, sizeof grey_alpha);
    check_bytes(p.rgb, (uint8_t[]){10, 10, 10, 200, 200, 200}, 6);
    check_bytes(p.alpha, (uint8_t[]){77, 88}, 2);
    cloak_photo_free(&p);
    const uint8_t bits[] = {0, 0xa0};
    p = png_photo(3, 1, 1, 0, 0, NULL, none, bits, sizeof bits);
    check_bytes(p.rgb, (uint8_t[]){255, 255, 255, 0, 0, 0, 255, 255, 255}, 9);
    cloak_photo_free(&p);

    bytes palette = {0};
    const uint8_t indices[] = {0, 0x1b}; /* 0 1 2 and a pixel beyond the width */
    put(&palette, (uint8_t[]){1, 2, 3, 40, 50, 60, 7, 8, 9, 255, 100}, 11);
    p = png_photo(3, 1, 2, 3, 0, "PLTE tRNS", palette, indices, sizeof indices);
    check_bytes(p.rgb, (uint8_t[]){1, 2, 3, 40, 50, 60, 7, 8, 9}, 9);
    check_bytes(p.alpha, (uint8_t[]){255, 100, 255}, 3);
    cloak_photo_free(&p);
    free(palette.data);

    bytes key = {0}; /* one colour stands for "transparent" */
    const uint8_t keyed[] = {0, 1, 2, 3, 4, 5, 6};
    put(&key, (uint8_t[]){0, 4, 0, 5, 0, 6}, 6);
    p = png_photo(2, 1, 8, 2, 0, "tRNS", key, keyed, sizeof keyed);
    check_bytes(p.alpha, (uint8_t[]){255, 0}, 2);
    cloak_photo_free(&p);
    free(key.data);

    /* Adam7, 3×3: passes 1 (0,0), 4 (2,0), 5 (0,2)(2,2), 6 (1,0)(1,2), 7 row 1 */
    const uint8_t passes[] = {0, 1, 0, 3, 0, 7, 9, 0, 2, 0, 8, 0, 4, 5, 6};
    p = png_photo(3, 3, 8, 0, 1, NULL, none, passes, sizeof passes);
    for (int i = 0; i < 9; i++)
        CHECK_INT(p.rgb[3 * i + 1], i + 1);
    cloak_photo_free(&p);
}

TEST(jpeg_of_every_kind_becomes_rgb) {
    const uint8_t grey[] = {20, 230};
    bytes file = flat_jpeg(2, 1, 1, grey, NULL, 0, -1);
    cloak_photo p = decode(file);
    CHECK_INT(p.width, 16);
    check_bytes(p.rgb, (uint8_t[]){20, 20, 20}, 3);
    check_bytes(p.rgb + 3 * 15, (uint8_t[]){230, 230, 230}, 3);
    CHECK(!p.alpha && !p.lossless);
    cloak_photo_free(&p);
    free(file.data);

    const uint8_t rgb[] = {200, 100, 50}; /* Adobe's transform 0: stored as RGB */
    file = flat_jpeg(1, 1, 3, rgb, NULL, 0, 0);
    p = decode(file);
    check_bytes(p.rgb, rgb, 3);
    cloak_photo_free(&p);
    free(file.data);

    /* Adobe's CMYK is stored inverted: 255 is no ink. White, black, much cyan, much red. */
    const uint8_t cmyk[] = {255, 255, 255, 255, 255, 255, 255, 0, 0, 255, 255, 255, 255, 0, 0, 255};
    file = flat_jpeg(4, 1, 4, cmyk, NULL, 0, 0);
    p = decode(file);
    const uint8_t *white = p.rgb, *black = p.rgb + 24, *cyan = p.rgb + 48, *red = p.rgb + 72;
    CHECK(white[0] > 245 && white[1] > 245 && white[2] > 245);
    CHECK(black[0] < 60 && black[1] < 60 && black[2] < 60);
    CHECK(cyan[0] < 100 && cyan[1] > 120 && cyan[2] > 180);
    CHECK(red[0] > 180 && red[1] < 90 && red[2] < 90);
    CHECK(!p.alpha && !p.icc);
    const uint8_t inks[] = {0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 0};
    for (int i = 0; i < 4; i++)
        check_bytes(p.ink + 32 * i, inks + 4 * i, 4);
    cloak_photo_free(&p);
    free(file.data);

    /* YCCK, inverted likewise: luma 0 is no ink, luma 255 all of three inks; the fourth plate none
     */
    const uint8_t ycck[] = {0, 128, 128, 255, 255, 128, 128, 255};
    file = flat_jpeg(2, 1, 4, ycck, NULL, 0, 2);
    p = decode(file);
    CHECK(p.rgb[0] > 245 && p.rgb[1] > 245 && p.rgb[2] > 245);
    CHECK(p.rgb[24] < 90 && p.rgb[25] < 90 && p.rgb[26] < 90);
    check_bytes(p.ink, (uint8_t[]){0, 0, 0, 0}, 4);
    check_bytes(p.ink + 32, (uint8_t[]){255, 255, 255, 0}, 4);
    cloak_photo_free(&p);
    free(file.data);
}

/* Six grey blocks "abc/def" and what they must look like after each orientation. */
static const uint8_t block_levels[] = {10, 50, 90, 130, 170, 210};
static const struct {
    int across;
    const char *blocks;
} turned[9] = {{0, ""}, {3, "abcdef"}, {3, "cbafed"}, {3, "fedcba"}, {3, "defabc"}, {2, "adbecf"},
    {2, "daebfc"}, {2, "fcebda"}, {2, "cfbead"}};

static void check_turned(const cloak_photo *p, int orientation, int block) {
    int across = turned[orientation].across;
    CHECK_INT(p->width, across * block);
    CHECK_INT(p->height, 6 / across * block);
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            char name = turned[orientation].blocks[y / block * across + x / block];
            CHECK_INT(p->rgb[3 * (y * p->width + x)], block_levels[name - 'a']);
        }
}

TEST(orientation_is_applied_to_jpeg) {
    bytes plain = flat_jpeg(3, 2, 1, block_levels, NULL, 0, -1);
    for (int orientation = 0; orientation <= 9; orientation++) {
        bytes exif = exif_block(orientation, orientation % 2, "x");
        bytes file = with_exif(plain, exif);
        cloak_photo p = decode(file);
        check_turned(&p, orientation < 1 || orientation > 8 ? 1 : orientation, 8);
        bytes again = encode(&p); /* and is not applied twice */
        cloak_photo q = decode(again);
        CHECK_INT(q.width, p.width);
        CHECK_NEAR(q.rgb[0], p.rgb[0], 2);
        cloak_photo_free(&p);
        cloak_photo_free(&q);
        free(again.data);
        free(file.data);
        free(exif.data);
    }
    free(plain.data);
}

TEST(orientation_is_applied_to_png_and_webp) {
    for (int orientation = 1; orientation <= 8; orientation++) {
        bytes exif = exif_block(orientation, true, "x"), file = {0}, rows = {0}, chunks = {0};
        for (int y = 0; y < 2; y++) {
            put_byte(&rows, 0);
            for (int x = 0; x < 3; x++)
                put(&rows, (uint8_t[]){block_levels[3 * y + x], 1, 2, 99}, 4);
        }
        put_png_start(&file, 3, 2, 8, 6, 0);
        put_chunk(&file, "eXIf", exif.data, exif.length);
        put_png_end(&file, rows);
        cloak_photo p = decode(file);
        check_turned(&p, orientation, 1);
        CHECK_INT(p.alpha[5], 99);
        cloak_photo_free(&p);

        cloak_photo flat = {.width = 3, .height = 2, .format = CLOAK_FORMAT_WEBP, .lossless = true};
        flat.rgb = cloak_alloc(18);
        for (int i = 0; i < 18; i++)
            flat.rgb[i] = block_levels[i / 3];
        bytes webp = encode(&flat);
        put_vp8x(&chunks, 0x08, 3, 2);
        put(&chunks, webp.data + 12, webp.length - 12);
        put_riff(&chunks, "EXIF", exif.data, exif.length);
        bytes turned_webp = webp_of(chunks);
        p = decode(turned_webp);
        check_turned(&p, orientation, 1);
        CHECK(p.lossless);
        cloak_photo_free(&p);
        cloak_photo_free(&flat);
        free(turned_webp.data);
        free(webp.data);
        free(chunks.data);
        free(file.data);
        free(rows.data);
        free(exif.data);
    }
}

TEST(the_colour_profile_stays) {
    bytes icc = icc_profile("RGB ");
    for (int format = CLOAK_FORMAT_JPEG; format <= CLOAK_FORMAT_TIFF; format++)
        for (int lossless = 0; lossless < 2; lossless++) {
            cloak_photo p = make_photo((cloak_format_id)format, 20, 10, false);
            p.lossless = lossless;
            p.icc = icc.data;
            p.icc_length = icc.length;
            bytes file = encode(&p);
            cloak_photo back = decode(file);
            CHECK_INT(back.icc_length, icc.length);
            check_bytes(back.icc, icc.data, icc.length);
            p.icc = NULL;
            cloak_photo_free(&p);
            cloak_photo_free(&back);
            free(file.data);
        }
    free(icc.data);
}

TEST(a_profile_for_other_pixels_is_dropped) {
    static const struct {
        const char *space;
        int components;
        const char *behind;
        bool kept;
    } cases[] = {{"GRAY", 1, "", true}, {"RGB ", 1, "", false}, {"CMYK", 4, "", true},
        {"RGB ", 4, "", false}, {"GRAY", 3, "", false}, {"CMYK", 3, "", false},
        {"RGB ", 3, "", true}, {"RGB ", 3, "hidden behind the profile", true}};
    const uint8_t levels[] = {255, 255, 255, 255};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes icc = icc_profile(cases[i].space), payload = {0};
        put(&payload, "ICC_PROFILE\0\1\1", 14);
        put(&payload, icc.data, icc.length);
        put_text(&payload, cases[i].behind);
        bytes plain = flat_jpeg(1, 1, cases[i].components, levels, NULL, 0, -1);
        bytes file = with_segment(plain, 0xe2, payload.data, payload.length);
        cloak_photo p = decode(file);
        CHECK_INT(p.icc_length, cases[i].kept ? icc.length : 0);
        cloak_photo_free(&p);
        free(file.data);
        free(plain.data);
        free(payload.data);
        free(icc.data);
    }
}

/* A PNG that is of another gamma than sRGB's says so in chunks of its own, copied and coded anew. */
TEST(a_png_says_what_its_numbers_mean) {
    bytes rows = {0}, file = {0};
    put(&rows, (uint8_t[]){0, 10, 20, 30, 40, 50, 60}, 7);
    put_png_start(&file, 2, 1, 8, 2, 0);
    put_chunk(&file, "gAMA", "\0\1\x86\xa0", 4);
    put_chunk(&file, "gAMA", "\0\0\0\1", 4);
    put_chunk(&file, "cHRM", "short", 5);
    put_chunk(&file, "cICP", "\x0c\x0d\0\1", 4);
    put_png_end(&file, rows);
    cloak_photo p = decode(file);
    CHECK_INT(p.png_colour_length, 32);
    for (int i = 0; i < 2; i++) {
        void *out = NULL;
        size_t length = 0;
        bool encoded = false;
        cloak_error error;
        if (i)
            CHECK_OK(cloak_photo_clean(file.data, file.length, &p, &out, &length, &encoded, &error));
        else
            CHECK_OK(cloak_photo_encode(&p, &out, &length, &error));
        CHECK(!encoded && memmem(out, length, "gAMA\0\1\x86\xa0", 8) && memmem(out, length, "cICP\x0c", 5));
        CHECK(!memmem(out, length, "cHRM", 4) && !memmem(out, length, "gAMA\0\0\0", 7));
        cloak_photo back = decode((bytes){out, length});
        check_same_pixels(&p, &back);
        CHECK_INT(back.png_colour_length, 32);
        cloak_photo_free(&back);
        free(out);
    }
    cloak_photo_free(&p);
    free(file.data);
    free(rows.data);
}

static void *encode_often(void *photo) {
    bytes first = encode(photo);
    for (int i = 0; i < 4; i++) {
        bytes again = encode(photo);
        CHECK_INT(again.length, first.length);
        CHECK(memcmp(again.data, first.data, first.length) == 0);
        free(again.data);
    }
    char *digest = cloak_format("%zu %08x", first.length, png_crc(first.data, first.length));
    free(first.data);
    return digest;
}

TEST(the_same_photo_gives_the_same_bytes) {
    for (int i = 0; i < 7; i++) {
        cloak_photo p = make_photo((cloak_format_id)(1 + i % 6), 200, 150, i % 6 > 0);
        p.lossless = i % 3 > 0 && i < 3;
        pthread_t threads[2];
        void *digests[2];
        start_library();
        for (int t = 0; t < 2; t++)
            CHECK_INT(pthread_create(&threads[t], NULL, encode_often, &p), 0);
        for (int t = 0; t < 2; t++)
            pthread_join(threads[t], &digests[t]);
        CHECK_TEXT(digests[0], digests[1]);
        free(digests[0]);
        free(digests[1]);
        cloak_photo_free(&p);
    }
}

TEST(what_cannot_be_encoded_is_refused) {
    cloak_photo p = make_photo(CLOAK_FORMAT_JPEG, 8, 8, true);
    void *data = NULL;
    size_t length = 7;
    cloak_error error;
    CHECK_INT(cloak_photo_encode(&p, &data, &length, &error), CLOAK_E_USAGE);
    p.format = CLOAK_FORMAT_UNKNOWN;
    CHECK_INT(cloak_photo_encode(&p, &data, &length, NULL), CLOAK_E_USAGE);
    CHECK(data == NULL && length == 7);
    cloak_photo_free(&p);
    cloak_photo_free(&p);
    cloak_photo_free(NULL);
}
