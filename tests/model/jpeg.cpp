/* Our JPEG without files against libjpeg-turbo's files, through libvips. */
#include "models/kernels/jpeg.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <vips/vips.h>

/* Slopes, an edge and a little noise in three colours. */
static std::vector<uint8_t> make_photo(int width, int height) {
    std::vector<uint8_t> rgb(size_t(width) * size_t(height) * 3);
    uint32_t state = 7;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                state = state * 1664525u + 1013904223u;
                const double slope = 90 + 70 * std::sin(x * 0.05 * (c + 1)) * std::cos(y * 0.07);
                const double edge = x + y > width ? 40 : 0;
                rgb[(size_t(y) * size_t(width) + size_t(x)) * 3 + size_t(c)] =
                    uint8_t(slope + edge + (state >> 29));
            }
    return rgb;
}

/* What a viewer sees of the file that libvips writes; empty when libvips fails. */
static std::vector<uint8_t> through_file(
    const std::vector<uint8_t> &rgb, int width, int height, int quality, bool halved) {
    VipsImage *image = vips_image_new_from_memory(
                  rgb.data(), rgb.size(), width, height, 3, VIPS_FORMAT_UCHAR),
              *decoded = nullptr;
    void *bytes = nullptr;
    size_t length = 0, size = 0;
    std::vector<uint8_t> seen;
    if (image && vips_jpegsave_buffer(image, &bytes, &length, "Q", quality, "subsample_mode",
                     halved ? VIPS_FOREIGN_SUBSAMPLE_ON : VIPS_FOREIGN_SUBSAMPLE_OFF, nullptr) == 0)
        decoded = vips_image_new_from_buffer(bytes, length, "", nullptr);
    if (decoded) {
        void *pixels = vips_image_write_to_memory(decoded, &size);
        if (pixels)
            seen.assign(static_cast<uint8_t *>(pixels), static_cast<uint8_t *>(pixels) + size);
        g_free(pixels);
        g_object_unref(decoded);
    }
    g_free(bytes);
    if (image)
        g_object_unref(image);
    return seen;
}

static int compare(int width, int height, int quality, bool halved) {
    const std::vector<uint8_t> rgb = make_photo(width, height);
    const std::vector<uint8_t> file = through_file(rgb, width, height, quality, halved);
    if (file.size() != rgb.size()) {
        std::fprintf(stderr, "libvips: %s\n", vips_error_buffer());
        return 1;
    }
    const size_t plane = size_t(width) * size_t(height);
    std::vector<float> photo(rgb.size()), ours(rgb.size());
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            photo[c * plane + i] = rgb[i * 3 + c];
    cloak::Jpeg(width, height, quality, halved).forward(photo.data(), ours.data());
    double off = 0, change = 0;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            off += std::fabs(double(ours[c * plane + i]) - file[i * 3 + c]);
            change += std::fabs(double(rgb[i * 3 + c]) - file[i * 3 + c]);
        }
    off /= double(rgb.size());
    change /= double(rgb.size());
    std::printf("quality %d%s, %d × %d: the file changes a value by %.3f, ours differs from it by %.3f\n",
        quality, halved ? ", chroma halved" : "", width, height, change, off);
    return off < 0.5 && off < change / 4 ? 0 : 1;
}

int main() {
    if (VIPS_INIT("jpeg"))
        return 1;
    int failed = 0;
    for (int quality : {40, 60, 75, 85, 95}) {
        failed += compare(160, 112, quality, true);
        failed += compare(101, 67, quality, true); /* no multiple of a block */
        failed += compare(101, 67, quality, false);
    }
    return failed ? 1 : 0;
}
