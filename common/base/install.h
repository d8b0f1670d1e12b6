/* Where the parts of an installation lie, seen from the running program. */
#ifndef CLOAK_BASE_INSTALL_H
#define CLOAK_BASE_INSTALL_H

/* The path of a program that lies beside the running one, or its bare name when there is none (to
 * be looked up in PATH). Returns a new string (free()). */
char *cloak_install_program(const char *name);

/* The default model: in ../share/cloakfleet, or in the source tree that this was built in. Returns
 * a new string (free()); the file may be missing. */
char *cloak_install_model(void);

/* The folder of the descriptors that come with the program. Returns a new string (free()); the folder may
 * be missing. */
char *cloak_install_known_targets(void);

/* The folder of the scripts that put other people's files into ONNX form. Returns a new string (free()); the folder may
 * be missing. */
char *cloak_install_converters(void);

/* The script behind `cloak eval transfer`, which lives in the source tree alone. Returns a new string
 * (free()); the file may be missing. */
char *cloak_install_transfer_script(void);

/* The folder of the targets that the user has installed: $CLOAK_TARGETS, or cloakfleet/targets in the
 * user's data folder (XDG Base Directory Specification). Returns a new string (free()); the folder may
 * be missing. */
char *cloak_install_targets(void);

#endif
