/* HEIC and AVIF that pass through: their coded pixels are copied, nothing else, and only where all of it is known. */
#include "tests/unit/samples.h"

static const char secret[] = "SECRET-FACE-52.5200N-13.4050E";

static bytes clean(bytes file, const cloak_photo *photo, bool *encoded) {
    bytes out = {0};
    void *data = NULL;
    cloak_error error;
    CHECK_OK(cloak_photo_clean(file.data, file.length, photo, &data, &out.length, encoded, &error));
    out.data = data;
    return out;
}

static bytes core_of(bytes file, const cloak_photo *photo) {
    bytes core = {0};
    core.data = cloak_photo_core(file.data, file.length, photo, &core.length);
    return core;
}

static bool same(bytes a, bytes b) {
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* A picture with a profile, alpha where wanted, and secrets in EXIF and XMP. */
static bytes loaded(cloak_format_id format, bool alpha, int depth) {
    cloak_photo photo = depth > 8 ? make_deep(format, 96, 64, alpha, depth) : make_photo(format, 96, 64, alpha);
    bytes icc = icc_profile("RGB "), exif = exif_block(6, true, secret);
    photo.icc = icc.data;
    photo.icc_length = icc.length;
    photo.metadata = (cloak_metadata){.exif = exif.data, .exif_length = exif.length, .xmp = (uint8_t *)secret, .xmp_length = sizeof secret};
    bytes file = encode(&photo);
    photo.metadata = (cloak_metadata){0};
    photo.icc = NULL;
    cloak_photo_free(&photo);
    free(icc.data);
    free(exif.data);
    CHECK(memmem(file.data, file.length, secret, sizeof secret));
    put(&file, "\0\0\0\x40mdat", 8); /* a film, or another photo, behind the end */
    for (int i = 0; i < 2; i++)
        put(&file, "\xff\xd8SECRET-SECRET-SECRET-SECR", 28);
    return file;
}

/* The coded pixels come back to the bit, with metadata that were kept, and those only. */
TEST(pixels_pass_and_nothing_else) {
    for (int i = 0; i < 8; i++) {
        const cloak_format_id format = i & 1 ? CLOAK_FORMAT_AVIF : CLOAK_FORMAT_HEIC;
        bytes file = loaded(format, i & 2, i & 4 ? 12 : 8);
        cloak_photo photo = decode(file), back;
        bool encoded = true;
        bytes bare = clean(file, &photo, &encoded);
        CHECK(!encoded);
        CHECK(!memmem(bare.data, bare.length, "SECRET", 6));
        CHECK(memmem(bare.data, bare.length, "acsp", 4));
        CHECK(bare.length < file.length);
        back = decode(bare);
        CHECK(memcmp(back.rgb, photo.rgb, 3 * 96 * 64) == 0);
        CHECK((back.deep != NULL) == (i >= 4) && back.icc_length == photo.icc_length);
        if (back.deep)
            CHECK(memcmp(back.deep, photo.deep, 6 * 96 * 64) == 0);
        CHECK((back.alpha != NULL) == ((i & 2) != 0));
        if (back.alpha)
            CHECK(memcmp(back.alpha, photo.alpha, 96 * 64) == 0);
        cloak_photo_free(&back);
        /* the core does in the file's place, and is its own core */
        bytes core = core_of(file, &photo), again = core_of(core, &photo);
        CHECK(same(core, bare) && same(again, core));
        cloak_photo_keep_metadata(file.data, file.length, CLOAK_METADATA_KEEP, &photo);
        bytes kept = clean(file, &photo, &encoded), from_core = clean(core, &photo, &encoded);
        CHECK(!encoded && same(kept, from_core));
        CHECK(memmem(kept.data, kept.length, secret, sizeof secret)); /* make of the camera */
        back = decode(kept);
        CHECK(memcmp(back.rgb, photo.rgb, 3 * 96 * 64) == 0);
        cloak_photo_keep_metadata(kept.data, kept.length, CLOAK_METADATA_KEEP, &back);
        CHECK_INT(back.metadata.exif_length, photo.metadata.exif_length);
        cloak_photo_free(&back);
        cloak_photo_free(&photo);
        free(kept.data);
        free(from_core.data);
        free(core.data);
        free(again.data);
        free(bare.data);
        free(file.data);
    }
}

/* Puts `patch` over the first place where `what` is, `offset` bytes on. */
static bytes with_patch(bytes file, const char *what, size_t offset, const void *patch, size_t length) {
    bytes b = {0};
    put(&b, file.data, file.length);
    uint8_t *at = memmem(b.data, b.length, what, strlen(what));
    CHECK(at && offset + length <= (size_t)(b.data + b.length - at));
    memcpy(at + offset, patch, length);
    return b;
}

/* What is not known for what it is, is not copied. */
TEST(what_is_unknown_is_coded_anew) {
    static const struct {
        const char *what;
        size_t offset;
        const char *patch;
        size_t length;
    } cases[] = {{"ispe", 0, "isp_", 4}, {"hvcC", 27, "\x27", 1}, {"hvcC", 0, "hvc_", 4}, {"hdlr", 12, "auxv", 4},
        {"acsp", 0, "none", 4}, {"pitm", 8, "\0\x63", 2}, {"infe", 10, "\0\1", 2}, {"iloc", 4, "\3", 1}};
    bytes source = loaded(CLOAK_FORMAT_HEIC, false, 8);
    cloak_photo photo = decode(source);
    bytes core = core_of(source, &photo);
    CHECK(core.data != NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes bad = with_patch(core, cases[i].what, cases[i].offset, cases[i].patch, cases[i].length);
        bytes none = core_of(bad, &photo);
        if (none.data)
            check_failed(__FILE__, __LINE__, "%s was copied", cases[i].what);
        bool encoded = false;
        bytes anew = clean(bad, &photo, &encoded);
        CHECK(encoded);
        free(anew.data);
        free(bad.data);
    }
    cloak_photo_free(&photo);
    free(core.data);
    free(source.data);
}

/* Messages beside a picture, and a second picture in its place. */
TEST(only_one_picture_is_in_its_data) {
    bytes source = loaded(CLOAK_FORMAT_HEIC, false, 8);
    cloak_photo photo = decode(source);
    bytes core = core_of(source, &photo);
    const uint8_t *data = (const uint8_t *)memmem(core.data, core.length, "mdat", 4) + 4;
    const size_t length = (size_t)(core.data + core.length - data);
    const uint8_t *slice = data; /* past parameter sets, if there are any */
    while ((slice[4] >> 1 & 0x3f) > 31)
        slice += 4 + ((size_t)slice[0] << 24 | (size_t)slice[1] << 16 | (size_t)slice[2] << 8 | slice[3]);
    for (int i = 0; i < 3; i++) {
        bytes file = {0}, unit = {0};
        put_big(&unit, i == 0 ? 2 + sizeof secret : i == 1 ? (uint32_t)(data + length - slice) - 4 : 3, 4);
        if (i == 0) { /* SEI */
            put(&unit, "\x4e\1", 2);
            put(&unit, secret, sizeof secret);
        } else if (i == 1) { /* the slice once more */
            put(&unit, slice + 4, (size_t)(data + length - slice) - 4);
        } else { /* of another layer */
            put(&unit, "\x26\x09\x80", 3);
        }
        put(&file, core.data, (size_t)(data - core.data));
        put(&file, data, length);
        put(&file, unit.data, unit.length);
        /* the item is longer now: the last field of iloc, and the box of the data */
        uint8_t *iloc = memmem(file.data, file.length, "iloc", 4), *mdat = file.data + (data - core.data) - 8;
        for (int k = 0; k < 4; k++) {
            iloc[4 + 4 + 2 + 2 + 12 + k] = (uint8_t)((length + unit.length) >> (8 * (3 - k)));
            mdat[k] = (uint8_t)((length + unit.length + 8) >> (8 * (3 - k)));
        }
        bytes again = core_of(file, &photo);
        if (i == 0)
            CHECK(same(again, core));
        else
            CHECK(again.data == NULL);
        free(again.data);
        free(unit.data);
        free(file.data);
    }
    cloak_photo_free(&photo);
    free(core.data);
    free(source.data);
}

/* A box of this kind with a body. */
static void put_box(bytes *to, const char *kind, bytes body) {
    put_big(to, (uint32_t)body.length + 8, 4);
    put_text(to, kind);
    put(to, body.data, body.length);
    free(body.data);
}

/* `format`: digits are numbers of so many bytes, one per argument. */
static bytes numbers(const char *format, const uint32_t *values) {
    bytes b = {0};
    for (int i = 0; format[i]; i++)
        put_big(&b, values[i], format[i] - '0');
    return b;
}

/* As telephones write them: 2 x 2 tiles, here all of one picture, a thumbnail, and an alpha of another kind (depth).
 * The coded picture and its set-up are those of a core with one item. */
/* How the grid is told: its canvas, its tiles' size, and whether it is cropped instead of turned. */
typedef struct {
    uint32_t width, height, tile_width, tile_height;
    bool cropped;
} Told;

static const Told whole = {192, 128, 96, 64, false};

static bytes grid_of(bytes core, const char *derived, Told told) {
    enum { TILES = 4, GRID = 5, THUMBNAIL = 6, DEPTH = 7 };
    const uint8_t *config = (const uint8_t *)memmem(core.data, core.length, "hvcC", 4) - 4,
                  *data = (const uint8_t *)memmem(core.data, core.length, "mdat", 4) + 4;
    const uint32_t config_length = (uint32_t)config[2] << 8 | config[3], length = (uint32_t)(core.data + core.length - data);
    bytes file = {0}, meta = {0}, infos = numbers("42", (uint32_t[]){0, 7}), links = numbers("4", (uint32_t[]){0}), ipco = {0},
          properties = {0}, uses = numbers("44", (uint32_t[]){0, 7}), places = numbers("422", (uint32_t[]){1u << 24, 0x4400, 7});
    put(&file, "\0\0\0\x18""ftypheic\0\0\0\0mif1heic", 24);
    const uint32_t at = (uint32_t)file.length + 8;
    put_big(&file, TILES * length + 8, 4);
    put_text(&file, "mdat");
    for (int i = 0; i < TILES; i++)
        put(&file, data, length);
    for (uint32_t id = 1; id <= DEPTH; id++) {
        const bool grid = id == GRID;
        bytes info = numbers("422", (uint32_t[]){2u << 24 | (id != GRID), id, 0});
        put_text(&info, grid ? "grid" : "hvc1");
        put_byte(&info, 0);
        put_box(&infos, "infe", info);
        bytes place = numbers("222244", (uint32_t[]){id, grid, 0, 1, grid ? 0 : at + (id - 1) % TILES * length, grid ? 8 : length});
        put(&places, place.data, place.length);
        free(place.data);
        /* the size, then set-up or, of depth, its kind besides */
        bytes use = grid ? numbers("2111", (uint32_t[]){id, 2, 2, 4})
                         : numbers("21111", (uint32_t[]){id, id == DEPTH ? 3 : 2, 1, 0x83, 5});
        put(&uses, use.data, use.length - (!grid && id != DEPTH));
        free(use.data);
    }
    put_box(&links, derived, numbers("222222", (uint32_t[]){GRID, TILES, 1, 2, 3, 4}));
    put_box(&links, "thmb", numbers("222", (uint32_t[]){THUMBNAIL, 1, GRID}));
    put_box(&links, "auxl", numbers("222", (uint32_t[]){DEPTH, 1, GRID}));
    put_box(&ipco, "ispe", numbers("444", (uint32_t[]){0, told.tile_width, told.tile_height}));
    put_box(&ipco, "ispe", numbers("444", (uint32_t[]){0, told.width, told.height}));
    put(&ipco, config, config_length);
    if (told.cropped) /* to 64 x 64 in the middle */
        put_box(&ipco, "clap", numbers("44444444", (uint32_t[]){64, 1, 64, 1, 0, 1, 0, 1}));
    else
        put_box(&ipco, "irot", numbers("1", (uint32_t[]){1}));
    bytes kind = numbers("4", (uint32_t[]){0});
    put(&kind, "urn:mpeg:hevc:2015:auxid:2", 27);
    put_box(&ipco, "auxC", kind);
    put_box(&properties, "ipco", ipco);
    put_box(&properties, "ipma", uses);
    put_big(&meta, 0, 4);
    bytes handler = numbers("44", (uint32_t[]){0, 0});
    put(&handler, "pict\0\0\0\0\0\0\0\0\0\0\0\0", 17);
    put_box(&meta, "hdlr", handler);
    put_box(&meta, "pitm", numbers("42", (uint32_t[]){0, GRID}));
    put_box(&meta, "iinf", infos);
    put_box(&meta, "iref", links);
    put_box(&meta, "iprp", properties);
    put_box(&meta, "iloc", places);
    put_box(&meta, "idat", numbers("111122", (uint32_t[]){0, 0, 1, 1, told.width, told.height}));
    put_box(&file, "meta", meta);
    return file;
}

/* How often `what` is in the bytes. */
static int count_of(bytes file, const char *what) {
    int count = 0;
    for (const uint8_t *at = file.data, *end = at + file.length;
         (at = memmem(at, (size_t)(end - at), what, strlen(what))); at++)
        count++;
    return count;
}

TEST(a_grid_keeps_its_tiles_and_its_turn) {
    bytes single = loaded(CLOAK_FORMAT_HEIC, false, 8);
    cloak_photo tile = decode(single);
    bytes part = core_of(single, &tile), file = grid_of(part, "dimg", whole), odd = grid_of(part, "xxxx", whole);
    cloak_photo photo = decode(file);
    CHECK_INT(photo.width, 128); /* on its side */
    CHECK_INT(photo.height, 192);
    CHECK_INT(count_of(file, "infe"), 7);
    bytes core = core_of(file, &photo), again = core_of(core, &photo), none = core_of(odd, &photo);
    CHECK(core.data && same(core, again));
    CHECK(none.data == NULL); /* a grid without its tiles */
    CHECK_INT(count_of(core, "infe"), 5);
    CHECK_INT(count_of(core, "thmb") + count_of(core, "auxl") + count_of(core, "auxC"), 0);
    cloak_photo back = decode(core);
    CHECK(back.width == 128 && back.height == 192 && memcmp(back.rgb, photo.rgb, 3 * 128 * 192) == 0);
    cloak_photo_free(&back);
    cloak_photo_free(&photo);
    cloak_photo_free(&tile);
    free(core.data);
    free(again.data);
    free(part.data);
    free(file.data);
    free(odd.data);
    free(single.data);
}

/* What is cropped off could be had again from a copy: there is none. */
TEST(what_is_cropped_is_coded_anew) {
    static const Told told[] = {{192, 128, 96, 64, true}, {64, 64, 96, 64, false}, {96, 128, 96, 64, false}, {64, 64, 32, 32, false},
        {192, 192, 96, 96, false}};
    bytes single = loaded(CLOAK_FORMAT_HEIC, false, 8);
    cloak_photo tile = decode(single);
    bytes part = core_of(single, &tile);
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        bytes file = grid_of(part, "dimg", told[i]), core = core_of(file, &tile);
        CHECK(core.data == NULL);
        free(file.data);
    }
    bytes file = grid_of(part, "dimg", whole), core = core_of(file, &tile);
    CHECK(core.data != NULL);
    free(core.data);
    free(file.data);
    /* the brands that tell what it is must be among those that go out */
    uint8_t *brand = memmem(single.data, single.length, "heic", 4);
    memcpy(brand, "mif1", 4);
    for (uint8_t *at; (at = memmem(single.data + 16, 24, "heic", 4));)
        memcpy(at, "heis", 4);
    core = core_of(single, &tile);
    CHECK(core.data == NULL);
    cloak_photo_free(&tile);
    free(part.data);
    free(single.data);
}

/* A track makes a sequence, which is refused; a film that was appended to a still photo stays behind. */
TEST(sequences_are_refused) {
    for (int i = 0; i < 2; i++) {
        bytes file = loaded(i ? CLOAK_FORMAT_AVIF : CLOAK_FORMAT_HEIC, false, 8);
        cloak_photo photo = decode(file);
        cloak_photo_free(&photo);
        for (int film = 1; film >= 0; film--) {
            bytes more = {0};
            put(&more, file.data, file.length);
            if (film)
                put(&more, "\0\0\0\x10" "ftypmp42\0\0\0\0", 16);
            put(&more, "\0\0\0\x10moovSECRET-S", 16);
            cloak_error error;
            if (film) {
                photo = decode(more);
                bool encoded = false;
                bytes out = clean(more, &photo, &encoded);
                CHECK(!memmem(out.data, out.length, "SECRET", 6));
                cloak_photo_free(&photo);
                free(out.data);
            } else {
                CHECK(cloak_photo_decode(more.data, more.length, "film", NULL, &photo, &error) == CLOAK_E_PERMANENT);
                CHECK(strstr(error.text, "animated"));
            }
            free(more.data);
        }
        free(file.data);
    }
}

/* Broken files are either not copied, or to something that reads back. */
TEST(broken_boxes_are_survived) {
    for (int i = 0; i < 2; i++) {
        bytes source = loaded(i ? CLOAK_FORMAT_AVIF : CLOAK_FORMAT_HEIC, true, 8);
        cloak_photo photo = decode(source);
        bytes core = core_of(source, &photo);
        uint32_t state = 23;
        for (int k = 0; k < 3000; k++) {
            bytes bad = {0};
            put(&bad, core.data, k % 3 ? core.length : next_random(&state) % core.length);
            for (int j = 0; j < 3 && bad.length; j++)
                bad.data[next_random(&state) % bad.length] = (uint8_t)next_random(&state);
            bytes again = core_of(bad, &photo);
            if (again.data) {
                bytes third = core_of(again, &photo);
                CHECK(same(third, again));
                free(third.data);
            }
            free(again.data);
            free(bad.data);
        }
        cloak_photo_free(&photo);
        free(core.data);
        free(source.data);
    }
}
