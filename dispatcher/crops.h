/* Small pictures for a report: where a photo was changed most, before and after. */
#ifndef CLOAK_DISPATCHER_CROPS_H
#define CLOAK_DISPATCHER_CROPS_H

#include "common/queue/queue.h"

typedef struct cloak_crops cloak_crops;

/* Opens the album's stores and a confined reader (intake/intake.h). After cloak_photo_init. Close with
 * cloak_crops_close. */
CLOAK_MUST_CHECK cloak_status cloak_crops_open(const cloak_album_spec *album, cloak_crops **crops, cloak_error *error);
void cloak_crops_close(cloak_crops *crops); /* NULL is fine */

/* Both pictures of photo `name` (a key, percent-encoded as in its record) as "data:image/jpeg;base64,…", new strings
 * (free()). False, with both NULL, where there are none: a photo that is gone or has another size now, or where nothing
 * was changed. Whether it is still the one that was cloaked is not looked at. */
bool cloak_crops_make(cloak_crops *crops, const char *name, char **before, char **after);

#endif
