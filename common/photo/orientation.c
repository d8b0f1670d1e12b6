/* The one EXIF field that reaches the pixels. Read here and not by libexif, so that no EXIF parser
 * sees hostile bytes and a broken EXIF block never costs a photo. TIFF 6.0 section 2, EXIF 2.32
 * section 4.6.4. */
#include <string.h>

#include "common/photo/parts.h"

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

int cloak_orientation_read(const uint8_t *exif, size_t length) {
    enum { TAG = 0x0112, SHORT = 3, LONG = 4, ENTRY = 12 };
    if (length >= 6 && memcmp(exif, "Exif\0", 5) == 0) {
        exif += 6;
        length -= 6;
    }
    if (length < 8 || (memcmp(exif, "II", 2) != 0 && memcmp(exif, "MM", 2) != 0))
        return 1;
    tiff t = {exif, length, exif[0] == 'I'};
    uint32_t magic, folder, entries, tag, type, value;
    if (!read_number(&t, 2, 2, &magic) || magic != 42 || !read_number(&t, 4, 4, &folder) ||
        !read_number(&t, folder, 2, &entries))
        return 1;
    for (uint32_t i = 0; i < entries; i++) {
        size_t at = (size_t)folder + 2 + (size_t)i * ENTRY;
        if (!read_number(&t, at, 2, &tag) || !read_number(&t, at + 2, 2, &type))
            return 1;
        if (tag != TAG)
            continue;
        if ((type != SHORT && type != LONG) ||
            !read_number(&t, at + 8, type == SHORT ? 2 : 4, &value))
            return 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
