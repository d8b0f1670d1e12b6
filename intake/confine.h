/* Private to this folder: gives up all rights that reading a photo does not need. */
#ifndef CLOAK_INTAKE_CONFINE_H
#define CLOAK_INTAKE_CONFINE_H

#include "common/base/status.h"

/* For the child, when its libraries are loaded: from now on no file can be opened, no socket made, no program started,
 * no other process seen to, and memory is limited. What it has open stays. On failure nothing is promised. */
CLOAK_MUST_CHECK cloak_status cloak_confine(cloak_error *error);

#endif
