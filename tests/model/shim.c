/* The model shim from pure C: everything a program may do with it, and what it says when it may
 * not. Real photos come from the sample album; without it those tests are skipped. */
#include "models/cloak_model.h"

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/photo/photo.h"
#include "tests/check.h"

static cloak_error error;

/* The default model; the sanitizers' build has one that looks at its photos smaller. */
static const char *weights(void) {
    const char *given = getenv("CLOAK_MODEL");
    return given ? given : "models/weights/face-mbv2-fpn96-head512.safetensors";
}

/* One model for all tests. */
static cloak_model *model(void) {
    static cloak_model *loaded;
    if (!loaded) {
        CHECK_OK(cloak_photo_init("unit_shim", &error));
        CHECK_OK(cloak_model_load(weights(), NULL, &loaded, &error));
    }
    return loaded;
}

/* A photo of the sample album, or NULL after check_skip. Kept for the program's life. */
static const cloak_photo *sample(void) {
    static cloak_photo photo;
    void *bytes = NULL;
    size_t length = 0;
    if (photo.rgb)
        return &photo;
    model();
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = cloak_format("%s%s/cloakfleet/sample-album/groups/2008_002506.jpg",
        cache ? cache : home ? home : "/tmp", cache ? "" : "/.cache");
    cloak_status status = cloak_file_read(path, 1 << 20, &bytes, &length, &error);
    free(path);
    if (status != CLOAK_OK) {
        check_skip("no sample album: deploy/sample-album fetches it");
        return NULL;
    }
    CHECK_OK(cloak_photo_decode(bytes, length, "sample", NULL, &photo, &error));
    free(bytes);
    return &photo;
}

static cloak_image image_of(const cloak_photo *photo) {
    return (cloak_image){photo->rgb, photo->width, photo->height};
}

static size_t size_of(const cloak_photo *photo) {
    return (size_t)photo->width * (size_t)photo->height * 3;
}

TEST(describes_itself) {
    cloak_model_info info = cloak_model_describe(model());
    CHECK_TEXT(info.name, "face-mbv2-fpn96-head512");
    CHECK_TEXT(info.device, "cpu");
    CHECK_INT(strlen(info.sha256), 64);
    CHECK_INT(info.input_max, CHECK_SANITIZED ? 320 : 640);
    CHECK_NEAR(info.score_threshold, 0.05, 1e-6);
}

TEST(detects_faces_alike_alone_and_in_a_batch) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    uint8_t grey[64 * 48 * 3];
    memset(grey, 128, sizeof grey);
    cloak_image images[3] = {image_of(photo), {grey, 64, 48}, image_of(photo)};
    cloak_detections alone, batch[3];
    CHECK_OK(cloak_model_detect(model(), images, 1, &alone, &error));
    CHECK_OK(cloak_model_detect(model(), images, 3, batch, &error));
    CHECK(alone.count > 0 && alone.items[0].score > 0.9f);
    CHECK_INT(batch[1].count, 0);
    for (int i = 0; i < 3; i += 2) {
        CHECK_INT(batch[i].count, alone.count);
        CHECK(memcmp(batch[i].items, alone.items, alone.count * sizeof *alone.items) == 0);
    }
    for (size_t i = 0; i < alone.count; i++) {
        const cloak_detection *d = &alone.items[i];
        CHECK(d->x1 >= 0 && d->y1 >= 0 && d->x1 < d->x2 && d->y1 < d->y2);
        CHECK(d->x2 <= (float)photo->width && d->y2 <= (float)photo->height);
        CHECK(d->score > 0.05f && (i == 0 || d->score <= alone.items[i - 1].score));
    }
    cloak_detections_free(&alone);
    for (int i = 0; i < 3; i++)
        cloak_detections_free(&batch[i]);
}

/* Attacks the sample and returns the perturbed pixels (free()). */
static uint8_t *attacked(const cloak_photo *photo, const cloak_attack_params *params, cloak_attack_result *result) {
    cloak_image image = image_of(photo);
    uint8_t *out = cloak_alloc(size_of(photo));
    CHECK_OK(cloak_model_attack(model(), &image, 1, params, NULL, result, &error));
    CHECK_OK(cloak_model_apply(&image, result, out, &error));
    return out;
}

/* Whether a pixel may have changed: it lies within the region of some face. */
static bool near_a_face(const cloak_photo *photo, const cloak_detections *faces, int x, int y) {
    const int longest = photo->width > photo->height ? photo->width : photo->height;
    float scale = (float)cloak_model_describe(model()).input_max / (float)longest;
    float least = 34 / (scale < 1 ? scale : 1); /* half of 64 grid pixels, and one of bleeding */
    for (size_t i = 0; i < faces->count; i++) {
        const cloak_detection *f = &faces->items[i];
        float hw = fmaxf((f->x2 - f->x1) * 1.5f + 4, least);
        float hh = fmaxf((f->y2 - f->y1) * 1.5f + 4, least);
        const float dx = (float)x + 0.5f - (f->x1 + f->x2) / 2, dy = (float)y + 0.5f - (f->y1 + f->y2) / 2;
        if (fabsf(dx) <= hw && fabsf(dy) <= hh)
            return true;
    }
    return false;
}

TEST(off_the_lattice_there_is_a_verdict_but_nothing_to_deliver) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result;
    cloak_image image = image_of(photo);
    uint8_t pixel;
    params.lattice = false;
    params.eps = 0.001f; /* a quarter of a level: hardly anything can be hidden */
    params.max_steps = 2;
    CHECK_OK(cloak_model_attack(model(), &image, 1, &params, NULL, &result, &error));
    CHECK(!result.success && result.found.count > 0 && !result.levels);
    CHECK_NEAR(result.residual_score, result.found.items[0].score, 0);
    CHECK_INT(cloak_model_apply(&image, &result, &pixel, &error), CLOAK_E_USAGE);
    cloak_attack_result_free(&result);
    params.lattice = true;
    CHECK_INT(cloak_model_attack(model(), &image, 1, &params, NULL, &result, &error), CLOAK_E_USAGE);
}

TEST(hides_faces_within_the_budget_and_the_region) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result;
    cloak_detections before, after;
    cloak_image image = image_of(photo);
    uint8_t *out = attacked(photo, &params, &result), *again;
    CHECK(result.success && result.steps > 0 && result.steps <= params.max_steps);
    CHECK_INT(result.max_change, 5);
    CHECK_NEAR(result.residual_score, 0, 0);
    CHECK_OK(cloak_model_detect(model(), &image, 1, &before, &error));
    image.rgb = out;
    CHECK_OK(cloak_model_detect(model(), &image, 1, &after, &error));
    CHECK_INT(after.count, 0); /* what the loop judged is what was delivered */
    /* the smaller model finds something further on the way, around which the region grows */
    for (int y = 0; y < photo->height; y++)
        for (int x = 0; x < photo->width; x++)
            for (int c = 0; c < 3; c++) {
                size_t at = ((size_t)y * (size_t)photo->width + (size_t)x) * 3 + (size_t)c;
                int change = abs((int)photo->rgb[at] - (int)out[at]);
                CHECK(change <= 5);
                CHECK(change == 0 || CHECK_SANITIZED || near_a_face(photo, &before, x, y));
            }
    cloak_attack_result_free(&result);
    again = attacked(photo, &params, &result);
    CHECK(memcmp(out, again, size_of(photo)) == 0); /* same parameters, same bytes */
    cloak_attack_result_free(&result);
    cloak_detections_free(&before);
    cloak_detections_free(&after);
    free(out);
    free(again);
}

TEST(attacks_alike_alone_and_in_a_batch) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    uint8_t grey[64 * 48 * 3];
    memset(grey, 128, sizeof grey);
    const cloak_image images[3] = {image_of(photo), {grey, 64, 48}, image_of(photo)};
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result alone, batch[3];
    params.max_steps = 3;
    CHECK_OK(cloak_model_attack(model(), images, 1, &params, NULL, &alone, &error));
    CHECK_OK(cloak_model_attack(model(), images, 3, &params, NULL, batch, &error));
    const size_t size = (size_t)alone.grid_width * (size_t)alone.grid_height * 3;
    CHECK(alone.steps > 0 && batch[1].steps == 0);
    for (int i = 0; i < 3; i += 2)
        CHECK(memcmp(batch[i].levels, alone.levels, size) == 0);
    cloak_attack_result_free(&alone);
    for (int i = 0; i < 3; i++)
        cloak_attack_result_free(&batch[i]);
}

TEST(a_brief_look_is_no_verdict) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    for (int full = 0; full < 2; full++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        cloak_detections after;
        params.full_precision = full;
        params.eps = 2.0f / 255;
        params.max_steps = 12;
        uint8_t *out = attacked(photo, &params, &result);
        cloak_image image = {out, photo->width, photo->height};
        CHECK_OK(cloak_model_detect(model(), &image, 1, &after, &error));
        /* what the attack says is left is what anybody finds, also where it did not succeed */
        CHECK_INT(result.found.count, after.count);
        CHECK(memcmp(result.found.items, after.items, after.count * sizeof *after.items) == 0);
        CHECK_INT(result.success, after.count == 0);
        cloak_detections_free(&after);
        cloak_attack_result_free(&result);
        free(out);
    }
}

TEST(is_told_what_is_on_the_photo) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result;
    cloak_detections clean, nothing = {0, NULL};
    cloak_image image = image_of(photo);
    params.max_steps = 3;
    uint8_t *by_itself = attacked(photo, &params, &result), *told;
    cloak_attack_result_free(&result);
    CHECK_OK(cloak_model_detect(model(), &image, 1, &clean, &error));
    params.clean = &clean;
    told = attacked(photo, &params, &result);
    CHECK(memcmp(by_itself, told, size_of(photo)) == 0);
    cloak_attack_result_free(&result);
    free(told);
    params.clean = &nothing; /* then there is nothing to do */
    told = attacked(photo, &params, &result);
    CHECK(result.success && result.steps == 0 && memcmp(told, photo->rgb, size_of(photo)) == 0);
    cloak_attack_result_free(&result);
    cloak_detections_free(&clean);
    free(told);
    free(by_itself);
}

TEST(polish_shrinks_a_success) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    double psnr[2];
    for (int polish = 0; polish < 2; polish++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        cloak_detections after;
        params.eps = 8.0f / 255;
        params.polish = polish * 6;
        uint8_t *out = attacked(photo, &params, &result);
        const cloak_image image = {out, photo->width, photo->height};
        CHECK(result.success);
        CHECK_OK(cloak_model_detect(model(), &image, 1, &after, &error));
        CHECK_INT(after.count, 0);
        cloak_detections_free(&after);
        psnr[polish] = cloak_photo_psnr(photo->rgb, out, size_of(photo));
        cloak_attack_result_free(&result);
        free(out);
    }
    CHECK(psnr[1] > psnr[0]);
}

/* The sum of scores that our detector gives at other scales than its own. */
static float left_at_other_scales(const cloak_photo *photo, const uint8_t *rgb) {
    const cloak_image image = {rgb, photo->width, photo->height};
    cloak_transform views[CLOAK_TRANSFORMS_MAX];
    size_t count;
    float sum = 0;
    CHECK_OK(cloak_transforms_parse("view0.7,view0.85,view1.2,view1.35", views, &count, &error));
    for (size_t i = 0; i < count; i++) {
        cloak_detections seen;
        CHECK_OK(cloak_model_detect_after(model(), &image, &views[i], &seen, &error));
        for (size_t j = 0; j < seen.count; j++)
            sum += seen.items[j].score;
        cloak_detections_free(&seen);
    }
    return sum;
}

TEST(diversity_holds_at_other_scales) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    static const struct { float diversity; uint64_t seed; int steps; } tries[] = {
        {0, 0, 40}, {0.5f, 0, 40}, {0.5f, 1, 40}, {0.5f, 0, 3}, {0.5f, 0, 3}};
    const size_t first = CHECK_SANITIZED ? 3 : 0;
    uint8_t *out[5];
    float left[3];
    for (size_t i = first; i < 5; i++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        params.eps = 8.0f / 255;
        params.diversity = tries[i].diversity;
        params.seed = tries[i].seed;
        params.max_steps = tries[i].steps;
        out[i] = attacked(photo, &params, &result);
        CHECK(result.success || i > 2);
        cloak_attack_result_free(&result);
        if (i < 3)
            left[i] = left_at_other_scales(photo, out[i]);
    }
    /* by four seeds, in bfloat16 and in float, .17 to .80 of it is left: two together are below on any processor */
    CHECK(first > 0 || ((left[1] + left[2]) / 2 < 0.9f * left[0] && memcmp(out[1], out[2], size_of(photo)) != 0));
    CHECK(memcmp(out[3], out[4], size_of(photo)) == 0);
    for (size_t i = first; i < 5; i++)
        free(out[i]);
}

TEST(defeats_two_detectors_at_once) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_model_params which = cloak_model_default_params();
    cloak_model *other = NULL;
    const cloak_image image = image_of(photo);
    size_t left[2]; /* by the other detector: alone with ours, and together */
    CHECK_OK(cloak_model_load("models/weights/face-mbv2-fpn96.safetensors", &which, &other, &error));
    for (size_t together = 0; together < 2; together++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        cloak_detections seen;
        params.others = &other;
        params.other_count = together;
        uint8_t *out = attacked(photo, &params, &result);
        const cloak_image cloaked = {out, photo->width, photo->height};
        CHECK(result.success);
        CHECK_OK(cloak_model_detect(model(), &cloaked, 1, &seen, &error));
        CHECK_INT(seen.count, 0);
        cloak_detections_free(&seen);
        CHECK_OK(cloak_model_detect(other, &cloaked, 1, &seen, &error));
        left[together] = seen.count;
        cloak_detections_free(&seen);
        cloak_attack_result_free(&result);
        free(out);
    }
    CHECK(left[0] > 0); /* a cloak hides from whom it was made against */
    CHECK_INT(left[1], 0);
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result;
    params.other_count = 17;
    CHECK_INT(cloak_model_attack(model(), &image, 1, &params, NULL, &result, &error), CLOAK_E_USAGE);
    cloak_model_free(other);
}

static cloak_transform named(const char *name) {
    cloak_transform list[CLOAK_TRANSFORMS_MAX];
    size_t count;
    CHECK_OK(cloak_transforms_parse(name, list, &count, &error));
    return list[0];
}

TEST(looks_through_transforms) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    const cloak_image image = image_of(photo);
    const char *names[] = {"raw", "jpeg75", "x0.6", "blur1", "view1.25", "x0.75+jpeg85", "jpegfull75"};
    cloak_detections plain, seen;
    float scores[sizeof names / sizeof *names];
    CHECK_OK(cloak_model_detect(model(), &image, 1, &plain, &error));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const cloak_transform transform = named(names[i]);
        CHECK_OK(cloak_model_detect_after(model(), &image, &transform, &seen, &error));
        CHECK(seen.count > 0);
        scores[i] = seen.items[0].score; /* the surest face is seen in its place, if a little off */
        CHECK_NEAR(seen.items[0].score, plain.items[0].score, 0.1);
        const bool same = seen.count == plain.count &&
                          memcmp(seen.items, plain.items, seen.count * sizeof *seen.items) == 0;
        CHECK_INT(same, i == 0);
        float nearest = HUGE_VALF;
        for (size_t j = 0; j < seen.count; j++)
            nearest = fminf(nearest, fabsf(seen.items[j].x1 - plain.items[0].x1) + fabsf(seen.items[j].y2 - plain.items[0].y2));
        CHECK(nearest < 0.3f * (plain.items[0].x2 - plain.items[0].x1));
        cloak_detections_free(&seen);
    }
    CHECK(scores[1] != scores[6]); /* chroma is halved in one of them */
    cloak_detections_free(&plain);
}

TEST(survives_what_it_is_told_to_survive) {
    const cloak_photo *photo = sample();
    if (CHECK_SANITIZED)
        check_skip("sanitizers: chance_in_transforms_comes_from_the_seed goes the same ways");
    if (!photo || CHECK_SANITIZED)
        return;
    const cloak_transform transforms[2] = {named("jpeg75"), named("x0.75")};
    size_t left[2] = {0, 0}; /* without the transforms in the loop, and with them */
    for (int in_loop = 0; in_loop < 2; in_loop++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        cloak_detections seen;
        params.eps = 8.0f / 255;
        params.max_steps = 60;
        params.transforms = transforms;
        params.transform_count = in_loop ? 2 : 0;
        uint8_t *out = attacked(photo, &params, &result);
        const cloak_image image = {out, photo->width, photo->height};
        CHECK(result.success);
        CHECK_OK(cloak_model_detect(model(), &image, 1, &seen, &error));
        CHECK_INT(seen.count, 0);
        cloak_detections_free(&seen);
        for (size_t i = 0; i < 2; i++) {
            CHECK_OK(cloak_model_detect_after(model(), &image, &transforms[i], &seen, &error));
            left[in_loop] += seen.count;
            cloak_detections_free(&seen);
        }
        cloak_attack_result_free(&result);
        free(out);
    }
    CHECK(left[0] > 0);
    CHECK_INT(left[1], 0); /* a success is one after each of them */
}

TEST(chance_in_transforms_comes_from_the_seed) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    const cloak_transform transforms[2] = {named("jpeg75"), named("x0.75")};
    uint8_t *out[3];
    for (size_t i = 0; i < 3; i++) {
        cloak_attack_params params = cloak_attack_default_params();
        cloak_attack_result result;
        params.eps = 8.0f / 255;
        params.max_steps = CHECK_SANITIZED ? 4 : 10; /* each is looked through several times */
        params.transforms = transforms;
        params.transform_count = 2;
        params.seed = i == 2;
        out[i] = attacked(photo, &params, &result);
        cloak_attack_result_free(&result);
    }
    CHECK(memcmp(out[0], out[1], size_of(photo)) == 0);
    CHECK(memcmp(out[0], out[2], size_of(photo)) != 0);
    for (size_t i = 0; i < 3; i++)
        free(out[i]);
}

TEST(restarts_repeat_with_their_seed) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result a, b;
    params.eps = 1.0f / 255; /* too little to succeed, so that the restart is taken */
    params.max_steps = 1;
    params.restarts = 1;
    params.seed = 3;
    free(attacked(photo, &params, &a));
    free(attacked(photo, &params, &b));
    size_t size = (size_t)a.grid_width * (size_t)a.grid_height * 3;
    CHECK_INT(a.restarts, 1);
    CHECK(memcmp(a.levels, b.levels, size) == 0);
    cloak_attack_result_free(&a);
    cloak_attack_result_free(&b);
}

typedef struct {
    int calls;
    bool fail;
} Codec;

/* An "encoder" that keeps the upper seven bits. */
static cloak_status coarse(void *context, const cloak_image *image, uint8_t *decoded, cloak_error *problem) {
    Codec *codec = context;
    codec->calls++;
    if (codec->fail)
        return cloak_fail(problem, CLOAK_E_TRANSIENT, "no encoder today");
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height * 3; i++)
        decoded[i] = image->rgb[i] & 0xfe;
    return CLOAK_OK;
}

TEST(succeeds_through_an_encoder_and_reports_its_failure) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result = {0};
    cloak_detections after;
    Codec codec = {0, false};
    cloak_image image = image_of(photo);
    params.codec = coarse;
    params.codec_context = &codec;
    uint8_t *out = attacked(photo, &params, &result);
    CHECK(result.success);
    CHECK(codec.calls > result.steps); /* every look is through it: one per step, and the verdict */
    for (size_t i = 0; i < size_of(photo); i++)
        out[i] &= 0xfe;
    image.rgb = out;
    CHECK_OK(cloak_model_detect(model(), &image, 1, &after, &error));
    CHECK_INT(after.count, 0);
    cloak_detections_free(&after);
    cloak_attack_result_free(&result);
    image.rgb = photo->rgb;
    codec.fail = true;
    CHECK_INT(cloak_model_attack(model(), &image, 1, &params, NULL, &result, &error), CLOAK_E_TRANSIENT);
    CHECK_TEXT(error.text, "no encoder today");
    free(out);
}

static bool stop_at_once(void *context) {
    (void)context;
    return true;
}

TEST(stops_when_asked_to) {
    const cloak_photo *photo = sample();
    if (!photo)
        return;
    cloak_attack_params params = cloak_attack_default_params();
    cloak_attack_result result = {0};
    cloak_image image = image_of(photo);
    params.stop = stop_at_once;
    CHECK_INT(cloak_model_attack(model(), &image, 1, &params, NULL, &result, &error), CLOAK_E_INTERRUPTED);
    CHECK(result.levels == NULL);
}

TEST(a_photo_without_faces_needs_nothing) {
    uint8_t grey[64 * 48 * 3], out[sizeof grey];
    cloak_image image = {grey, 64, 48};
    cloak_attack_result result;
    memset(grey, 128, sizeof grey);
    CHECK_OK(cloak_model_attack(model(), &image, 1, NULL, NULL, &result, &error));
    CHECK(result.success && result.steps == 0);
    CHECK_OK(cloak_model_apply(&image, &result, out, &error));
    CHECK(memcmp(grey, out, sizeof grey) == 0);
    cloak_attack_result_free(&result);
}

TEST(a_photo_may_be_narrower_than_any_face) {
    enum { LONG = 16384, SHORT = 60 };
    uint8_t *rgb = cloak_alloc(LONG * SHORT * 3);
    memset(rgb, 90, LONG * SHORT * 3);
    cloak_image images[2] = {{rgb, LONG, SHORT}, {rgb, SHORT, LONG}};
    cloak_detections found[2];
    CHECK_OK(cloak_model_detect(model(), images, 2, found, &error));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(found[i].count, 0);
        cloak_detections_free(&found[i]);
    }
    free(rgb);
}

TEST(refuses_what_cannot_be) {
    uint8_t pixel[3] = {0};
    cloak_image good = {pixel, 1, 1}, bad = {pixel, 0, 7};
    cloak_detections found;
    cloak_attack_result result = {0};
    cloak_attack_params params = cloak_attack_default_params();
    cloak_model *other = NULL;
    cloak_model_params load = cloak_model_default_params();
    CHECK_INT(cloak_model_detect(model(), &bad, 1, &found, &error), CLOAK_E_PERMANENT);
    params.eps = 0.001f;
    CHECK_INT(cloak_model_attack(model(), &good, 1, &params, NULL, &result, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "eps"));
    CHECK_INT(cloak_model_apply(&good, &result, pixel, &error), CLOAK_E_USAGE);
    CHECK_INT(cloak_model_load("no-such-model", NULL, &other, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "no-such-model"));
    for (const char *const *name = (const char *const[]){"cuda:99", "cuda:", "cuda:x", "cuda:123", "gpu", "", NULL}; *name; name++) {
        load.device = *name;
        CHECK_INT(cloak_model_load(weights(), &load, &other, &error), CLOAK_E_DEVICE);
        CHECK(strstr(error.text, *name));
    }
    CHECK(other == NULL);
    CHECK_OK(cloak_model_detect(model(), &good, 1, &found, &error)); /* one pixel is a photo */
    cloak_detections_free(&found);
}

/* Cuts and twists the weight file: every version is refused with a text, none crashes. */
TEST(refuses_broken_weight_files) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_model *other = NULL;
    char *path = cloak_path_join(check_folder(), "broken.safetensors");
    CHECK_OK(cloak_file_read(weights(), (size_t)64 << 20, &bytes, &length, &error));
    const size_t cuts[] = {0, 4, 8, 100, 5000, length / 2, length - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        CHECK_OK(cloak_file_write(path, bytes, cuts[i], &error));
        CHECK_INT(cloak_model_load(path, NULL, &other, &error), CLOAK_E_USAGE);
        CHECK(strstr(error.text, "broken.safetensors"));
    }
    char *text = bytes;
    static const char *const keys[] = {"\"backbone\"", "data_offsets", "fc6.weight", "anchor_sizes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char *at = memmem(text, length, keys[i], strlen(keys[i]));
        CHECK(at != NULL);
        char kept = at[2];
        at[2] = 'X';
        CHECK_OK(cloak_file_write(path, bytes, length, &error));
        CHECK_INT(cloak_model_load(path, NULL, &other, &error), CLOAK_E_USAGE);
        at[2] = kept;
    }
    free(path);
    free(bytes);
}
