/* Private to this folder: whose keys sign the requests. */
#ifndef CLOAK_STORE_S3_CREDENTIALS_H
#define CLOAK_STORE_S3_CREDENTIALS_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/store/s3/web.h"

typedef struct {
    char *access_key, *secret_key;
    char *token;     /* of a session, or NULL */
    int64_t expires; /* seconds since the epoch; 0 for never */
} cloak_s3_credentials;

/* Makes sure that `*credentials` (zeroed before the first call) are there and live another five
 * minutes. They come from the first of these places that is configured:
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   2. a web identity: AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, exchanged at STS
 *   3. the profile in use (profile.h)
 *   4. a container's agent: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI
 *   5. the machine's: instance metadata, version 2, unless AWS_EC2_METADATA_DISABLED is "true"
 * `renew` fetches them anew in any case (the server called them expired). Where that fails and the old ones still live,
 * they stay. No keys anywhere (and no metadata to ask), or half of them, is CLOAK_E_USAGE; a file or a service that
 * does not answer is CLOAK_E_TRANSIENT. `error` must not be NULL. */
CLOAK_MUST_CHECK cloak_status cloak_s3_credentials_fresh(cloak_s3_credentials *credentials,
    cloak_web *web, const char *region, bool renew, cloak_error *error);

/* Frees, and wipes the secrets. Zeroed structs are fine. */
void cloak_s3_credentials_free(cloak_s3_credentials *credentials);

#endif
