/* Nothing but pixels and the colour profile gets out. The sources are loaded with every kind of
 * metadata that may show the uncloaked face or its place, and the deliveries are walked by this
 * file's own walkers: the parts allowed are counted, everything else fails. */
#include "common/photo/parts.h"
#include "tests/unit/samples.h"

/* Cleans a file and searches the result for what must not be in it. */
static void check_cleaned(bytes file, const char *want_gone, bool want_encoded) {
    cloak_photo photo = decode(file);
    void *out = NULL;
    size_t length = 0;
    bool encoded = false;
    cloak_error error;
    CHECK(memmem(file.data, file.length, want_gone, strlen(want_gone)));
    CHECK_OK(cloak_photo_clean(file.data, file.length, &photo, &out, &length, &encoded, &error));
    CHECK(!memmem(out, length, want_gone, strlen(want_gone)));
    CHECK_INT(encoded, want_encoded);
    free(out);
    if (photo.format == CLOAK_FORMAT_JPEG) {
        CHECK_OK(cloak_photo_patch(file.data, file.length, &photo, &photo, &out, &length, &error));
        CHECK(!memmem(out, length, want_gone, strlen(want_gone)));
        free(out);
    }
    cloak_photo_free(&photo);
}

/* A second picture where only colour, or a header, should be. */
TEST(nothing_hides_in_jfif_or_in_a_profile) {
    bytes jpeg = encoded_sample(CLOAK_FORMAT_JPEG, 24, 16, false), plain = {0}, jfif = {0}, head = {0}, icc = icc_profile("RGB ");
    put(&plain, jpeg.data, 2); /* without its own JFIF */
    put(&plain, jpeg.data + 20, jpeg.length - 20);
    put(&jfif, "JFIF\0\1\2\0\0\1\0\1\4\4", 14); /* 4 x 4 pixels of a thumbnail */
    put_text(&jfif, "SECRET-FACE-SECRET-FACE-SECRET-FACE-SECRET-FACE-");
    bytes thumbnail = with_segment(plain, 0xe0, jfif.data, jfif.length);
    check_cleaned(thumbnail, "SECRET-FACE", false);
    put(&head, "ICC_PROFILE\0\1\1", 14);
    put(&head, icc.data, icc.length);
    put_text(&head, "SECRET-FACE"); /* behind what the profile says it is */
    bytes longer = with_segment(jpeg, 0xe2, head.data, head.length);
    check_cleaned(longer, "SECRET-FACE", false);
    bytes none = with_segment(jpeg, 0xe2, "ICC_PROFILE\0\1\1SECRET-FACE and no profile at all", 14 + 33);
    check_cleaned(none, "SECRET-FACE", false);
    free(none.data);
    free(longer.data);
    free(thumbnail.data);
    free(head.data);
    free(jfif.data);
    free(icc.data);
    free(plain.data);
    free(jpeg.data);
}

static const char secret[] = "SECRET-FACE-52.5200N-13.4050E";

static void check_no_secret(bytes file) {
    CHECK(memmem(file.data, file.length, "SECRET", 6) == NULL);
    CHECK(memmem(file.data, file.length, "Exif", 4) == NULL);
    CHECK(memmem(file.data, file.length, "ns.adobe.com", 12) == NULL);
}

/* Checks each segment of a delivered JPEG; returns how many carry the colour profile. */
static int walk_jpeg(bytes file) {
    const uint8_t *p = file.data, *end = p + file.length;
    int profiles = 0, frames = 0;
    CHECK(p[0] == 0xff && p[1] == 0xd8);
    p += 2;
    for (;;) {
        CHECK(end - p > 4 && p[0] == 0xff);
        size_t n = (size_t)p[2] << 8 | p[3];
        CHECK(n >= 2 && n <= (size_t)(end - p) - 2);
        switch (p[1]) {
        case 0xe0: /* JFIF without a thumbnail */
            CHECK(n == 16 && memcmp(p + 4, "JFIF", 5) == 0 && p[16] == 0 && p[17] == 0);
            CHECK(p == file.data + 2);
            break;
        case 0xe2:
            CHECK(memcmp(p + 4, "ICC_PROFILE", 12) == 0);
            profiles++;
            break;
        case 0xc0: /* baseline, 8 bits, three components, none subsampled */
            CHECK(p[4] == 8 && p[9] == 3 && p[11] == 0x11 && p[14] == 0x11 && p[17] == 0x11);
            frames++;
            break;
        case 0xdb:
        case 0xc4:
        case 0xda:
            break;
        default:
            check_failed(__FILE__, __LINE__, "a segment %02x got out", p[1]);
        }
        bool scan = p[1] == 0xda;
        p += 2 + n;
        if (scan)
            break;
    }
    CHECK_INT(frames, 1);
    while (p < end - 2) { /* only stuffed bytes until the end marker, which is the end */
        CHECK(p[0] != 0xff || p[1] == 0);
        p++;
    }
    CHECK(p[0] == 0xff && p[1] == 0xd9);
    return profiles;
}

/* Counts the chunks of a delivered PNG or WebP and fails on any that `allowed` does not name. */
static int walk_chunks(bytes file, const char *allowed, const char *counted) {
    bool riff = memcmp(file.data, "RIFF", 4) == 0;
    size_t at = riff ? 12 : 8;
    int count = 0;
    if (riff) {
        uint32_t size = (uint32_t)file.data[7] << 24 | (uint32_t)file.data[6] << 16 |
                        (uint32_t)file.data[5] << 8 | file.data[4];
        CHECK_INT(size + 8, file.length);
    }
    while (at < file.length) {
        const uint8_t *p = file.data + at;
        const char *name = (const char *)p + (riff ? 0 : 4);
        CHECK(file.length - at >= 8);
        size_t n = riff ? (size_t)p[7] << 24 | (size_t)p[6] << 16 | (size_t)p[5] << 8 | p[4]
                        : (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        char word[7] = {' ', name[0], name[1], name[2], name[3], ' ', 0};
        if (!strstr(allowed, word))
            check_failed(__FILE__, __LINE__, "a chunk%sgot out", word);
        if (strncmp(name, counted, 4) == 0)
            count++;
        if (strncmp(name, "VP8X", 4) == 0)
            CHECK((p[8] & ~0x30) == 0);
        at += riff ? 8 + n + (n & 1) : 12 + n;
    }
    CHECK_INT(at, file.length);
    return count;
}

/* Decodes and encodes. What the decoder gets to see is checked on the way. */
static bytes recode(bytes file, const cloak_photo *like) {
    bytes seen = {0};
    seen.data =
        cloak_weed(cloak_photo_sniff(file.data, file.length), file.data, file.length, &seen.length);
    CHECK(seen.data);
    check_no_secret(seen);
    free(seen.data);
    cloak_photo p = decode(file);
    CHECK_INT(p.width, like->width);
    CHECK_INT(p.height, like->height);
    bytes out = encode(&p);
    cloak_photo_free(&p);
    return out;
}

static bytes replace(bytes old, bytes new) {
    free(old.data);
    return new;
}

static bytes loaded_jpeg(cloak_photo *photo, bytes icc) {
    photo->icc = icc.data;
    photo->icc_length = icc.length;
    bytes file = encode(photo), exif = exif_block(1, false, secret), b = {0};
    photo->icc = NULL;
    file = replace(file, with_exif(file, exif));
    put(&b, "http://ns.adobe.com/xap/1.0/", 29);
    put_text(&b, secret);
    file = replace(file, with_segment(file, 0xe1, b.data, b.length));
    b.length = 0;
    put(&b, "MPF", 4);
    put_text(&b, secret);
    file = replace(file, with_segment(file, 0xe2, b.data, b.length));
    b.length = 0;
    put(&b, "Photoshop 3.0\0008BIM\4\4\0\0", 22);
    put_text(&b, secret);
    file = replace(file, with_segment(file, 0xed, b.data, b.length));
    b.length = 0;
    put(&b, "JFXX\0\x10\xff\xd8", 8);
    put_text(&b, secret);
    file = replace(file, with_segment(file, 0xe0, b.data, b.length));
    for (unsigned marker = 0xe3; marker <= 0xef; marker++)
        file = replace(file, with_segment(file, marker, secret, sizeof secret));
    file = replace(file, with_segment(file, 0xfe, secret, sizeof secret));
    put(&file, "\xff\xd8\xff\xe1", 4); /* a motion photo, or MPF's second picture */
    put(&file, secret, sizeof secret);
    put(&file, exif.data, exif.length);
    free(b.data);
    free(exif.data);
    return file;
}

TEST(nothing_hides_in_a_jpeg) {
    for (int with_profile = 0; with_profile < 2; with_profile++) {
        bytes icc = icc_profile("RGB ");
        cloak_photo photo = make_photo(CLOAK_FORMAT_JPEG, 90, 60, false);
        bytes file = loaded_jpeg(&photo, with_profile ? icc : (bytes){0});
        CHECK(memmem(file.data, file.length, "SECRET", 6) != NULL);
        bytes out = recode(file, &photo);
        CHECK_INT(walk_jpeg(out), with_profile);
        check_no_secret(out);
        CHECK((memmem(out.data, out.length, "acsp", 4) != NULL) == with_profile);
        cloak_photo_free(&photo);
        free(icc.data);
        free(file.data);
        free(out.data);
    }
}

TEST(nothing_hides_in_a_png) {
    cloak_photo photo = make_photo(CLOAK_FORMAT_PNG, 40, 30, true);
    bytes icc = icc_profile("RGB "), file = {0}, exif = exif_block(1, true, secret);
    photo.icc = icc.data;
    photo.icc_length = icc.length;
    bytes plain = encode(&photo);
    photo.icc = NULL;
    put(&file, plain.data, 33); /* signature and header */
    put_chunk(&file, "eXIf", exif.data, exif.length);
    put_chunk(&file, "tEXt", "Comment\0SECRET", 14);
    put_chunk(&file, "iTXt", "XML:com.adobe.xmp\0\0\0\0\0SECRET", 28);
    put_chunk(&file, "tIME", "\x07\xe8\1\1\1\1\1", 7);
    put_chunk(&file, "pHYs", "\0\0\1\0\0\0\1\0\1", 9);
    put_chunk(&file, "fcTL", secret, sizeof secret);
    put_chunk(&file, "prVt", secret, sizeof secret);
    put(&file, plain.data + 33, plain.length - 33 - 12);
    put_chunk(&file, "zTXt", secret, sizeof secret);
    put_chunk(&file, "IEND", "", 0);
    put(&file, secret, sizeof secret);
    bytes out = recode(file, &photo);
    CHECK_INT(walk_chunks(out, " IHDR iCCP IDAT IEND ", "iCCP"), 1);
    check_no_secret(out);
    CHECK(memcmp(out.data + out.length - 12, "\0\0\0\0IEND", 8) == 0);
    cloak_photo_free(&photo);
    free(icc.data);
    free(exif.data);
    free(plain.data);
    free(file.data);
    free(out.data);
}

TEST(nothing_hides_in_a_webp) {
    for (int kind = 0; kind < 4; kind++) {
        bool alpha = kind & 1;
        cloak_photo photo = make_photo(CLOAK_FORMAT_WEBP, 40, 30, alpha);
        photo.lossless = kind & 2;
        bytes icc = icc_profile("RGB "), chunks = {0}, exif = exif_block(1, true, secret);
        photo.icc = icc.data;
        photo.icc_length = icc.length;
        bytes plain = encode(&photo);
        photo.icc = NULL;
        CHECK(memcmp(plain.data + 12, "VP8X", 4) == 0);
        put(&chunks, plain.data + 12, plain.length - 12);
        chunks.data[8] |= 0x08 | 0x04; /* EXIF and XMP follow */
        put_riff(&chunks, "EXIF", exif.data, exif.length);
        put_riff(&chunks, "XMP ", secret, sizeof secret);
        put_riff(&chunks, "priv", secret, sizeof secret);
        bytes file = webp_of(chunks);
        put(&file, secret, sizeof secret);
        bytes out = recode(file, &photo);
        CHECK_INT(walk_chunks(out, " VP8X ICCP ALPH VP8L VP8  ", "ICCP"), 1);
        check_no_secret(out);
        cloak_photo_free(&photo);
        free(icc.data);
        free(exif.data);
        free(plain.data);
        free(chunks.data);
        free(file.data);
        free(out.data);
    }
}

TEST(files_without_a_profile_stay_plain) {
    bytes webp = encoded_sample(CLOAK_FORMAT_WEBP, 20, 10, false);
    CHECK_INT(walk_chunks(webp, " VP8L ", "VP8L"), 1);
    bytes png = encoded_sample(CLOAK_FORMAT_PNG, 20, 10, false);
    CHECK(walk_chunks(png, " IHDR IDAT IEND ", "IDAT") >= 1);
    bytes jpeg = encoded_sample(CLOAK_FORMAT_JPEG, 20, 10, false);
    CHECK_INT(walk_jpeg(jpeg), 0);
    free(webp.data);
    free(png.data);
    free(jpeg.data);
}

typedef struct {
    uint32_t tag, type, count;
    const void *value; /* of more than four bytes, or a number */
    uint32_t number;
} Field;

/* Appends a folder; returns where it is. Fields in the order of their tags, with values as the machine has them. */
static uint32_t put_folder(bytes *b, const uint8_t *old, size_t old_count, const Field *fields, size_t count) {
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8};
    bytes folder = {0};
    put_little(&folder, (uint32_t)(old_count + count), 2);
    for (size_t i = 0, j = 0; i + j < old_count + count;) {
        const uint8_t *entry = old + 12 * i;
        if (i < old_count && (j == count || (uint32_t)(entry[0] | entry[1] << 8) < fields[j].tag)) {
            put(&folder, entry, 12);
            i++;
            continue;
        }
        const Field *f = &fields[j++];
        put_little(&folder, f->tag, 2);
        put_little(&folder, f->type, 2);
        put_little(&folder, f->count, 4);
        if (b->length & 1)
            put_byte(b, 0);
        put_little(&folder, f->value ? (uint32_t)b->length : f->number, 4);
        if (f->value)
            put(b, f->value, (size_t)f->count * sizes[f->type]);
    }
    put_little(&folder, 0, 4);
    if (b->length & 1)
        put_byte(b, 0);
    const uint32_t at = (uint32_t)b->length;
    put(b, folder.data, folder.length);
    free(folder.data);
    return at;
}

static uint32_t little(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Previews, maker notes and private fields wherever a TIFF can have them; and what is to stay. */
static bytes loaded_tiff(void) {
    bytes file = encoded_sample(CLOAK_FORMAT_TIFF, 40, 30, false), resources = {0};
    const uint8_t *folder = file.data + little(file.data + 4);
    const size_t old_count = folder[0] | (size_t)folder[1] << 8;
    bytes old = {0};
    put(&old, folder + 2, 12 * old_count);
    put_text(&resources, "8BIM\4\x0c");
    put(&resources, "\0\0", 2);
    put_big(&resources, sizeof secret, 4);
    put(&resources, secret, sizeof secret);
    const uint32_t preview = (uint32_t)file.length, n = sizeof secret;
    put(&file, secret, sizeof secret);
    const Field picture[] = {{0x100, 4, 1, NULL, 4}, {0x101, 4, 1, NULL, 4}, {0x111, 4, 1, NULL, preview}, {0x117, 4, 1, NULL, n}};
    const uint32_t below = put_folder(&file, NULL, 0, picture, 4);
    const Field exif_fields[] = {{0x9003, 2, 20, "2024:05:06 07:08:09", 0}, {0x927c, 7, n, secret, 0}, {0xa431, 2, n, secret, 0}};
    const uint32_t exif = put_folder(&file, NULL, 0, exif_fields, 3);
    const Field gps_fields[] = {{0x12, 2, n, secret, 0}};
    const uint32_t gps = put_folder(&file, NULL, 0, gps_fields, 1);
    const Field fields[] = {{0x10e, 2, n, secret, 0}, {0x10f, 2, 7, "Camera", 0}, {0x14a, 4, 1, NULL, below},
        {0x201, 4, 1, NULL, preview}, {0x202, 4, 1, NULL, n}, {0x2bc, 1, n, secret, 0},
        {0x8649, 7, (uint32_t)resources.length, resources.data, 0}, {0x8769, 4, 1, NULL, exif}, {0x8825, 4, 1, NULL, gps},
        {0xc634, 7, n, secret, 0}, {0xfde8, 2, n, secret, 0}};
    const uint32_t first = put_folder(&file, old.data, old_count, fields, sizeof fields / sizeof *fields);
    for (int i = 0; i < 4; i++)
        file.data[4 + i] = (uint8_t)(first >> (8 * i));
    free(old.data);
    free(resources.data);
    return file;
}

/* Of the fields in a loaded TIFF all that name no picture may pass with `keep`: caption and place, and the date with
 * `safe`. */
TEST(nothing_hides_in_a_tiff) {
    bytes file = loaded_tiff();
    const cloak_metadata_policy policies[] = {CLOAK_METADATA_NONE, CLOAK_METADATA_SAFE, CLOAK_METADATA_KEEP};
    for (int i = 0; i < 3; i++) {
        cloak_photo photo = decode(file);
        void *out = NULL;
        size_t length = 0, secrets = 0;
        bool encoded = false;
        cloak_error error;
        cloak_photo_keep_metadata(file.data, file.length, policies[i], &photo);
        CHECK_OK(cloak_photo_clean(file.data, file.length, &photo, &out, &length, &encoded, &error));
        const uint8_t *end = (const uint8_t *)out + length;
        for (const uint8_t *at = out; (at = memmem(at, (size_t)(end - at), "SECRET", 6)); at++)
            secrets++;
        CHECK_INT(secrets, policies[i] == CLOAK_METADATA_KEEP ? 3 : 0); /* caption, serial number, place */
        CHECK((memmem(out, length, "Camera", 7) != NULL) == (i > 0));
        CHECK((memmem(out, length, "2024:05:06 07:08:09", 20) != NULL) == (i > 0));
        bytes again = {out, length};
        cloak_photo back = decode(again);
        CHECK(memcmp(back.rgb, photo.rgb, 3 * 40 * 30) == 0);
        cloak_photo_keep_metadata(out, length, policies[i], &back); /* all of it is found where it says */
        CHECK_INT(back.metadata.exif_length, photo.metadata.exif_length);
        if (back.metadata.exif)
            CHECK(memcmp(back.metadata.exif, photo.metadata.exif, back.metadata.exif_length) == 0);
        cloak_photo_free(&back);
        cloak_photo_free(&photo);
        free(out);
    }
    free(file.data);
}

/* Whatever is broken in its fields, a TIFF whose pixels can be read is delivered. */
TEST(broken_fields_cost_no_tiff) {
    bytes file = loaded_tiff();
    const size_t pixels = memmem(file.data, file.length, secret, sizeof secret) - (void *)file.data;
    uint32_t state = 17;
    for (int i = 0; i < 400; i++) {
        bytes bad = {0};
        put(&bad, file.data, file.length);
        for (int k = 0; k < 4; k++)
            bad.data[pixels + next_random(&state) % (file.length - pixels)] = (uint8_t)next_random(&state);
        cloak_photo photo;
        cloak_error error;
        if (cloak_photo_decode(bad.data, bad.length, "bad", NULL, &photo, &error) == CLOAK_OK) {
            void *out = NULL;
            size_t length = 0;
            bool encoded = false;
            cloak_photo_keep_metadata(bad.data, bad.length, CLOAK_METADATA_KEEP, &photo);
            CHECK_OK(cloak_photo_clean(bad.data, bad.length, &photo, &out, &length, &encoded, &error));
            bytes again = {out, length};
            cloak_photo back = decode(again);
            cloak_photo_free(&back);
            free(out);
        }
        cloak_photo_free(&photo);
        free(bad.data);
    }
    free(file.data);
}

/* A broken EXIF block costs nobody a photo, wherever it is broken. */
TEST(broken_exif_is_only_ignored) {
    bytes plain = encoded_sample(CLOAK_FORMAT_JPEG, 24, 16, false);
    bytes exif = exif_block(6, false, secret);
    for (size_t cut = 0; cut <= exif.length; cut++) {
        bytes file = with_exif(plain, (bytes){exif.data, cut});
        cloak_photo p = decode(file);
        CHECK_INT(p.width, cut < 8 + 2 + 2 * 12 - 2 ? 24 : 16);
        cloak_photo_free(&p);
        free(file.data);
    }
    /* the rest of the block lies behind its stated end: not to be read */
    for (size_t cut = 0; cut < 8 + 2 + 2 * 12 - 2; cut++)
        CHECK_INT(cloak_orientation_read(exif.data, cut), 1);
    CHECK_INT(cloak_orientation_read(exif.data, exif.length), 6);
    uint32_t state = 11;
    for (int i = 0; i < 500; i++) {
        bytes bad = {0};
        put(&bad, exif.data, exif.length);
        for (int k = 0; k < 3; k++)
            bad.data[next_random(&state) % bad.length] = (uint8_t)next_random(&state);
        bytes file = with_exif(plain, bad);
        cloak_photo p = decode(file);
        CHECK_INT(p.width + p.height, 40);
        cloak_photo_free(&p);
        free(file.data);
        free(bad.data);
    }
    free(exif.data);
    free(plain.data);
}
