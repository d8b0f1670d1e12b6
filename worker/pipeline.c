/* The life of one photo in a worker.
 *
 * DESIGN. The order photo, receipt, finish is what makes a crash harmless: a receipt never precedes
 * its photo, the books never precede the receipt, and each step can be repeated with the same
 * bytes. The lease is checked once more just before the photo is put.
 *
 * A photo that was delivered before, by an attempt whose finish got lost (a worker killed between the two, a
 * Redis that failed over and forgot), is recognised by its receipt and not made again.
 */
#include "worker/pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/text.h"
#include "common/base/trace.h"
#include "common/photo/srgb.h"
#include "common/report/delivery.h"
#include "worker/cloaking.h"
#include "worker/measure.h"
#include "models/views.h"

/* Everything of one photo that is in memory. */
typedef struct {
    char *name; /* percent-encoded key */
    void *core; /* of the file (photo.h), or NULL */
    size_t core_length;
    cloak_photo photo;
    const uint8_t *seen; /* its pixels in sRGB, and their block where that is not the photo's */
    uint8_t *seen_room;
    cloak_findings before;
    cloak_cloaking result;
} Work;

static void work_free(Work *work) {
    free(work->name);
    free(work->core);
    cloak_photo_free(&work->photo);
    free(work->seen_room);
    cloak_findings_free(&work->before);
    cloak_cloaking_free(&work->result);
}

/* The attempt is a span below the album's; its claim's token is no other's, also after a retry. */
static void trace_attempt(const cloak_job *job, const cloak_album *album, cloak_record *record) {
    char trace[CLOAK_TRACE_SIZE], *name = cloak_format("%s#%s", record->job, job->token);
    cloak_trace_child(album->spec.trace, name, trace);
    cloak_record_set(&record->trace, trace);
    free(name);
}

static void describe(const cloak_pipeline *pipeline, const cloak_job *job,
    const cloak_album *album, const char *name, cloak_record *record) {
    cloak_model_info info = cloak_model_describe(pipeline->targets->own);
    const cloak_settings *settings = &album->settings;
    cloak_record_set(&record->album, job->album);
    record->index = job->index;
    free(record->job);
    record->job = cloak_format("%s:%u", job->album, job->index);
    cloak_record_set(&record->key, name);
    cloak_record_set(&record->source, album->spec.source);
    cloak_record_set(&record->destination, album->spec.destination);
    cloak_record_set(&record->preset, settings->preset);
    if (*settings->survive)
        cloak_record_set(&record->survive, settings->survive);
    if (*settings->targets)
        cloak_record_set(&record->targets, settings->targets);
    cloak_record_set(&record->metadata, settings->metadata);
    record->eps = settings->eps;
    record->eps_levels = (int64_t)(settings->eps * 255 + 1e-3);
    record->max_steps = settings->max_steps;
    record->region = settings->region;
    record->seed = settings->seed;
    record->attempt = job->failures + job->losses + 1;
    record->failures = job->failures;
    record->losses = job->losses;
    trace_attempt(job, album, record);
    cloak_record_set(&record->worker, pipeline->worker);
    cloak_record_set(&record->device, info.device);
    cloak_record_set(&record->model, info.name);
    cloak_record_set(&record->model_sha256, info.sha256);
    cloak_record_set(&record->build, CLOAK_VERSION);
    record->seconds_queue_wait = (double)job->waited_ms / 1000;
    record->seconds_detect = record->seconds_attack = record->seconds_encode =
        record->seconds_verify = 0;
}

static cloak_status no_memory(const Work *work, cloak_error *error) {
    return cloak_fail(error, CLOAK_E_DEVICE, "%s: out of memory", work->name);
}

static cloak_status load(const cloak_pipeline *pipeline, const cloak_job *job, const cloak_album *album, Work *work,
    cloak_record *record, cloak_error *error) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_FETCH);
    cloak_status status =
        cloak_store_get(album->source, job->key, CLOAK_PHOTO_FILE_MAX, &bytes, &length, error);
    if (status != CLOAK_OK)
        return status;
    record->bytes_in = (int64_t)length;
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_DECODE);
    cloak_metadata_policy policy = CLOAK_METADATA_NONE; /* the settings were checked: it is one of the words */
    (void)cloak_metadata_parse(album->settings.metadata, &policy);
    status = cloak_intake_photo(pipeline->intake, bytes, length, job->key, album->spec.tenant, policy, &work->photo, &work->core,
        &work->core_length, error);
    free(bytes);
    if (status != CLOAK_OK)
        return status;
    cloak_record_set(&record->format, cloak_format_word(work->photo.format));
    record->width = work->photo.width;
    record->height = work->photo.height;
    work->seen = cloak_srgb_see(&work->photo, work->photo.rgb, &work->seen_room);
    return work->seen ? CLOAK_OK : no_memory(work, error);
}

/* No face: the coded pixels pass through as they are where the format allows it; only the metadata goes. */
static cloak_status pass_through(const cloak_pipeline *pipeline, const cloak_job *job, const cloak_album *album,
    Work *work, cloak_error *error) {
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_ENCODE);
    cloak_status status = cloak_photo_clean(work->core, work->core_length, &work->photo,
        &work->result.bytes, &work->result.length, &work->result.fine, error);
    if (status == CLOAK_E_TRANSIENT)
        status = no_memory(work, error);
    if (status != CLOAK_OK)
        return status;
    /* these are the source's coded pixels still: they are decoded where the source was */
    cloak_photo again = {0};
    void *core = NULL;
    size_t core_length = 0;
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_VERIFY);
    status = cloak_intake_photo(pipeline->intake, work->result.bytes, work->result.length, job->key, album->spec.tenant,
        CLOAK_METADATA_NONE, &again, &core, &core_length, error);
    free(core);
    if (status == CLOAK_OK && (again.width != work->photo.width || again.height != work->photo.height))
        status = cloak_fail(error, CLOAK_E_INTERNAL, "%s: the cleaned photo has another size", work->name);
    if (status == CLOAK_OK) {
        uint8_t *room;
        const uint8_t *seen = cloak_srgb_see(&again, again.rgb, &room);
        status = seen ? cloak_views_detect(pipeline->targets, &again, seen, again.rgb, &work->result.found, NULL, error)
                      : no_memory(work, error);
        free(room);
        work->result.decoded = again.rgb;
        again.rgb = NULL;
    }
    cloak_photo_free(&again);
    return status;
}

static cloak_status cloak_it(const cloak_pipeline *pipeline, const cloak_job *job,
    const cloak_album *album, const cloak_truth *truth, Work *work, cloak_record *record,
    cloak_error *error) {
    const cloak_source source = {&work->photo, work->seen, work->core, work->core_length, job->key,
        pipeline->intake, album->spec.tenant};
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_DETECT);
    cloak_status status = cloak_views_detect(
        pipeline->targets, &work->photo, work->seen, work->photo.rgb, &work->before, NULL, error);
    if (status == CLOAK_OK)
        status = work->before.all.count == 0
                     ? pass_through(pipeline, job, album, work, error)
                     : cloak_cloaking_run(pipeline->targets, &source, &album->settings, &work->before,
                           pipeline->stop, pipeline->stop_context, pipeline->stages, &work->result, error);
    if (status != CLOAK_OK)
        return status;
    int quality = work->result.fine ? cloak_photo_encode_quality(&work->photo) : work->photo.quality;
    if (quality > 0)
        record->quality = quality;
    if (*album->settings.survive && work->before.all.count > 0) {
        uint8_t *room = NULL;
        cloak_image delivered = {cloak_srgb_see(&work->photo, work->result.decoded, &room), work->photo.width, work->photo.height};
        status = delivered.rgb ? cloak_measure_survival(
                                     pipeline->targets, &delivered, album->settings.survive, record, error)
                               : no_memory(work, error);
        free(room);
        if (status != CLOAK_OK)
            return status;
    }
    cloak_measure_faces(pipeline->targets, &work->before, &work->result.found, truth, record);
    cloak_measure_pixels(work->photo.rgb, work->result.rgb ? work->result.rgb : work->photo.rgb, work->result.decoded,
        work->photo.width, work->photo.height, &work->before.own, record);
    return CLOAK_OK;
}

/* An output that is not there is not created: that would fill the disk below a mount that is missing. Asked
 * before the work, which would be for nothing, and again before the put. */
static cloak_status find_output(const cloak_pipeline *pipeline, const cloak_album *album, cloak_error *error) {
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_PUT);
    if (cloak_store_reachable(album->destination))
        return CLOAK_OK;
    return cloak_fail(error, CLOAK_E_TRANSIENT, "the output %s cannot be reached from here: is it mounted, and may "
        "this user read it?", cloak_store_place(album->destination));
}

static cloak_status deliver(const cloak_pipeline *pipeline, const cloak_job *job,
    const cloak_album *album, Work *work, double began, cloak_record *record,
    cloak_error *error) {
    char when[32], hex[CLOAK_DIGEST_SIZE];
    if (pipeline->may_deliver && !pipeline->may_deliver(pipeline->deliver_context))
        return cloak_fail(error, CLOAK_E_FENCED, "%s: the lease ran out meanwhile", work->name);
    record->bytes_out = (int64_t)work->result.length;
    cloak_digest_hex(work->result.bytes, work->result.length, hex);
    cloak_record_set(&record->sha256_out, hex);
    cloak_status status = find_output(pipeline, album, error);
    if (status == CLOAK_OK)
        status = cloak_store_put_like(
            album->destination, album->source, job->key, work->result.bytes, work->result.length, error);
    if (status != CLOAK_OK)
        return status;
    cloak_stages_enter(pipeline->stages, CLOAK_STAGE_PUT); /* of the receipt, which states how long the photo took */
    record->seconds_total = cloak_now() - began;
    cloak_time_format(cloak_clock_system.wall_ms(), when);
    cloak_record_set(&record->finished_at, when);
    char *receipt = cloak_receipt_text(record), *key = cloak_receipt_key(job->key);
    status = cloak_store_put(album->destination, key, receipt, strlen(receipt), error);
    free(receipt);
    free(key);
    return status;
}

/* Whether this very photo of this very album lies in the destination already; `*record` is then its receipt. */
static bool delivered_before(
    const cloak_job *job, const cloak_album *album, cloak_record *record) {
    cloak_record receipt;
    if (cloak_delivery_read(album->destination, job->key, job->album, &receipt, NULL) != CLOAK_OK)
        return false;
    if (receipt.index != (int64_t)job->index) { /* of an earlier version of the photo */
        cloak_record_free(&receipt);
        return false;
    }
    cloak_record_free(record);
    *record = receipt;
    return true;
}

cloak_status cloak_pipeline_run(const cloak_pipeline *pipeline, const cloak_job *job,
    const cloak_album *album, cloak_record *record, cloak_error *error) {
    if (delivered_before(job, album, record))
        return CLOAK_OK;
    Work work = {.name = cloak_text_encode(job->key)};
    double began = cloak_now();
    const cloak_truth *truth = album->labels ? cloak_labels_find(album->labels, job->key) : NULL;
    describe(pipeline, job, album, work.name, record);
    cloak_status status = find_output(pipeline, album, error);
    if (status == CLOAK_OK)
        status = load(pipeline, job, album, &work, record, error);
    if (status == CLOAK_OK)
        status = cloak_it(pipeline, job, album, truth, &work, record, error);
    if (status == CLOAK_OK)
        status = deliver(pipeline, job, album, &work, began, record, error);
    work_free(&work);
    return status;
}
