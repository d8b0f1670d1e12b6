/* What a process that computes asks of its libraries before it does anything else. */
#ifndef CLOAK_BASE_COMPUTING_H
#define CLOAK_BASE_COMPUTING_H

/* For the first line of a program that computes, with main's `argv`; it may start the program anew,
 * once.
 *
 * Makes the threads of OpenMP sleep when they have waited for some tens of microseconds (libgomp;
 * those of other libraries at once), unless the environment says how they should wait
 * (OMP_WAIT_POLICY, GOMP_SPINCOUNT). Makes blocks below 32 MiB that are freed stay with the process
 * until 256 MiB lie free at the heap's top, unless the environment says anything of that
 * (MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_, MALLOC_TOP_PAD_, GLIBC_TUNABLES). The process bears
 * the program's name afterwards, though it was started anew. */
void cloak_begin_computing(char **argv);

/* For a program that starts such programs, while it has one thread: says in the environment what they would start
 * themselves anew for, and with that load their libraries twice. */
void cloak_prepare_computing(void);

#endif
