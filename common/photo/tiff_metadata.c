/* A TIFF file's metadata: out of one file and into another.
 *
 * DESIGN. A TIFF keeps EXIF, XMP and IPTC in the very folder that says where its pixels are. So nothing of a folder is
 * taken as it is. Reading makes a block of EXIF as other formats have it, of those fields of the first folder that are
 * about the photo and not about its bytes, and of the folders for EXIF, places and interoperability; the policy is then
 * carried out on that. Writing appends the block that passed to a file of our own, moves the offsets in it, and appends
 * a folder that holds the file's fields and those of the same list. Folders of previews, and the fields that lead to
 * them, are on no list.
 */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/photo/tiff.h"

enum {
    ENTRY = 12, LONG = 4, UNDEFINED = 7, BYTE = 1,
    XMP = 0x02bc, IPTC = 0x83bb, PHOTOSHOP = 0x8649,
    EXIF_FOLDER = 0x8769, GPS_FOLDER = 0x8825, INTEROP_FOLDER = 0xa005, MAKER_NOTE = 0x927c,
    X_RESOLUTION = 0x011a, Y_RESOLUTION = 0x011b, RESOLUTION_UNIT = 0x0128,
    BLOCK_MOST = 1 << 16, VALUE_MOST = 8192, FIELDS_MOST = 256
};

/* Fields of the first folder that are about the photo: titles and texts, camera, resolution, software and its host,
 * dates, people, rights, rating, Windows' own texts, and the folders below. */
static bool is_about_photo(uint32_t tag) {
    static const uint16_t tags[] = {0x010d, 0x010e, 0x010f, 0x0110, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, 0x0131,
        0x0132, 0x013b, 0x013c, 0x4746, 0x4749, 0x8298, EXIF_FOLDER, GPS_FOLDER, 0x9c9b, 0x9c9c, 0x9c9d, 0x9c9e, 0x9c9f};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (tags[i] == tag)
            return true;
    return false;
}

/* Whether a field of a folder leads to one that may pass; the first folder has no tag, so 0. */
static bool leads_on(uint32_t folder_tag, uint32_t tag) {
    return folder_tag == 0 ? tag == EXIF_FOLDER || tag == GPS_FOLDER : folder_tag == EXIF_FOLDER && tag == INTEROP_FOLDER;
}

static bool may_pass(uint32_t folder_tag, const cloak_tiff_field *field) {
    if (field->size == 0 || field->size > VALUE_MOST || field->tag == MAKER_NOTE)
        return false;
    if (field->tag == EXIF_FOLDER || field->tag == GPS_FOLDER || field->tag == INTEROP_FOLDER)
        return leads_on(folder_tag, field->tag) && field->type == LONG && field->count == 1;
    return folder_tag != 0 || is_about_photo(field->tag);
}

/* --- reading ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data; /* BLOCK_MOST */
    size_t length;
    bool little;
} Block;

static void set_number(uint8_t *at, uint32_t value, int bytes, bool little) {
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (little ? i : bytes - 1 - i)));
}

/* Room for so many bytes at an even place, zeroed; 0 when there is none. */
static size_t reserve(Block *b, size_t length) {
    const size_t at = b->length + (b->length & 1);
    if (length > BLOCK_MOST || at > BLOCK_MOST - length)
        return 0;
    memset(b->data + b->length, 0, at + length - b->length);
    b->length = at + length;
    return at;
}

/* Copies a folder and those that it leads to; gives its place in the block, 0 when nothing of it passes. */
static size_t copy_folder(const cloak_tiff *t, uint32_t folder, uint32_t folder_tag, Block *b) {
    cloak_tiff_field field, fields[FIELDS_MOST];
    uint32_t count = 0, written = 0;
    for (uint32_t i = 0; i < FIELDS_MOST && cloak_tiff_field_read(t, folder, i, &field); i++)
        if (may_pass(folder_tag, &field))
            fields[count++] = field;
    const size_t start = count ? reserve(b, 2 + (size_t)count * ENTRY + 4) : 0;
    for (uint32_t i = 0; start && i < count; i++) {
        const cloak_tiff_field *f = &fields[i];
        uint8_t *entry = b->data + start + 2 + written * ENTRY;
        uint32_t below = 0;
        size_t at = 0;
        if (leads_on(folder_tag, f->tag))
            at = cloak_tiff_number(t, f->at, 4, &below) ? copy_folder(t, below, f->tag, b) : 0;
        else
            at = f->size <= 4 ? 4 : reserve(b, f->size);
        if (at == 0)
            continue;
        set_number(entry, f->tag, 2, b->little);
        set_number(entry + 2, f->type, 2, b->little);
        set_number(entry + 4, f->count, 4, b->little);
        if (leads_on(folder_tag, f->tag) || f->size > 4)
            set_number(entry + 8, (uint32_t)at, 4, b->little);
        if (!leads_on(folder_tag, f->tag))
            memcpy(f->size <= 4 ? entry + 8 : b->data + at, t->at + f->at, f->size);
        written++;
    }
    if (start)
        set_number(b->data + start, written, 2, b->little);
    return written ? start : 0;
}

uint8_t *cloak_tiff_blocks(const void *bytes, size_t length, cloak_blocks *blocks, const uint8_t **photoshop, size_t *photoshop_length) {
    cloak_tiff t;
    cloak_tiff_field field;
    uint32_t folder;
    if (!cloak_tiff_open(bytes, length, &t, &folder))
        return NULL;
    for (uint32_t i = 0; cloak_tiff_field_read(&t, folder, i, &field); i++) {
        const uint8_t *value = t.at + field.at;
        if (field.size == 0)
            continue;
        if (field.tag == XMP && field.size <= BLOCK_MOST) {
            blocks->xmp = value;
            blocks->xmp_length = field.size;
        } else if (field.tag == IPTC && field.size <= BLOCK_MOST) {
            blocks->iptc = value;
            blocks->iptc_length = field.size;
        } else if (field.tag == PHOTOSHOP) {
            *photoshop = value;
            *photoshop_length = field.size;
        }
    }
    Block b = {cloak_try_alloc(BLOCK_MOST), 8, t.little};
    if (!b.data)
        return NULL;
    memcpy(b.data, bytes, 4);
    const size_t start = copy_folder(&t, folder, 0, &b);
    if (start == 0) {
        free(b.data);
        return NULL;
    }
    set_number(b.data + 4, (uint32_t)start, 4, t.little);
    blocks->exif = b.data;
    blocks->exif_length = b.length;
    return b.data;
}

/* --- writing ------------------------------------------------------------------------------- */

/* Adds `base` to all offsets in the folders of a block that lies at `out`, and cuts what follows them. */
static void move_folder(const cloak_tiff *t, uint32_t folder, uint32_t folder_tag, uint32_t base, uint8_t *out) {
    cloak_tiff_field field;
    uint32_t i = 0, below;
    for (; i < FIELDS_MOST && cloak_tiff_field_read(t, folder, i, &field); i++) {
        uint8_t *value = out + folder + 2 + (size_t)i * ENTRY + 8;
        if (leads_on(folder_tag, field.tag) && cloak_tiff_number(t, field.at, 4, &below)) {
            move_folder(t, below, field.tag, base, out);
            set_number(value, below + base, 4, true);
        } else if (field.size > 4) {
            set_number(value, (uint32_t)field.at + base, 4, true);
        }
    }
    const size_t next = (size_t)folder + 2 + (size_t)i * ENTRY;
    if (next + 4 <= t->length)
        set_number(out + next, 0, 4, true);
}

typedef struct {
    uint8_t entries[FIELDS_MOST][ENTRY];
    size_t count;
} Folder;

static bool has(const Folder *folder, uint32_t tag) {
    for (size_t i = 0; i < folder->count; i++)
        if (((uint32_t)folder->entries[i][0] | (uint32_t)folder->entries[i][1] << 8) == tag)
            return true;
    return false;
}

/* Puts an entry in its place by its tag; the first of two with the same one stays. */
static void add(Folder *folder, uint32_t tag, const uint8_t entry[ENTRY]) {
    size_t i = folder->count;
    if (folder->count == FIELDS_MOST || has(folder, tag))
        return;
    for (; i > 0 && ((uint32_t)folder->entries[i - 1][0] | (uint32_t)folder->entries[i - 1][1] << 8) > tag; i--)
        memcpy(folder->entries[i], folder->entries[i - 1], ENTRY);
    memcpy(folder->entries[i], entry, ENTRY);
    folder->count++;
}

/* Appends a value at an even place and adds its field. */
static size_t add_value(Folder *folder, uint32_t tag, uint32_t type, const uint8_t *value, size_t size, uint8_t *out, size_t length) {
    uint8_t entry[ENTRY];
    if (!value || size <= 4)
        return length;
    out[length] = 0;
    length += length & 1;
    memcpy(out + length, value, size);
    set_number(entry, tag, 2, true);
    set_number(entry + 2, type, 2, true);
    set_number(entry + 4, (uint32_t)size, 4, true);
    set_number(entry + 8, (uint32_t)length, 4, true);
    add(folder, tag, entry);
    return length + size;
}

/* Appends the block of EXIF and adds what it has in its first folder. */
static size_t add_exif(Folder *folder, const cloak_metadata *m, uint8_t *out, size_t length) {
    cloak_tiff t;
    cloak_tiff_field field;
    uint32_t first;
    if (!m->exif || !cloak_tiff_open(m->exif, m->exif_length, &t, &first) || !t.little)
        return length;
    out[length] = 0;
    length += length & 1;
    memcpy(out + length, m->exif, m->exif_length);
    move_folder(&t, first, 0, (uint32_t)length, out + length);
    for (uint32_t i = 0; i < FIELDS_MOST && cloak_tiff_field_read(&t, first, i, &field); i++)
        if (may_pass(0, &field))
            add(folder, field.tag, out + length + first + 2 + (size_t)i * ENTRY);
    return length + m->exif_length;
}

size_t cloak_tiff_embed(const cloak_metadata *m, const uint8_t *file, size_t length, uint8_t *out) {
    cloak_tiff t;
    cloak_tiff_field field;
    uint32_t first;
    Folder folder = {.count = 0};
    memcpy(out, file, length);
    if (length > INT32_MAX || !cloak_tiff_open(file, length, &t, &first) || !t.little)
        return length;
    size_t end = add_exif(&folder, m, out, length);
    const bool resolved = has(&folder, X_RESOLUTION);
    for (uint32_t i = 0; cloak_tiff_field_read(&t, first, i, &field); i++)
        if (!resolved || (field.tag != X_RESOLUTION && field.tag != Y_RESOLUTION && field.tag != RESOLUTION_UNIT))
            add(&folder, field.tag, file + first + 2 + (size_t)i * ENTRY);
    end = add_value(&folder, XMP, BYTE, m->xmp, m->xmp_length, out, end);
    end = add_value(&folder, IPTC, UNDEFINED, m->iptc, m->iptc_length, out, end);
    out[end] = 0;
    end += end & 1;
    set_number(out + 4, (uint32_t)end, 4, true);
    set_number(out + end, (uint32_t)folder.count, 2, true);
    memcpy(out + end + 2, folder.entries, folder.count * ENTRY);
    end += 2 + folder.count * ENTRY;
    set_number(out + end, 0, 4, true);
    return end + 4;
}
