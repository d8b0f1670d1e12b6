/* Memory policy: small allocations abort when memory is out (there is nothing sensible left to
 * do), image-sized ones return NULL and fail that photo only. */
#ifndef CLOAK_BASE_ALLOC_H
#define CLOAK_BASE_ALLOC_H

#include <stddef.h>

#include "common/base/status.h"

/* Zeroed memory, never NULL: aborts with a message when memory is out. Free with free(). */
void *cloak_alloc(size_t bytes);

/* Grows or creates a block, never NULL; the contents are kept. Free with free(). */
void *cloak_realloc(void *block, size_t bytes);

/* A copy of `text` (NULL gives NULL). Free with free(). */
char *cloak_strdup(const char *text);

/* printf into a new string, never NULL. Free with free(). */
char *cloak_format(const char *format, ...) CLOAK_PRINTF(1, 2);

/* Uninitialised memory for image-sized blocks, or NULL. Free with free(). */
CLOAK_MUST_CHECK void *cloak_try_alloc(size_t bytes);

#endif
