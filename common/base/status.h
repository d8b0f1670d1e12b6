/* The one status enum and the one error struct of the project.
 *
 * Convention, everywhere: a function that can fail returns `cloak_status`, and takes a
 * `cloak_error *` as its last parameter. On CLOAK_OK the error is untouched; otherwise it is
 * filled: `text` names the thing (file, key, host) and what to do. The pointer may be NULL when
 * the caller only needs the status. Outputs are unaltered on failure unless stated otherwise.
 */
#ifndef CLOAK_BASE_STATUS_H
#define CLOAK_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Error class: who can help. It decides what the queue does with a failed photo. `retries` is how
 * often a job that failed this way is tried again before it becomes a dead letter.
 *   X(enumerator, word, retries) */
#define CLOAK_STATUS_TABLE(X)                                                                      \
    X(CLOAK_OK, "ok", 0)                                                                           \
    X(CLOAK_E_USAGE, "usage", 0)         /* the caller asked for something that cannot be */       \
    X(CLOAK_E_PERMANENT, "permanent", 0) /* the photo itself: corrupt, too large, unsupported */   \
    X(CLOAK_E_TRANSIENT, "transient", 5) /* store, disk, network: may pass */                      \
    X(CLOAK_E_DEVICE, "device", 2)       /* the device or its memory */                            \
    X(CLOAK_E_LOST, "lost", 3)           /* the worker died with the photo in hand */              \
    X(CLOAK_E_FENCED, "fenced", 0)       /* the lease is no longer ours */                         \
    X(CLOAK_E_QUEUE, "queue", 0)         /* Redis: unreachable, refused, wrong configuration */    \
    X(CLOAK_E_INTERRUPTED, "interrupted", 0)                                                       \
    X(CLOAK_E_INTERNAL, "internal", 1)

typedef enum {
#define X(name, word, retries) name,
    CLOAK_STATUS_TABLE(X)
#undef X
        CLOAK_STATUS_COUNT
} cloak_status;

#define CLOAK_MUST_CHECK __attribute__((warn_unused_result))
#define CLOAK_PRINTF(f, a) __attribute__((format(printf, f, a)))

typedef struct {
    cloak_status code;
    bool retryable; /* the same call may succeed later without anyone changing anything */
    char text[768];
} cloak_error;

/* The word of a status ("permanent"); static storage. Any thread. */
const char *cloak_status_word(cloak_status status);

/* The status of a word, or CLOAK_E_INTERNAL for a word that is none. Any thread. */
cloak_status cloak_status_parse(const char *word);

/* How many further attempts a job gets after failing with `status`. Any thread. */
int cloak_status_retries(cloak_status status);

/* Fills `error` (may be NULL) and returns `code`, so that callers can `return cloak_fail(…)`.
 * `retryable` follows from the code. A text that does not fit is cut. Any thread. */
cloak_status cloak_fail(cloak_error *error, cloak_status code, const char *format, ...)
    CLOAK_PRINTF(3, 4);

/* Something around the photos is wrong (a setting, keys, a file beside them, a disk that is not mounted), and the same
 * call fails until somebody mends it; so no photo may die of it. The error becomes CLOAK_E_TRANSIENT without
 * `retryable`. Returns that code. Any thread. */
cloak_status cloak_error_spare_photo(cloak_error *error);

#ifdef __cplusplus
}
#endif
#endif
