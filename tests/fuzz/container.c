/* Whatever the bytes are: what our own walks over containers and metadata make of them, without a pixel decoded.
 * The first byte chooses the format that is assumed, as if sniffing had been deceived. */
#include <stdlib.h>

#include "common/photo/heif.h"
#include "common/photo/metadata.h"
#include "common/photo/parts.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    cloak_metadata_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const cloak_format_id formats[] = {CLOAK_FORMAT_JPEG, CLOAK_FORMAT_PNG, CLOAK_FORMAT_WEBP,
        CLOAK_FORMAT_TIFF, CLOAK_FORMAT_HEIC, CLOAK_FORMAT_AVIF};
    if (size < 1)
        return 0;
    cloak_format_id format = formats[data[0] % (sizeof formats / sizeof *formats)];
    const bool heif = format == CLOAK_FORMAT_HEIC || format == CLOAK_FORMAT_AVIF;
    data++, size--;
    cloak_photo photo = {.format = format, .width = 8, .height = 8};
    cloak_survey survey = heif ? cloak_heif_survey(data, size) : cloak_survey_read(format, data, size);
    (void)survey;
    (void)cloak_photo_sniff(data, size);
    cloak_photo_keep_metadata(data, size, CLOAK_METADATA_KEEP, &photo);
    if (!heif && format != CLOAK_FORMAT_TIFF) {
        size_t weeded_length = 0;
        uint8_t *weeded = cloak_weed(format, data, size, &weeded_length);
        if (weeded)
            weeded = cloak_metadata_embed(&photo, weeded, &weeded_length);
        free(weeded);
    }
    cloak_photo_drop_metadata(&photo);
    (void)cloak_profile_length(data, size, size & 1 ? "GRAY" : "CMYK");
    (void)cloak_orientation_read(data, size);
    return 0;
}
