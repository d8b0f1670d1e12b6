/* Runs a harness over files, without libFuzzer: the cases of the tree, in every build and under the sanitizers.
 *   fuzz_NAME FILE-OR-FOLDER... */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILE = 64 << 20 };

static int replay_file(const char *path) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_error error;
    if (cloak_file_read(path, MAX_FILE, &bytes, &length, &error) != CLOAK_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    LLVMFuzzerTestOneInput(bytes, length);
    free(bytes);
    return 1;
}

static int replay(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    if (!folder)
        return replay_file(path);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *inner = cloak_path_join(path, entry->d_name);
        count += replay_file(inner);
        free(inner);
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv) {
    int count = 0;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%d cases\n", count);
    return count ? 0 : 1;
}
