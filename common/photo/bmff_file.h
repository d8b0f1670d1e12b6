/* Private to this folder. What a HEIC or AVIF file says of itself, and what of it goes into a new one; see bmff.c. */
#ifndef CLOAK_PHOTO_BMFF_FILE_H
#define CLOAK_PHOTO_BMFF_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/photo/parts.h"

enum { CLOAK_BMFF_ITEMS = 1024, CLOAK_BMFF_PROPERTIES = 1024, CLOAK_BMFF_LINKS = 4096, CLOAK_BMFF_USES = 16 };

/* A kind by its four letters. */
#define CLOAK_BMFF_FOUR(text) CLOAK_FOUR((text)[0], (text)[1], (text)[2], (text)[3])

/* Numbers from the front of some bytes; behind the end they are 0 and `fine` is false from then on. */
typedef struct {
    const uint8_t *at, *end;
    bool fine;
} cloak_bmff_reader;

typedef struct {
    uint32_t kind;
    const uint8_t *at; /* its body */
    size_t length;
    size_t number; /* in the new file, from 1; 0 when it does not go there */
} cloak_bmff_property;

typedef struct {
    uint32_t id, kind;
    bool hidden;
    bool placed, in_idat;
    uint64_t offset, length;
    size_t uses;
    const cloak_bmff_property *config;    /* of its coder, once it is kept; NULL for a grid */
    uint16_t properties[CLOAK_BMFF_USES]; /* from 1; the highest bit says that a reader must understand it */
    size_t number;                        /* in the new file, from 1; 0 when it does not go there */
} cloak_bmff_item;

typedef struct {
    uint32_t kind;
    uint32_t from, to; /* ids of items */
} cloak_bmff_link;

typedef struct {
    const uint8_t *bytes;
    size_t length;
    cloak_bmff_reader brands, idat;
    uint32_t primary; /* id */
    size_t items, properties, links, kept;
    cloak_bmff_item item[CLOAK_BMFF_ITEMS];
    cloak_bmff_property property[CLOAK_BMFF_PROPERTIES];
    cloak_bmff_link link[CLOAK_BMFF_LINKS];
    cloak_bmff_item *order[CLOAK_BMFF_ITEMS]; /* those that go into the new file, by number - 1 */
    uint32_t seen;                            /* boxes of meta, as bits */
} cloak_bmff_file;

/* The box `meta` and the brands of f->bytes. False where they are not what we know. (bmff_read.c) */
bool cloak_bmff_read(cloak_bmff_file *f);

/* The item of this id, or NULL. */
cloak_bmff_item *cloak_bmff_find(cloak_bmff_file *f, uint32_t id);

/* Numbers the items and properties that go into the new file. False where any of it is not what we know to hold
 * a picture and no more. (bmff_choose.c) */
bool cloak_bmff_choose(cloak_bmff_file *f);

/* Whether an item is a coded picture, and not a grid of them. */
bool cloak_bmff_is_coded(const cloak_bmff_item *item);

/* An item's bytes, item->length of them, or NULL where they are not in the file. */
const uint8_t *cloak_bmff_data(const cloak_bmff_file *f, const cloak_bmff_item *item);

#endif
