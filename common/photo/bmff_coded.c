/* Walks over the units of coded pictures; see the header.
 *
 * HEVC: ITU-T H.265, 7.3 and table 7-1, in samples with lengths (ISO/IEC 14496-15, 8.3). AV1: the bitstream
 * specification, 5.3 and 5.5, as an image item (AVIF 1.1, 2.1).
 */
#include "common/photo/bmff_coded.h"

#include <string.h>

enum { HEADER_MOST = 1024 /* of a parameter set, a sequence header */ };

/* --- HEVC ---------------------------------------------------------------------------------- */

enum { FIRST_IRAP = 16, LAST_IRAP = 21, VPS = 32, SPS = 33, PPS = 34, DELIMITER = 35, SUFFIX_SEI = 40 };

static bool is_parameter_set(unsigned type) {
    return type == VPS || type == SPS || type == PPS;
}

int cloak_bmff_hevc_config(const uint8_t *config, size_t length) {
    enum { HEAD = 23 };
    const int length_size = length >= HEAD ? (config[21] & 3) + 1 : 0;
    size_t at = HEAD;
    if (length < HEAD || config[0] != 1 || length_size == 3)
        return 0;
    for (unsigned arrays = config[22]; arrays > 0; arrays--) {
        if (length - at < 3 || !is_parameter_set(config[at] & 0x3f))
            return 0;
        unsigned units = (unsigned)config[at + 1] << 8 | config[at + 2];
        const unsigned type = config[at] & 0x3f;
        for (at += 3; units > 0; units--) {
            const size_t size = length - at >= 2 ? (size_t)config[at] << 8 | config[at + 1] : 0;
            if (size < 2 || size > HEADER_MOST || size > length - at - 2 || (config[at + 2] >> 1 & 0x3fu) != type)
                return 0;
            at += 2 + size;
        }
    }
    return at == length ? length_size : 0;
}

/* Bits of a unit's payload, without the bytes that keep start codes out of it (H.265, 7.3.1.1). Behind the end they are
 * 0. */
typedef struct {
    const uint8_t *data;
    size_t length, at; /* bytes; bits */
} Bits;

static size_t payload_of(const uint8_t *unit, size_t length, uint8_t out[HEADER_MOST]) {
    size_t written = 0;
    for (size_t i = 0; i < length && written < HEADER_MOST; i++)
        if (!(unit[i] == 3 && i >= 2 && unit[i - 1] == 0 && unit[i - 2] == 0))
            out[written++] = unit[i];
    return written;
}

static uint32_t bits(Bits *b, int count) {
    uint32_t value = 0;
    for (; count > 0; count--, b->at++)
        value = value << 1 | (b->at / 8 < b->length ? b->data[b->at / 8] >> (7 - b->at % 8) & 1u : 0);
    return value;
}

/* An Exp-Golomb number, ue(v); UINT32_MAX where it is too long. */
static uint32_t golomb(Bits *b) {
    int zeros = 0;
    while (zeros < 32 && b->at < 8 * b->length && bits(b, 1) == 0)
        zeros++;
    return zeros < 32 ? (1u << zeros) - 1 + bits(b, zeros) : UINT32_MAX;
}

static bool size_of_sequence(const uint8_t *unit, size_t length, uint32_t *width, uint32_t *height) {
    enum { UNIT_HEAD = 16, PROFILE_AND_LEVEL = 12 * 8, SIDE_MOST = 65536 };
    uint8_t payload[HEADER_MOST];
    Bits b = {payload, payload_of(unit, length, payload), UNIT_HEAD + 4};
    if (bits(&b, 3) != 0) /* layers of time, which no still picture needs */
        return false;
    b.at += 1 + PROFILE_AND_LEVEL;
    golomb(&b);
    if (golomb(&b) == 3) /* 4:4:4 may be coded as three planes */
        bits(&b, 1);
    *width = golomb(&b);
    *height = golomb(&b);
    return b.at <= 8 * b.length && *width > 0 && *width < SIDE_MOST && *height > 0 && *height < SIDE_MOST;
}

bool cloak_bmff_hevc_size(const uint8_t *config, size_t length, uint32_t *width, uint32_t *height) {
    size_t at = 23, sequences = 0;
    bool fine = cloak_bmff_hevc_config(config, length) > 0; /* so that the walk below stays inside */
    for (unsigned arrays = fine ? config[22] : 0; arrays > 0; arrays--) {
        const unsigned type = config[at] & 0x3f;
        unsigned units = (unsigned)config[at + 1] << 8 | config[at + 2];
        for (at += 3; units > 0; units--) {
            const size_t size = (size_t)config[at] << 8 | config[at + 1];
            if (type == SPS) {
                sequences++;
                fine = fine && size_of_sequence(config + at + 2, size, width, height);
            }
            at += 2 + size;
        }
    }
    return fine && sequences == 1;
}

size_t cloak_bmff_hevc(const uint8_t *data, size_t length, int length_size, uint8_t *out) {
    size_t written = 0, pictures = 0;
    while (length_size > 0 && length > 0) {
        uint64_t size = 0;
        if (length < (size_t)length_size)
            return 0;
        for (int i = 0; i < length_size; i++)
            size = size << 8 | data[i];
        if (size < 3 || size > length - (size_t)length_size)
            return 0;
        const uint8_t *unit = data + length_size;
        const size_t whole = (size_t)length_size + (size_t)size;
        const unsigned type = unit[0] >> 1 & 0x3fu, layer = (unit[0] & 1u) << 5 | unit[1] >> 3;
        const bool slice = type >= FIRST_IRAP && type <= LAST_IRAP;
        if (slice)
            pictures += unit[2] >> 7; /* first_slice_segment_in_pic_flag */
        if (layer != 0 || (slice && pictures != 1) || (!slice && (type < DELIMITER || type > SUFFIX_SEI)))
            return 0; /* a parameter set might say another size than the one that was looked at */
        if (slice) {
            memcpy(out + written, data, whole);
            written += whole;
        }
        data += whole;
        length -= whole;
    }
    return pictures == 1 ? written : 0;
}

/* --- AV1 ----------------------------------------------------------------------------------- */

enum { SEQUENCE = 1, TEMPORAL_DELIMITER = 2, FRAME_HEADER = 3, TILE_GROUP = 4, METADATA = 5, FRAME = 6, PADDING = 15 };

typedef struct {
    unsigned type;
    size_t whole, size; /* with and without header */
} Unit;

/* The unit at the front; false where there is none, or of an enhancement layer. */
static bool read_unit(const uint8_t *data, size_t length, Unit *unit) {
    if (length == 0 || data[0] & 0x81)
        return false;
    const size_t extended = data[0] >> 2 & 1, head = 1 + extended;
    if (length < head || (extended && data[1]))
        return false;
    uint64_t size = length - head;
    size_t digits = 0;
    if (data[0] & 2) { /* leb128 */
        size = 0;
        for (bool more = true; more; digits++) {
            if (digits == 8 || head + digits >= length)
                return false;
            size |= (uint64_t)(data[head + digits] & 0x7f) << (7 * digits);
            more = data[head + digits] >> 7;
        }
    }
    if (size > length - head - digits)
        return false;
    *unit = (Unit){data[0] >> 3 & 15, head + digits + (size_t)size, (size_t)size};
    return true;
}

bool cloak_bmff_av1_config(const uint8_t *config, size_t length) {
    enum { HEAD = 4 };
    Unit unit;
    return length == HEAD || (length > HEAD && read_unit(config + HEAD, length - HEAD, &unit) && unit.type == SEQUENCE &&
                                 unit.whole == length - HEAD && unit.size <= HEADER_MOST);
}

size_t cloak_bmff_av1(const uint8_t *data, size_t length, uint8_t *out) {
    size_t written = 0, pictures = 0;
    Unit unit;
    for (; length > 0; data += unit.whole, length -= unit.whole) {
        if (!read_unit(data, length, &unit))
            return 0;
        switch (unit.type) {
        case TEMPORAL_DELIMITER:
        case METADATA:
        case PADDING:
            continue;
        case SEQUENCE:
            if (unit.size > HEADER_MOST)
                return 0;
            break;
        case FRAME:
        case FRAME_HEADER:
            pictures++;
            break;
        case TILE_GROUP:
            break;
        default:
            return 0;
        }
        memcpy(out + written, data, unit.whole);
        written += unit.whole;
    }
    return pictures == 1 ? written : 0;
}
