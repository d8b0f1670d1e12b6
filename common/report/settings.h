/* What is to be done to the photos of an album: written by the dispatcher, read by workers, kept in
 * the queue as JSON. */
#ifndef CLOAK_REPORT_SETTINGS_H
#define CLOAK_REPORT_SETTINGS_H

#include "common/base/status.h"
#include "common/base/transform.h"

/*   X(type, name, meaning) */
#define CLOAK_SETTINGS_TABLE(X)                                                                    \
    X(STRING, preset, "name of the preset the settings started from")                              \
    X(REAL, eps, "budget, fraction of full scale")                                                 \
    X(INT, max_steps, "passes per round")                                                          \
    X(INT, restarts, "random starts after a failed one")                                           \
    X(REAL, region, "pixels within this multiple of a face box may change")                        \
    X(INT, encoder_rounds, "further rounds with the encoder in the loop")                          \
    X(INT, polish, "looks spent on shrinking a success while it stays one")                        \
    X(REAL, diversity, "share of looks on the way that are at another scale")                      \
    X(STRING, survive, "changes that the cloak is to survive after delivery, or empty")            \
    X(STRING, targets, "further detectors to hide from, NAME@MARK (targets.h), or empty")          \
    X(INT, seed, "of random starts")                                                               \
    X(STRING, metadata, "what may stay of EXIF, XMP and IPTC: none, safe or keep")                                                         \
    X(STRING, labels, "path of a ground truth file, or empty")

typedef struct {
#define CLOAK_SETTINGS_STRING char *
#define CLOAK_SETTINGS_REAL double
#define CLOAK_SETTINGS_INT long
#define X(type, name, doc) CLOAK_SETTINGS_##type name;
    CLOAK_SETTINGS_TABLE(X)
#undef X
} cloak_settings;

/* Presets of this version. All but the first hide from every target that is installed where the album is
 * submitted.
 *   X(name, eps in levels, passes per round, diversity, targets, what to survive, meaning) */
#define CLOAK_PRESET_TABLE(X)                                                                      \
    X("faint", 3, 40, 0, "none", "",                                                               \
        "as little as possible, for our own detector alone and places that keep files as they are") \
    X("standard", 5, 40, 0, "all", "", "survives its own encoder")                                 \
    X("broad", 8, 40, 0.5, "all", "",                                                              \
        "hides more from detectors at other sizes and from such as nobody named")                  \
    X("shared", 8, 80, 0, "all",                                                                      \
        "jpeg75,jpeg85,x0.6,x0.75,x0.6+jpeg75,x0.75+jpeg85,view0.75,view1.25",                     \
        "survives what platforms do: recompression, shrinking, other scales")

/* Fills `settings` from a preset; free with cloak_settings_free. `targets`, as cloak_targets_choose takes
 * them, instead of the preset's, or NULL. CLOAK_E_USAGE, naming those there are, for a preset or target
 * that is none. */
CLOAK_MUST_CHECK cloak_status cloak_settings_preset(
    const char *preset, const char *targets, cloak_settings *settings, cloak_error *error);

/* Whether the settings are within bounds; CLOAK_E_USAGE names the one that is not. */
CLOAK_MUST_CHECK cloak_status cloak_settings_check(
    const cloak_settings *settings, cloak_error *error);

/* The settings as one line of JSON, always the same for the same settings. Returns a new string
 * (free()), never NULL. */
char *cloak_settings_json(const cloak_settings *settings);

/* Reads them back (cloak_settings_free). Missing, mistyped or out-of-range fields are
 * CLOAK_E_USAGE; fields that this version does not know are an error too, because ignoring a
 * setting would deliver something else than was asked for. */
CLOAK_MUST_CHECK cloak_status cloak_settings_parse(
    const char *json, cloak_settings *settings, cloak_error *error);

/* Frees the strings and zeroes the struct. */
void cloak_settings_free(cloak_settings *settings);

#endif
