/* The job record: what is known about one photo's way through the fleet, in one versioned schema.
 * The same JSON goes into the queue's log stream, the receipt beside the delivered photo and the API;
 * the log has a part of it. docs/job-record.md describes it for readers; its table is made from the one below.
 *
 * A record is a plain struct. Every field can be absent: a string that is NULL, a real that is NaN,
 * an integer that is CLOAK_RECORD_NO_INT, a boolean that is CLOAK_RECORD_NO_BOOL (so write
 * `success > 0`). Strings are owned by the record. One thread at a time per record.
 */
#ifndef CLOAK_REPORT_RECORD_H
#define CLOAK_REPORT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/report/ap.h"

#define CLOAK_RECORD_SCHEMA "cloakfleet.job/1"

/* Time per stage. What belongs to a stage is summed over repetitions of it.
 *   X(type, name, JSON name, unit, meaning) */
#define CLOAK_RECORD_STAGE_TABLE(X)                                                                \
    X(REAL, seconds_queue_wait, "seconds_queue_wait", "s", "From submission, or the last `cloak retry`, to the claim")         \
    X(REAL, seconds_fetch, "seconds_fetch", "s", "Reading the photo from the store")               \
    X(REAL, seconds_decode, "seconds_decode", "s", "Decoding it")                                  \
    X(REAL, seconds_detect, "seconds_detect", "s", "Detection on the clean photo")                 \
    X(REAL, seconds_attack, "seconds_attack", "s", "Attack and application of the perturbation")   \
    X(REAL, seconds_encode, "seconds_encode", "s", "Encoding the output")                          \
    X(REAL, seconds_verify, "seconds_verify", "s", "Decoding the output, detection on it, comparing the two")      \
    X(REAL, seconds_put, "seconds_put", "s", "Writing the photo to the store")                     \
    X(REAL, seconds_total, "seconds_total", "s", "From the beginning of work on the photo to the end of the writing")

/*   X(type, name, JSON name, unit, meaning) */
#define CLOAK_RECORD_TABLE(X)                                                                      \
    X(STRING, schema, "schema", "", "Always `" CLOAK_RECORD_SCHEMA "`")                            \
    X(STRING, album, "album", "UUID", "The album")                                                 \
    X(INT, index, "index", "", "The photo's place in the album's manifest, from 0")                \
    X(STRING, job, "job", "", "`ALBUM:INDEX`")                                                     \
    X(STRING, key, "key", "",                                                                      \
        "Path of the photo below source and destination, UTF-8; other bytes, control characters "  \
        "and `%` are percent-encoded")                                                             \
    X(STRING, format, "format", "", "`jpeg`, `png`, `webp`, `heic`, `avif` or `tiff`")             \
    X(STRING, source, "source", "URL", "Store the photo came from")                                \
    X(STRING, destination, "destination", "URL", "Store it was delivered to")                      \
    X(STRING, preset, "preset", "", "Name of the preset the settings started from")                \
    X(REAL, eps, "eps", "fraction of full scale",                                                  \
        "Limit on the pattern in any channel, before the file is coded")                           \
    X(INT, eps_levels, "eps_levels", "8-bit levels", "The same as whole levels, ⌊255 · eps⌋")      \
    X(INT, max_steps, "max_steps", "steps", "Limit on the steps of one start in one round")                    \
    X(INT, seed, "seed", "", "Seed of the attack, below 2^53")                                     \
    X(STRING, survive, "survive", "",                                                              \
        "What the cloak was to survive after delivery, with commas between; `docs/operating.md`")  \
    X(STRING, targets, "targets", "",                                                              \
        "Further detectors that the photo was to be hidden from: `NAME@MARK`, the mark being the "  \
        "first digits of a SHA-256 over ONNX file and descriptor; absent when there are none")     \
    X(REAL, region, "region", "× box size", "How far around a face pixels may change")             \
    X(STRING, metadata, "metadata", "", "Metadata policy: `keep`, `safe` or `none`")               \
    X(INT, attempt, "attempt", "", "Which attempt since submission or the last `cloak retry` this is, from 1")                  \
    X(INT, failures, "failures", "attempts", "Attempts before it that failed")                       \
    X(INT, losses, "losses", "attempts", "Attempts before it whose worker died")                     \
    X(STRING, trace, "trace", "", "W3C `traceparent` of the attempt: the album's trace, a span of its own") \
    X(STRING, worker, "worker", "", "Name of the worker")                                          \
    X(STRING, device, "device", "", "Its device: `cpu` or `cuda:N`")                               \
    X(STRING, model, "model", "", "Name of the model")                                             \
    X(STRING, model_sha256, "model_sha256", "hex", "SHA-256 of the model file")                    \
    X(STRING, build, "build", "", "Version of the worker")                                         \
    X(INT, width, "width", "pixels", "Width of the upright photo")                                 \
    X(INT, height, "height", "pixels", "Height of the upright photo")                              \
    X(INT, grid_width, "grid_width", "pixels", "Width of the attack grid")                         \
    X(INT, grid_height, "grid_height", "pixels", "Height of the attack grid")                      \
    CLOAK_RECORD_STAGE_TABLE(X)                                                                    \
    X(INT, steps, "steps", "steps", "Steps the attack took, over all starts and rounds; those that judge all of `survive` at once are not counted")         \
    X(INT, restarts, "restarts", "", "How often the attack started afresh")                        \
    X(INT, encoder_rounds, "encoder_rounds", "",                                                   \
        "How often the attack went on because faces were found on the encoded photo")              \
    X(INT, detections_before, "detections_before", "",                                             \
        "Detections above 0.05 on the clean photo, sure and unsure ones")                          \
    X(INT, detections_after, "detections_after", "",                                               \
        "Detections above 0.05 on the decoded delivered bytes")                                    \
    X(INT, faces_before, "faces_before", "faces",                                                  \
        "Reference faces (see `ap_reference`) found on the clean photo: by a detection above "     \
        "0.05 at IoU 0.5")                                                                         \
    X(INT, faces_after, "faces_after", "faces",                                                    \
        "The same on the decoded delivered bytes")                                                 \
    X(REAL, best_score_before, "best_score_before", "0…1",                                         \
        "Highest face score on the clean photo, by any detector; 0 when there is none")                             \
    X(REAL, residual_score, "residual_score", "0…1",                                               \
        "Highest face score on the decoded delivered bytes, by any detector; 0 when there is none")                 \
    X(BOOL, success, "success", "",                                                                \
        "Nothing found on the decoded delivered bytes: no detection above 0.05, and by no further " \
        "detector of `targets` any above its own threshold")                                       \
    X(REAL, model_before, "model_before", "0…1",                                                   \
        "Highest score of our own detector on the clean photo; 0 when it finds nothing")           \
    X(REAL, model_after, "model_after", "0…1", "The same on the decoded delivered bytes")          \
    X(STRING, targets_before, "targets_before", "0…1",                                             \
        "For each of `targets` its highest score on the clean photo, as `yunet:0.93,centerface:0`;" \
        " 0 when it finds nothing")                                                                \
    X(STRING, targets_after, "targets_after", "0…1",                                               \
        "The same on the decoded delivered bytes")                                                 \
    X(STRING, seconds_looks, "seconds_looks", "s",                                                 \
        "Of `seconds_attack`, what looking took each detector, `model` first, as `NAME:1.93,yunet:0.12`")   \
    X(STRING, survival, "survival", "0…1",                                                         \
        "For each change of `survive`, simulated on the decoded delivered pixels: the highest "    \
        "face score left, by any detector, as `jpeg75:0,x0.6:0.31`; 0 when there is none")                          \
    X(STRING, survival_by, "survival_by", "",                                                      \
        "For each change after which something is left, who finds it, our own detector by the name in `model`: " \
        "`x0.6:NAME+yunet`; absent when nothing is")                                               \
    X(BOOL, survives, "survives", "", "All of `survival` are 0")                                         \
    X(REAL, psnr_db, "psnr_db", "dB",                                                              \
        "Peak signal-to-noise ratio of the delivered photo against the clean one")                 \
    X(REAL, ssim, "ssim", "0…1", "Structural similarity of the two, whole photo")                  \
    X(REAL, ssim_worst_face, "ssim_worst_face", "0…1", "The lowest within a box of our own detector's above 0.5; 1 when there is none")        \
    X(REAL, changed_fraction, "changed_fraction", "share of pixels",                               \
        "Pixels that the cloak changed, before encoding")                                          \
    X(INT, bytes_in, "bytes_in", "bytes", "Size of the source file")                               \
    X(INT, bytes_out, "bytes_out", "bytes", "Size of the delivered file")                          \
    X(STRING, sha256_out, "sha256_out", "hex", "SHA-256 of the delivered file")                    \
    X(INT, quality, "quality", "1…100", "Quality at which the photo was coded anew, or of a JPEG whose tables were kept; else absent")      \
    X(STRING, outcome, "outcome", "", "What became of the photo; see below")                       \
    X(STRING, error_class, "error_class", "", "Class of the error that ended the attempt")         \
    X(STRING, error_text, "error_text", "", "The error in words")                                  \
    X(STRING, ap_reference, "ap_reference", "",                                                    \
        "Reference faces: from `labels`, or the `clean` photo's detections above 0.5")      \
    X(STRING, ap_before, "ap_before", "", "AP histogram of the clean photo; see below")            \
    X(STRING, ap_after, "ap_after", "", "AP histogram of the decoded delivered bytes")             \
    X(STRING, finished_at, "finished_at", "RFC 3339", "When the attempt ended, UTC")

/*   X(enumerator, word, delivered, meaning) */
#define CLOAK_OUTCOME_TABLE(X)                                                                     \
    X(CLOAK_OUTCOME_CLOAKED, "cloaked", true, "No face is found on the delivered file")            \
    X(CLOAK_OUTCOME_NO_FACE, "no_face", true,                                                      \
        "There was none to begin with; the pixels passed through")                                 \
    X(CLOAK_OUTCOME_RESIDUAL, "residual", true,                                                    \
        "Delivered, but a face is still found; `residual_score` says how clearly")                 \
    X(CLOAK_OUTCOME_DEAD, "dead", false, "Given up after too many failures or losses")             \
    X(CLOAK_OUTCOME_CANCELLED, "cancelled", false, "The album was cancelled first")

typedef enum {
#define X(name, word, delivered, doc) name,
    CLOAK_OUTCOME_TABLE(X)
#undef X
        CLOAK_OUTCOME_COUNT
} cloak_outcome;

typedef enum {
    CLOAK_FIELD_STRING,
    CLOAK_FIELD_INT,  /* whole number within ±(2^53 - 1), exact in every JSON reader */
    CLOAK_FIELD_REAL, /* finite */
    CLOAK_FIELD_BOOL,
} cloak_field_type;

#define CLOAK_RECORD_NO_INT INT64_MIN
#define CLOAK_RECORD_NO_BOOL (-1)

typedef char *cloak_field_STRING;
typedef int64_t cloak_field_INT;
typedef double cloak_field_REAL;
typedef int cloak_field_BOOL;

typedef struct {
#define X(type, name, json, unit, doc) cloak_field_##type name;
    CLOAK_RECORD_TABLE(X)
#undef X
} cloak_record;

/* The table at run time, in its order. Static storage. */
typedef struct {
    cloak_field_type type;
    size_t offset; /* of the field in cloak_record */
    const char *name, *unit, *doc;
} cloak_record_field;
extern const cloak_record_field cloak_record_fields[];
extern const size_t cloak_record_field_count;

/* The word of a field's type ("real"), of an outcome ("cloaked"), and the meaning of the latter.
 * Static storage. Any thread. */
const char *cloak_field_type_word(cloak_field_type type);
const char *cloak_outcome_word(cloak_outcome outcome);
const char *cloak_outcome_doc(cloak_outcome outcome);

/* Whether photos of this outcome were put into the destination. Any thread. */
bool cloak_outcome_delivered(cloak_outcome outcome);

/* The outcome of a word. Returns false, and leaves `outcome` alone, for any other word and for
 * NULL. Any thread. */
bool cloak_outcome_parse(const char *word, cloak_outcome *outcome);

/* Makes every field absent but the schema, without looking at what the record held. */
void cloak_record_init(cloak_record *record);

/* Frees the strings and makes every field absent, the schema too. Zeroed records are fine. */
void cloak_record_free(cloak_record *record);

/* Replaces a string field, as in cloak_record_set(&record.worker, name), by a copy of `text`; NULL
 * makes it absent. `text` may be the field itself. */
void cloak_record_set(char **field, const char *text);

/* The record as one line of JSON in the order of the table. Absent fields are left out, and so are
 * reals that are infinite and integers that JSON readers could not keep exact; bytes that are not
 * UTF-8 become '?'. Returns a new string (free()), never NULL. */
char *cloak_record_json(const cloak_record *record);

/* The same for logs and lists: without `schema`, the AP histograms, and `album` and `index`, which `job` has; and,
 * unless `names`, without what names the photo and its stores. Returns a new string (free()), never NULL. */
char *cloak_record_log(const cloak_record *record, bool names);

/* Reads a record. `*record` is a new one (cloak_record_free); what it held is not freed. Strict on
 * types and on the word of the outcome; fields it does not know are passed over. Text that is not
 * JSON, a wrong schema or a wrong type is CLOAK_E_PERMANENT. `name` says in the error text whose
 * record it is. */
CLOAK_MUST_CHECK cloak_status cloak_record_parse(
    const char *json, const char *name, cloak_record *record, cloak_error *error);

/* Visits the numbers that the album's sums gain when this job is finished; docs/job-record.md lists
 * them. Numbers that are absent, 0 or negative are left out. A record without outcome or with an AP
 * histogram that cannot be read is CLOAK_E_INTERNAL, and nothing is visited. */
CLOAK_MUST_CHECK cloak_status cloak_record_stats(
    const cloak_record *record, cloak_sum_visit visit, void *context, cloak_error *error);

#define CLOAK_RECEIPT_ENDING ".cloak.json"

/* The key of the receipt of `key`, "KEY.cloak.json". Returns a new string (free()). Any thread. */
char *cloak_receipt_key(const char *key);

/* Whether `key` is the key of a receipt. Any thread. */
bool cloak_receipt_is_key(const char *key);

/* The content of the receipt: the record as indented JSON and a newline. cloak_record_parse reads
 * it. Returns a new string (free()), never NULL. */
char *cloak_receipt_text(const cloak_record *record);

#endif
