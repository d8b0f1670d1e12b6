/* Private to this folder: the XML of S3's answers. */
#ifndef CLOAK_STORE_S3_XML_H
#define CLOAK_STORE_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called at the end of each element with the text directly in it; `parent` is "" at the root. All
 * borrowed for the call. Return false to stop. */
typedef bool (*cloak_s3_xml_visit)(
    void *context, const char *parent, const char *name, const char *text);

/* Walks a document, which may have white space before it (what servers send while they are not done). False when it is
 * not well-formed, nested more than 16 deep, holds a text of more than 64 KiB, or the visitor stopped. */
bool cloak_s3_xml_walk(const char *xml, size_t length, cloak_s3_xml_visit visit, void *context);

/* The text of the first element called `name` below one called `parent` (NULL for any), as a new string (free()), or
 * NULL. A document that breaks off is searched as far as it goes. */
char *cloak_s3_xml_text(const char *xml, size_t length, const char *parent, const char *name);

/* Undoes "encoding-type=url", in place. False for what stands for no byte of a key. */
bool cloak_s3_xml_unquote(char *text);

/* Nanoseconds since the epoch of an ISO 8601 time in UTC ("2026-01-31T12:00:00.123Z"), or 0. */
int64_t cloak_s3_xml_time(const char *text);

#endif
