/* What kind of file this is: by its first bytes, by its name, by its word. */
#include <string.h>
#include <strings.h>

#include "common/photo/heif.h"

cloak_format_id cloak_photo_sniff(const void *bytes, size_t length) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    const uint8_t *p = bytes;
    if (length >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff)
        return CLOAK_FORMAT_JPEG;
    if (length >= 8 && memcmp(p, png, 8) == 0)
        return CLOAK_FORMAT_PNG;
    if (length >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        return CLOAK_FORMAT_WEBP;
    if (length >= 8 && (memcmp(p, "II*\0", 4) == 0 || memcmp(p, "MM\0*", 4) == 0))
        return CLOAK_FORMAT_TIFF;
    return cloak_heif_sniff(p, length);
}

const char *cloak_format_word(cloak_format_id format) {
    switch (format) {
#define X(name, word, extension)                                                                   \
    case name:                                                                                     \
        return word;
        CLOAK_FORMAT_TABLE(X)
#undef X
    }
    return "unknown";
}

/* `extensions`: lower case, each between spaces. */
static const struct {
    const char *extensions;
    const char *reason;
} kinds[] = {
    {" jpg jpeg jpe jfif png webp heic heif hif avif tif tiff ", NULL},
    {" cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 rwl raf pef ptx srw 3fr fff iiq mos mef mrw erf"
     " x3f kdc dcr gpr raw ",
        "RAW photos are not supported; export them as JPEG first"},
    {" avifs heics ", "animations are not supported; export a still"},
    {" jxl ", "JPEG XL photos are not supported; convert them to JPEG first"},
    {" jp2 j2k jpf jpx ", "JPEG 2000 photos are not supported; convert them to JPEG first"},
    {" bmp dib ", "BMP pictures are not supported; convert them to PNG first"},
    {" psd psb xcf ", "editor files are not supported; export them as JPEG or PNG first"},
    {" gif ", "GIF pictures are not supported; convert them to PNG first"},
    {" apng ", "animations are not supported; export a still"},
    {" mp4 m4v mov avi mkv webm wmv mpg mpeg mts m2ts m2t 3gp 3g2 flv ogv insv lrv ",
        "videos are not supported"},
};

const char *cloak_photo_skip_reason(const char *name) {
    enum { LONGEST = 8 };
    static const char receipt[] = ".cloak.json";
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    size_t length = strlen(base);
    if (base[0] == '.')
        return "a hidden file";
    if (length >= sizeof receipt - 1 &&
        strcasecmp(base + length - (sizeof receipt - 1), receipt) == 0)
        return "a receipt of a cloaked photo";
    const char *dot = strrchr(base, '.');
    if (!dot || !dot[1] || strlen(dot + 1) > LONGEST)
        return "not a photo";
    char padded[LONGEST + 3] = " ";
    for (size_t i = 0; dot[1 + i]; i++) {
        char c = dot[1 + i];
        if (c == ' ')
            return "not a photo";
        padded[1 + i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        padded[2 + i] = ' ';
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(kinds[i].extensions, padded))
            return kinds[i].reason;
    return "not a photo";
}
