/* Whatever the bytes are: the life of a photo's file from its first byte to the delivered one, with small limits.
 * What comes out must decode to the same size, and hold no part that does not pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/photo/parts.h"
#include "common/photo/srgb.h"
#include "tests/fuzz/fuzz.h"

static const char name[] = "fuzz";
static const cloak_photo_limits limits = {.max_pixels = 1 << 16, .max_side = 1024};

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    cloak_error error;
    if (cloak_photo_init("fuzz", &error) != CLOAK_OK)
        abort();
    return 0;
}

static void check(const char *what, bool fine) {
    if (!fine) {
        fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

/* A delivered file is decoded once more by whoever verifies it. */
static void look_again(const char *what, const void *bytes, size_t length, const cloak_photo *photo) {
    cloak_photo again;
    check(what, cloak_photo_sniff(bytes, length) == photo->format);
    check(what, cloak_photo_decode(bytes, length, name, &limits, &again, NULL) == CLOAK_OK);
    check(what, again.width == photo->width && again.height == photo->height);
    check(what, !again.ink || photo->format == CLOAK_FORMAT_JPEG || photo->format == CLOAK_FORMAT_TIFF);
    cloak_photo_free(&again);
}

/* A photo with one pixel changed, in sRGB, and where that can be done in its inks, too. */
static void look_at_change(const uint8_t *data, size_t size, const cloak_photo *photo) {
    const size_t pixels = (size_t)photo->width * (size_t)photo->height, n = pixels * 3;
    cloak_photo changed = *photo; /* borrows all but the pixels */
    void *bytes = NULL;
    size_t length = 0;
    changed.rgb = malloc(n);
    changed.ink = photo->ink ? malloc(pixels * 4) : NULL;
    check("memory", changed.rgb && (changed.ink || !photo->ink));
    memcpy(changed.rgb, photo->rgb, n);
    changed.rgb[n / 2] ^= 16;
    if (photo->ink_view) {
        cloak_srgb_carry_ink(photo, changed.rgb, changed.ink);
        check("a change stays where it is", memcmp(changed.ink, photo->ink, n / 2 / 3 * 4) == 0);
    } else if (photo->ink) {
        memcpy(changed.ink, photo->ink, pixels * 4);
        changed.ink[pixels * 2] ^= 16;
    }
    if (cloak_photo_patch(data, size, photo, &changed, &bytes, &length, NULL) == CLOAK_OK) {
        look_again("the patched file", bytes, length, photo);
        free(bytes);
    }
    if (photo->ink && cloak_photo_encode(&changed, &bytes, &length, NULL) == CLOAK_OK) {
        look_again("the coded file", bytes, length, photo);
        free(bytes);
    }
    free(changed.ink);
    free(changed.rgb);
}

/* Reading a profile takes longer than all the rest: one file in eight. */
static void look_at_colours(const uint8_t *data, size_t size, cloak_photo *photo) {
    if (data[size / 2] % 8)
        return;
    cloak_photo_find_srgb(photo);
    uint8_t *room;
    const uint8_t *seen = cloak_srgb_see(photo, photo->rgb, &room);
    check("memory", seen != NULL);
    if (photo->srgb) {
        const size_t n = (size_t)photo->width * (size_t)photo->height * 3;
        uint8_t *changed = malloc(n);
        check("memory", changed != NULL);
        memcpy(changed, seen, n);
        changed[n / 2] ^= 16;
        cloak_srgb_carry(photo, seen, changed, changed);
        check("a change stays where it is", memcmp(changed, photo->rgb, n / 2 / 3 * 3) == 0);
        free(changed);
    }
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cloak_photo photo;
    void *bytes = NULL;
    size_t length = 0;
    bool anew = false;
    if (cloak_photo_decode(data, size, name, &limits, &photo, NULL) != CLOAK_OK)
        return 0;
    cloak_photo_keep_metadata(data, size, CLOAK_METADATA_KEEP, &photo);
    look_at_colours(data, size, &photo);
    const bool slow = photo.format == CLOAK_FORMAT_HEIC || photo.format == CLOAK_FORMAT_AVIF; /* to encode */
    void *core = slow ? cloak_photo_core(data, size, &photo, &length) : NULL;
    if (core)
        look_again("the core", core, length, &photo);
    if ((!slow || core) && cloak_photo_clean(data, size, &photo, &bytes, &length, &anew, NULL) == CLOAK_OK) {
        look_again("the cleaned file", bytes, length, &photo);
        free(bytes);
    }
    free(core);
    if (photo.format == CLOAK_FORMAT_JPEG || photo.ink)
        look_at_change(data, size, &photo);
    cloak_photo_free(&photo);
    return 0;
}
