/* Finding our own files; see the header. */
#include "common/base/install.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"

#define MODEL_FILE "face-mbv2-fpn96-head512.safetensors"

/* The running program's folder, or NULL. */
static char *own_folder(void) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return NULL;
    self[n] = 0;
    return cloak_path_folder(self);
}

char *cloak_install_program(const char *name) {
    char *folder = own_folder();
    char *path = folder ? cloak_path_join(folder, name) : NULL;
    free(folder);
    if (path && access(path, X_OK) == 0)
        return path;
    free(path);
    return cloak_strdup(name);
}

/* The first of two places, seen from the running program, that is there; else the third. The first may be NULL. */
static char *first_of(const char *installed, const char *in_tree, const char *otherwise) {
    const char *const places[] = {installed, in_tree};
    char *folder = own_folder();
    for (int i = 0; folder && i < 2; i++) {
        char *path = places[i] ? cloak_path_join(folder, places[i]) : NULL;
        if (path && access(path, R_OK) == 0) {
            free(folder);
            return path;
        }
        free(path);
    }
    free(folder);
    return cloak_strdup(otherwise);
}

char *cloak_install_model(void) {
    return first_of("../share/cloakfleet/" MODEL_FILE, "../../../models/weights/" MODEL_FILE,
        "models/weights/" MODEL_FILE);
}

char *cloak_install_known_targets(void) {
    return first_of("../share/cloakfleet/targets", "../../../models/targets/known",
        "models/targets/known");
}

char *cloak_install_transfer_script(void) {
    return first_of(NULL, "../../../models/eval/transfer.py", "models/eval/transfer.py");
}

char *cloak_install_targets(void) {
    const char *given = getenv("CLOAK_TARGETS"), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (given && *given)
        return cloak_strdup(given);
    if (data && data[0] == '/')
        return cloak_path_join(data, "cloakfleet/targets");
    return cloak_path_join(home && *home ? home : "/", ".local/share/cloakfleet/targets");
}
