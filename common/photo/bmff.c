/* HEIC and AVIF files rewritten without decoding.
 *
 * DESIGN. A file is boxes in boxes; one of them, `meta`, lists items: coded pictures, grids of them, EXIF, XMP. What goes
 * out is a new file, made from the primary item and what it is made of: the tiles of a grid, and its alpha. All else stays
 * behind because nothing leads to it: thumbnails, depth and gain maps, other pictures, films, bytes between the boxes.
 *
 * What goes out is known for what it is. Properties are on a list, each with the length that it must have, and coded data are
 * walked (bmff_coded.c). No pixels go out that nobody has looked at: what crops (`clap`, a grid smaller than its tiles, a
 * picture that is coded larger than it is by more than a block) could be taken out again, and what was cropped may be a face. Where
 * anything is otherwise the whole file is not rewritten, and its photo is coded anew. What is not looked at is the inside of a
 * slice or a tile, as in a JPEG the inside of a scan, and that of a colour profile.
 *
 * ISO/IEC 14496-12:2022 (boxes, meta), 23008-12:2022 (items, grids, alpha), 14496-15 (hvc1), AV1 Image File Format 1.1.
 */
#include "common/photo/bmff.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/bmff_coded.h"
#include "common/photo/heif.h"
#include "common/photo/parts.h"

enum { ITEMS_MOST = 1024, PROPERTIES_MOST = 1024, LINKS_MOST = 4096, USES_MOST = 16, PROFILE_MOST = 4 << 20 };

#define FOUR(text) CLOAK_FOUR((text)[0], (text)[1], (text)[2], (text)[3])

/* Numbers from the front of some bytes; behind the end they are 0 and `fine` is false from then on. */
typedef struct {
    const uint8_t *at, *end;
    bool fine;
} Reader;

typedef struct {
    uint32_t kind;
    const uint8_t *at; /* its body */
    size_t length;
    size_t number; /* in the new file, from 1; 0 when it does not go there */
} Property;

typedef struct {
    uint32_t id, kind;
    bool hidden;
    bool placed, in_idat;
    uint64_t offset, length;
    size_t uses;
    const Property *config;         /* of its coder, once it is kept; NULL for a grid */
    uint16_t properties[USES_MOST]; /* from 1; the highest bit says that a reader must understand it */
    size_t number;                  /* in the new file, from 1; 0 when it does not go there */
} Item;

typedef struct {
    uint32_t kind;
    uint32_t from, to; /* ids of items */
} Link;

typedef struct {
    const uint8_t *bytes;
    size_t length;
    Reader brands, idat;
    uint32_t primary; /* id */
    size_t items, properties, links, kept;
    Item item[ITEMS_MOST];
    Property property[PROPERTIES_MOST];
    Link link[LINKS_MOST];
    Item *order[ITEMS_MOST]; /* those that go into the new file, by number - 1 */
    uint32_t seen;           /* boxes of meta, as bits */
} File;

/* --- reading ------------------------------------------------------------------------------- */

static uint64_t number(Reader *r, int bytes) {
    uint64_t value = 0;
    if (!r->fine || r->end - r->at < bytes) {
        r->fine = false;
        return 0;
    }
    for (int i = 0; i < bytes; i++)
        value = value << 8 | *r->at++;
    return value;
}

/* The next box of a row; false behind the last one, and with r->fine false where the row breaks. */
static bool next_box(Reader *r, uint32_t *kind, Reader *body) {
    if (!r->fine || r->at == r->end)
        return false;
    const uint8_t *start = r->at;
    uint64_t size = number(r, 4);
    *kind = (uint32_t)number(r, 4);
    if (size == 1)
        size = number(r, 8);
    else if (size == 0)
        size = (uint64_t)(r->end - start);
    r->fine = r->fine && size >= (uint64_t)(r->at - start) && size <= (uint64_t)(r->end - start);
    if (!r->fine)
        return false;
    *body = (Reader){r->at, start + size, true};
    r->at = start + size;
    return true;
}

static Item *find(File *f, uint32_t id) {
    for (size_t i = 0; i < f->items; i++)
        if (f->item[i].id == id)
            return &f->item[i];
    return NULL;
}

static bool read_infos(File *f, Reader r) {
    uint32_t kind;
    Reader body;
    const uint64_t version = number(&r, 4) >> 24;
    number(&r, version == 0 ? 2 : 4);
    while (next_box(&r, &kind, &body)) {
        const uint64_t head = number(&body, 4), wide = head >> 24 == 3;
        if (kind != FOUR("infe") || (head >> 24 != 2 && !wide) || f->items == ITEMS_MOST)
            return false;
        Item item = {.hidden = head & 1, .id = (uint32_t)number(&body, wide ? 4 : 2)};
        const bool protected = number(&body, 2) != 0;
        item.kind = (uint32_t)number(&body, 4);
        if (!body.fine || protected || find(f, item.id))
            return false;
        f->item[f->items++] = item;
    }
    return r.fine;
}

static bool read_places(File *f, Reader r) {
    const uint64_t version = number(&r, 4) >> 24, sizes = number(&r, 2);
    const int offset_size = (int)(sizes >> 12), length_size = (int)(sizes >> 8 & 15), base_size = (int)(sizes >> 4 & 15),
              index_size = version ? (int)(sizes & 15) : 0;
    const uint64_t count = number(&r, version < 2 ? 2 : 4);
    if (version > 2 || offset_size > 8 || length_size > 8 || base_size > 8 || index_size > 8 || count > ITEMS_MOST)
        return false;
    for (uint64_t i = 0; i < count && r.fine; i++) {
        Item *item = find(f, (uint32_t)number(&r, version < 2 ? 2 : 4));
        const uint64_t method = version ? number(&r, 2) & 15 : 0, elsewhere = number(&r, 2), base = number(&r, base_size),
                       extents = number(&r, 2);
        uint64_t offset = 0, length = 0;
        for (uint64_t k = 0; k < extents && r.fine; k++) {
            number(&r, index_size);
            offset = number(&r, offset_size);
            length = number(&r, length_size);
        }
        if (!item || item->placed || elsewhere || method > 1 || extents != 1 || offset > UINT64_MAX - base)
            continue; /* it is not to be found, which matters only when it is wanted */
        item->placed = true;
        item->in_idat = method == 1;
        item->offset = base + offset;
        item->length = length;
    }
    return r.fine;
}

static bool read_links(File *f, Reader r) {
    uint32_t kind;
    Reader body;
    const int size = number(&r, 4) >> 24 ? 4 : 2;
    while (next_box(&r, &kind, &body)) {
        const uint32_t from = (uint32_t)number(&body, size);
        const uint64_t count = number(&body, 2);
        for (uint64_t i = 0; i < count && body.fine; i++) {
            if (f->links == LINKS_MOST)
                return false;
            f->link[f->links++] = (Link){kind, from, (uint32_t)number(&body, size)};
        }
        if (!body.fine)
            return false;
    }
    return r.fine;
}

static bool read_uses(File *f, Reader r) {
    const uint64_t head = number(&r, 4), count = number(&r, 4);
    const bool wide = head & 1;
    for (uint64_t i = 0; i < count && r.fine; i++) {
        Item *item = find(f, (uint32_t)number(&r, head >> 24 ? 4 : 2));
        const uint64_t uses = number(&r, 1);
        if (item && (item->uses || uses > USES_MOST))
            return false;
        for (uint64_t k = 0; k < uses && r.fine; k++) {
            const uint64_t use = number(&r, wide ? 2 : 1);
            if (item) /* the mark for those that must be understood is the highest bit */
                item->properties[item->uses++] = (uint16_t)(wide ? use : (use & 0x80) << 8 | (use & 0x7f));
        }
    }
    return r.fine;
}

static bool read_properties(File *f, Reader r) {
    uint32_t kind;
    Reader body, one;
    bool container = false, uses = false;
    while (next_box(&r, &kind, &body)) {
        if (kind == FOUR("ipco") && !container) {
            container = true;
            while (next_box(&body, &kind, &one)) {
                if (f->properties == PROPERTIES_MOST)
                    return false;
                f->property[f->properties++] = (Property){kind, one.at, (size_t)(one.end - one.at), 0};
            }
        } else if (kind == FOUR("ipma") && !uses) {
            uses = true;
            if (!read_uses(f, body))
                return false;
        } else {
            return false;
        }
        if (!body.fine)
            return false;
    }
    return r.fine;
}

/* The boxes of meta; those that name items come first here, whatever their order in the file. */
static bool read_meta(File *f, Reader meta) {
    static const char *const names[] = {"iinf", "pitm", "iloc", "iref", "iprp", "idat", "hdlr"};
    enum { KNOWN = sizeof names / sizeof *names };
    Reader boxes[KNOWN] = {0}, body;
    uint32_t kind;
    number(&meta, 4);
    while (next_box(&meta, &kind, &body))
        for (int i = 0; i < KNOWN; i++) {
            if (kind != FOUR(names[i]))
                continue;
            if (boxes[i].at)
                return false;
            boxes[i] = body;
        }
    Reader pitm = boxes[1], hdlr = boxes[6];
    const uint64_t version = number(&pitm, 4) >> 24;
    f->primary = (uint32_t)number(&pitm, version ? 4 : 2);
    f->idat = boxes[5];
    number(&hdlr, 8);
    return meta.fine && number(&hdlr, 4) == FOUR("pict") && pitm.fine && read_infos(f, boxes[0]) &&
           read_places(f, boxes[2]) && (!boxes[3].at || read_links(f, boxes[3])) && read_properties(f, boxes[4]);
}

static bool read_file(File *f) {
    Reader file = {f->bytes, f->bytes + f->length, true}, body, meta = {0};
    uint32_t kind;
    while (next_box(&file, &kind, &body)) {
        if ((kind == FOUR("ftyp") && f->brands.at) || (kind == FOUR("meta") && meta.at))
            return false;
        if (kind == FOUR("ftyp"))
            f->brands = body;
        else if (kind == FOUR("meta"))
            meta = body;
    }
    /* bytes that are no box may follow a photo: they stay behind */
    return f->brands.at && meta.at && read_meta(f, meta);
}

/* --- choosing ------------------------------------------------------------------------------ */

static bool is_coded(const Item *item) {
    return item->kind == FOUR("hvc1") || item->kind == FOUR("av01");
}

static const uint8_t *data_of(const File *f, const Item *item) {
    const uint8_t *start = item->in_idat ? f->idat.at : f->bytes;
    const size_t length = item->in_idat ? (size_t)(f->idat.end - f->idat.at) : f->length;
    return item->placed && start && item->offset <= length && item->length <= length - item->offset
               ? start + item->offset
               : NULL;
}

static bool keep(File *f, Item *item) {
    if (item->number)
        return true;
    f->order[f->kept++] = item; /* each once: there is room */
    item->number = f->kept;
    return is_coded(item) || item->kind == FOUR("grid");
}

static const Property *property_of(const File *f, const Item *item, uint32_t kind) {
    for (size_t i = 0; i < item->uses; i++) {
        const size_t index = item->properties[i] & 0x7fff;
        if (index >= 1 && index <= f->properties && f->property[index - 1].kind == kind)
            return &f->property[index - 1];
    }
    return NULL;
}

/* What `ispe` says; false where there is none. */
static bool size_of(const File *f, const Item *item, uint32_t *width, uint32_t *height) {
    const Property *p = property_of(f, item, FOUR("ispe"));
    if (!p || p->length != 12)
        return false;
    *width = CLOAK_FOUR(p->at[4], p->at[5], p->at[6], p->at[7]);
    *height = CLOAK_FOUR(p->at[8], p->at[9], p->at[10], p->at[11]);
    return true;
}

/* Whether a grid's own words (its data: version, flags, rows, columns, width, height) are those of its `ispe`. */
static bool canvas_is(const uint8_t *data, uint32_t width, uint32_t height) {
    const uint8_t *at = data + 4;
    if (data[1]) /* numbers of four bytes */
        return CLOAK_FOUR(at[0], at[1], at[2], at[3]) == width && CLOAK_FOUR(at[4], at[5], at[6], at[7]) == height;
    return ((uint32_t)at[0] << 8 | at[1]) == width && ((uint32_t)at[2] << 8 | at[3]) == height;
}

/* Whether a grid shows all of its tiles but for what fills up the last column or row. */
static bool fills(uint64_t whole, uint64_t tile, uint64_t count) {
    return (count - 1) * tile < whole && whole <= count * tile;
}

/* The tiles of a kept grid: as many as it says, coded ones, all of one size, and shown whole. */
static bool keep_tiles(File *f, const Item *grid) {
    const uint8_t *data = data_of(f, grid);
    size_t tiles = 0;
    uint32_t width = 0, height = 0, tile_width = 0, tile_height = 0, w, h;
    if (grid->kind != FOUR("grid"))
        return true;
    if (!data || grid->length < 8 || data[0] != 0 || data[1] > 1 || grid->length != (data[1] ? 12 : 8))
        return false;
    for (size_t i = 0; i < f->links; i++) {
        if (f->link[i].kind != FOUR("dimg") || f->link[i].from != grid->id)
            continue;
        Item *tile = find(f, f->link[i].to);
        if (!tile || tile->kind != FOUR("hvc1") || !keep(f, tile) || !size_of(f, tile, &w, &h) ||
            (tiles > 0 && (w != tile_width || h != tile_height)))
            return false;
        tile_width = w;
        tile_height = h;
        tiles++;
    }
    return tiles == (data[2] + 1u) * (data[3] + 1u) && size_of(f, grid, &width, &height) &&
           fills(width, tile_width, data[3] + 1u) && fills(height, tile_height, data[2] + 1u) && canvas_is(data, width, height);
}

static bool is_alpha(const Property *p) {
    static const char *const names[] = {"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", "urn:mpeg:hevc:2015:auxid:1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (p->length == 4 + strlen(names[i]) + 1 && memcmp(p->at + 4, names[i], strlen(names[i]) + 1) == 0)
            return true;
    return false;
}

/* Keeps the primary picture's alpha; false where there is more than one. */
static bool keep_alpha(File *f, const Item *primary) {
    bool found = false;
    for (size_t i = 0; i < f->links; i++) {
        Item *item = find(f, f->link[i].from);
        const Property *kind = item ? property_of(f, item, FOUR("auxC")) : NULL;
        if (f->link[i].kind != FOUR("auxl") || f->link[i].to != primary->id || !kind || !is_alpha(kind))
            continue;
        if (found || item == primary || !keep(f, item))
            return false;
        found = true;
    }
    return true;
}

/* Whether a property is one that we know, and no longer than it must be. */
static bool is_known(const Property *p) {
    static const struct {
        const char *kind;
        size_t length;
    } fixed[] = {{"ispe", 12}, {"irot", 1}, {"imir", 1}, {"pasp", 8}, {"clli", 4}, {"mdcv", 24}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (p->kind == FOUR(fixed[i].kind))
            return p->length == fixed[i].length;
    if (p->kind == FOUR("pixi"))
        return p->length >= 5 && p->length == 5u + p->at[4] && p->at[4] <= 4;
    if (p->kind == FOUR("colr") && p->length > 4 && (memcmp(p->at, "nclx", 4) == 0 || memcmp(p->at, "nclc", 4) == 0))
        return p->length <= 11;
    if (p->kind == FOUR("colr") &&
        (p->length < 4 || (memcmp(p->at, "prof", 4) != 0 && memcmp(p->at, "rICC", 4) != 0)))
        return false;
    if (p->kind == FOUR("colr"))
        return p->length >= 4 + 132 && p->length <= PROFILE_MOST && memcmp(p->at + 4 + 36, "acsp", 4) == 0 &&
               CLOAK_FOUR(p->at[4], p->at[5], p->at[6], p->at[7]) == p->length - 4;
    return (p->kind == FOUR("hvcC") && cloak_bmff_hevc_config(p->at, p->length) > 0) ||
           (p->kind == FOUR("av1C") && cloak_bmff_av1_config(p->at, p->length)) || (p->kind == FOUR("auxC") && is_alpha(p));
}

/* Whether a coded picture is no larger than `ispe` says, but for what fills up its last blocks. Of AV1 libheif sees to it. */
static bool is_shown_whole(const File *f, const Item *item) {
    enum { BLOCK_MOST = 64 };
    uint32_t width, height, coded_width, coded_height;
    return item->kind != FOUR("hvc1") ||
           (size_of(f, item, &width, &height) &&
               cloak_bmff_hevc_size(item->config->at, item->config->length, &coded_width, &coded_height) &&
               coded_width >= width && coded_width - width < BLOCK_MOST && coded_height >= height &&
               coded_height - height < BLOCK_MOST);
}

/* Those properties of a kept item that go out; false where one that a reader must understand would not, or one is
 * missing. What is known by its name and has the wrong length is not passed over. */
static bool keep_properties(File *f, Item *item, size_t *number) {
    static const char *const names[] = {"ispe", "irot", "imir", "clap", "pasp", "clli", "mdcv", "pixi", "colr", "hvcC", "av1C", "auxC"};
    const bool coded = is_coded(item);
    size_t uses = 0;
    item->config = coded ? property_of(f, item, item->kind == FOUR("hvc1") ? FOUR("hvcC") : FOUR("av1C")) : NULL;
    if (!property_of(f, item, FOUR("ispe")) || (coded && !item->config) || !is_shown_whole(f, item))
        return false;
    for (size_t i = 0; i < item->uses; i++) {
        const size_t index = item->properties[i] & 0x7fff;
        if (index < 1 || index > f->properties)
            return false;
        Property *p = &f->property[index - 1];
        bool listed = false;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            listed = listed || p->kind == FOUR(names[k]);
        if (listed ? !is_known(p) : (item->properties[i] & 0x8000) != 0)
            return false;
        if (!listed)
            continue;
        if (!p->number)
            p->number = ++*number;
        item->properties[uses++] = (uint16_t)((item->properties[i] & 0x8000) | p->number);
    }
    item->uses = uses;
    return true;
}

static bool choose(File *f) {
    Item *primary = find(f, f->primary);
    size_t properties = 0;
    if (!primary || !keep(f, primary) || !keep_alpha(f, primary))
        return false;
    for (size_t i = 0, whole = f->kept; i < whole; i++)
        if (!keep_tiles(f, f->order[i]))
            return false;
    for (size_t i = 0; i < f->kept; i++)
        if (!keep_properties(f, f->order[i], &properties))
            return false;
    return true;
}

/* --- writing ------------------------------------------------------------------------------- */

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
static bool put_brands(Writer *w, Reader brands) {
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

static void put_infos(Writer *w, const File *f, const Extra *extra) {
    const size_t at = begin_full(w, "iinf", 0);
    put_number(w, extra->count, 2);
    for (size_t i = 0; i < f->kept; i++)
        put_info(w, i + 1, f->order[i]->kind, f->order[i]->hidden, NULL);
    if (extra->exif)
        put_info(w, extra->exif, FOUR("Exif"), true, NULL);
    if (extra->xmp)
        put_info(w, extra->xmp, FOUR("mime"), true, "application/rdf+xml");
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
static void put_tiles(Writer *w, File *f, const Item *grid) {
    const size_t at = begin(w, "dimg");
    size_t count = 0;
    put_number(w, grid->number, 2);
    const size_t count_at = w->length;
    put_number(w, 0, 2);
    for (size_t i = 0; i < f->links; i++)
        if (f->link[i].kind == FOUR("dimg") && f->link[i].from == grid->id) {
            put_number(w, find(f, f->link[i].to)->number, 2);
            count++;
        }
    if (w->fine) {
        w->data[count_at] = (uint8_t)(count >> 8);
        w->data[count_at + 1] = (uint8_t)count;
    }
    end(w, at);
}

static void put_links(Writer *w, File *f, const Extra *extra) {
    const size_t at = begin_full(w, "iref", 0);
    for (size_t i = 0; i < f->kept; i++)
        if (!is_coded(f->order[i]))
            put_tiles(w, f, f->order[i]);
    for (size_t i = 0; i < f->links; i++) {
        const Item *from = find(f, f->link[i].from), *to = find(f, f->link[i].to);
        /* alpha is the second item, where there is one beside the primary picture */
        const bool alpha = from && to && f->link[i].kind == FOUR("auxl") && from->number == 2 && to->number == 1,
                   multiplied = from && to && f->link[i].kind == FOUR("prem") && from->number == 1 && to->number == 2;
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

static void put_properties(Writer *w, const File *f) {
    const size_t at = begin(w, "iprp"), container = begin(w, "ipco");
    for (size_t number = 1, found = 1; found; number++) {
        found = 0;
        for (size_t i = 0; i < f->properties && !found; i++) {
            const Property *p = &f->property[i];
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
static size_t put_places(Writer *w, const File *f, const Extra *extra) {
    const size_t at = begin_full(w, "iloc", 1);
    put_number(w, 0x4400, 2); /* four bytes for offsets and lengths, none for the rest */
    put_number(w, extra->count, 2);
    const size_t first = w->length;
    for (size_t i = 0; i < extra->count; i++) {
        put_number(w, i + 1, 2);
        put_number(w, i < f->kept && !is_coded(f->order[i]), 2);
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
static void put_coded(Writer *w, const File *f, const Item *item) {
    const uint8_t *data = data_of(f, item);
    size_t length = 0;
    if (!data || !w->fine || item->length > w->room - w->length) {
        w->fine = false;
        return;
    }
    if (item->kind == FOUR("hvc1"))
        length = cloak_bmff_hevc(
            data, item->length, cloak_bmff_hevc_config(item->config->at, item->config->length), w->data + w->length);
    else
        length = cloak_bmff_av1(data, item->length, w->data + w->length);
    w->length += length;
    w->fine = length > 0;
}

static void put_data(Writer *w, const File *f, const Extra *extra, const cloak_metadata *m, size_t places) {
    const size_t at = begin(w, "mdat");
    for (size_t i = 0; i < f->kept; i++) {
        const size_t start = w->length;
        if (!is_coded(f->order[i]))
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

static void put_grids(Writer *w, const File *f, size_t places) {
    const size_t at = begin(w, "idat"), start = w->length;
    for (size_t i = 0; i < f->kept; i++) {
        const size_t from = w->length;
        if (is_coded(f->order[i]))
            continue;
        put(w, data_of(f, f->order[i]), f->order[i]->length);
        set_place(w, places, i + 1, from - start, from);
    }
    if (w->length == start)
        w->length = at;
    else
        end(w, at);
}

static void write_file(Writer *w, File *f, const cloak_metadata *m) {
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
    File *f = cloak_try_alloc(sizeof *f);
    Writer w = {.fine = false};
    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    f->bytes = bytes;
    f->length = length;
    if (read_file(f) && choose(f)) {
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
