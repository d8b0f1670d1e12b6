/* Private to this folder: settings from the files that AWS' own tools use. */
#ifndef CLOAK_STORE_S3_PROFILE_H
#define CLOAK_STORE_S3_PROFILE_H

#include "common/base/status.h"

/* The value of an environment variable, or NULL where it is unset or empty. Borrowed. */
const char *cloak_s3_environment(const char *name);

/* The profile in use: AWS_PROFILE, or "default". Borrowed. */
const char *cloak_s3_profile_name(void);

/* A setting of the profile in use, from the credentials file (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials)
 * or the config file (AWS_CONFIG_FILE or ~/.aws/config), as a new string (free()), or NULL. "a.b" is b in the
 * indented lines below "a =". Files are read anew with each call, so that rotated keys are seen. */
char *cloak_s3_profile_get(const char *setting);

/* The same from the section [services NAME] that the profile's setting `services` names. */
char *cloak_s3_profile_service(const char *setting);

/* CLOAK_E_USAGE when AWS_PROFILE names a profile that neither file has. */
CLOAK_MUST_CHECK cloak_status cloak_s3_profile_check(cloak_error *error);

#endif
