/* Delivered photos and their receipts; see the header. */
#include "common/report/delivery.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/digest.h"

enum { MAX_RECEIPT = 8 << 20 };

static cloak_status take_photo(
    cloak_store *store, const char *key, const char *want, void **bytes, size_t *length, cloak_error *error) {
    char hex[CLOAK_DIGEST_SIZE];
    void *photo = NULL;
    size_t size = 0;
    cloak_status status = cloak_store_get(store, key, CLOAK_PHOTO_FILE_MAX, &photo, &size, error);
    if (status != CLOAK_OK)
        return status;
    cloak_digest_hex(photo, size, hex);
    if (!want || strcmp(hex, want) != 0) {
        free(photo);
        return cloak_fail(error, CLOAK_E_PERMANENT, "the photo is not the one that the receipt describes");
    }
    *bytes = photo;
    *length = size;
    return CLOAK_OK;
}

cloak_status cloak_delivery_receipt(cloak_store *store, const char *key, const char *album,
    cloak_record *record, cloak_error *error) {
    void *text = NULL;
    size_t length = 0;
    cloak_record read = {0};
    char *receipt = cloak_receipt_key(key);
    cloak_status status = cloak_store_get(store, receipt, MAX_RECEIPT, &text, &length, error);
    if (status == CLOAK_OK)
        status = cloak_record_parse(text, receipt, &read, error);
    if (status == CLOAK_OK && album && (!read.album || strcmp(read.album, album) != 0))
        status = cloak_fail(error, CLOAK_E_PERMANENT, "the receipt belongs to another album");
    free(receipt);
    free(text);
    if (status == CLOAK_OK)
        *record = read;
    else
        cloak_record_free(&read);
    return status;
}

cloak_status cloak_delivery_take(cloak_store *store, const char *key, const char *album, cloak_record *record,
    void **bytes, size_t *length, cloak_error *error) {
    cloak_record read;
    cloak_status status = cloak_delivery_receipt(store, key, album, &read, error);
    if (status != CLOAK_OK)
        return status;
    status = take_photo(store, key, read.sha256_out, bytes, length, error);
    if (status == CLOAK_OK)
        *record = read;
    else
        cloak_record_free(&read);
    return status;
}

cloak_status cloak_delivery_read(
    cloak_store *store, const char *key, const char *album, cloak_record *record, cloak_error *error) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_status status = cloak_delivery_take(store, key, album, record, &bytes, &length, error);
    free(bytes);
    return status;
}
