/* What a TIFF header leads to: the orientation in an EXIF block, the one field of it that reaches the pixels, and
 * size and pages of a TIFF file. Read here and not by a library, so that a broken EXIF block never costs a
 * photo. TIFF 6.0 section 2, EXIF 2.32 section 4.6.4. */
#include "common/photo/tiff.h"

#include <string.h>

#include "common/photo/parts.h"

enum { WIDTH = 0x0100, HEIGHT = 0x0101, SUBFILE = 0x00fe, ORIENTATION = 0x0112, SHORT = 3, LONG = 4, ENTRY = 12 };

bool cloak_tiff_number(const cloak_tiff *t, size_t offset, int bytes, uint32_t *value) {
    if (offset > t->length || t->length - offset < (size_t)bytes)
        return false;
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value = *value << 8 | t->at[offset + (size_t)(t->little ? bytes - 1 - i : i)];
    return true;
}

bool cloak_tiff_open(const void *bytes, size_t length, cloak_tiff *t, uint32_t *folder) {
    uint32_t magic;
    if (length < 8 || (memcmp(bytes, "II", 2) != 0 && memcmp(bytes, "MM", 2) != 0))
        return false;
    *t = (cloak_tiff){bytes, length, *(const char *)bytes == 'I'};
    return cloak_tiff_number(t, 2, 2, &magic) && magic == 42 && cloak_tiff_number(t, 4, 4, folder);
}

bool cloak_tiff_field_read(const cloak_tiff *t, uint32_t folder, uint32_t i, cloak_tiff_field *field) {
    static const uint8_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4}; /* of the types, TIFF 6.0 section 2 */
    const size_t at = (size_t)folder + 2 + (size_t)i * ENTRY;
    uint32_t fields, offset = 0;
    if (!cloak_tiff_number(t, folder, 2, &fields) || i >= fields || !cloak_tiff_number(t, at, 2, &field->tag) ||
        !cloak_tiff_number(t, at + 2, 2, &field->type) || !cloak_tiff_number(t, at + 4, 4, &field->count))
        return false;
    const uint64_t size = field->type < sizeof sizes ? (uint64_t)field->count * sizes[field->type] : 0;
    if (size > 4 && !cloak_tiff_number(t, at + 8, 4, &offset))
        return false;
    field->at = size <= 4 ? at + 8 : offset;
    field->size = field->at <= t->length && size <= t->length - field->at ? (size_t)size : 0;
    return true;
}

/* A number of a folder; false where it is not there, or is no number. */
static bool find(const cloak_tiff *t, uint32_t folder, uint32_t tag, uint32_t *value) {
    cloak_tiff_field field;
    for (uint32_t i = 0; cloak_tiff_field_read(t, folder, i, &field); i++)
        if (field.tag == tag)
            return (field.type == SHORT || field.type == LONG) && field.count > 0 &&
                   cloak_tiff_number(t, field.at, field.type == SHORT ? 2 : 4, value);
    return false;
}

/* The folder behind this one; 0 behind the last. */
static uint32_t next_folder(const cloak_tiff *t, uint32_t folder) {
    uint32_t entries, next;
    return cloak_tiff_number(t, folder, 2, &entries) &&
                   cloak_tiff_number(t, (size_t)folder + 2 + (size_t)entries * ENTRY, 4, &next)
               ? next
               : 0;
}

int cloak_orientation_read(const uint8_t *exif, size_t length) {
    cloak_tiff t;
    uint32_t folder, value;
    if (length >= 6 && memcmp(exif, "Exif\0", 5) == 0) {
        exif += 6;
        length -= 6;
    }
    return cloak_tiff_open(exif, length, &t, &folder) && find(&t, folder, ORIENTATION, &value) && value >= 1 && value <= 8
               ? (int)value
               : 1;
}

cloak_survey cloak_tiff_survey(const void *bytes, size_t length) {
    enum { REDUCED = 1, MOST_FOLDERS = 100 };
    cloak_survey survey = {.orientation = cloak_orientation_read(bytes, length), .lossless = true};
    cloak_tiff t;
    uint32_t folder, width, height, kind;
    if (!cloak_tiff_open(bytes, length, &t, &folder) || !find(&t, folder, WIDTH, &width) ||
        !find(&t, folder, HEIGHT, &height))
        return survey;
    survey.width = width;
    survey.height = height;
    survey.pages = find(&t, folder, SUBFILE, &kind) && (kind & REDUCED); /* the picture itself is elsewhere */
    for (int i = 0; i < MOST_FOLDERS && (folder = next_folder(&t, folder)) != 0; i++)
        if (!find(&t, folder, SUBFILE, &kind) || !(kind & REDUCED)) /* a preview is no page */
            survey.pages = true;
    return survey;
}
