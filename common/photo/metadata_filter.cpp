/* The metadata policy, carried out with Exiv2 on single blocks; its parsers of whole files are not used.
 *
 * Nothing is copied: what may pass is read into values and written anew, so that what hides between the
 * fields stays behind. With `safe` an allow list decides. With `keep` everything may pass but what can hold
 * another picture: thumbnails, previews, maker notes (many hold a preview), sub-images, depth and gain maps,
 * and any value that is large or holds the start of a picture's file.
 *
 * Orientation does not pass: it is in the pixels.
 */
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exiv2/exiv2.hpp>
#include <set>
#include <string>

#include "common/photo/metadata.h"

namespace {

constexpr size_t kLargestSafe = 1024, kLargestKept = 8192; /* characters of a value as text */

const std::set<std::string> kSafeExif = {"Exif.Image.Make", "Exif.Image.Model", "Exif.Image.Artist",
    "Exif.Image.Copyright", "Exif.Image.DateTime", "Exif.Image.XResolution", "Exif.Image.YResolution",
    "Exif.Image.ResolutionUnit", "Exif.Photo.ExposureTime", "Exif.Photo.FNumber",
    "Exif.Photo.ExposureProgram", "Exif.Photo.ISOSpeedRatings", "Exif.Photo.SensitivityType",
    "Exif.Photo.StandardOutputSensitivity", "Exif.Photo.RecommendedExposureIndex", "Exif.Photo.ISOSpeed",
    "Exif.Photo.ExifVersion", "Exif.Photo.DateTimeOriginal", "Exif.Photo.DateTimeDigitized",
    "Exif.Photo.OffsetTime", "Exif.Photo.OffsetTimeOriginal", "Exif.Photo.OffsetTimeDigitized",
    "Exif.Photo.SubSecTime", "Exif.Photo.SubSecTimeOriginal", "Exif.Photo.SubSecTimeDigitized",
    "Exif.Photo.ShutterSpeedValue", "Exif.Photo.ApertureValue", "Exif.Photo.BrightnessValue",
    "Exif.Photo.ExposureBiasValue", "Exif.Photo.MaxApertureValue", "Exif.Photo.MeteringMode",
    "Exif.Photo.LightSource", "Exif.Photo.Flash", "Exif.Photo.FocalLength",
    "Exif.Photo.FocalLengthIn35mmFilm", "Exif.Photo.ColorSpace", "Exif.Photo.PixelXDimension",
    "Exif.Photo.PixelYDimension", "Exif.Photo.ExposureMode", "Exif.Photo.WhiteBalance",
    "Exif.Photo.DigitalZoomRatio", "Exif.Photo.SceneCaptureType", "Exif.Photo.LensSpecification",
    "Exif.Photo.LensMake", "Exif.Photo.LensModel"};

const std::set<std::string> kSafeXmp = {"Xmp.dc.rights", "Xmp.dc.creator", "Xmp.photoshop.DateCreated",
    "Xmp.xmp.CreateDate", "Xmp.xmpRights.Marked", "Xmp.xmpRights.WebStatement", "Xmp.xmpRights.UsageTerms",
    "Xmp.xmpRights.Owner"};

const std::set<std::string> kSafeIptc = {"Iptc.Application2.Copyright", "Iptc.Application2.Byline",
    "Iptc.Application2.DateCreated", "Iptc.Application2.TimeCreated", "Iptc.Envelope.CharacterSet"};

/* Groups of EXIF that hold people's data and no picture. */
const std::set<std::string> kKeptExifGroups = {"Image", "Photo", "GPSInfo", "Iop"};

/* Namespaces of pictures within pictures: Google's depth, image, container and motion photo, gain maps, Xiaomi's
 * and Adobe's thumbnails. By their names' beginnings: prefixes are the file's own choice. */
bool is_of_pictures(const std::string &prefix) {
    static const std::string names[] = {"http://ns.google.com/photos/", "http://ns.adobe.com/hdr-gain-map/",
        "http://ns.apple.com/", "http://ns.xiaomi.com/", "http://ns.adobe.com/xap/1.0/g/img/"};
    const std::string name = Exiv2::XmpProperties::ns(prefix);
    return std::any_of(std::begin(names), std::end(names),
        [&](const std::string &start) { return name.compare(0, start.size(), start) == 0; });
}

/* Whether the start of a picture's file is in the value: as text, in base64, or as Exiv2 prints bytes. (Its
 * values' own copy() writes more than their size() says where they are arrays of XMP.) */
bool holds_picture(const std::string &text) {
    static const char *const starts[] = {"\xff\xd8\xff", "/9j/", "255 216 255", "\x89PNG", "iVBORw0KGgo", "137 80 78 71",
        "WEBPVP8", "UklGR", "87 69 66 80 86 80 56", "ftyp", "102 116 121 112", "R0lGOD",
        "SUkqA", "TU0AK"};
    return std::any_of(std::begin(starts), std::end(starts),
        [&](const char *start) { return text.find(start) != std::string::npos; });
}

bool keeps(const Exiv2::Exifdatum &field) {
    const std::string key = field.key();
    static const std::set<std::string> never = {"Exif.Photo.MakerNote", "Exif.Image.SubIFDs",
        "Exif.Image.XMLPacket", "Exif.Image.ImageResources", "Exif.Image.IPTCNAA", "Exif.Image.JPEGTables",
        "Exif.Image.DNGPrivateData", "Exif.Image.Orientation", "Exif.Image.InterColorProfile"};
    return kKeptExifGroups.count(field.groupName()) && !never.count(key);
}

/* What is wanted of `data`, and no more; erasing one by one would copy what follows each time. */
template <class Data, class Wanted> Data weed(const Data &data, size_t largest, Wanted wanted) {
    Data kept;
    for (const auto &field : data) {
        const std::string text = wanted(field) ? field.value().toString() : "";
        if (!text.empty() && text.size() <= largest && !holds_picture(text))
            kept.add(field);
    }
    return kept;
}

/* With a zero behind it, so that it can be padded; NULL for nothing. */
uint8_t *copy(const void *bytes, size_t length) {
    if (length == 0)
        return nullptr;
    auto *out = static_cast<uint8_t *>(calloc(1, length + 1));
    if (out)
        memcpy(out, bytes, length);
    return out;
}

void filter_exif(const cloak_blocks &blocks, bool safe, cloak_photo *photo) {
    Exiv2::ExifData data;
    Exiv2::ExifParser::decode(data, blocks.exif, static_cast<uint32_t>(blocks.exif_length));
    if (safe)
        data = weed(data, kLargestSafe, [](const Exiv2::Exifdatum &f) { return kSafeExif.count(f.key()) > 0; });
    else
        data = weed(data, kLargestKept, keeps);
    const std::pair<const char *, int> sizes[] = {
        {"Exif.Photo.PixelXDimension", photo->width}, {"Exif.Photo.PixelYDimension", photo->height}};
    for (const auto &[key, size] : sizes)
        if (data.findKey(Exiv2::ExifKey(key)) != data.end())
            data[key] = static_cast<uint32_t>(size);
    if (data.empty())
        return;
    Exiv2::Blob blob;
    Exiv2::ExifParser::encode(blob, Exiv2::littleEndian, data);
    photo->metadata.exif = copy(blob.data(), blob.size());
    photo->metadata.exif_length = photo->metadata.exif ? blob.size() : 0;
}

void filter_xmp(const cloak_blocks &blocks, bool safe, cloak_photo *photo) {
    Exiv2::XmpData data;
    const std::string packet(reinterpret_cast<const char *>(blocks.xmp), blocks.xmp_length);
    if (Exiv2::XmpParser::decode(data, packet) != 0)
        return;
    if (safe)
        data = weed(data, kLargestSafe, [](const Exiv2::Xmpdatum &f) { return kSafeXmp.count(f.key()) > 0; });
    else
        data = weed(data, kLargestKept, [](const Exiv2::Xmpdatum &f) {
            return !is_of_pictures(f.groupName()) && f.key().find("Thumbnail") == std::string::npos &&
                   f.key().find("xmpGImg") == std::string::npos && f.key() != "Xmp.tiff.Orientation";
        });
    std::string text;
    if (data.empty() ||
        Exiv2::XmpParser::encode(text, data,
            Exiv2::XmpParser::useCompactFormat | Exiv2::XmpParser::omitPacketWrapper) != 0)
        return;
    photo->metadata.xmp = copy(text.data(), text.size());
    photo->metadata.xmp_length = photo->metadata.xmp ? text.size() : 0;
}

void filter_iptc(const cloak_blocks &blocks, bool safe, cloak_photo *photo) {
    Exiv2::IptcData data;
    if (Exiv2::IptcParser::decode(data, blocks.iptc, static_cast<uint32_t>(blocks.iptc_length)) != 0)
        return;
    if (safe)
        data = weed(data, kLargestSafe, [](const Exiv2::Iptcdatum &f) { return kSafeIptc.count(f.key()) > 0; });
    else
        data = weed(data, kLargestKept, [](const Exiv2::Iptcdatum &f) {
            return f.tag() < 200 || f.tag() > 202; /* object preview data */
        });
    if (data.empty())
        return;
    Exiv2::DataBuf blob = Exiv2::IptcParser::encode(data);
    photo->metadata.iptc = copy(blob.pData_, static_cast<size_t>(blob.size_));
    photo->metadata.iptc_length = photo->metadata.iptc ? static_cast<size_t>(blob.size_) : 0;
}

/* One block; what Exiv2 cannot make sense of is left out. */
template <class Filter> void attempt(Filter filter, const uint8_t *bytes, size_t length,
    const cloak_blocks &blocks, bool safe, cloak_photo *photo) {
    if (!bytes || length == 0 || length > UINT32_MAX)
        return;
    try {
        filter(blocks, safe, photo);
    } catch (...) { /* metadata never cost a photo */
    }
}

} // namespace

void cloak_metadata_start(void) {
    Exiv2::LogMsg::setLevel(Exiv2::LogMsg::mute);
    Exiv2::XmpParser::initialize();
    atexit([] { Exiv2::XmpParser::terminate(); });
}

void cloak_metadata_filter(
    const cloak_blocks *blocks, cloak_metadata_policy policy, cloak_photo *photo) {
    if (policy == CLOAK_METADATA_NONE)
        return;
    const bool safe = policy != CLOAK_METADATA_KEEP;
    attempt(filter_exif, blocks->exif, blocks->exif_length, *blocks, safe, photo);
    attempt(filter_xmp, blocks->xmp, blocks->xmp_length, *blocks, safe, photo);
    attempt(filter_iptc, blocks->iptc, blocks->iptc_length, *blocks, safe, photo);
}
