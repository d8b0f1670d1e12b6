/* What a TIFF header leads to: the orientation in an EXIF block, the one field of it that reaches the pixels, and
 * size and pages of a TIFF file. Read here and not by a library, so that a broken EXIF block never costs a
 * photo. TIFF 6.0 section 2, EXIF 2.32 section 4.6.4. */
#include <string.h>

#include "common/photo/parts.h"

enum { WIDTH = 0x0100, HEIGHT = 0x0101, SUBFILE = 0x00fe, ORIENTATION = 0x0112, SHORT = 3, LONG = 4, ENTRY = 12 };

typedef struct {
    const uint8_t *at;
    size_t length;
    bool little;
} tiff;

/* `bytes` (2 or 4) at `offset`; false when they lie outside. */
static bool read_number(const tiff *t, size_t offset, int bytes, uint32_t *value) {
    if (offset > t->length || t->length - offset < (size_t)bytes)
        return false;
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value = *value << 8 | t->at[offset + (size_t)(t->little ? bytes - 1 - i : i)];
    return true;
}

/* Starts at the first folder; false for bytes that are no TIFF. */
static bool open_tiff(const uint8_t *bytes, size_t length, tiff *t, uint32_t *folder) {
    uint32_t magic;
    if (length < 8 || (memcmp(bytes, "II", 2) != 0 && memcmp(bytes, "MM", 2) != 0))
        return false;
    *t = (tiff){bytes, length, bytes[0] == 'I'};
    return read_number(t, 2, 2, &magic) && magic == 42 && read_number(t, 4, 4, folder);
}

/* A number of a folder; false where it is not there, or is no number. */
static bool find(const tiff *t, uint32_t folder, uint32_t tag, uint32_t *value) {
    uint32_t entries, found, type;
    if (!read_number(t, folder, 2, &entries))
        return false;
    for (uint32_t i = 0; i < entries; i++) {
        size_t at = (size_t)folder + 2 + (size_t)i * ENTRY;
        if (!read_number(t, at, 2, &found) || !read_number(t, at + 2, 2, &type))
            return false;
        if (found == tag)
            return (type == SHORT || type == LONG) && read_number(t, at + 8, type == SHORT ? 2 : 4, value);
    }
    return false;
}

/* The folder behind this one; 0 behind the last. */
static uint32_t next_folder(const tiff *t, uint32_t folder) {
    uint32_t entries, next;
    return read_number(t, folder, 2, &entries) &&
                   read_number(t, (size_t)folder + 2 + (size_t)entries * ENTRY, 4, &next)
               ? next
               : 0;
}

int cloak_orientation_read(const uint8_t *exif, size_t length) {
    tiff t;
    uint32_t folder, value;
    if (length >= 6 && memcmp(exif, "Exif\0", 5) == 0) {
        exif += 6;
        length -= 6;
    }
    return open_tiff(exif, length, &t, &folder) && find(&t, folder, ORIENTATION, &value) && value >= 1 && value <= 8
               ? (int)value
               : 1;
}

cloak_survey cloak_tiff_survey(const void *bytes, size_t length) {
    enum { REDUCED = 1, MOST_FOLDERS = 100 };
    cloak_survey survey = {.orientation = cloak_orientation_read(bytes, length), .lossless = true};
    tiff t;
    uint32_t folder, width, height, kind;
    if (!open_tiff(bytes, length, &t, &folder) || !find(&t, folder, WIDTH, &width) ||
        !find(&t, folder, HEIGHT, &height))
        return survey;
    survey.width = width;
    survey.height = height;
    for (int i = 0; i < MOST_FOLDERS && (folder = next_folder(&t, folder)) != 0; i++)
        if (!find(&t, folder, SUBFILE, &kind) || !(kind & REDUCED)) /* a preview is no page */
            survey.pages = true;
    return survey;
}
