/* Choosing what goes into a new file, and whether all of that is known for what it is; see bmff.c. */
#include <string.h>

#include "common/photo/bmff_coded.h"
#include "common/photo/bmff_file.h"

bool cloak_bmff_is_coded(const cloak_bmff_item *item) {
    return item->kind == CLOAK_BMFF_FOUR("hvc1") || item->kind == CLOAK_BMFF_FOUR("av01");
}

const uint8_t *cloak_bmff_data(const cloak_bmff_file *f, const cloak_bmff_item *item) {
    const uint8_t *start = item->in_idat ? f->idat.at : f->bytes;
    const size_t length = item->in_idat ? (size_t)(f->idat.end - f->idat.at) : f->length;
    return item->placed && start && item->offset <= length && item->length <= length - item->offset
               ? start + item->offset
               : NULL;
}

static bool keep(cloak_bmff_file *f, cloak_bmff_item *item) {
    if (item->number)
        return true;
    f->order[f->kept++] = item; /* each once: there is room */
    item->number = f->kept;
    return cloak_bmff_is_coded(item) || item->kind == CLOAK_BMFF_FOUR("grid");
}

static const cloak_bmff_property *property_of(const cloak_bmff_file *f, const cloak_bmff_item *item, uint32_t kind) {
    for (size_t i = 0; i < item->uses; i++) {
        const size_t index = item->properties[i] & 0x7fff;
        if (index >= 1 && index <= f->properties && f->property[index - 1].kind == kind)
            return &f->property[index - 1];
    }
    return NULL;
}

/* What `ispe` says; false where there is none. */
static bool size_of(const cloak_bmff_file *f, const cloak_bmff_item *item, uint32_t *width, uint32_t *height) {
    const cloak_bmff_property *p = property_of(f, item, CLOAK_BMFF_FOUR("ispe"));
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
static bool keep_tiles(cloak_bmff_file *f, const cloak_bmff_item *grid) {
    const uint8_t *data = cloak_bmff_data(f, grid);
    size_t tiles = 0;
    uint32_t width = 0, height = 0, tile_width = 0, tile_height = 0, w, h;
    if (grid->kind != CLOAK_BMFF_FOUR("grid"))
        return true;
    if (!data || grid->length < 8 || data[0] != 0 || data[1] > 1 || grid->length != (data[1] ? 12 : 8))
        return false;
    for (size_t i = 0; i < f->links; i++) {
        if (f->link[i].kind != CLOAK_BMFF_FOUR("dimg") || f->link[i].from != grid->id)
            continue;
        cloak_bmff_item *tile = cloak_bmff_find(f, f->link[i].to);
        if (!tile || tile->kind != CLOAK_BMFF_FOUR("hvc1") || !keep(f, tile) || !size_of(f, tile, &w, &h) ||
            (tiles > 0 && (w != tile_width || h != tile_height)))
            return false;
        tile_width = w;
        tile_height = h;
        tiles++;
    }
    return tiles == (data[2] + 1u) * (data[3] + 1u) && size_of(f, grid, &width, &height) &&
           fills(width, tile_width, data[3] + 1u) && fills(height, tile_height, data[2] + 1u) && canvas_is(data, width, height);
}

static bool is_alpha(const cloak_bmff_property *p) {
    static const char *const names[] = {"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", "urn:mpeg:hevc:2015:auxid:1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (p->length == 4 + strlen(names[i]) + 1 && memcmp(p->at + 4, names[i], strlen(names[i]) + 1) == 0)
            return true;
    return false;
}

/* Keeps the primary picture's alpha; false where there is more than one. */
static bool keep_alpha(cloak_bmff_file *f, const cloak_bmff_item *primary) {
    bool found = false;
    for (size_t i = 0; i < f->links; i++) {
        cloak_bmff_item *item = cloak_bmff_find(f, f->link[i].from);
        const cloak_bmff_property *kind = item ? property_of(f, item, CLOAK_BMFF_FOUR("auxC")) : NULL;
        if (f->link[i].kind != CLOAK_BMFF_FOUR("auxl") || f->link[i].to != primary->id || !kind || !is_alpha(kind))
            continue;
        if (found || item == primary || !keep(f, item))
            return false;
        found = true;
    }
    return true;
}

/* Whether a property is one that we know, and no longer than it must be. */
static bool is_known(const cloak_bmff_property *p) {
    static const struct {
        const char *kind;
        size_t length;
    } fixed[] = {{"ispe", 12}, {"irot", 1}, {"imir", 1}, {"pasp", 8}, {"clli", 4}, {"mdcv", 24}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (p->kind == CLOAK_BMFF_FOUR(fixed[i].kind))
            return p->length == fixed[i].length;
    if (p->kind == CLOAK_BMFF_FOUR("pixi"))
        return p->length >= 5 && p->length == 5u + p->at[4] && p->at[4] <= 4;
    if (p->kind == CLOAK_BMFF_FOUR("colr") && p->length > 4 && (memcmp(p->at, "nclx", 4) == 0 || memcmp(p->at, "nclc", 4) == 0))
        return p->length <= 11;
    if (p->kind == CLOAK_BMFF_FOUR("colr") &&
        (p->length < 4 || (memcmp(p->at, "prof", 4) != 0 && memcmp(p->at, "rICC", 4) != 0)))
        return false;
    if (p->kind == CLOAK_BMFF_FOUR("colr"))
        return cloak_is_profile(p->at + 4, p->length - 4);
    return (p->kind == CLOAK_BMFF_FOUR("hvcC") && cloak_bmff_hevc_config(p->at, p->length) > 0) ||
           (p->kind == CLOAK_BMFF_FOUR("av1C") && cloak_bmff_av1_config(p->at, p->length)) || (p->kind == CLOAK_BMFF_FOUR("auxC") && is_alpha(p));
}

/* Whether a coded picture is no larger than `ispe` says, but for what fills up its last blocks. Of AV1 libheif sees to
 * it. */
static bool is_shown_whole(const cloak_bmff_file *f, const cloak_bmff_item *item) {
    enum { BLOCK_MOST = 64 };
    uint32_t width, height, coded_width, coded_height;
    return item->kind != CLOAK_BMFF_FOUR("hvc1") ||
           (size_of(f, item, &width, &height) &&
               cloak_bmff_hevc_size(item->config->at, item->config->length, &coded_width, &coded_height) &&
               coded_width >= width && coded_width - width < BLOCK_MOST && coded_height >= height &&
               coded_height - height < BLOCK_MOST);
}

/* Those properties of a kept item that go out; false where one that a reader must understand would not, or one is
 * missing. What is known by its name and has the wrong length is not passed over. */
static bool keep_properties(cloak_bmff_file *f, cloak_bmff_item *item, size_t *number) {
    static const char *const names[] = {"ispe", "irot", "imir", "clap", "pasp", "clli", "mdcv", "pixi", "colr", "hvcC", "av1C", "auxC"};
    const bool coded = cloak_bmff_is_coded(item);
    size_t uses = 0;
    item->config = coded ? property_of(f, item, item->kind == CLOAK_BMFF_FOUR("hvc1") ? CLOAK_BMFF_FOUR("hvcC") : CLOAK_BMFF_FOUR("av1C")) : NULL;
    if (!property_of(f, item, CLOAK_BMFF_FOUR("ispe")) || (coded && !item->config) || !is_shown_whole(f, item))
        return false;
    for (size_t i = 0; i < item->uses; i++) {
        const size_t index = item->properties[i] & 0x7fff;
        if (index < 1 || index > f->properties)
            return false;
        cloak_bmff_property *p = &f->property[index - 1];
        bool listed = false;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            listed = listed || p->kind == CLOAK_BMFF_FOUR(names[k]);
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

bool cloak_bmff_choose(cloak_bmff_file *f) {
    cloak_bmff_item *primary = cloak_bmff_find(f, f->primary);
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
