/* Sets libvips up for hostile input and long runs, and turns its errors into ours. */
#include "common/photo/library.h"

#include <stdlib.h>
#include <string.h>
#include <vips/vips.h>

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/photo/metadata.h"

/* Warnings of libvips, libjpeg and libpng would go to stderr as plain text. What matters comes back
 * as an error as well. */
static void take_message(
    const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data) {
    (void)domain;
    (void)level;
    (void)data;
    cloak_log(CLOAK_LOG_DEBUG, "libvips", "%s", message);
}

cloak_status cloak_photo_init(const char *program, cloak_error *error) {
    /* all operations that could be reached from a file's bytes, by the names of their classes */
    static const char *const allowed[] = {"VipsForeignLoadJpegBuffer", "VipsForeignLoadPngBuffer",
        "VipsForeignLoadWebpBuffer", "VipsForeignSaveJpegBuffer", "VipsForeignSavePngBuffer",
        "VipsForeignSaveWebpBuffer", "VipsForeignLoadTiffBuffer", "VipsForeignSaveTiffBuffer"};
    g_log_set_handler("VIPS", G_LOG_LEVEL_WARNING | G_LOG_LEVEL_MESSAGE, take_message, NULL);
    if (VIPS_INIT(program)) {
        char *detail = vips_error_buffer_copy();
        cloak_fail(
            error, CLOAK_E_INTERNAL, "libvips does not start (%s): reinstall libvips42", detail);
        g_free(detail);
        return CLOAK_E_INTERNAL;
    }
    vips_block_untrusted_set(TRUE);
    vips_operation_block_set("VipsForeign", TRUE);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        if (!g_type_from_name(allowed[i]))
            return cloak_fail(error, CLOAK_E_INTERNAL,
                "this libvips has no %s: install one with JPEG, PNG, WebP and TIFF", allowed[i]);
        vips_operation_block_set(allowed[i], FALSE);
    }
    cloak_metadata_start();
    vips_cache_set_max(0);
    vips_concurrency_set(1); /* photos are the unit of parallelism, not their strips */
    return CLOAK_OK;
}

cloak_status cloak_library_fail(
    cloak_error *error, cloak_status code, const char *name, const char *what, const char *advice) {
    char *detail = vips_error_buffer_copy();
    detail[strcspn(detail, "\n")] = 0; /* the first message is the cause */
    char *shown = cloak_text_brief(name), *words = cloak_text_brief(detail);
    if (strcasestr(detail, "out of memory") || strcasestr(detail, "insufficient memory"))
        code = cloak_fail(
            error, CLOAK_E_TRANSIENT, "%s needs more memory than is free (%s)", shown, words);
    else
        cloak_fail(error, code, "%s %s%s%s%s%s", shown, what, words[0] ? " (" : "", words,
            words[0] ? ")" : "", advice);
    free(words);
    free(shown);
    g_free(detail);
    return code;
}
