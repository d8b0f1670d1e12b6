/* Attack and verification of one photo.
 *
 * DESIGN. The first round judges the pixels themselves; most photos survive their encoder then. The
 * verdict is always passed on the bytes that would be delivered: encoded, decoded, looked at. When
 * something is found there, further rounds continue from where the last one stopped with the real
 * encoder in the loop, from the second on with a wider region. Every round's attempt is verified
 * alike, the best is kept, and the receipt states what is left on it.
 *
 * A JPEG is first coded as it was: the blocks that the cloak has not touched stay as they are, the others get the
 * file's own tables and subsampling (cloak_photo_patch). That keeps the file's size and the quality of all the rest.
 * When a cloak does not survive that in all rounds, the photo as a whole is coded finely, in further rounds.
 *
 * The targets see sRGB; files are coded, and pixels measured, in the photo's own numbers (common/photo/srgb.h).
 * Programs that know nothing of profiles see those: the verdict is passed on both, and a round with the encoder works
 * on the view that has shown more. A CMYK photo has one view, the sRGB that decoding makes; what is changed there is
 * carried into its inks before they are coded.
 */
#include "worker/cloaking.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/text.h"
#include "common/photo/srgb.h"
#include "models/views.h"

/* The context of the codec callback. */
typedef struct {
    const cloak_photo *photo; /* source of format, profile and alpha */
    const uint8_t *seen;      /* its pixels in sRGB */
    const char *name;
    const void *source; /* the bytes it was decoded from */
    size_t source_length;
    cloak_intake *intake;
    const char *owner;
    bool fine;  /* the whole photo anew, and not only the changed blocks */
    bool plain; /* what comes back is in the photo's own numbers, as they are */
} Codec;

typedef struct {
    cloak_transform transforms[CLOAK_TRANSFORMS_MAX];
    size_t count;
} Survival;

static cloak_status fail_named(
    cloak_error *error, cloak_status code, const char *name, const char *what) {
    char *shown = cloak_text_brief(name);
    cloak_fail(error, code, "%s: %s", shown, what);
    free(shown);
    return code;
}

static size_t rgb_size(const cloak_photo *photo) {
    return (size_t)photo->width * (size_t)photo->height * 3;
}

static cloak_status no_memory(const char *name, cloak_error *error) {
    return fail_named(error, CLOAK_E_DEVICE, name, "out of memory");
}

/* Takes changed pixels from sRGB to the photo's own numbers, in place. */
static void carry(const Codec *codec, uint8_t *changed) {
    if (codec->photo->srgb)
        cloak_srgb_carry(codec->photo, codec->seen, changed, changed);
}

/* Encodes `rgb` as the photo's delivered file would be. Where blocks cannot be replaced, that is from then on the
 * whole photo. */
static cloak_status encode(
    Codec *codec, const uint8_t *rgb, void **bytes, size_t *length, cloak_error *error) {
    const cloak_photo *photo = codec->photo;
    cloak_photo changed = *photo; /* borrows everything but the pixels */
    cloak_status status = CLOAK_OK;
    changed.rgb = (uint8_t *)rgb;
    if (photo->ink) {
        changed.ink = cloak_try_alloc((size_t)photo->width * (size_t)photo->height * 4);
        if (!changed.ink)
            return no_memory(codec->name, error);
        cloak_srgb_carry_ink(photo, rgb, changed.ink);
    }
    if (!codec->fine) {
        status = cloak_photo_patch(codec->source, codec->source_length, photo, &changed, bytes, length, NULL);
        codec->fine = status == CLOAK_E_USAGE;
        if (status == CLOAK_E_TRANSIENT)
            status = no_memory(codec->name, error);
    }
    if (codec->fine)
        status = cloak_photo_encode(&changed, bytes, length, error);
    if (photo->ink)
        free(changed.ink);
    return status;
}

/* Decodes into a new block of the photo's size. What CMYK looks like is said by a profile, which is read in the
 * confined process only. */
static cloak_status decode(const Codec *codec, const void *bytes, size_t length, uint8_t **rgb, cloak_error *error) {
    const cloak_photo *photo = codec->photo;
    cloak_photo decoded;
    void *core = NULL;
    size_t core_length = 0;
    cloak_status status = photo->ink ? cloak_intake_photo(codec->intake, bytes, length, codec->name, codec->owner,
                                           CLOAK_METADATA_NONE, &decoded, &core, &core_length, error)
                                     : cloak_photo_decode(bytes, length, codec->name, NULL, &decoded, error);
    if (status != CLOAK_OK)
        return status;
    free(core);
    if (decoded.width != photo->width || decoded.height != photo->height) {
        cloak_photo_free(&decoded);
        return fail_named(error, CLOAK_E_INTERNAL, codec->name, "the encoded photo has another size");
    }
    *rgb = decoded.rgb;
    decoded.rgb = NULL;
    cloak_photo_free(&decoded);
    return CLOAK_OK;
}

static cloak_status pass_codec(
    void *context, const cloak_image *image, uint8_t *out, cloak_error *error) {
    Codec *codec = context;
    void *bytes = NULL;
    size_t length = 0;
    uint8_t *rgb = NULL, *room = NULL;
    memcpy(out, image->rgb, rgb_size(codec->photo));
    carry(codec, out);
    cloak_status status = encode(codec, out, &bytes, &length, error);
    if (status == CLOAK_OK)
        status = decode(codec, bytes, length, &rgb, error);
    const uint8_t *back = status != CLOAK_OK || codec->plain ? rgb : cloak_srgb_see(codec->photo, rgb, &room);
    if (status == CLOAK_OK && !back)
        status = no_memory(codec->name, error);
    if (status == CLOAK_OK)
        memcpy(out, back, rgb_size(codec->photo));
    free(bytes);
    free(room);
    free(rgb);
    return status;
}

static bool shows_less(const cloak_findings *a, const cloak_findings *b) {
    if (a->all.count != b->all.count)
        return a->all.count < b->all.count;
    return cloak_findings_best(a) < cloak_findings_best(b);
}

/* Decodes `bytes` as a viewer would and detects faces: the verification. `*decoded` is a new block of the photo's
 * size. */
static cloak_status verify(const cloak_target_set *targets, Codec *codec, const void *bytes, size_t length,
    uint8_t **decoded, cloak_findings *found, cloak_error *error) {
    uint8_t *rgb = NULL, *room = NULL;
    cloak_status status = decode(codec, bytes, length, &rgb, error);
    const uint8_t *seen = status == CLOAK_OK ? cloak_srgb_see(codec->photo, rgb, &room) : NULL;
    if (status == CLOAK_OK)
        status = seen ? cloak_views_detect(targets, codec->photo, seen, rgb, found, &codec->plain, error)
                      : no_memory(codec->name, error);
    free(room);
    if (status == CLOAK_OK)
        *decoded = rgb;
    else
        free(rgb);
    return status;
}

/* Applies, encodes and verifies one attack's result. `attempt` is filled on success. */
static cloak_status deliverable(const cloak_target_set *targets, Codec *codec,
    const cloak_attack_result *result, cloak_stages *stages, cloak_cloaking *attempt,
    cloak_error *error) {
    const cloak_photo *photo = codec->photo;
    cloak_image image = {codec->seen, photo->width, photo->height};
    cloak_status status = CLOAK_OK;
    attempt->rgb = cloak_try_alloc(rgb_size(photo));
    if (!attempt->rgb)
        return no_memory(codec->name, error);
    status = cloak_model_apply(&image, result, attempt->rgb, error);
    if (status == CLOAK_OK) {
        carry(codec, attempt->rgb);
        cloak_stages_enter(stages, CLOAK_STAGE_ENCODE);
        status = encode(codec, attempt->rgb, &attempt->bytes, &attempt->length, error);
        attempt->fine = codec->fine;
    }
    if (status == CLOAK_OK) {
        cloak_stages_enter(stages, CLOAK_STAGE_VERIFY);
        status = verify(targets, codec, attempt->bytes, attempt->length, &attempt->decoded, &attempt->found, error);
    }
    if (status != CLOAK_OK)
        cloak_cloaking_free(attempt);
    return status;
}

static bool better(const cloak_cloaking *a, const cloak_cloaking *b) {
    return !b->bytes || shows_less(&a->found, &b->found);
}

static cloak_attack_params params_for(const cloak_target_set *targets,
    const cloak_settings *settings, const cloak_findings *before, const Survival *survival, int round, Codec *codec) {
    cloak_attack_params params = cloak_attack_default_params();
    params.clean = &before->all;
    params.others = targets->others;
    params.other_count = targets->count;
    params.eps = (float)settings->eps;
    params.max_steps = (int)settings->max_steps;
    params.restarts = round == 0 ? (int)settings->restarts : 0;
    params.region = (float)(round < 2 ? settings->region : settings->region * 2);
    params.polish = (int)settings->polish;
    params.diversity = (float)settings->diversity;
    params.transforms = survival->transforms;
    params.transform_count = survival->count;
    params.seed = (uint64_t)settings->seed;
    if (round > 0) {
        params.codec = pass_codec;
        params.codec_context = codec;
    }
    return params;
}

/* One round: attacks from where the last one stopped (`warm`), adds up what `looks` took, and keeps the attempt if it
 * is the best so far. */
static cloak_status attempt_round(const cloak_target_set *targets, const cloak_attack_params *params, int round,
    Codec *codec, cloak_attack_result *warm, double *looks, cloak_stages *stages, cloak_cloaking *best, cloak_error *error) {
    cloak_record *record = stages->record;
    cloak_image image = {codec->seen, codec->photo->width, codec->photo->height};
    cloak_attack_result result = {0};
    cloak_cloaking attempt = {0};
    cloak_stages_enter(stages, CLOAK_STAGE_ATTACK);
    cloak_status status = cloak_model_attack(targets->own, &image, 1, params, warm, &result, error);
    if (status != CLOAK_OK)
        return status;
    record->steps += result.steps;
    record->restarts += result.restarts;
    for (size_t i = 0; i <= targets->count; i++)
        looks[i] += result.look_seconds[i];
    record->encoder_rounds = round;
    record->grid_width = result.grid_width;
    record->grid_height = result.grid_height;
    status = deliverable(targets, codec, &result, stages, &attempt, error);
    cloak_attack_result_free(warm);
    *warm = result;
    if (status == CLOAK_OK && better(&attempt, best)) {
        cloak_cloaking_free(best);
        *best = attempt;
    } else {
        cloak_cloaking_free(&attempt);
    }
    return status;
}

cloak_status cloak_cloaking_run(const cloak_target_set *targets, const cloak_source *source,
    const cloak_settings *settings, const cloak_findings *before, cloak_stop stop, void *stop_context,
    cloak_stages *stages, cloak_cloaking *cloaking, cloak_error *error) {
    cloak_record *record = stages->record;
    Codec codec = {.photo = source->photo, .seen = source->seen, .name = source->name, .source = source->bytes,
        .source_length = source->length, .intake = source->intake, .owner = source->owner};
    cloak_attack_result warm = {0};
    cloak_cloaking best = {0};
    double looks[1 + CLOAK_OTHERS_MAX] = {0};
    Survival survival;
    int rounds = (int)settings->encoder_rounds;
    cloak_status status =
        cloak_transforms_parse(settings->survive, survival.transforms, &survival.count, error);
    record->steps = record->restarts = record->encoder_rounds = 0;
    for (int round = 0; round <= rounds && status == CLOAK_OK; round++) {
        cloak_attack_params params = params_for(targets, settings, before, &survival, round, &codec);
        params.stop = stop;
        params.stop_context = stop_context;
        status = attempt_round(targets, &params, round, &codec, &warm, looks, stages, &best, error);
        if (status == CLOAK_OK && best.found.all.count == 0)
            break;
        if (round == rounds && !codec.fine) { /* as many again, with the whole photo coded finely */
            codec.fine = true;
            rounds += (int)settings->encoder_rounds;
        }
    }
    cloak_attack_result_free(&warm);
    char *text = cloak_target_set_seconds_text(targets, looks);
    cloak_record_set(&record->seconds_looks, text);
    free(text);
    if (status == CLOAK_OK)
        *cloaking = best;
    else
        cloak_cloaking_free(&best);
    return status;
}

void cloak_cloaking_free(cloak_cloaking *cloaking) {
    free(cloaking->bytes);
    free(cloaking->rgb);
    free(cloaking->decoded);
    cloak_findings_free(&cloaking->found);
    *cloaking = (cloak_cloaking){0};
}
