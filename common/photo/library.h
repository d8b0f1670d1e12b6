/* Private to this folder: the one place that knows how libvips reports trouble. */
#ifndef CLOAK_PHOTO_LIBRARY_H
#define CLOAK_PHOTO_LIBRARY_H

#include "common/base/status.h"

/* Fills `error` after a failed libvips call: "<name> <what> (<libvips's words>)<advice>", and
 * clears libvips's error buffer. Lack of memory is CLOAK_E_TRANSIENT, all else `code`. libvips has
 * one buffer for all threads, so its words may be another thread's; ours never are. */
cloak_status cloak_library_fail(
    cloak_error *error, cloak_status code, const char *name, const char *what, const char *advice);

#endif
