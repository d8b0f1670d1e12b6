/* What lies in a destination: a photo and the receipt beside it. */
#ifndef CLOAK_REPORT_DELIVERY_H
#define CLOAK_REPORT_DELIVERY_H

#include "common/report/record.h"
#include "common/store/store.h"

enum { CLOAK_PHOTO_FILE_MAX = 512 << 20 }; /* bytes of one photo's file */

/* Reads the receipt of `key`, and checks that it belongs to `album` (NULL: any). As below, without a look at the
 * photo. */
CLOAK_MUST_CHECK cloak_status cloak_delivery_receipt(cloak_store *store, const char *key,
    const char *album, cloak_record *record, cloak_error *error);

/* Reads the receipt of `key` and checks that it belongs to `album` and that the photo beside it is the one it
 * describes. On CLOAK_OK `*record` is a new one (cloak_record_free). What is not there or does not fit is
 * CLOAK_E_PERMANENT. */
CLOAK_MUST_CHECK cloak_status cloak_delivery_read(cloak_store *store, const char *key,
    const char *album, cloak_record *record, cloak_error *error);

/* The same, and hands over the photo's file: on CLOAK_OK `*bytes` is a new block (free()). */
CLOAK_MUST_CHECK cloak_status cloak_delivery_take(cloak_store *store, const char *key, const char *album,
    cloak_record *record, void **bytes, size_t *length, cloak_error *error);

#endif
