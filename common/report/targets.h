/* Which further detectors an album is to be hidden from, in words: what a user says, what the album's
 * settings hold, and the files that both mean. A target is an ONNX file with a descriptor beside it
 * (models/targets/README.md); an installed one lies in the targets folder and goes by its name.
 */
#ifndef CLOAK_REPORT_TARGETS_H
#define CLOAK_REPORT_TARGETS_H

#include "common/base/status.h"

enum { CLOAK_TARGETS_MAX = 16, CLOAK_TARGET_MARK = 13 };

typedef struct {
    char *name;                   /* "yunet", or the absolute path of a file that is not installed */
    char *path;                   /* of its ONNX file */
    char mark[CLOAK_TARGET_MARK]; /* first digits of the SHA-256 over ONNX file and descriptor */
} cloak_target_ref;

typedef struct {
    cloak_target_ref items[CLOAK_TARGETS_MAX];
    size_t count;
} cloak_target_list;

/* Reads what a user says: "all" (that are installed), "none", or names and files with commas between
 * them. A target that is not there is CLOAK_E_USAGE, and the text says which there are. Free with
 * cloak_targets_free. */
CLOAK_MUST_CHECK cloak_status cloak_targets_choose(
    const char *words, cloak_target_list *list, cloak_error *error);

/* The list as settings and receipts have it, "NAME@MARK" with commas between. Returns a new string
 * (free()). */
char *cloak_targets_text(const cloak_target_list *list);

/* Reads such a text. The files are not looked at. CLOAK_E_USAGE for a text that is none. */
CLOAK_MUST_CHECK cloak_status cloak_targets_parse(
    const char *text, cloak_target_list *list, cloak_error *error);

/* Whether this machine has that very target. CLOAK_E_TRANSIENT, saying what to do, where it is missing
 * or another: elsewhere in the fleet it may be there. */
CLOAK_MUST_CHECK cloak_status cloak_target_check(
    const cloak_target_ref *target, cloak_error *error);

/* The mark of the target with this ONNX file. */
CLOAK_MUST_CHECK cloak_status cloak_target_mark(
    const char *path, char mark[CLOAK_TARGET_MARK], cloak_error *error);

/* The descriptor beside an ONNX file: its path with .json instead of .onnx. Returns a new string
 * (free()), or NULL for a path that does not end in .onnx. */
char *cloak_target_descriptor(const char *path);

/* Names of the installed targets, sorted. `*names` and each of them are free()d by the caller. A folder
 * that is not there has none. */
CLOAK_MUST_CHECK cloak_status cloak_targets_installed(
    char ***names, size_t *count, cloak_error *error);

/* The ONNX file of an installed target of this name, there or not. Returns a new string (free()). */
char *cloak_target_path(const char *name);

/* Whether a word can be a target's name: 1 to 32 of a-z 0-9 . _ - */
bool cloak_target_is_name(const char *word);

void cloak_targets_free(cloak_target_list *list);

#endif
