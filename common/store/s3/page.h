/* Private to this folder: one page of what a bucket lists, objects or uploads that were begun. */
#ifndef CLOAK_STORE_S3_PAGE_H
#define CLOAK_STORE_S3_PAGE_H

#include "common/store/s3/s3.h"

/* Names of the elements that differ. */
typedef struct {
    const char *root, *entry, *time;
} cloak_s3_page_kind;

typedef struct {
    char *key; /* whole, with the store's prefix */
    char *upload; /* its id; NULL for an object */
    cloak_store_info info; /* of an upload: when it was begun; 0 where the server does not say */
} cloak_s3_entry;

typedef struct {
    const cloak_s3_page_kind *kind;
    cloak_s3_entry *entries;
    size_t count, room;
    cloak_s3_entry now; /* being read */
    char *next; /* continuation token, or NULL */
    bool encoded, truncated, whole;
} cloak_s3_page;

/* Asks for a page. `query`: sorted and encoded (sigv4.h), with "encoding-type=url", since XML cannot hold every byte
 * that a key can. At most 32 MiB are read. Free the page with cloak_s3_page_free in any case. */
CLOAK_MUST_CHECK cloak_status cloak_s3_page_read(cloak_s3 *s3, const cloak_s3_page_kind *kind, const char *query,
    cloak_s3_page *page, cloak_error *error);
void cloak_s3_page_free(cloak_s3_page *page);

/* Below the store's prefix, or NULL for a key that was not asked for. Borrowed, lives with the entry. */
const char *cloak_s3_entry_key(const cloak_s3 *s3, const cloak_s3_entry *entry);
void cloak_s3_entry_free(cloak_s3_entry *entry);

#endif
