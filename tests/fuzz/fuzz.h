/* The two functions of a harness, as libFuzzer wants them. A harness aborts on what must not be. */
#ifndef CLOAK_TESTS_FUZZ_H
#define CLOAK_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
