/* Other pixels over a JPEG's own blocks.
 *
 * A cloak changes a photo around its faces. Encoded as a whole, the rest would be coded a second time, for a
 * loss that nobody asked for and, at a quality that is safe everywhere, for twice the bytes. So the new pixels
 * are coded with the file's own quantisation tables and subsampling, and only the blocks of which a pixel has
 * changed are taken from that; all others keep their coefficients to the bit. A chroma block counts as changed
 * when anything below it has.
 *
 * Without new pixels it is a way to write a file that holds its coefficients and nothing else: bytes may hide behind
 * the last block, or in a marker, that a copy would carry along.
 *
 * A photo that is stored on its side is turned first, block by block (libjpeg-turbo's transform), which can be
 * done when its sides are whole numbers of blocks.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>
#include <turbojpeg.h>

#include "common/base/alloc.h"
#include "common/photo/metadata.h"
#include "common/photo/parts.h"

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf back;
} Errors;

typedef struct {
    struct jpeg_decompress_struct own, fresh; /* the file's coefficients, and those of the new pixels */
    struct jpeg_compress_struct coder;        /* of the new pixels, then of the result */
    Errors errors;
    unsigned char *coded; /* the new pixels' file */
    unsigned long coded_length;
    unsigned char *out;
    unsigned long out_length;
    uint8_t *changed; /* per 8 × 8 pixels of the upright photo */
    bool starved;     /* there was no memory */
    uint8_t *row;     /* one row of pixels for the coder, where those of the photo are not as it takes them */
    size_t across, down;
} Patch;

static void on_error(j_common_ptr info) {
    longjmp(((Errors *)info->err)->back, 1);
}

static void on_message(j_common_ptr info, int level) {
    (void)info, (void)level;
}

/* Marks the 8 × 8 pixels in which the photos differ. */
static void compare(const cloak_photo *photo, const cloak_photo *other, Patch *patch) {
    const size_t width = (size_t)photo->width, bands = photo->ink ? 4 : 3;
    for (size_t y = 0; y < (size_t)photo->height; y++) {
        const uint8_t *a = (photo->ink ? photo->ink : photo->rgb) + y * width * bands,
                      *b = (photo->ink ? other->ink : other->rgb) + y * width * bands;
        uint8_t *changed = patch->changed + y / 8 * patch->across;
        if (memcmp(a, b, width * bands) == 0)
            continue;
        for (size_t x = 0; x < width; x += 8) {
            size_t n = width - x < 8 ? width - x : 8;
            changed[x / 8] |= memcmp(a + bands * x, b + bands * x, bands * n) != 0;
        }
    }
}

/* Whether anything changed below a block of a component that is subsampled by these factors. */
static bool is_changed(const Patch *patch, size_t x, size_t y, size_t across, size_t down) {
    for (size_t j = y * down; j < (y + 1) * down && j < patch->down; j++)
        for (size_t i = x * across; i < (x + 1) * across && i < patch->across; i++)
            if (patch->changed[j * patch->across + i])
                return true;
    return false;
}

/* The row `y` of the new pixels as the coder takes it. CMYK lies inverted in a JPEG, as Adobe once began it. */
static const uint8_t *coder_row(const cloak_photo *changed, bool grey, size_t y, uint8_t *room) {
    const size_t width = (size_t)changed->width;
    const uint8_t *rgb = changed->rgb + y * width * 3;
    if (changed->ink) {
        for (size_t i = 0; i < width * 4; i++)
            room[i] = (uint8_t)(255 - changed->ink[y * width * 4 + i]);
        return room;
    }
    if (!grey)
        return rgb;
    for (size_t x = 0; x < width; x++)
        room[x] = cloak_luma(rgb + 3 * x);
    return room;
}

/* Codes the new pixels with the tables and subsampling of the file. */
static void code_pixels(const cloak_photo *changed, Patch *patch) {
    struct jpeg_compress_struct *c = &patch->coder;
    const bool grey = patch->own.num_components == 1;
    jpeg_copy_critical_parameters(&patch->own, c);
    c->input_components = patch->own.num_components;
    c->in_color_space = grey ? JCS_GRAYSCALE : changed->ink ? JCS_CMYK : JCS_RGB;
    c->dct_method = JDCT_ISLOW;
    jpeg_mem_dest(c, &patch->coded, &patch->coded_length);
    jpeg_start_compress(c, TRUE);
    for (size_t y = 0; y < (size_t)changed->height; y++) {
        JSAMPROW row = (JSAMPROW)coder_row(changed, grey, y, patch->row);
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
}

/* Takes the changed blocks over into the file's own coefficients. */
static void take_blocks(Patch *patch, jvirt_barray_ptr *own, jvirt_barray_ptr *fresh) {
    struct jpeg_decompress_struct *d = &patch->own;
    for (int i = 0; i < d->num_components; i++) {
        const jpeg_component_info *part = &d->comp_info[i];
        const size_t across = (size_t)(d->max_h_samp_factor / part->h_samp_factor),
                     down = (size_t)(d->max_v_samp_factor / part->v_samp_factor);
        for (JDIMENSION y = 0; y < part->height_in_blocks; y++) {
            JBLOCKROW to = d->mem->access_virt_barray((j_common_ptr)d, own[i], y, 1, TRUE)[0];
            JBLOCKROW from = patch->fresh.mem->access_virt_barray(
                (j_common_ptr)&patch->fresh, fresh[i], y, 1, FALSE)[0];
            for (JDIMENSION x = 0; x < part->width_in_blocks; x++)
                if (is_changed(patch, x, y, across, down))
                    memcpy(to[x], from[x], sizeof(JBLOCK));
        }
    }
}

static bool has_size(const struct jpeg_decompress_struct *d, const cloak_photo *photo) {
    return (int)d->image_width == photo->width && (int)d->image_height == photo->height && d->data_precision == 8;
}

/* Whether blocks of this file can be replaced one by one. */
static bool fits(const struct jpeg_decompress_struct *d, const cloak_photo *photo) {
    if (!has_size(d, photo))
        return false;
    if (d->num_components == 1 && !photo->ink)
        return d->jpeg_color_space == JCS_GRAYSCALE;
    const bool ink = d->num_components == 4 && (d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK);
    if (photo->ink ? !ink : d->num_components != 3 || d->jpeg_color_space != JCS_YCbCr)
        return false;
    for (int i = 0; i < d->num_components; i++)
        if (d->max_h_samp_factor % d->comp_info[i].h_samp_factor ||
            d->max_v_samp_factor % d->comp_info[i].v_samp_factor)
            return false;
    return true;
}

/* Whether libjpeg can code with the file's tables: it divides by their values, shifted by three bits in sixteen,
 * without a look at them. */
static bool tables_fit(const struct jpeg_decompress_struct *d) {
    enum { MOST = 0x1fff };
    for (int i = 0; i < d->num_components; i++) {
        const int number = d->comp_info[i].quant_tbl_no;
        const JQUANT_TBL *table = number >= 0 && number < NUM_QUANT_TBLS ? d->quant_tbl_ptrs[number] : NULL;
        for (int j = 0; table && j < DCTSIZE2; j++)
            if (table->quantval[j] < 1 || table->quantval[j] > MOST)
                return false;
        if (!table)
            return false;
    }
    return true;
}

/* All of it; false when the file does not fit. Errors of libjpeg leave by longjmp. */
static bool patch_blocks(const uint8_t *source, size_t length, const cloak_photo *photo, const cloak_photo *changed,
    Patch *patch) {
    jpeg_mem_src(&patch->own, source, length);
    jpeg_read_header(&patch->own, TRUE);
    if (!(changed ? fits(&patch->own, photo) : has_size(&patch->own, photo)))
        return false;
    jvirt_barray_ptr *own = jpeg_read_coefficients(&patch->own);
    if (changed && !tables_fit(&patch->own))
        return false;
    if (changed) {
        code_pixels(changed, patch);
        jpeg_mem_src(&patch->fresh, patch->coded, patch->coded_length);
        jpeg_read_header(&patch->fresh, TRUE);
        take_blocks(patch, own, jpeg_read_coefficients(&patch->fresh));
    }
    jpeg_copy_critical_parameters(&patch->own, &patch->coder);
    if (photo->ink) /* some viewers do not take CMYK for inverted where there is none */
        patch->coder.write_Adobe_marker = patch->own.saw_Adobe_marker;
    patch->coder.optimize_coding = TRUE;
    if (patch->own.progressive_mode)
        jpeg_simple_progression(&patch->coder);
    jpeg_mem_dest(&patch->coder, &patch->out, &patch->out_length);
    jpeg_write_coefficients(&patch->coder, own);
    if (photo->icc) /* as decoding has checked it: nothing of the file's own markers is copied */
        jpeg_write_icc_profile(&patch->coder, photo->icc, (unsigned)photo->icc_length);
    jpeg_finish_compress(&patch->coder);
    return true;
}

static bool run(const uint8_t *source, size_t length, const cloak_photo *photo, const cloak_photo *changed, Patch *patch) {
    volatile bool done = false; /* set behind setjmp */
    patch->own.err = patch->fresh.err = patch->coder.err = jpeg_std_error(&patch->errors.base);
    patch->errors.base.error_exit = on_error;
    patch->errors.base.emit_message = on_message;
    if (setjmp(patch->errors.back) == 0) {
        jpeg_create_decompress(&patch->own);
        jpeg_create_decompress(&patch->fresh);
        jpeg_create_compress(&patch->coder);
        done = patch_blocks(source, length, photo, changed, patch);
    } else {
        patch->starved = patch->errors.base.msg_code == JERR_OUT_OF_MEMORY;
        if (patch->coder.dest) /* libjpeg has moved its buffer and tells where only at the end: here it is */
            patch->coder.dest->term_destination(&patch->coder);
    }
    jpeg_destroy_compress(&patch->coder);
    jpeg_destroy_decompress(&patch->fresh);
    jpeg_destroy_decompress(&patch->own);
    return done;
}

uint8_t *cloak_turn_jpeg(const uint8_t *jpeg, size_t length, int orientation, size_t *turned_length) {
    static const int turns[] = {0, TJXOP_NONE, TJXOP_HFLIP, TJXOP_ROT180, TJXOP_VFLIP, TJXOP_TRANSPOSE,
        TJXOP_ROT90, TJXOP_TRANSVERSE, TJXOP_ROT270};
    tjtransform turn = {.op = turns[orientation], .options = TJXOPT_PERFECT};
    unsigned char *out = NULL;
    unsigned long size = 0;
    uint8_t *turned = NULL;
    tjhandle handle = tjInitTransform();
    if (handle && tjTransform(handle, jpeg, length, 1, &out, &size, &turn, 0) == 0 &&
        (turned = cloak_try_alloc(size))) {
        memcpy(turned, out, size);
        *turned_length = size;
    }
    tjFree(out);
    if (handle)
        tjDestroy(handle);
    return turned;
}

cloak_status cloak_photo_patch(const void *source, size_t source_length, const cloak_photo *photo,
    const cloak_photo *changed, void **bytes, size_t *length, cloak_error *error) {
    Patch patch = {.across = ((size_t)photo->width + 7) / 8, .down = ((size_t)photo->height + 7) / 8};
    size_t own_length = 0, weeded_length = 0;
    uint8_t *own = photo->format == CLOAK_FORMAT_JPEG && source
                       ? cloak_jpeg_upright(source, source_length, &own_length)
                       : NULL;
    bool done = false;
    if (changed) {
        patch.changed = cloak_try_alloc(patch.across * patch.down);
        patch.row = cloak_try_alloc((size_t)photo->width * (photo->ink ? 4 : 1));
        patch.starved = !patch.changed || !patch.row;
    }
    if (own && !patch.starved) {
        if (changed) {
            memset(patch.changed, 0, patch.across * patch.down);
            compare(photo, changed, &patch);
        }
        done = run(own, own_length, photo, changed, &patch);
    }
    uint8_t *weeded = done ? cloak_weed(CLOAK_FORMAT_JPEG, patch.out, patch.out_length, &weeded_length) : NULL;
    if (weeded)
        weeded = cloak_metadata_embed(photo, weeded, &weeded_length);
    free(own);
    free(patch.changed);
    free(patch.row);
    free(patch.coded);
    free(patch.out);
    if (!weeded && (done || patch.starved))
        return cloak_fail(error, CLOAK_E_TRANSIENT, "the photo needs more memory than is free");
    if (!weeded)
        return cloak_fail(error, CLOAK_E_USAGE, "this photo's blocks cannot be replaced one by one");
    *bytes = weeded;
    *length = weeded_length;
    return CLOAK_OK;
}
