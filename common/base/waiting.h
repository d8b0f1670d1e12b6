/* How compute threads wait for each other. */
#ifndef CLOAK_BASE_WAITING_H
#define CLOAK_BASE_WAITING_H

/* Makes the threads of OpenMP sleep while they wait, unless the environment says how they should
 * (OMP_WAIT_POLICY, GOMP_SPINCOUNT). For the first line of a program that computes: it starts the
 * program anew once, with main's `argv`. */
void cloak_wait_without_spinning(char **argv);

#endif
