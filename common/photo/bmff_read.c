/* Reading boxes: what a HEIC or AVIF file says of itself. */
#include "common/photo/bmff_file.h"

static uint64_t number(cloak_bmff_reader *r, int bytes) {
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
static bool next_box(cloak_bmff_reader *r, uint32_t *kind, cloak_bmff_reader *body) {
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
    *body = (cloak_bmff_reader){r->at, start + size, true};
    r->at = start + size;
    return true;
}

cloak_bmff_item *cloak_bmff_find(cloak_bmff_file *f, uint32_t id) {
    for (size_t i = 0; i < f->items; i++)
        if (f->item[i].id == id)
            return &f->item[i];
    return NULL;
}

static bool read_infos(cloak_bmff_file *f, cloak_bmff_reader r) {
    uint32_t kind;
    cloak_bmff_reader body;
    const uint64_t version = number(&r, 4) >> 24;
    number(&r, version == 0 ? 2 : 4);
    while (next_box(&r, &kind, &body)) {
        const uint64_t head = number(&body, 4), wide = head >> 24 == 3;
        if (kind != CLOAK_BMFF_FOUR("infe") || (head >> 24 != 2 && !wide) || f->items == CLOAK_BMFF_ITEMS)
            return false;
        cloak_bmff_item item = {.hidden = head & 1, .id = (uint32_t)number(&body, wide ? 4 : 2)};
        const bool protected = number(&body, 2) != 0;
        item.kind = (uint32_t)number(&body, 4);
        if (!body.fine || protected || cloak_bmff_find(f, item.id))
            return false;
        f->item[f->items++] = item;
    }
    return r.fine;
}

static bool read_places(cloak_bmff_file *f, cloak_bmff_reader r) {
    const uint64_t version = number(&r, 4) >> 24, sizes = number(&r, 2);
    const int offset_size = (int)(sizes >> 12), length_size = (int)(sizes >> 8 & 15), base_size = (int)(sizes >> 4 & 15),
              index_size = version ? (int)(sizes & 15) : 0;
    const uint64_t count = number(&r, version < 2 ? 2 : 4);
    if (version > 2 || offset_size > 8 || length_size > 8 || base_size > 8 || index_size > 8 || count > CLOAK_BMFF_ITEMS)
        return false;
    for (uint64_t i = 0; i < count && r.fine; i++) {
        cloak_bmff_item *item = cloak_bmff_find(f, (uint32_t)number(&r, version < 2 ? 2 : 4));
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

static bool read_links(cloak_bmff_file *f, cloak_bmff_reader r) {
    uint32_t kind;
    cloak_bmff_reader body;
    const int size = number(&r, 4) >> 24 ? 4 : 2;
    while (next_box(&r, &kind, &body)) {
        const uint32_t from = (uint32_t)number(&body, size);
        const uint64_t count = number(&body, 2);
        for (uint64_t i = 0; i < count && body.fine; i++) {
            if (f->links == CLOAK_BMFF_LINKS)
                return false;
            f->link[f->links++] = (cloak_bmff_link){kind, from, (uint32_t)number(&body, size)};
        }
        if (!body.fine)
            return false;
    }
    return r.fine;
}

static bool read_uses(cloak_bmff_file *f, cloak_bmff_reader r) {
    const uint64_t head = number(&r, 4), count = number(&r, 4);
    const bool wide = head & 1;
    for (uint64_t i = 0; i < count && r.fine; i++) {
        cloak_bmff_item *item = cloak_bmff_find(f, (uint32_t)number(&r, head >> 24 ? 4 : 2));
        const uint64_t uses = number(&r, 1);
        if (item && (item->uses || uses > CLOAK_BMFF_USES))
            return false;
        for (uint64_t k = 0; k < uses && r.fine; k++) {
            const uint64_t use = number(&r, wide ? 2 : 1);
            if (item) /* the mark for those that must be understood is the highest bit */
                item->properties[item->uses++] = (uint16_t)(wide ? use : (use & 0x80) << 8 | (use & 0x7f));
        }
    }
    return r.fine;
}

static bool read_properties(cloak_bmff_file *f, cloak_bmff_reader r) {
    uint32_t kind;
    cloak_bmff_reader body, one;
    bool container = false, uses = false;
    while (next_box(&r, &kind, &body)) {
        if (kind == CLOAK_BMFF_FOUR("ipco") && !container) {
            container = true;
            while (next_box(&body, &kind, &one)) {
                if (f->properties == CLOAK_BMFF_PROPERTIES)
                    return false;
                f->property[f->properties++] = (cloak_bmff_property){kind, one.at, (size_t)(one.end - one.at), 0};
            }
        } else if (kind == CLOAK_BMFF_FOUR("ipma") && !uses) {
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
static bool read_meta(cloak_bmff_file *f, cloak_bmff_reader meta) {
    static const char *const names[] = {"iinf", "pitm", "iloc", "iref", "iprp", "idat", "hdlr"};
    enum { KNOWN = sizeof names / sizeof *names };
    cloak_bmff_reader boxes[KNOWN] = {0}, body;
    uint32_t kind;
    number(&meta, 4);
    while (next_box(&meta, &kind, &body))
        for (int i = 0; i < KNOWN; i++) {
            if (kind != CLOAK_BMFF_FOUR(names[i]))
                continue;
            if (boxes[i].at)
                return false;
            boxes[i] = body;
        }
    cloak_bmff_reader pitm = boxes[1], hdlr = boxes[6];
    const uint64_t version = number(&pitm, 4) >> 24;
    f->primary = (uint32_t)number(&pitm, version ? 4 : 2);
    f->idat = boxes[5];
    number(&hdlr, 8);
    return meta.fine && number(&hdlr, 4) == CLOAK_BMFF_FOUR("pict") && pitm.fine && read_infos(f, boxes[0]) &&
           read_places(f, boxes[2]) && (!boxes[3].at || read_links(f, boxes[3])) && read_properties(f, boxes[4]);
}

bool cloak_bmff_read(cloak_bmff_file *f) {
    cloak_bmff_reader file = {f->bytes, f->bytes + f->length, true}, body, meta = {0};
    uint32_t kind;
    while (next_box(&file, &kind, &body)) {
        if ((kind == CLOAK_BMFF_FOUR("ftyp") && f->brands.at) || (kind == CLOAK_BMFF_FOUR("meta") && meta.at))
            return false;
        if (kind == CLOAK_BMFF_FOUR("ftyp"))
            f->brands = body;
        else if (kind == CLOAK_BMFF_FOUR("meta"))
            meta = body;
    }
    /* bytes that are no box may follow a photo: they stay behind */
    return f->brands.at && meta.at && read_meta(f, meta);
}

bool cloak_bmff_has_track(const void *bytes, size_t length) {
    cloak_bmff_reader file = {bytes, (const uint8_t *)bytes + length, true}, body;
    uint32_t kind, starts = 0;
    while (next_box(&file, &kind, &body) && starts < 2) {
        if (kind == CLOAK_BMFF_FOUR("moov") && starts == 1)
            return true;
        starts += kind == CLOAK_BMFF_FOUR("ftyp");
    }
    return false;
}
