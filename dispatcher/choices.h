/* The options that choose what is done to the photos; `run` and `submit` share them. */
#ifndef CLOAK_DISPATCHER_CHOICES_H
#define CLOAK_DISPATCHER_CHOICES_H

#include "common/base/options.h"
#include "common/report/settings.h"

typedef struct {
    const char *preset, *labels, *survive, *targets, *metadata;
    double eps, region;           /* 0: the preset's */
    double diversity;             /* -1: the preset's */
    long steps, restarts, rounds; /* -1: the preset's */
    long polish, seed;
} cloak_choices;

#define CLOAK_CHOICES_DEFAULT {"standard", NULL, NULL, NULL, NULL, 0, 0, -1, -1, -1, -1, 0, 0}
#define CLOAK_CHOICES_OPTIONS(c)                                                                   \
    {"preset", "NAME", NULL, CLOAK_OPTION_TEXT, &(c).preset, 0, 0,                                 \
        "faint, standard, broad or shared"},                                                       \
        {"eps", "E", NULL, CLOAK_OPTION_EPS, &(c).eps, 0, 0,                                       \
            "largest change of a channel: 0.02 of full scale, or 5/255"},                          \
        {"steps", "N", NULL, CLOAK_OPTION_INT, &(c).steps, 1, 10000, "passes per round, at most"}, \
        {"restarts", "N", NULL, CLOAK_OPTION_INT, &(c).restarts, 0, 100,                           \
            "random starts after a failed one"},                                                   \
        {"rounds", "N", NULL, CLOAK_OPTION_INT, &(c).rounds, 0, 20,                                \
            "further rounds with the encoder in the loop"},                                        \
        {"region", "X", NULL, CLOAK_OPTION_REAL, &(c).region, 1, 500,                             \
            "pixels within X times a face's box may change"},                                      \
        {"polish", "N", NULL, CLOAK_OPTION_INT, &(c).polish, 0, 20,                                \
            "looks spent on shrinking a success while it stays one"},                              \
        {"diversity", "SHARE", NULL, CLOAK_OPTION_REAL, &(c).diversity, 0, 1,                      \
            "share of looks on the way that are at another scale"},                                \
        {"survive", "NAMES", NULL, CLOAK_OPTION_TEXT, &(c).survive, 0, 0,                          \
            "changes to survive: jpeg75,x0.6,x0.6+jpeg75,view0.75 and their kin; none"},           \
        {"targets", "NAMES", NULL, CLOAK_OPTION_TEXT, &(c).targets, 0, 0,                          \
            "detectors to hide from besides: all that are installed, none, names or FILE.onnx"},   \
        {"metadata", "POLICY", NULL, CLOAK_OPTION_TEXT, &(c).metadata, 0, 0,                       \
            "safe: capture date, exposure, copyright stay; keep: places, names, captions, too; none"}, \
        {"seed", "N", NULL, CLOAK_OPTION_INT, &(c).seed, 0, 9007199254740991.0,                    \
            "of random starts"},                                                                   \
        {"labels", "FILE", NULL, CLOAK_OPTION_TEXT, &(c).labels, 0, 0,                             \
            "ground truth (WIDER FACE bbx_gt or COCO JSON) for AP and recall"}

/* A flag of theirs. */
#define CLOAK_LINKS_OPTION(follow)                                                                 \
    {"follow-links", NULL, NULL, CLOAK_OPTION_FLAG, &(follow), 0, 0,                               \
        "photos and folders outside ALBUM that symbolic links in it lead to belong to it"}

/* Turns the choices into settings (cloak_settings_free). A label file is checked to be there and its
 * path made absolute. */
CLOAK_MUST_CHECK cloak_status cloak_choices_settings(
    const cloak_choices *choices, cloak_settings *settings, cloak_error *error);

#endif
