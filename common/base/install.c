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

/* A place seen from the running program, where it can be read; else NULL. */
static char *beside_us(const char *place) {
    char *folder = own_folder(), *path = folder ? cloak_path_join(folder, place) : NULL;
    free(folder);
    if (path && access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* The first of two such places that is there, else the third. */
static char *first_of(const char *installed, const char *in_tree, const char *otherwise) {
    char *path = beside_us(installed);
    if (!path)
        path = beside_us(in_tree);
    return path ? path : cloak_strdup(otherwise);
}

char *cloak_install_model(void) {
    return first_of("../share/cloakfleet/" MODEL_FILE, "../../../models/weights/" MODEL_FILE,
        "models/weights/" MODEL_FILE);
}

char *cloak_install_known_targets(void) {
    return first_of("../share/cloakfleet/targets", "../../../models/targets/known",
        "models/targets/known");
}

char *cloak_install_converters(void) {
    return first_of("../share/cloakfleet/convert", "../../../models/targets/convert",
        "models/targets/convert");
}

char *cloak_install_transfer_script(void) {
    char *path = beside_us("../../../models/eval/transfer.py");
    return path ? path : cloak_strdup("models/eval/transfer.py");
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
