/* HEIC and AVIF files rewritten without decoding.
 *
 * DESIGN. A file is boxes in boxes; one of them, `meta`, lists items: coded pictures, grids of them, EXIF, XMP. What
 * goes out is a new file, made from the primary item and what it is made of: the tiles of a grid, and its alpha. All
 * else stays behind because nothing leads to it: thumbnails, depth and gain maps, other pictures, films, bytes between
 * the boxes.
 *
 * What goes out is known for what it is. Properties are on a list, each with the length that it must have, and coded
 * data are walked (bmff_coded.c). No pixels go out that nobody has looked at: what crops (`clap`, a grid smaller than
 * its tiles, a picture that is coded larger than it is by more than a block) could be taken out again, and what was
 * cropped may be a face. Where anything is otherwise the whole file is not rewritten, and its photo is coded anew. What
 * is not looked at is the inside of a slice or a tile, as in a JPEG the inside of a scan, and that of a colour profile.
 *
 * ISO/IEC 14496-12:2022 (boxes, meta), 23008-12:2022 (items, grids, alpha), 14496-15 (hvc1), AV1 Image File Format 1.1.
 */
#include "common/photo/bmff.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/bmff_coded.h"
#include "common/photo/bmff_file.h"
#include "common/photo/heif.h"

typedef struct {
    uint8_t *data;
    size_t length, room;
    bool fine;
} Writer;

static void put(Writer *w, const void *data, size_t length) {
    if (!w->fine || length > w->room - w->length) {
        w->fine = false;
        return;
    }
    memcpy(w->data + w->length, data, length);
    w->length += length;
}

static void put_number(Writer *w, uint64_t value, int bytes) {
    uint8_t digits[8];
    for (int i = 0; i < bytes; i++)
        digits[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    put(w, digits, (size_t)bytes);
}

static void set_number(Writer *w, size_t at, uint64_t value) {
    for (int i = 0; i < 4 && w->fine; i++)
        w->data[at + (size_t)i] = (uint8_t)(value >> (8 * (3 - i)));
    w->fine = w->fine && value <= UINT32_MAX;
}

static size_t begin(Writer *w, const char *kind) {
    const size_t at = w->length;
    put_number(w, 0, 4);
    put(w, kind, 4);
    return at;
}

/* One with a version and flags. */
static size_t begin_full(Writer *w, const char *kind, uint32_t version) {
    const size_t at = begin(w, kind);
    put_number(w, (uint64_t)version << 24, 4);
    return at;
}

static void end(Writer *w, size_t at) {
    set_number(w, at, w->length - at);
}

/* Those brands that a still picture can have; false where the first of them is none. */
static bool put_brands(Writer *w, cloak_bmff_reader brands) {
    static const char known[] = "mif1mif2miafheicheixavifMiHEMiHBMiHAMiPrMA1AMA1B";
    const size_t at = begin(w, "ftyp");
    for (int i = 0; brands.end - brands.at >= 4; i++, brands.at += 4) {
        bool passes = false;
        for (const char *k = known; *k; k += 4)
            passes = passes || memcmp(brands.at, k, 4) == 0;
        if (i == 1)
            put_number(w, 0, 4); /* the first one's version */
        else if (passes)
            put(w, brands.at, 4);
        else if (i == 0)
            return false;
    }
    end(w, at);
    return true;
}

/* EXIF and XMP become the items behind those of pictures. */
typedef struct {
    size_t exif, xmp; /* numbers, 0 for none */
    size_t count;     /* of all items */
} Extra;

static void put_info(Writer *w, size_t id, uint32_t kind, bool hidden, const char *content) {
    const size_t at = begin_full(w, "infe", 2);
    if (hidden && w->fine)
        w->data[at + 11] = 1;
    put_number(w, id, 2);
    put_number(w, 0, 2);
    put_number(w, kind, 4);
    put_number(w, 0, 1); /* no name */
    if (content)
        put(w, content, strlen(content) + 1);
    end(w, at);
}

static void put_infos(Writer *w, const cloak_bmff_file *f, const Extra *extra) {
    const size_t at = begin_full(w, "iinf", 0);
    put_number(w, extra->count, 2);
    for (size_t i = 0; i < f->kept; i++)
        put_info(w, i + 1, f->order[i]->kind, f->order[i]->hidden, NULL);
    if (extra->exif)
        put_info(w, extra->exif, CLOAK_BMFF_FOUR("Exif"), true, NULL);
    if (extra->xmp)
        put_info(w, extra->xmp, CLOAK_BMFF_FOUR("mime"), true, "application/rdf+xml");
    end(w, at);
}

static void put_link(Writer *w, const char *kind, size_t from, size_t to) {
    const size_t at = begin(w, kind);
    put_number(w, from, 2);
    put_number(w, 1, 2);
    put_number(w, to, 2);
    end(w, at);
}

/* The tiles of an item, in their order. */
static void put_tiles(Writer *w, cloak_bmff_file *f, const cloak_bmff_item *grid) {
    const size_t at = begin(w, "dimg");
    size_t count = 0;
    put_number(w, grid->number, 2);
    const size_t count_at = w->length;
    put_number(w, 0, 2);
    for (size_t i = 0; i < f->links; i++)
        if (f->link[i].kind == CLOAK_BMFF_FOUR("dimg") && f->link[i].from == grid->id) {
            put_number(w, cloak_bmff_find(f, f->link[i].to)->number, 2);
            count++;
        }
    if (w->fine) {
        w->data[count_at] = (uint8_t)(count >> 8);
        w->data[count_at + 1] = (uint8_t)count;
    }
    end(w, at);
}

static void put_links(Writer *w, cloak_bmff_file *f, const Extra *extra) {
    const size_t at = begin_full(w, "iref", 0);
    for (size_t i = 0; i < f->kept; i++)
        if (!cloak_bmff_is_coded(f->order[i]))
            put_tiles(w, f, f->order[i]);
    for (size_t i = 0; i < f->links; i++) {
        const cloak_bmff_item *from = cloak_bmff_find(f, f->link[i].from), *to = cloak_bmff_find(f, f->link[i].to);
        /* alpha is the second item, where there is one beside the primary picture */
        const bool alpha = from && to && f->link[i].kind == CLOAK_BMFF_FOUR("auxl") && from->number == 2 && to->number == 1,
                   multiplied = from && to && f->link[i].kind == CLOAK_BMFF_FOUR("prem") && from->number == 1 && to->number == 2;
        if (alpha || multiplied)
            put_link(w, alpha ? "auxl" : "prem", from->number, to->number);
    }
    if (extra->exif)
        put_link(w, "cdsc", extra->exif, 1);
    if (extra->xmp)
        put_link(w, "cdsc", extra->xmp, 1);
    if (w->length == at + 12)
        w->length = at; /* a row of none */
    else
        end(w, at);
}

static void put_properties(Writer *w, const cloak_bmff_file *f) {
    const size_t at = begin(w, "iprp"), container = begin(w, "ipco");
    for (size_t number = 1, found = 1; found; number++) {
        found = 0;
        for (size_t i = 0; i < f->properties && !found; i++) {
            const cloak_bmff_property *p = &f->property[i];
            const char kind[4] = {(char)(p->kind >> 24), (char)(p->kind >> 16), (char)(p->kind >> 8), (char)p->kind};
            if (p->number != number)
                continue;
            found = begin(w, kind);
            put(w, p->at, p->length);
            end(w, found);
        }
    }
    end(w, container);
    const size_t uses = begin_full(w, "ipma", 0);
    if (w->fine)
        w->data[uses + 11] = 1; /* two bytes each */
    put_number(w, f->kept, 4);
    for (size_t i = 0; i < f->kept; i++) {
        put_number(w, i + 1, 2);
        put_number(w, f->order[i]->uses, 1);
        for (size_t k = 0; k < f->order[i]->uses; k++)
            put_number(w, f->order[i]->properties[k], 2);
    }
    end(w, uses);
    end(w, at);
}

/* Where items are: of each its place, to be filled in, and its length likewise. Grids are in idat. */
static size_t put_places(Writer *w, const cloak_bmff_file *f, const Extra *extra) {
    const size_t at = begin_full(w, "iloc", 1);
    put_number(w, 0x4400, 2); /* four bytes for offsets and lengths, none for the rest */
    put_number(w, extra->count, 2);
    const size_t first = w->length;
    for (size_t i = 0; i < extra->count; i++) {
        put_number(w, i + 1, 2);
        put_number(w, i < f->kept && !cloak_bmff_is_coded(f->order[i]), 2);
        put_number(w, 0, 2);
        put_number(w, 1, 2);
        put_number(w, 0, 8);
    }
    end(w, at);
    return first;
}

/* Fills in the place of item `number`: from `offset`, and as long as what was written since `start`. */
static void set_place(Writer *w, size_t places, size_t number, size_t offset, size_t start) {
    enum { PLACE = 16 };
    set_number(w, places + (number - 1) * PLACE + 8, offset);
    set_number(w, places + (number - 1) * PLACE + 12, w->length - start);
}

/* The coded data of an item without what is beside its picture. */
static void put_coded(Writer *w, const cloak_bmff_file *f, const cloak_bmff_item *item) {
    const uint8_t *data = cloak_bmff_data(f, item);
    size_t length = 0;
    if (!data || !w->fine || item->length > w->room - w->length) {
        w->fine = false;
        return;
    }
    if (item->kind == CLOAK_BMFF_FOUR("hvc1"))
        length = cloak_bmff_hevc(
            data, item->length, cloak_bmff_hevc_config(item->config->at, item->config->length), w->data + w->length);
    else
        length = cloak_bmff_av1(data, item->length, w->data + w->length);
    w->length += length;
    w->fine = length > 0;
}

static void put_data(Writer *w, const cloak_bmff_file *f, const Extra *extra, const cloak_metadata *m, size_t places) {
    const size_t at = begin(w, "mdat");
    for (size_t i = 0; i < f->kept; i++) {
        const size_t start = w->length;
        if (!cloak_bmff_is_coded(f->order[i]))
            continue;
        put_coded(w, f, f->order[i]);
        set_place(w, places, i + 1, start, start);
    }
    if (extra->exif) {
        const size_t start = w->length;
        put_number(w, 0, 4); /* the TIFF header comes at once */
        put(w, m->exif, m->exif_length);
        set_place(w, places, extra->exif, start, start);
    }
    if (extra->xmp) {
        const size_t start = w->length;
        put(w, m->xmp, m->xmp_length);
        set_place(w, places, extra->xmp, start, start);
    }
    end(w, at);
}

static void put_grids(Writer *w, const cloak_bmff_file *f, size_t places) {
    const size_t at = begin(w, "idat"), start = w->length;
    for (size_t i = 0; i < f->kept; i++) {
        const size_t from = w->length;
        if (cloak_bmff_is_coded(f->order[i]))
            continue;
        put(w, cloak_bmff_data(f, f->order[i]), f->order[i]->length);
        set_place(w, places, i + 1, from - start, from);
    }
    if (w->length == start)
        w->length = at;
    else
        end(w, at);
}

static void write_file(Writer *w, cloak_bmff_file *f, const cloak_metadata *m) {
    Extra extra = {.count = f->kept};
    if (m && m->exif)
        extra.exif = ++extra.count;
    if (m && m->xmp)
        extra.xmp = ++extra.count;
    if (!put_brands(w, f->brands)) {
        w->fine = false;
        return;
    }
    const size_t meta = begin_full(w, "meta", 0), handler = begin_full(w, "hdlr", 0);
    put_number(w, 0, 4);
    put(w, "pict\0\0\0\0\0\0\0\0\0\0\0\0", 17); /* and no name */
    end(w, handler);
    const size_t primary = begin_full(w, "pitm", 0);
    put_number(w, 1, 2);
    end(w, primary);
    const size_t places = put_places(w, f, &extra);
    put_infos(w, f, &extra);
    put_links(w, f, &extra);
    put_properties(w, f);
    put_grids(w, f, places);
    end(w, meta);
    put_data(w, f, &extra, m, places);
}

uint8_t *cloak_bmff_rewrite(
    const void *bytes, size_t length, const cloak_metadata *metadata, size_t *rewritten_length) {
    enum { HEADS = 4096, PER_ITEM = 256 };
    cloak_bmff_file *f = cloak_try_alloc(sizeof *f);
    Writer w = {.fine = false};
    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    f->bytes = bytes;
    f->length = length;
    if (cloak_bmff_read(f) && cloak_bmff_choose(f)) {
        w.room = length + HEADS + f->kept * PER_ITEM +
                 (metadata ? metadata->exif_length + metadata->xmp_length : 0);
        w.data = cloak_try_alloc(w.room);
        w.fine = w.data != NULL;
        write_file(&w, f, metadata);
    }
    free(f);
    if (!w.fine) {
        free(w.data);
        return NULL;
    }
    if (cloak_heif_sniff(w.data, w.length) != cloak_heif_sniff(bytes, length)) { /* other brands than ours to know */
        free(w.data);
        return NULL;
    }
    *rewritten_length = w.length;
    return w.data;
}
