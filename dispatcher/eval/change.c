/* Changes by libvips; see the header. */
#include "dispatcher/eval/change.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

enum { MAX_CHAIN = 128 };

/* Replaces `*image` by what the operation made of it; non-zero on failure. */
static int replace(VipsImage **image, VipsImage *made, int failed) {
    if (failed)
        return failed;
    g_object_unref(*image);
    *image = made;
    return 0;
}

/* map = map ∘ inner, both affine. */
static void compose(double map[2][3], const double inner[2][3]) {
    for (int r = 0; r < 2; r++) {
        const double a = map[r][0], b = map[r][1];
        for (int c = 0; c < 3; c++)
            map[r][c] = a * inner[0][c] + b * inner[1][c] + (c == 2 ? map[r][2] : 0);
    }
}

static int resize(cloak_eval_changed *changed, VipsImage **image, double factor) {
    VipsImage *made = NULL;
    const double width = (*image)->Xsize, height = (*image)->Ysize;
    int failed = vips_resize(*image, &made, factor, NULL);
    if (failed)
        return failed;
    const double sx = width / made->Xsize, sy = height / made->Ysize;
    compose(changed->back, (const double[2][3]){{sx, 0, 0}, {0, sy, 0}});
    changed->scale *= sqrt(sx * sy);
    return replace(image, made, 0);
}

/* Through a file in memory. */
static int store(VipsImage **image, double quality, bool webp, VipsForeignSubsample chroma) {
    void *bytes = NULL;
    size_t length = 0;
    VipsImage *read = NULL, *made = NULL;
    int failed = webp ? vips_webpsave_buffer(*image, &bytes, &length, "Q", (int)quality, NULL)
                      : vips_jpegsave_buffer(*image, &bytes, &length, "Q", (int)quality,
                            "subsample-mode", chroma, NULL);
    if (!failed)
        failed = webp ? vips_webpload_buffer(bytes, length, &read, NULL)
                      : vips_jpegload_buffer(bytes, length, &read, NULL);
    if (!failed) /* the bytes go, the pixels stay */
        failed = !(made = vips_image_copy_memory(read));
    if (read)
        g_object_unref(read);
    g_free(bytes);
    return replace(image, made, failed);
}

static int write_jpeg(cloak_eval_changed *changed, VipsImage **image, double quality) {
    (void)changed;
    return store(image, quality, false, VIPS_FOREIGN_SUBSAMPLE_ON);
}

static int write_full_jpeg(cloak_eval_changed *changed, VipsImage **image, double quality) {
    (void)changed;
    return store(image, quality, false, VIPS_FOREIGN_SUBSAMPLE_OFF);
}

static int write_webp(cloak_eval_changed *changed, VipsImage **image, double quality) {
    (void)changed;
    return store(image, quality, true, VIPS_FOREIGN_SUBSAMPLE_AUTO);
}

static int crop(cloak_eval_changed *changed, VipsImage **image, double share) {
    VipsImage *made = NULL;
    const int left = (int)((*image)->Xsize * share), top = (int)((*image)->Ysize * share);
    compose(changed->back, (const double[2][3]){{1, 0, left}, {0, 1, top}});
    int failed = vips_crop(
        *image, &made, left, top, (*image)->Xsize - 2 * left, (*image)->Ysize - 2 * top, NULL);
    return replace(image, made, failed);
}

static int rotate(cloak_eval_changed *changed, VipsImage **image, double degrees) {
    const double angle = degrees * M_PI / 180, c = cos(angle), s = sin(angle);
    const double x = (*image)->Xsize / 2.0, y = (*image)->Ysize / 2.0;
    const double matrix[4] = {c, -s, s, c};
    VipsImage *made = NULL;
    VipsArrayInt *area = vips_array_int_newv(4, 0, 0, (*image)->Xsize, (*image)->Ysize);
    int failed = vips_affine(*image, &made, matrix[0], matrix[1], matrix[2], matrix[3], "oarea",
        area, "odx", x - c * x + s * y, "ody", y - s * x - c * y, NULL);
    vips_area_unref(VIPS_AREA(area));
    compose(
        changed->back, (const double[2][3]){{c, s, x - c * x - s * y}, {-s, c, y + s * x - c * y}});
    return replace(image, made, failed);
}

static int view(cloak_eval_changed *changed, VipsImage **image, double factor) {
    (void)image;
    changed->view *= factor;
    return 0;
}

static const struct {
    const char *word;
    double least, most;
    int (*apply)(cloak_eval_changed *changed, VipsImage **image, double value);
} parts[] = {{"x", 0.05, 4, resize}, {"jpeg", 1, 100, write_jpeg}, {"jpegfull", 1, 100, write_full_jpeg}, {"webp", 1, 100, write_webp},
    {"crop", 0, 0.45, crop}, {"rotate", -180, 180, rotate}, {"view", 0.2, 4, view}};

static cloak_status apply(
    cloak_eval_changed *changed, VipsImage **image, const char *part, cloak_error *error) {
    if (strcmp(part, "raw") == 0)
        return CLOAK_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const size_t length = strlen(parts[i].word);
        char *end = NULL;
        if (strncmp(part, parts[i].word, length) != 0)
            continue;
        const double value = strtod(part + length, &end);
        if (end == part + length || *end || !(value >= parts[i].least && value <= parts[i].most))
            continue;
        if (parts[i].apply(changed, image, value) == 0)
            return CLOAK_OK;
        cloak_fail(error, CLOAK_E_INTERNAL, "%s: %s", part, vips_error_buffer());
        vips_error_clear();
        return CLOAK_E_INTERNAL;
    }
    return cloak_fail(error, CLOAK_E_USAGE,
        "'%s' is no change; there are raw, x0.05 to x4, jpeg1 to jpeg100, jpegfull1 to jpegfull100, "
        "webp1 to webp100, crop0 to crop0.45, rotate-180 to rotate180, view0.2 to view4, and chains of them with +",
        part);
}

cloak_status cloak_eval_change(
    const char *chain, const cloak_photo *photo, cloak_eval_changed *changed, cloak_error *error) {
    char copy[MAX_CHAIN], *rest = copy, *part;
    if (strlen(chain) >= sizeof copy)
        return cloak_fail(error, CLOAK_E_USAGE, "the change '%.40s…' is too long", chain);
    strcpy(copy, chain);
    cloak_eval_changed made = {.view = 1, .scale = 1, .back = {{1, 0, 0}, {0, 1, 0}}};
    VipsImage *plain = vips_image_new_from_memory(photo->rgb,
                  (size_t)photo->width * (size_t)photo->height * 3, photo->width, photo->height, 3,
                  VIPS_FORMAT_UCHAR),
              *image = NULL;
    size_t length = 0;
    cloak_status status = CLOAK_OK;
    if (!plain || vips_copy(plain, &image, "interpretation", VIPS_INTERPRETATION_sRGB, NULL))
        status = cloak_fail(error, CLOAK_E_DEVICE, "%s: %s", chain, vips_error_buffer());
    while (status == CLOAK_OK && (part = strsep(&rest, "+")))
        status = apply(&made, &image, part, error);
    if (status == CLOAK_OK) {
        made.width = image->Xsize;
        made.height = image->Ysize;
        made.rgb = vips_image_write_to_memory(image, &length);
        if (!made.rgb || length != (size_t)made.width * (size_t)made.height * 3)
            status = cloak_fail(error, CLOAK_E_INTERNAL, "%s: %s", chain, vips_error_buffer());
    }
    if (image)
        g_object_unref(image);
    if (plain)
        g_object_unref(plain);
    if (status == CLOAK_OK)
        *changed = made;
    else
        g_free(made.rgb);
    return status;
}

void cloak_eval_change_back(const cloak_eval_changed *changed, cloak_detections *found) {
    for (size_t i = 0; i < found->count; i++) {
        cloak_detection *d = &found->items[i];
        const double x = (d->x1 + d->x2) / 2.0, y = (d->y1 + d->y2) / 2.0;
        const double w = (d->x2 - d->x1) * changed->scale / 2,
                     h = (d->y2 - d->y1) * changed->scale / 2;
        const double cx = changed->back[0][0] * x + changed->back[0][1] * y + changed->back[0][2];
        const double cy = changed->back[1][0] * x + changed->back[1][1] * y + changed->back[1][2];
        d->x1 = (float)(cx - w);
        d->x2 = (float)(cx + w);
        d->y1 = (float)(cy - h);
        d->y2 = (float)(cy + h);
    }
}
