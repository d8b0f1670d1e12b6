/* The source's quality as its tables tell it, and the quality of what is delivered. */
#include <dirent.h>

#include "common/base/file.h"
#include "common/photo/parts.h"
#include "tests/unit/samples.h"

/* The example table of T.81 annex K.1 in zigzag order, written down apart from the code's. */
static const uint8_t luma50[64] = {16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
    26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68,
    87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92,
    101, 103, 99};

TEST(source_quality_is_read_from_the_tables) {
    const uint8_t levels[] = {99, 128, 128};
    for (int quality = 10; quality <= 100; quality++) {
        uint8_t tables[2][64];
        int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
        for (int i = 0; i < 64; i++) {
            int step = (luma50[i] * scale + 50) / 100;
            tables[0][i] = (uint8_t)(step < 1 ? 1 : step > 255 ? 255 : step);
        }
        memcpy(tables[1], tables[0], 64);
        bytes file = flat_jpeg(1, 1, 3, levels, tables, 1, -1);
        cloak_photo p = decode(file);
        CHECK_INT(p.quality, quality);
        CHECK_INT(cloak_photo_encode_quality(&p), quality > 90 ? quality : 90);
        cloak_photo_free(&p);
        free(file.data);
    }
    /* our own encoder's tables, luma and chroma */
    cloak_photo p = make_photo(CLOAK_FORMAT_JPEG, 32, 32, false);
    for (p.quality = 90; p.quality <= 100; p.quality++) {
        bytes file = encode(&p);
        cloak_photo back = decode(file);
        CHECK_INT(back.quality, p.quality);
        cloak_photo_free(&back);
        free(file.data);
    }
    cloak_photo_free(&p);
}

TEST(odd_tables_give_the_nearest_quality) {
    uint16_t table[64];
    for (int i = 0; i < 64; i++)
        table[i] = 1;
    CHECK_INT(cloak_quality_estimate(table, NULL), 100);
    for (int i = 0; i < 64; i++)
        table[i] = (uint16_t)(i < 3 ? 2 : 4); /* about what cameras write at their best */
    int quality = cloak_quality_estimate(table, NULL);
    CHECK(quality >= 94 && quality <= 98);
    for (int i = 0; i < 64; i++)
        table[i] = 65535;
    CHECK_INT(cloak_quality_estimate(table, NULL), 1);
    CHECK_INT(cloak_quality_read("\xff\xd8\xff\xd9", 4), 0);
}

TEST(real_photos_tell_their_quality) {
    const char *folder = "../shared/data/wider/train"; /* all saved at quality 70 */
    DIR *dir = opendir(folder);
    if (!dir) {
        check_skip("no ../shared/data/wider/train here");
        return;
    }
    int seen = 0;
    for (const struct dirent *entry; seen < 5 && (entry = readdir(dir));) {
        void *data;
        size_t length;
        cloak_error error;
        if (cloak_photo_skip_reason(entry->d_name))
            continue;
        char *path = cloak_path_join(folder, entry->d_name);
        CHECK_OK(cloak_file_read(path, 1 << 24, &data, &length, &error));
        cloak_photo p = decode((bytes){data, length});
        CHECK_INT(p.quality, 70);
        bytes file = encode(&p);
        cloak_photo back = decode(file);
        CHECK(cloak_photo_psnr(p.rgb, back.rgb, 3 * (size_t)p.width * (size_t)p.height) > 38);
        cloak_photo_free(&p);
        cloak_photo_free(&back);
        free(file.data);
        free(data);
        free(path);
        seen++;
    }
    closedir(dir);
}
