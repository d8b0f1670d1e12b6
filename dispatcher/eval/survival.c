/* cloak eval survival: what becomes of cloaks when platforms recompress, shrink, crop or turn the
 * photos. It is about delivered files: those of an earlier `cloak run`, or of one that is started
 * here on a copy of the photos. Every file is decoded, changed by real codecs (change.h) and looked
 * at; so is the photo that it was made from, since a change may hide faces by itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/base/install.h"
#include "common/report/delivery.h"
#include "dispatcher/eval/change.h"
#include "dispatcher/eval/set.h"
#include "dispatcher/process.h"
#include "dispatcher/verbs.h"

enum { MAX_CHANGES = 64, MAX_VIEWS = 8, LONGEST_RUN = 7 * 86400 };

static const char usual_changes[] =
    "raw,jpeg95,jpeg85,jpeg75,jpeg60,webp80,x0.9,x0.75,x0.6,x0.5,x1.5,x0.75+jpeg85,x0.75+jpeg75,"
    "x0.6+jpeg85,x0.6+jpeg75,view0.75,view0.9,view1.25,crop0.05,rotate2";

typedef struct {
    cloak_eval_options set;
    const char *preset, *eps, *steps, *cloaked, *changes;
} Options;

typedef struct {
    char *name; /* of the change */
    cloak_ap before, after;
} Row;

/* A detector that looks at so many times its own input size. */
typedef struct {
    double view;
    cloak_model *model;
} Eye;

typedef struct {
    const Options *options;
    cloak_eval_set set;
    cloak_store *delivered;
    Row rows[MAX_CHANGES];
    size_t count;
    Eye eyes[MAX_VIEWS];
    size_t eye_count;
    double psnr, small_psnr, small_psnr_least, ssim, ssim_least;
    size_t measured, small; /* photos, and those of them whose faces cover less than 2 % */
} Run;

static cloak_status eye_for(Run *run, double view, cloak_model **model, cloak_error *error) {
    cloak_model_info info = cloak_model_describe(run->set.model);
    cloak_model_params params = cloak_model_default_params();
    const cloak_eval_options *o = &run->options->set;
    if (fabs(view - 1) < 1e-9) {
        *model = run->set.model;
        return CLOAK_OK;
    }
    for (size_t i = 0; i < run->eye_count; i++)
        if (fabs(run->eyes[i].view - view) < 1e-9) {
            *model = run->eyes[i].model;
            return CLOAK_OK;
        }
    if (run->eye_count == MAX_VIEWS)
        return cloak_fail(error, CLOAK_E_USAGE, "more than %d different views", MAX_VIEWS);
    params.device = o->device;
    params.threads = (int)o->threads;
    params.detail = (int)lround(info.input_max * view);
    char *path = o->model ? cloak_strdup(o->model) : cloak_install_model();
    Eye *eye = &run->eyes[run->eye_count];
    cloak_status status = cloak_model_load(path, &params, &eye->model, error);
    free(path);
    if (status != CLOAK_OK)
        return status;
    eye->view = view;
    run->eye_count++;
    *model = eye->model;
    return CLOAK_OK;
}

/* Looks at one photo after one change and adds what is found to `ap`. */
static cloak_status look(Run *run, const char *change, const cloak_photo *photo,
    const cloak_eval_photo *original, cloak_ap *ap, cloak_error *error) {
    cloak_eval_changed changed;
    cloak_model *model = NULL;
    cloak_detections found = {0};
    cloak_status status = cloak_eval_change(change, photo, &changed, error);
    if (status != CLOAK_OK)
        return status;
    cloak_image image = {changed.rgb, changed.width, changed.height};
    status = eye_for(run, changed.view, &model, error);
    if (status == CLOAK_OK)
        status = cloak_model_detect(model, &image, 1, &found, error);
    if (status == CLOAK_OK) {
        cloak_eval_change_back(&changed, &found);
        cloak_eval_add(ap, &found, original);
    }
    cloak_detections_free(&found);
    free(changed.rgb);
    return status;
}

/* How visible the cloak is: the whole photo, and the face that suffers most. */
static void compare(Run *run, const cloak_eval_photo *original, const cloak_photo *delivered) {
    const cloak_photo *photo = &original->photo;
    const cloak_truth *truth = original->truth;
    const double pixels = (double)photo->width * photo->height;
    double psnr = cloak_photo_psnr(photo->rgb, delivered->rgb, (size_t)(pixels * 3)), worst = 1;
    double covered = 0;
    for (size_t i = 0; i < truth->count; i++) {
        const cloak_box *b = &truth->boxes[i];
        if (truth->ignore && truth->ignore[i] != CLOAK_TRUTH_FACE)
            continue;
        const int x0 = (int)fmaxf(b->x1, 0), y0 = (int)fmaxf(b->y1, 0);
        const int x1 = (int)fminf(b->x2, (float)photo->width);
        const int y1 = (int)fminf(b->y2, (float)photo->height);
        if (x1 <= x0 || y1 <= y0)
            continue;
        covered += (double)(x1 - x0) * (y1 - y0);
        worst =
            fmin(worst, cloak_photo_ssim(photo->rgb, delivered->rgb, photo->width, x0, y0, x1, y1));
    }
    run->measured++;
    run->psnr += psnr;
    run->ssim += worst;
    run->ssim_least = fmin(run->ssim_least, worst);
    if (covered < 0.02 * pixels) {
        run->small++;
        run->small_psnr += psnr;
        run->small_psnr_least = fmin(run->small_psnr_least, psnr);
    }
}

static cloak_status measure_photo(Run *run, const cloak_eval_photo *original, cloak_error *error) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_photo delivered = {0};
    cloak_status status =
        cloak_store_get(run->delivered, original->key, CLOAK_PHOTO_FILE_MAX, &bytes, &length, error);
    if (status == CLOAK_OK)
        status = cloak_photo_decode(bytes, length, original->key, NULL, &delivered, error);
    free(bytes);
    if (status == CLOAK_OK &&
        (delivered.width != original->photo.width || delivered.height != original->photo.height))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "%s: the delivered photo has another size than the original", original->key);
    if (status == CLOAK_OK)
        compare(run, original, &delivered);
    for (size_t i = 0; i < run->count && status == CLOAK_OK; i++) {
        Row *row = &run->rows[i];
        status = look(run, row->name, &original->photo, original, &row->before, error);
        if (status == CLOAK_OK)
            status = look(run, row->name, &delivered, original, &row->after, error);
    }
    cloak_photo_free(&delivered);
    return status;
}

static cloak_status measure(Run *run, cloak_error *error) {
    cloak_status status = CLOAK_OK;
    for (size_t i = 0; i < run->set.count && status == CLOAK_OK; i++) {
        cloak_eval_photo photo;
        status = cloak_eval_set_photo(&run->set, i, &photo, error);
        if (status == CLOAK_OK)
            status = measure_photo(run, &photo, error);
        cloak_photo_free(&photo.photo);
        if (i % 10 == 9)
            fprintf(stderr, "  %zu of %zu photos looked at\n", i + 1, run->set.count);
    }
    return status;
}

/* Copies the set's photos to `album`, so that no other is cloaked. */
static cloak_status copy_photos(const Run *run, const char *album, cloak_error *error) {
    cloak_store *store = NULL;
    cloak_status status = cloak_store_open(album, &store, error);
    for (size_t i = 0; i < run->set.count && status == CLOAK_OK; i++) {
        void *bytes = NULL;
        size_t length = 0;
        status =
            cloak_store_get(run->set.store, run->set.keys[i], CLOAK_PHOTO_FILE_MAX, &bytes, &length, error);
        if (status == CLOAK_OK)
            status = cloak_store_put(store, run->set.keys[i], bytes, length, error);
        free(bytes);
    }
    cloak_store_close(store);
    return status;
}

/* `cloak run` on the copy; it ends by itself. What it says goes to `log`. */
static cloak_status cloak_them(
    const Run *run, const char *album, const char *out, const char *log, cloak_error *error) {
    const cloak_eval_options *o = &run->options->set;
    char *program = cloak_install_program("cloak"), threads[24];
    snprintf(threads, sizeof threads, "%ld", o->threads);
    char *argv[20] = {program, "run", (char *)album, (char *)out, "--preset",
        (char *)run->options->preset, "--device", (char *)o->device, "--threads", threads};
    const char *optional[][2] = {
        {"--model", o->model}, {"--eps", run->options->eps}, {"--steps", run->options->steps}};
    for (size_t i = 0, n = 10; i < sizeof optional / sizeof *optional; i++)
        if (optional[i][1]) {
            argv[n++] = (char *)optional[i][0];
            argv[n++] = (char *)optional[i][1];
        }
    cloak_status status =
        cloak_process_run(argv, log, CLOAK_EXIT_RESIDUAL, LONGEST_RUN, error);
    free(program);
    return status;
}

static cloak_status make_and_measure(Run *run, cloak_error *error) {
    const char *base = getenv("TMPDIR");
    char *folder = cloak_format("%s/cloak-survival-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        cloak_fail(
            error, CLOAK_E_TRANSIENT, "cannot create %s; set TMPDIR to a folder with room", folder);
        free(folder);
        return CLOAK_E_TRANSIENT;
    }
    char *album = cloak_path_join(folder, "album"), *out = cloak_path_join(folder, "out");
    char *log = cloak_path_join(folder, "log");
    fprintf(stderr, "  cloaking %zu photos in %s\n", run->set.count, folder);
    cloak_status status = copy_photos(run, album, error);
    if (status == CLOAK_OK)
        status = cloak_them(run, album, out, log, error);
    if (status == CLOAK_OK)
        status = cloak_store_open(out, &run->delivered, error);
    if (status == CLOAK_OK)
        status = measure(run, error);
    cloak_file_remove_tree(folder);
    free(log);
    free(out);
    free(album);
    free(folder);
    return status;
}

static cloak_status name_rows(Run *run, cloak_error *error) {
    const char *names = run->options->changes ? run->options->changes : usual_changes;
    char *copy = cloak_strdup(names), *rest = copy, *name;
    cloak_status status = CLOAK_OK;
    uint8_t pixels[48 * 3 * 48] = {0};
    const cloak_photo probe = {.width = 48, .height = 48, .rgb = pixels};
    while (status == CLOAK_OK && (name = strsep(&rest, ","))) {
        cloak_eval_changed changed;
        if (run->count == MAX_CHANGES)
            status = cloak_fail(error, CLOAK_E_USAGE, "more than %d changes", MAX_CHANGES);
        else if ((status = cloak_eval_change(name, &probe, &changed, error)) == CLOAK_OK) {
            free(changed.rgb);
            run->rows[run->count++].name = cloak_strdup(name);
        }
    }
    free(copy);
    return status;
}

static void print(const Run *run) {
    const double n = (double)run->measured;
    fprintf(stderr,
        "\n  %-16s recall before  after   AP before  after   (IoU .5, %zu photos, %llu faces)\n",
        "", run->measured, (unsigned long long)(run->count ? run->rows[0].before.faces : 0));
    for (size_t i = 0; i < run->count; i++) {
        const Row *row = &run->rows[i];
        fprintf(stderr, "  %-16s        %.3f  %.3f       %.3f  %.3f\n", row->name,
            cloak_ap_recall(&row->before, CLOAK_AP_IOU_50),
            cloak_ap_recall(&row->after, CLOAK_AP_IOU_50),
            cloak_ap_average(&row->before, CLOAK_AP_IOU_50),
            cloak_ap_average(&row->after, CLOAK_AP_IOU_50));
    }
    fprintf(stderr,
        "  PSNR %.1f dB on average; %zu photos whose faces cover less than 2 %%: %.1f dB on "
        "average, "
        "%.1f at least\n  SSIM of the worst face: %.3f on average, %.3f at least\n",
        run->psnr / n, run->small, run->small ? run->small_psnr / (double)run->small : NAN,
        run->small ? run->small_psnr_least : NAN, run->ssim / n, run->ssim_least);
}

static void print_json(const Run *run) {
    const double n = (double)run->measured;
    cJSON *object = cJSON_CreateObject(), *changes;
    cJSON_AddNumberToObject(object, "photos", n);
    cJSON_AddNumberToObject(object, "faces", run->count ? (double)run->rows[0].before.faces : 0);
    cJSON_AddStringToObject(object, "preset", run->options->preset ? run->options->preset : "");
    if (run->options->eps)
        cJSON_AddStringToObject(object, "eps", run->options->eps);
    if (run->options->steps)
        cJSON_AddStringToObject(object, "steps", run->options->steps);
    cloak_eval_number(object, "psnr_db", run->psnr / n);
    cJSON_AddNumberToObject(object, "small_face_photos", (double)run->small);
    cloak_eval_number(object, "small_face_psnr_db", run->small_psnr / (double)run->small);
    cloak_eval_number(object, "ssim_worst_face", run->ssim / n);
    cloak_eval_number(object, "ssim_worst_face_least", run->ssim_least);
    changes = cJSON_AddObjectToObject(object, "changes");
    for (size_t i = 0; i < run->count; i++) {
        const Row *row = &run->rows[i];
        cloak_eval_before_after(
            cJSON_AddObjectToObject(changes, row->name), &row->before, &row->after);
    }
    cloak_eval_report(object);
}

static void run_free(Run *run) {
    for (size_t i = 0; i < run->count; i++) {
        free(run->rows[i].name);
        cloak_ap_free(&run->rows[i].before);
        cloak_ap_free(&run->rows[i].after);
    }
    for (size_t i = 0; i < run->eye_count; i++)
        cloak_model_free(run->eyes[i].model);
    cloak_store_close(run->delivered);
    cloak_eval_set_close(&run->set);
}

int cloak_eval_survival(int argc, char **argv) {
    Options o = {CLOAK_EVAL_OPTIONS_DEFAULT, NULL, NULL, NULL, NULL, NULL};
    const cloak_option table[] = {CLOAK_EVAL_OPTIONS(o.set),
        {"preset", "NAME", NULL, CLOAK_OPTION_TEXT, &o.preset, 0, 0,
            "cloaks the photos first, in a temporary folder"},
        {"eps", "E", NULL, CLOAK_OPTION_TEXT, &o.eps, 0, 0, "with --preset: another budget"},
        {"steps", "N", NULL, CLOAK_OPTION_TEXT, &o.steps, 0, 0, "with --preset: other steps"},
        {"cloaked", "DIR", NULL, CLOAK_OPTION_TEXT, &o.cloaked, 0, 0,
            "or: the output of an earlier `cloak run` on them"},
        {"changes", "NAMES", NULL, CLOAK_OPTION_TEXT, &o.changes, 0, 0,
            "raw,jpeg75,x0.6+jpeg75,webp80,crop0.05,rotate2,view0.75 and their kin"},
        {0}};
    cloak_error error = {0};
    int code = 0;
    if (!cloak_verb_parse(
            "eval survival --photos DIR --labels FILE --preset NAME|--cloaked DIR [OPTIONS]",
            "AP and recall on delivered photos after what platforms do to them.", table, argc, argv,
            0, &code))
        return code;
    if (!o.preset == !o.cloaked) {
        fprintf(stderr, "cloak eval survival: one of --preset and --cloaked is needed\n");
        return CLOAK_EXIT_USAGE;
    }
    Run run = {.options = &o, .small_psnr_least = INFINITY, .ssim_least = 1};
    cloak_status status = cloak_eval_set_open(&o.set, &run.set, &error);
    if (status == CLOAK_OK)
        status = name_rows(&run, &error);
    if (status == CLOAK_OK && o.cloaked) {
        status = cloak_store_open(o.cloaked, &run.delivered, &error);
        if (status == CLOAK_OK)
            status = measure(&run, &error);
    } else if (status == CLOAK_OK) {
        status = make_and_measure(&run, &error);
    }
    if (status == CLOAK_OK) {
        print(&run);
        if (o.set.json)
            print_json(&run);
    }
    run_free(&run);
    return status == CLOAK_OK ? CLOAK_EXIT_OK : cloak_verb_fail("eval survival", &error);
}
