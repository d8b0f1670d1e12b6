/* Other pixels over a JPEG's own blocks: what has not changed keeps its coefficients, what has is coded as the
 * file is; and files whose blocks cannot be replaced are refused. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jpeglib.h>

#include "common/photo/srgb.h"
#include "tests/unit/samples.h"

static cloak_error error;

typedef struct {
    int width, height, quality, sampling; /* sampling: 1 or 2, both ways */
    bool grey, progressive;
    J_COLOR_SPACE ink; /* JCS_CMYK or JCS_YCCK for a CMYK photo; else 0 */
    bool unmarked;     /* without the marker that Adobe's CMYK has */
} kind;

/* Pixels without black, as CMYK lies in a JPEG: inverted. */
static void put_inverted(const uint8_t *rgb, int width, uint8_t *row) {
    for (int x = 0; x < width; x++) {
        memcpy(row + 4 * x, rgb + 3 * x, 3);
        row[4 * x + 3] = 250;
    }
}

static bool arithmetic; /* coding, from now on */

/* A JPEG by libjpeg itself. */
static bytes make_jpeg(kind k) {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    unsigned long length = 0;
    cloak_photo p = make_photo(CLOAK_FORMAT_JPEG, k.width, k.height, false);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &length);
    c.image_width = (JDIMENSION)k.width;
    c.image_height = (JDIMENSION)k.height;
    c.input_components = k.ink ? 4 : 3;
    c.in_color_space = k.ink ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&c);
    if (k.ink)
        jpeg_set_colorspace(&c, k.ink);
    if (k.unmarked)
        c.write_Adobe_marker = FALSE;
    if (k.grey)
        jpeg_set_colorspace(&c, JCS_GRAYSCALE);
    else
        c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = k.sampling;
    jpeg_set_quality(&c, k.quality, TRUE);
    c.arith_code = arithmetic;
    if (k.progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    uint8_t *ink = cloak_alloc((size_t)k.width * 4);
    for (int y = 0; y < k.height; y++) {
        JSAMPROW row = p.rgb + (size_t)y * (size_t)k.width * 3;
        if (k.ink) {
            put_inverted(row, k.width, ink);
            row = ink;
        }
        jpeg_write_scanlines(&c, &row, 1);
    }
    free(ink);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    cloak_photo_free(&p);
    bytes b = {0};
    put(&b, out, length);
    free(out);
    return b;
}

typedef struct {
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    jvirt_barray_ptr *blocks;
} coefficients;

static void open_coefficients(bytes file, coefficients *c) {
    c->d.err = jpeg_std_error(&c->errors);
    jpeg_create_decompress(&c->d);
    jpeg_mem_src(&c->d, file.data, file.length);
    jpeg_read_header(&c->d, TRUE);
    c->blocks = jpeg_read_coefficients(&c->d);
}

static const JCOEF *block(coefficients *c, int component, JDIMENSION x, JDIMENSION y) {
    return c->d.mem->access_virt_barray((j_common_ptr)&c->d, c->blocks[component], y, 1, FALSE)[0][x];
}

/* Checks that two files differ in just those blocks that lie over the rectangle, and are coded alike. */
static void check_blocks(bytes a, bytes b, int x0, int y0, int x1, int y1) {
    coefficients ca, cb;
    open_coefficients(a, &ca);
    open_coefficients(b, &cb);
    CHECK_INT(cb.d.num_components, ca.d.num_components);
    CHECK_INT(cb.d.progressive_mode, ca.d.progressive_mode);
    CHECK_INT(cb.d.jpeg_color_space, ca.d.jpeg_color_space);
    CHECK_INT(cb.d.saw_Adobe_marker, ca.d.saw_Adobe_marker);
    int differing = 0;
    for (int i = 0; i < ca.d.num_components; i++) {
        const jpeg_component_info *p = &ca.d.comp_info[i], *q = &cb.d.comp_info[i];
        CHECK(p->h_samp_factor == q->h_samp_factor && p->v_samp_factor == q->v_samp_factor);
        CHECK(memcmp(p->quant_table->quantval, q->quant_table->quantval, sizeof p->quant_table->quantval) == 0);
        const int w = 8 * ca.d.max_h_samp_factor / p->h_samp_factor, h = 8 * ca.d.max_v_samp_factor / p->v_samp_factor;
        for (JDIMENSION y = 0; y < p->height_in_blocks; y++)
            for (JDIMENSION x = 0; x < p->width_in_blocks; x++) {
                bool over = (int)x * w < x1 && (int)(x + 1) * w > x0 && (int)y * h < y1 && (int)(y + 1) * h > y0;
                bool same = memcmp(block(&ca, i, x, y), block(&cb, i, x, y), sizeof(JBLOCK)) == 0;
                if (!over && !same)
                    check_failed(__FILE__, __LINE__, "%dx%d: block %u,%u of component %d has changed", (int)ca.d.image_width, (int)ca.d.image_height, x, y, i);
                differing += !same;
            }
    }
    CHECK((differing > 0) == (x1 > x0));
    jpeg_destroy_decompress(&ca.d);
    jpeg_destroy_decompress(&cb.d);
}

/* Lifts a rectangle of the photo and lays it over the file. */
static bytes patched(bytes file, const cloak_photo *photo, int x0, int y0, int x1, int y1, int lift) {
    const size_t size = (size_t)photo->width * (size_t)photo->height * 3;
    uint8_t *rgb = cloak_alloc(size);
    cloak_photo changed = *photo;
    changed.rgb = rgb;
    changed.ink = photo->ink ? cloak_alloc(size / 3 * 4) : NULL;
    bytes out = {0};
    memcpy(rgb, photo->rgb, size);
    for (int y = y0; y < y1; y++)
        for (int i = 3 * x0; i < 3 * x1; i++)
            rgb[3 * y * photo->width + i] = (uint8_t)(rgb[3 * y * photo->width + i] + lift);
    if (photo->ink)
        cloak_srgb_carry_ink(photo, rgb, changed.ink);
    void *data = NULL;
    CHECK_OK(cloak_photo_patch(file.data, file.length, photo, &changed, &data, &out.length, &error));
    out.data = data;
    free(changed.ink);
    free(rgb);
    return out;
}

static double mean_of(const cloak_photo *p, int x0, int y0, int x1, int y1) {
    double sum = 0;
    for (int y = y0; y < y1; y++)
        for (int i = 3 * x0; i < 3 * x1; i++)
            sum += p->rgb[3 * y * p->width + i];
    return sum / (3.0 * (x1 - x0) * (y1 - y0));
}

TEST(only_changed_blocks_differ) {
    static const kind kinds[] = {{96, 80, 75, 2, false, false, 0, false}, {96, 80, 92, 1, false, true, 0, false},
        {101, 67, 85, 2, false, true, 0, false}, {97, 50, 80, 1, true, false, 0, false},
        {96, 80, 80, 1, false, false, JCS_CMYK, false}, {96, 80, 80, 1, false, true, JCS_CMYK, true},
        {101, 67, 85, 2, false, false, JCS_YCCK, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bytes file = make_jpeg(kinds[i]);
        cloak_photo before = decode(file);
        cloak_photo_find_srgb(&before);
        CHECK(!before.ink == !kinds[i].ink);
        bytes out = patched(file, &before, 30, 20, 58, 44, 20);
        check_blocks(file, out, 30, 20, 58, 44);
        cloak_photo after = decode(out);
        CHECK_NEAR(mean_of(&after, 33, 23, 55, 41) - mean_of(&before, 33, 23, 55, 41), 20, 2);
        CHECK_NEAR(mean_of(&after, 70, 0, 96, 44), mean_of(&before, 70, 0, 96, 44), 1e-9);
        CHECK(out.length < file.length * 5 / 4);
        cloak_photo_free(&after);
        cloak_photo_free(&before);
        free(out.data);
        free(file.data);
    }
}

/* What few programs read is delivered as what all do: the coefficients are the same. */
TEST(arithmetic_coding_becomes_huffman) {
    for (int i = 0; i < 2; i++) {
        arithmetic = true;
        bytes file = make_jpeg((kind){101, 67, 85, 2, false, i == 1, 0, false});
        arithmetic = false;
        CHECK(memmem(file.data, file.length, i ? "\xff\xca" : "\xff\xc9", 2)); /* its frame header */
        cloak_photo before = decode(file);
        bytes out = patched(file, &before, 30, 20, 58, 44, 20), clean = {0};
        void *data = NULL;
        bool encoded = true;
        check_blocks(file, out, 30, 20, 58, 44);
        CHECK_OK(cloak_photo_clean(file.data, file.length, &before, &data, &clean.length, &encoded, &error));
        clean.data = data;
        CHECK(!encoded);
        check_blocks(file, clean, 0, 0, 0, 0);
        CHECK(memmem(clean.data, clean.length, i ? "\xff\xc2" : "\xff\xc0", 2));
        cloak_photo_free(&before);
        free(data);
        free(out.data);
        free(file.data);
    }
}

TEST(nothing_changed_nothing_lost) {
    bytes file = make_jpeg((kind){96, 80, 75, 2, false, false, 0, false});
    cloak_photo before = decode(file);
    bytes out = patched(file, &before, 0, 0, 0, 0, 0);
    check_blocks(file, out, 0, 0, 0, 0);
    cloak_photo_free(&before);
    free(out.data);
    free(file.data);
}

/* The coder gives up after its buffer has grown: nothing may be freed twice, nothing may be lost (under sanitizers). */
TEST(a_coefficient_that_no_jpeg_can_hold) {
    bytes file = make_jpeg((kind){64, 64, 80, 1, false, false, 0, false}), icc = icc_profile("RGB "), head = {0};
    cloak_photo photo = decode(file);
    uint8_t *rgb = cloak_alloc(64 * 64 * 3);
    void *out = NULL;
    size_t length = 0;
    put(&head, icc.data, icc.length);
    while (head.length < 20000) /* a profile that fills the coder's first buffers */
        put_byte(&head, 7);
    photo.icc = head.data;
    photo.icc_length = head.length;
    memset(rgb, 200, 64 * 64 * 3);
    cloak_photo changed = photo;
    changed.rgb = rgb;
    for (int i = 0; i < 2000; i++) { /* some of these damages are taken by the decoder and not by the coder */
        bytes bad = {0};
        uint32_t state = (uint32_t)i;
        put(&bad, file.data, file.length);
        for (int k = 0; k < 3; k++)
            bad.data[bad.length / 3 + next_random(&state) % (bad.length * 2 / 3)] = (uint8_t)next_random(&state);
        if (cloak_photo_patch(bad.data, bad.length, &photo, &changed, &out, &length, &error) == CLOAK_OK)
            free(out);
        free(bad.data);
    }
    photo.icc = NULL;
    cloak_photo_free(&photo);
    free(rgb);
    free(head.data);
    free(icc.data);
    free(file.data);
}

TEST(profile_stays) {
    bytes file = make_jpeg((kind){64, 64, 80, 2, false, false, 0, false}), icc = icc_profile("RGB "), head = {0};
    put(&head, "ICC_PROFILE\0\1\1", 14);
    put(&head, icc.data, icc.length);
    bytes source = with_segment(file, 0xe2, head.data, head.length);
    cloak_photo before = decode(source);
    CHECK_INT(before.icc_length, icc.length);
    bytes out = patched(source, &before, 8, 8, 24, 24, 12);
    cloak_photo after = decode(out);
    CHECK_INT(after.icc_length, icc.length);
    CHECK(memcmp(after.icc, icc.data, icc.length) == 0);
    cloak_photo_free(&after);
    cloak_photo_free(&before);
    free(out.data);
    free(source.data);
    free(head.data);
    free(icc.data);
    free(file.data);
}

TEST(turned_without_loss_where_blocks_allow) {
    for (int orientation = 2; orientation <= 8; orientation++) {
        bytes file = make_jpeg((kind){96, 80, 75, 2, false, false, 0, false}), exif = exif_block(orientation, false, "x");
        bytes source = with_exif(file, exif);
        cloak_photo before = decode(source);
        bytes same = patched(source, &before, 0, 0, 0, 0, 0);
        cloak_photo after = decode(same);
        CHECK(after.width == before.width && after.height == before.height);
        /* a transposed inverse DCT rounds otherwise by a level or two, a turn the wrong way by far more */
        CHECK(cloak_photo_psnr(before.rgb, after.rgb, (size_t)before.width * (size_t)before.height * 3) > 50);
        void *cleaned = NULL;
        bool encoded = true;
        size_t length = 0;
        CHECK_OK(cloak_photo_clean(source.data, source.length, &before, &cleaned, &length, &encoded, &error));
        CHECK(!encoded);
        check_blocks(same, (bytes){cleaned, length}, 0, 0, 0, 0);
        bytes out = patched(source, &before, 16, 16, 40, 48, 12);
        check_blocks(same, out, 16, 16, 40, 48);
        free(cleaned);
        free(out.data);
        free(same.data);
        cloak_photo_free(&after);
        cloak_photo_free(&before);
        free(source.data);
        free(exif.data);
        free(file.data);
    }
}

/* For want of memory no photo is coded anew: it is tried again. */
TEST(want_of_memory_is_no_unusual_make) {
#ifdef __SANITIZE_ADDRESS__
    check_skip("under sanitizers memory cannot be limited");
#else
    bytes file = make_jpeg((kind){2000, 1600, 75, 2, false, false, 0, false});
    cloak_photo photo = decode(file);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) { /* the coefficients are 9 MiB */
        unsigned long pages = 0;
        FILE *now = fopen("/proc/self/statm", "r");
        void *out = NULL;
        size_t length = 0;
        bool encoded = false;
        if (!now || fscanf(now, "%lu", &pages) != 1)
            _exit(1);
        fclose(now);
        const rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (4 << 20);
        if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most}) != 0)
            _exit(2);
        if (cloak_photo_patch(file.data, file.length, &photo, &photo, &out, &length, &error) != CLOAK_E_TRANSIENT)
            _exit(3);
        if (cloak_photo_clean(file.data, file.length, &photo, &out, &length, &encoded, &error) != CLOAK_E_TRANSIENT)
            _exit(4);
        _exit(0);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    cloak_photo_free(&photo);
    free(file.data);
#endif
}

static void check_refused(bytes file) {
    cloak_photo photo = decode(file);
    void *out = NULL;
    size_t length = 0;
    bool encoded = false;
    CHECK_INT(cloak_photo_patch(file.data, file.length, &photo, &photo, &out, &length, &error), CLOAK_E_USAGE);
    CHECK(!out);
    CHECK_OK(cloak_photo_clean(file.data, file.length, &photo, &out, &length, &encoded, &error));
    free(out);
    cloak_photo_free(&photo);
}

TEST(what_cannot_be_patched_is_refused) {
    bytes png = encoded_sample(CLOAK_FORMAT_PNG, 40, 30, false);
    check_refused(png);
    bytes odd = make_jpeg((kind){90, 70, 75, 2, false, false, 0, false}), exif = exif_block(6, true, "x");
    bytes turned = with_exif(odd, exif);
    check_refused(turned);
    free(turned.data);
    free(exif.data);
    free(odd.data);
    free(png.data);
}
