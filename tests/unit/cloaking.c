/* A worker's rounds over one photo: what each of them is asked for, which attempt is kept, and when it ends. The model
 * is one that follows a plan: its n-th attack marks the photo so that it can be told, and what is found on a file that
 * came of it is in the plan. Files, encoder and decoder are the real ones. */
#include "tests/unit/samples.h"
#include "worker/cloaking.h"

enum { SIDE = 64, MARK = 4, MOST = 12 };

/* What is found on the file that the n-th attack led to, as the n-th verification sees it. */
typedef struct {
    size_t faces;
    float score;
} Finding;

typedef struct {
    float region;
    int restarts;
    int warm; /* number of the attack that it goes on from; 0: from none */
    bool codec;
    double codec_psnr; /* of what the codec makes of the photo, to the photo */
} Asked;

static struct {
    Finding findings[MOST];
    Asked asked[MOST];
    int attacks, looks;
    int stop_at; /* the attack of this number is interrupted; 0: none */
} plan;

static cloak_error error;

/* --- the model -------------------------------------------------------------------------------- */

struct cloak_model {
    int unused;
};

static cloak_model model;

cloak_status cloak_model_load(
    const char *path, const cloak_model_params *params, cloak_model **out, cloak_error *why) {
    (void)path, (void)params, (void)out;
    return cloak_fail(why, CLOAK_E_USAGE, "not here");
}

void cloak_model_free(cloak_model *m) {
    (void)m;
}

cloak_model_info cloak_model_describe(const cloak_model *m) {
    (void)m;
    return (cloak_model_info){.name = "plan"};
}

cloak_status cloak_model_detect(
    cloak_model *m, const cloak_image *images, size_t count, cloak_detections *out, cloak_error *why) {
    (void)m, (void)images, (void)why;
    CHECK_INT(count, 1);
    const Finding finding = plan.findings[plan.looks++];
    out->count = finding.faces;
    out->items = finding.faces ? cloak_alloc(finding.faces * sizeof *out->items) : NULL;
    for (size_t i = 0; i < finding.faces; i++)
        out->items[i] = (cloak_detection){.x2 = 8, .y2 = 8, .score = finding.score};
    return CLOAK_OK;
}

cloak_status cloak_model_detect_after(cloak_model *m, const cloak_image *image, const cloak_transform *transform,
    cloak_detections *out, cloak_error *why) {
    (void)transform;
    return cloak_model_detect(m, image, 1, out, why);
}

void cloak_detections_free(cloak_detections *detections) {
    free(detections->items);
    *detections = (cloak_detections){0};
}

cloak_attack_params cloak_attack_default_params(void) {
    return (cloak_attack_params){.size = sizeof(cloak_attack_params)};
}

cloak_status cloak_model_attack(cloak_model *m, const cloak_image *images, size_t count,
    const cloak_attack_params *params, const cloak_attack_result *warm, cloak_attack_result *results,
    cloak_error *why) {
    (void)m;
    CHECK_INT(count, 1);
    CHECK(plan.attacks < MOST);
    Asked *asked = &plan.asked[plan.attacks];
    const int number = ++plan.attacks;
    *asked = (Asked){.region = params->region, .restarts = params->restarts, .codec = params->codec != NULL,
        .warm = warm && warm->levels ? warm->levels[0] : 0};
    if (number == plan.stop_at)
        return cloak_fail(why, CLOAK_E_INTERRUPTED, "stopped");
    if (params->codec) {
        const size_t size = (size_t)SIDE * SIDE * 3;
        uint8_t *decoded = cloak_alloc(size);
        CHECK_OK(params->codec(params->codec_context, &images[0], decoded, &error));
        asked->codec_psnr = cloak_photo_psnr(images[0].rgb, decoded, size);
        free(decoded);
    }
    *results = (cloak_attack_result){.grid_width = 1, .grid_height = 1, .levels = cloak_alloc(3), .steps = 10 * number,
        .restarts = params->restarts, .look_seconds = {0.5}};
    results->levels[0] = (int8_t)number;
    return CLOAK_OK;
}

void cloak_attack_result_free(cloak_attack_result *result) {
    free(result->levels);
    *result = (cloak_attack_result){0};
}

/* A number of levels everywhere, so that the attempt can be told from its pixels. */
cloak_status cloak_model_apply(
    const cloak_image *image, const cloak_attack_result *result, uint8_t *out, cloak_error *why) {
    (void)why;
    for (size_t i = 0; i < (size_t)SIDE * SIDE * 3; i++)
        out[i] = (uint8_t)(image->rgb[i] + MARK * result->levels[0]);
    return CLOAK_OK;
}

/* --- a run ------------------------------------------------------------------------------------ */

typedef struct {
    cloak_photo photo;
    bytes file;
    cloak_record record;
    cloak_cloaking made;
    cloak_status status;
} Run;

/* Cloaks a photo with so many rounds after the first; `findings` say what is found on one attempt after the other. */
static Run run_rounds(cloak_format_id format, long rounds, const Finding *findings, size_t count) {
    Run run = {.photo = make_photo(format, SIDE, SIDE, false)};
    const cloak_settings settings = {.eps = 5 / 255.0, .max_steps = 40, .restarts = 1, .region = 3,
        .encoder_rounds = rounds, .survive = (char[]){""}};
    const cloak_findings before = {0};
    const cloak_target_set targets = {.own = &model};
    cloak_stages stages = {0};
    run.file = encode(&run.photo);
    cloak_photo_free(&run.photo);
    run.photo = decode(run.file);
    const cloak_source source = {.photo = &run.photo, .seen = run.photo.rgb, .bytes = run.file.data,
        .length = run.file.length, .name = "a", .owner = ""};
    memcpy(plan.findings, findings, count * sizeof *findings);
    plan.attacks = plan.looks = 0;
    cloak_record_init(&run.record);
    cloak_stages_begin(&stages, &run.record);
    run.status =
        cloak_cloaking_run(&targets, &source, &settings, &before, NULL, NULL, &stages, &run.made, &error);
    CHECK(run.status || plan.looks == plan.attacks); /* every attempt is looked at */
    return run;
}

/* Which attack's attempt was kept. */
static int kept(const Run *run) {
    return (run->made.rgb[0] - run->photo.rgb[0]) / MARK;
}

static void end_run(Run *run) {
    cloak_cloaking_free(&run->made);
    cloak_record_free(&run->record);
    cloak_photo_free(&run->photo);
    free(run->file.data);
}

TEST(a_first_attempt_that_holds_is_the_last) {
    const Finding findings[] = {{0, 0}};
    Run run = run_rounds(CLOAK_FORMAT_JPEG, 3, findings, 1);
    CHECK_INT(run.status, CLOAK_OK);
    CHECK_INT(plan.attacks, 1);
    CHECK(!plan.asked[0].codec && plan.asked[0].warm == 0 && plan.asked[0].restarts == 1);
    CHECK(kept(&run) == 1 && run.made.found.all.count == 0 && !run.made.fine);
    CHECK(run.record.steps == 10 && run.record.restarts == 1 && run.record.encoder_rounds == 0);
    CHECK(cloak_photo_sniff(run.made.bytes, run.made.length) == CLOAK_FORMAT_JPEG);
    end_run(&run);
}

/* The encoder comes in with the second attack, a wider region with the third; where the untouched blocks were kept to
 * no avail, the whole photo is coded finely in as many rounds again. */
TEST(of_all_rounds_the_best_attempt_is_kept) {
    const Finding findings[] = {{2, 0.2f}, {1, 0.9f}, {1, 0.3f}, {1, 0.5f}, {3, 0.1f}, {1, 0.6f}, {1, 0.4f}};
    Run run = run_rounds(CLOAK_FORMAT_JPEG, 3, findings, 7);
    CHECK_INT(run.status, CLOAK_OK);
    CHECK_INT(plan.attacks, 7);
    for (int i = 0; i < 7; i++) {
        const Asked *asked = &plan.asked[i];
        CHECK_INT(asked->warm, i);
        CHECK_INT(asked->codec, i > 0);
        CHECK_INT(asked->restarts, i == 0);
        CHECK_NEAR((double)asked->region, i < 2 ? 3 : 6, 1e-6);
        if (i > 0) /* what has not changed keeps its coefficients, or is coded finely */
            CHECK(asked->codec_psnr > (i < 4 ? 98 : 40));
    }
    CHECK_INT(kept(&run), 3); /* one face, and the least sure of those */
    CHECK(run.made.found.all.count == 1 && !run.made.fine);
    CHECK_INT(run.record.steps, 280);
    CHECK_INT(run.record.restarts, 1);
    CHECK_INT(run.record.encoder_rounds, 6);
    CHECK_TEXT(run.record.seconds_looks, "plan:3.5");
    end_run(&run);
}

TEST(a_round_that_holds_is_the_last) {
    const Finding findings[] = {{1, 0.9f}, {1, 0.2f}, {0, 0}};
    Run run = run_rounds(CLOAK_FORMAT_JPEG, 5, findings, 3);
    CHECK_INT(run.status, CLOAK_OK);
    CHECK(plan.attacks == 3 && kept(&run) == 3 && run.made.found.all.count == 0);
    CHECK_INT(run.record.encoder_rounds, 2);
    end_run(&run);
}

TEST(what_fails_with_its_blocks_kept_may_hold_when_coded_finely) {
    const Finding findings[] = {{1, 0.9f}, {1, 0.9f}, {1, 0.9f}, {0, 0}};
    Run run = run_rounds(CLOAK_FORMAT_JPEG, 2, findings, 4);
    CHECK_INT(run.status, CLOAK_OK);
    CHECK(plan.attacks == 4 && kept(&run) == 4 && run.made.fine);
    CHECK_INT(run.record.encoder_rounds, 3);
    end_run(&run);
}

/* There are no blocks to keep: it is coded as a whole from the first round on. */
TEST(a_file_without_blocks_has_its_rounds_once) {
    const Finding findings[] = {{1, 0.9f}, {1, 0.8f}, {1, 0.7f}};
    Run run = run_rounds(CLOAK_FORMAT_PNG, 2, findings, 3);
    CHECK_INT(run.status, CLOAK_OK);
    CHECK(plan.attacks == 3 && kept(&run) == 3 && run.made.fine);
    CHECK(memcmp(run.made.rgb, run.made.decoded, (size_t)SIDE * SIDE * 3) == 0);
    end_run(&run);
}

TEST(who_is_stopped_between_two_rounds_delivers_nothing) {
    const Finding findings[] = {{1, 0.9f}};
    plan.stop_at = 2;
    Run run = run_rounds(CLOAK_FORMAT_JPEG, 3, findings, 1);
    plan.stop_at = 0;
    CHECK_INT(run.status, CLOAK_E_INTERRUPTED);
    CHECK(plan.attacks == 2 && !run.made.bytes && !run.made.rgb && run.record.steps == 10);
    end_run(&run);
}
