/* Files that mean harm, or were harmed: whatever the bytes are, decoding ends with the right pixels
 * or with a permanent error that names the file, and never takes memory for a size that is only
 * claimed. Meant to run under AddressSanitizer as well. */
#include <pthread.h>

#include "tests/unit/samples.h"

/* libvips's own, declared here because the tests see only our API. */
void *vips_image_new_from_buffer(const void *buffer, size_t length, const char *options, ...);
void vips_error_clear(void);

static const char name[] = "al\x01um/bad\xff.jpg", shown_name[] = "al%01um/bad%FF.jpg";

/* So many rounds of random damage; CLOAK_FUZZ=100 does a hundred times as many, other ones. */
static int rounds(int usual, uint32_t *state) {
    const char *factor = getenv("CLOAK_FUZZ");
    *state += factor ? (uint32_t)atoi(factor) : 0;
    return factor ? usual * atoi(factor) : usual;
}

/* Decodes what must fail and checks how it does. */
static void check_refused(bytes file, const cloak_photo_limits *limits, const char *why) {
    cloak_photo photo;
    cloak_error error = {0};
    memset(&photo, 0x55, sizeof photo);
    cloak_status status = cloak_photo_decode(file.data, file.length, name, limits, &photo, &error);
    if (status != CLOAK_E_PERMANENT)
        check_failed(
            __FILE__, __LINE__, "status %s, wanted \"%s\"", cloak_status_word(status), why);
    CHECK_INT(error.code, CLOAK_E_PERMANENT);
    CHECK(!error.retryable);
    CHECK(strncmp(error.text, shown_name, strlen(shown_name)) == 0);
    if (!strstr(error.text, why))
        check_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", error.text, why);
    CHECK(!photo.rgb && !photo.alpha && !photo.icc && photo.width == 0);
}

TEST(files_that_are_no_photos) {
    start_library();
    check_refused((bytes){NULL, 0}, NULL, "is empty");
    check_refused((bytes){(uint8_t *)"Dear diary, today", 17}, NULL, "holds no photo");
    check_refused((bytes){(uint8_t *)"\xff\xd8\xff", 3}, NULL, "announces no size");
    check_refused((bytes){(uint8_t *)"\x89PNG\r\n\x1a\n", 8}, NULL, "announces no size");
    check_refused((bytes){(uint8_t *)"RIFF\4\0\0\0WEBP", 12}, NULL, "announces no size");
    check_refused((bytes){(uint8_t *)"GIF89a\1\0\1\0\0\0\0;", 14}, NULL, "holds no photo");
}

static long peak_kib(void) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long peak = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmPeak:", 7) == 0)
            peak = atol(line + 7);
    if (file)
        fclose(file);
    return peak;
}

static bytes giant_png(int width, int height, int interlace) {
    bytes file = {0}, rows = {0};
    put_png_start(&file, width, height, 8, 6, interlace);
    put(&rows, "\0\0\0\0\0", 5);
    put_png_end(&file, rows);
    free(rows.data);
    return file;
}

TEST(claimed_sizes_take_no_memory) {
    /* warm up: threads and caches of the library are not what is measured */
    bytes warm[3];
    for (int i = 0; i < 3; i++) {
        warm[i] = encoded_sample((cloak_format_id)(i + 1), 300, 200, false);
        cloak_photo p = decode(warm[i]);
        cloak_photo_free(&p);
    }
    long before = peak_kib();
    for (int interlace = 0; interlace < 2; interlace++) {
        bytes file = giant_png(60000, 60000, interlace);
        check_refused(file, NULL, "60000 x 60000");
        free(file.data);
        file = giant_png(0x7fffffff, 0x7fffffff, interlace);
        check_refused(file, NULL, "2147483647 x 2147483647");
        free(file.data);
        file = giant_png(31000, 31000, interlace);
        check_refused(file, NULL, "200000000 in all");
        free(file.data);
    }
    uint8_t grey = 128;
    bytes jpeg = flat_jpeg(1, 1, 1, &grey, NULL, 0, -1), chunks = {0};
    for (size_t i = 0; i + 9 < jpeg.length; i++)
        if (jpeg.data[i] == 0xff && jpeg.data[i + 1] == 0xc0)
            memset(jpeg.data + i + 5, 0xff, 4);
    check_refused(jpeg, NULL, "65535 x 65535");
    put_vp8x(&chunks, 0, 16383, 16383); /* libvips would take 1 GiB for the canvas */
    put(&chunks, warm[2].data + 12, warm[2].length - 12);
    bytes webp = webp_of(chunks);
    check_refused(webp, NULL, "16383 x 16383");
    CHECK(peak_kib() - before < 64 * 1024);
    for (int i = 0; i < 3; i++)
        free(warm[i].data);
    free(jpeg.data);
    free(chunks.data);
    free(webp.data);
}

TEST(limits_are_kept_to_the_pixel) {
    cloak_photo_limits limits = {.max_pixels = 64 * 48, .max_side = 64};
    for (int i = 0; i < 3; i++) {
        cloak_photo p;
        cloak_error error;
        bytes fits = encoded_sample((cloak_format_id)(i + 1), 64, 48, false);
        CHECK_OK(cloak_photo_decode(fits.data, fits.length, name, &limits, &p, &error));
        cloak_photo_free(&p);
        bytes wide = encoded_sample((cloak_format_id)(i + 1), 65, 8, false);
        check_refused(wide, &limits, "65 x 8");
        bytes large = encoded_sample((cloak_format_id)(i + 1), 64, 49, false);
        check_refused(large, &limits, "64 x 49");
        free(fits.data);
        free(wide.data);
        free(large.data);
    }
}

TEST(animations_are_refused) {
    bytes png = encoded_sample(CLOAK_FORMAT_PNG, 8, 8, false), apng = {0}, chunks = {0};
    start_library();
    put(&apng, png.data, 33);
    put_chunk(&apng, "acTL", "\0\0\0\2\0\0\0\0", 8);
    put(&apng, png.data + 33, png.length - 33);
    check_refused(apng, NULL, "animated");
    bytes webp = encoded_sample(CLOAK_FORMAT_WEBP, 8, 8, false), frame = {0};
    put_vp8x(&chunks, 0x02, 8, 8);
    put_riff(&chunks, "ANIM", "\0\0\0\0\0\0", 6);
    put(&frame, "\0\0\0\0\0\0\7\0\0\7\0\0\x64\0\0\0", 16);
    put(&frame, webp.data + 12, webp.length - 12);
    put_riff(&chunks, "ANMF", frame.data, frame.length);
    bytes animated = webp_of(chunks);
    check_refused(animated, NULL, "animated");
    animated.data[20] = 0; /* the flag is not the only sign */
    check_refused(animated, NULL, "animated");
    free(animated.data);
    chunks.length = 0;
    put_vp8x(&chunks, 0x02, 8, 8); /* the flag alone is one, too */
    put(&chunks, webp.data + 12, webp.length - 12);
    animated = webp_of(chunks);
    check_refused(animated, NULL, "animated");
    free(png.data);
    free(apng.data);
    free(webp.data);
    free(frame.data);
    free(chunks.data);
    free(animated.data);
}

/* 0 JPEG, 1 PNG, 2 WebP without loss, 3 JPEG with a profile, 4 PNG with alpha, 5 lossy WebP with
 * alpha. */
static bytes small_sample(int kind) {
    cloak_photo p = make_photo((cloak_format_id)(1 + kind % 3), 37, 29, kind >= 4);
    p.lossless = kind != 5;
    if (kind == 3) {
        bytes icc = icc_profile("RGB ");
        p.icc = icc.data;
        p.icc_length = icc.length;
    }
    bytes file = encode(&p);
    cloak_photo_free(&p);
    return file;
}

TEST(a_truncated_file_is_never_half_a_photo) {
    for (int kind = 0; kind < 6; kind++) {
        bytes whole = small_sample(kind);
        cloak_photo right = decode(whole);
        size_t pixels = (size_t)right.width * (size_t)right.height, passed = 0;
        for (size_t cut = 0; cut < whole.length; cut++) {
            uint8_t *copy = malloc(cut + !cut); /* the end of the block is the end of the file */
            cloak_photo p;
            cloak_error error;
            memcpy(copy, whole.data, cut);
            cloak_status status = cloak_photo_decode(copy, cut, name, NULL, &p, &error);
            if (status == CLOAK_OK) {
                CHECK_INT(p.width, right.width);
                CHECK_INT(p.height, right.height);
                CHECK(memcmp(p.rgb, right.rgb, 3 * pixels) == 0);
                cloak_photo_free(&p);
                passed++;
            } else {
                CHECK_INT(status, CLOAK_E_PERMANENT);
                CHECK(strstr(error.text, shown_name) == error.text);
            }
            free(copy);
        }
        CHECK(passed <= 2); /* a JPEG without its end marker */
        cloak_photo_free(&right);
        free(whole.data);
    }
}

/* Decodes damaged bytes; says whether they were taken for a photo. */
static bool survives(bytes file) {
    cloak_photo_limits limits = {.max_pixels = 1 << 20, .max_side = 4096};
    cloak_photo p;
    cloak_error error = {0};
    cloak_status status = cloak_photo_decode(file.data, file.length, name, &limits, &p, &error);
    if (status == CLOAK_OK) {
        size_t n = 3 * (size_t)p.width * (size_t)p.height;
        uint32_t sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += p.rgb[i]; /* every byte is there to be read */
        CHECK(sum <= 255 * n);
        cloak_photo_free(&p);
        return true;
    }
    CHECK_INT(status, CLOAK_E_PERMANENT);
    CHECK(strncmp(error.text, shown_name, strlen(shown_name)) == 0);
    return false;
}

TEST(random_damage_does_no_harm) {
    uint32_t state = 2024;
    const int most = rounds(1500, &state);
    for (int kind = 0; kind < 6; kind++) {
        bytes whole = small_sample(kind);
        int taken = 0;
        for (int i = 0; i < most; i++) {
            bytes bad = {0};
            put(&bad, whole.data, whole.length);
            int flips = 1 + (int)(next_random(&state) % 8);
            size_t reach = next_random(&state) % 2 ? 120 : bad.length; /* headers matter most */
            for (int k = 0; k < flips; k++)
                bad.data[next_random(&state) % (reach < bad.length ? reach : bad.length)] ^=
                    (uint8_t)(1u << next_random(&state) % 8);
            if (next_random(&state) % 8 == 0)
                bad.length = 12 + next_random(&state) % (bad.length - 12);
            if (kind % 3 == 1)
                mend_png(bad); /* else the checksums keep nearly all of it out */
            taken += survives(bad);
            free(bad.data);
        }
        CHECK(taken < most);
        free(whole.data);
    }
}

TEST(random_damage_to_heic_avif_and_tiff_does_no_harm) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_HEIC, CLOAK_FORMAT_AVIF, CLOAK_FORMAT_TIFF};
    uint32_t state = 11;
    const int most = rounds(400, &state);
    for (int kind = 0; kind < 3; kind++) {
        bytes whole = encoded_sample(formats[kind], 64, 48, false);
        int taken = 0;
        for (int i = 0; i < most; i++) {
            bytes bad = {0};
            put(&bad, whole.data, whole.length);
            size_t reach = next_random(&state) % 2 ? 400 : bad.length;
            for (int k = 0; k < 6; k++)
                bad.data[next_random(&state) % (reach < bad.length ? reach : bad.length)] ^=
                    (uint8_t)(1u << next_random(&state) % 8);
            if (next_random(&state) % 8 == 0)
                bad.length = 12 + next_random(&state) % (bad.length - 12);
            taken += survives(bad);
            free(bad.data);
        }
        CHECK(taken < most);
        free(whole.data);
    }
}

/* EXIF, XMP and IPTC that were damaged are left out or read in part, and what is written can be decoded. */
TEST(random_damage_to_metadata_does_no_harm) {
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF "
        "xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description xmlns:dc=\"http://purl.org/dc/elements/1.1/\" "
        "xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" xmp:Rating=\"3\"><dc:rights><rdf:Alt><rdf:li xml:lang=\"x-default\">mine"
        "</rdf:li></rdf:Alt></dc:rights><dc:subject><rdf:Bag><rdf:li>a</rdf:li><rdf:li>b</rdf:li></rdf:Bag></dc:subject>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>";
    static const char iptc[] = "Photoshop 3.0\0" "8BIM\4\4\0\0\0\0\0\x14" "\x1c\2\x74\0\4mine" "\x1c\2\x50\0\6author";
    uint32_t state = 5;
    bytes plain = encoded_sample(CLOAK_FORMAT_JPEG, 24, 16, false), exif = exif_block(1, true, "a secret");
    bytes with_iptc = with_segment(plain, 0xed, iptc, sizeof iptc - 1), with_xmp = with_segment(with_iptc, 0xe1, xmp, sizeof xmp - 1);
    bytes whole = with_exif(with_xmp, exif);
    const size_t reach = whole.length - plain.length;
    cloak_photo photo = decode(whole);
    cloak_photo_keep_metadata(whole.data, whole.length, CLOAK_METADATA_KEEP, &photo);
    CHECK(photo.metadata.exif && photo.metadata.xmp && photo.metadata.iptc);
    for (int i = 0, most = rounds(3000, &state); i < most; i++) {
        void *cleaned = NULL;
        bool encoded = true;
        bytes bad = {0}, out = {0};
        cloak_error error;
        put(&bad, whole.data, whole.length);
        for (int k = 1 + (int)(next_random(&state) % 6); k > 0; k--)
            bad.data[2 + next_random(&state) % reach] = (uint8_t)next_random(&state);
        cloak_photo_keep_metadata(bad.data, bad.length, i % 2 ? CLOAK_METADATA_KEEP : CLOAK_METADATA_SAFE, &photo);
        CHECK_OK(cloak_photo_clean(plain.data, plain.length, &photo, &cleaned, &out.length, &encoded, &error));
        out.data = cleaned;
        cloak_photo back = decode(out);
        CHECK(back.width == 24 && back.height == 16);
        cloak_photo_free(&back);
        free(out.data);
        free(bad.data);
    }
    cloak_photo_free(&photo);
    free(whole.data);
    free(with_xmp.data);
    free(with_iptc.data);
    free(exif.data);
    free(plain.data);
}

TEST(a_heic_of_another_size_than_it_says_is_refused) {
    bytes file = encoded_sample(CLOAK_FORMAT_HEIC, 256, 256, false);
    uint8_t *at = memmem(file.data, file.length, "ispe", 4);
    CHECK(at != NULL);
    memcpy(at + 8, "\0\0\0\x10\0\0\0\x10", 8);
    check_refused(file, NULL, "is truncated or corrupt");
    free(file.data);
}

TEST(several_pages_are_refused) {
    bytes whole = encoded_sample(CLOAK_FORMAT_TIFF, 16, 16, false), two = {0};
    uint32_t folder = (uint32_t)whole.data[4] | (uint32_t)whole.data[5] << 8 | (uint32_t)whole.data[6] << 16;
    put(&two, whole.data, whole.length);
    size_t entries = two.data[folder] | (size_t)two.data[folder + 1] << 8, next = folder + 2 + entries * 12;
    CHECK(memcmp(two.data, "II", 2) == 0 && two.length >= next + 4);
    for (int i = 0; i < 4; i++) /* the folder behind the last is the first again */
        two.data[next + (size_t)i] = (uint8_t)(folder >> (8 * i));
    check_refused(two, NULL, "has several pages");
    free(two.data);
    free(whole.data);
}

TEST(a_flipped_bit_in_a_png_is_noticed) {
    bytes whole = encoded_sample(CLOAK_FORMAT_PNG, 16, 16, false);
    start_library();
    for (size_t i = 8; i < whole.length; i++) {
        whole.data[i] ^= 0x10;
        CHECK(!survives(whole));
        whole.data[i] ^= 0x10;
    }
    CHECK(survives(whole));
    free(whole.data);
}

TEST(two_sizes_in_one_file_are_refused) {
    bytes webp = encoded_sample(CLOAK_FORMAT_WEBP, 20, 20, false), chunks = {0};
    start_library();
    put_vp8x(&chunks, 0x10, 40, 20);
    put(&chunks, webp.data + 12, webp.length - 12);
    bytes file = webp_of(chunks);
    check_refused(file, NULL, "corrupt");
    free(webp.data);
    free(chunks.data);
    free(file.data);
}

/* Whatever a file's bytes look like, only four loaders may ever see them. */
TEST(other_loaders_are_blocked) {
    static const char ppm[] = "P6\n1 1\n255\nabc";
    static const char gif[] =
        "GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0;";
    static const char svg[] =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>";
    start_library();
    CHECK(!vips_image_new_from_buffer(ppm, sizeof ppm - 1, "", NULL));
    CHECK(!vips_image_new_from_buffer(gif, sizeof gif - 1, "", NULL));
    CHECK(!vips_image_new_from_buffer(svg, sizeof svg - 1, "", NULL));
    vips_error_clear();
}

static void *decode_good_and_bad(void *seed) {
    uint32_t state = (uint32_t)(size_t)seed;
    for (int i = 0; i < 60; i++) {
        int kind = (int)(next_random(&state) % 6);
        char own[32];
        snprintf(own, sizeof own, "photo %u", state);
        bytes file = small_sample(kind);
        cloak_photo p;
        cloak_error error;
        CHECK_OK(cloak_photo_decode(file.data, file.length, own, NULL, &p, &error));
        cloak_photo_free(&p);
        CHECK_INT(cloak_photo_decode(file.data, file.length * 3 / 4, own, NULL, &p, &error),
            CLOAK_E_PERMANENT);
        CHECK(strncmp(error.text, own, strlen(own)) == 0); /* another thread's never */
        free(file.data);
    }
    return NULL;
}

TEST(threads_do_not_mix) {
    pthread_t threads[4];
    start_library();
    for (size_t t = 0; t < 4; t++)
        CHECK_INT(pthread_create(&threads[t], NULL, decode_good_and_bad, (void *)(t + 1)), 0);
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
}
