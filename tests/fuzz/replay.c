/* Runs a harness over files, without libFuzzer: in every build, under the sanitizers, and where there is no clang.
 *   fuzz_NAME FILE-OR-FOLDER...                         each as it is: the cases of the tree
 *   fuzz_NAME --mutate SECONDS LAST FILE-OR-FOLDER...   and then broken, blindly; LAST holds what was tried last, for
 *                                                       whoever wants to know what ended the program */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILE = 64 << 20, MAX_FILES = 10000, MAX_MUTANT = 1 << 16 };

typedef struct {
    uint8_t *data;
    size_t length;
} Input;

static Input inputs[MAX_FILES];
static size_t count;

static void read_file(const char *path) {
    void *bytes = NULL;
    cloak_error error;
    if (count == MAX_FILES || cloak_file_read(path, MAX_FILE, &bytes, &inputs[count].length, &error) != CLOAK_OK) {
        fprintf(stderr, "%s\n", count == MAX_FILES ? "too many files" : error.text);
        exit(1);
    }
    inputs[count++].data = bytes;
}

static void read_path(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) {
        read_file(path);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *inner = cloak_path_join(path, entry->d_name);
        read_file(inner);
        free(inner);
    }
    closedir(folder);
}

static uint64_t state = 1;

/* SplitMix64 (Steele et al. 2014), below `bound`. */
static size_t draw(size_t bound) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return bound ? (size_t)((z ^ (z >> 31)) % bound) : 0;
}

/* Breaks one place; `room` holds MAX_MUTANT bytes, of which `length` are used. Returns how many are then. */
static size_t mutate(uint8_t *room, size_t length) {
    static const uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe};
    const size_t at = draw(length), size = 1 + draw(draw(4) ? 8 : 256);
    const Input *other = &inputs[draw(count)];
    switch (draw(7)) {
    case 0: /* a bit */
        if (length)
            room[at] ^= (uint8_t)(1 << draw(8));
        return length;
    case 1: /* a byte, */
        if (length)
            room[at] = (uint8_t)draw(256);
        return length;
    case 2: /* or some that lengths and counts are made of */
        for (size_t i = at; i < length && i < at + 1 + draw(8); i++)
            room[i] = telling[draw(sizeof telling)];
        return length;
    case 3: /* less */
        if (at + size < length) {
            memmove(room + at, room + at + size, length - at - size);
            return length - size;
        }
        return length;
    case 4: /* twice */
        if (at + size <= length && length + size <= MAX_MUTANT) {
            memmove(room + at + size, room + at, length - at);
            return length + size;
        }
        return length;
    case 5: /* of another file */
        if (at + size <= length && size <= other->length)
            memcpy(room + at, other->data + draw(other->length - size + 1), size);
        return length;
    default: /* cut off */
        return draw(8) ? length : at;
    }
}

static size_t run_mutants(double seconds, const char *last) {
    const int fd = open(last, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    size_t runs = 0;
    if (fd < 0 || ftruncate(fd, MAX_MUTANT) != 0) {
        perror(last);
        exit(1);
    }
    uint8_t *room = mmap(NULL, MAX_MUTANT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (room == MAP_FAILED) {
        perror(last);
        exit(1);
    }
    for (const double end = cloak_now() + seconds; cloak_now() < end; runs++) {
        const Input *input = &inputs[draw(count)];
        size_t length = input->length < MAX_MUTANT ? input->length : MAX_MUTANT;
        if (length)
            memcpy(room, input->data, length);
        for (size_t i = 1 + draw(draw(3) ? 3 : 12); i > 0; i--)
            length = mutate(room, length);
        if (ftruncate(fd, (off_t)length) != 0) /* the file is then what the harness gets */
            break;
        uint8_t *alone = cloak_alloc(length ? length : 1); /* a byte behind its end is a fault */
        memcpy(alone, room, length);
        LLVMFuzzerTestOneInput(alone, length);
        free(alone);
        if (ftruncate(fd, MAX_MUTANT) != 0)
            break;
    }
    munmap(room, MAX_MUTANT);
    close(fd);
    unlink(last);
    return runs;
}

int main(int argc, char **argv) {
    const bool mutates = argc > 4 && strcmp(argv[1], "--mutate") == 0;
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = mutates ? 4 : 1; i < argc; i++)
        read_path(argv[i]);
    for (size_t i = 0; i < count; i++)
        LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].length);
    printf("%zu cases\n", count);
    if (mutates && count)
        printf("%zu broken ones\n", run_mutants(strtod(argv[2], NULL), argv[3]));
    for (size_t i = 0; i < count; i++)
        free(inputs[i].data);
    return count ? 0 : 1;
}
