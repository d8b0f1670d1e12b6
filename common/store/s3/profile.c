/* The files ~/.aws/config and ~/.aws/credentials; see the header.
 *
 * Source: "Configuration and credential file settings", AWS CLI user guide. Sections are [NAME] in
 * the credentials file, and [default], [profile NAME] and [services NAME] in the config file. A line that
 * begins with white space belongs to the setting above it. */
#include "common/store/s3/profile.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/file.h"

enum { MAX_FILE = 1 << 20 };

const char *cloak_s3_environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *cloak_s3_profile_name(void) {
    const char *name = cloak_s3_environment("AWS_PROFILE");
    return name ? name : "default";
}

/* The text of a file of settings as a new string, or NULL where there is none. */
static char *read_settings(const char *variable, const char *name) {
    const char *path = cloak_s3_environment(variable), *home = cloak_s3_environment("HOME");
    char *usual = home ? cloak_format("%s/.aws/%s", home, name) : NULL;
    void *text = NULL;
    size_t length = 0;
    if (!path)
        path = usual;
    if (!path || cloak_file_read(path, MAX_FILE, &text, &length, NULL) != CLOAK_OK)
        text = NULL;
    free(usual);
    return text;
}

/* Cuts white space off both ends, in place. */
static char *trim(char *text) {
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    return text;
}

/* The name of the section that `line` opens, with white space made single; NULL for other lines. */
static char *section_of(char *line) {
    char *end = line[0] == '[' ? strchr(line, ']') : NULL;
    if (!end)
        return NULL;
    *end = 0;
    char *name = trim(line + 1), *to = name;
    for (char *from = name; *from; from++)
        if (!isspace((unsigned char)*from) || !isspace((unsigned char)from[1]))
            *to++ = isspace((unsigned char)*from) ? ' ' : *from;
    *to = 0;
    return name;
}

/* Finds `setting` in `section` of `text`; with a `setting` of NULL, whether the section is there. */
static char *find(const char *text, const char *section, const char *setting) {
    char *copy = cloak_strdup(text), *rest = copy, *found = NULL;
    char group[64] = "";
    bool inside = false;
    for (char *line; !found && (line = strsep(&rest, "\n"));) {
        bool indented = line[0] == ' ' || line[0] == '\t';
        if (line[0] == '#' || line[0] == ';' || !*trim(line))
            continue;
        char *name = section_of(line);
        if (name) {
            inside = strcmp(name, section) == 0;
            found = inside && !setting ? cloak_strdup("") : NULL;
            continue;
        }
        char *value = inside && setting ? strchr(line, '=') : NULL;
        if (!value)
            continue;
        *value++ = 0;
        char *key = trim(line);
        value = trim(value);
        if (!indented)
            snprintf(group, sizeof group, "%s", *value ? "" : key);
        char *full = indented && *group ? cloak_format("%s.%s", group, key) : cloak_strdup(key);
        if (strcmp(full, setting) == 0 && *value)
            found = cloak_strdup(value);
        free(full);
    }
    free(copy);
    return found;
}

/* Finds `setting` in the profile of that name, in whichever file has it. */
static char *find_anywhere(const char *profile, const char *setting) {
    char *found = NULL, *text = read_settings("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    if (text)
        found = find(text, profile, setting);
    free(text);
    text = found ? NULL : read_settings("AWS_CONFIG_FILE", "config");
    if (text) {
        char *section = strcmp(profile, "default") == 0 ? cloak_strdup(profile)
                                                        : cloak_format("profile %s", profile);
        found = find(text, section, setting);
        free(section);
    }
    free(text);
    return found;
}

char *cloak_s3_profile_get(const char *setting) {
    return find_anywhere(cloak_s3_profile_name(), setting);
}

char *cloak_s3_profile_service(const char *setting) {
    char *found = NULL, *services = cloak_s3_profile_get("services");
    char *text = services ? read_settings("AWS_CONFIG_FILE", "config") : NULL;
    if (text) {
        char *section = cloak_format("services %s", services);
        found = find(text, section, setting);
        free(section);
    }
    free(text);
    free(services);
    return found;
}

cloak_status cloak_s3_profile_check(cloak_error *error) {
    if (!cloak_s3_environment("AWS_PROFILE"))
        return CLOAK_OK;
    char *found = find_anywhere(cloak_s3_profile_name(), NULL);
    free(found);
    return found ? CLOAK_OK
                 : cloak_fail(error, CLOAK_E_USAGE,
                       "AWS_PROFILE is %s, and neither ~/.aws/config nor ~/.aws/credentials has such a profile",
                       cloak_s3_profile_name());
}
