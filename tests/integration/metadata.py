#!/usr/bin/python3
"""The metadata policy, on files that hold everything: what stays, what goes, and that no second picture gets out.

The real worker with a model that sleeps (tests/stub_model.c): every photo has one twin that is cloaked, and so
encoded anew, and one that passes through with its coded pixels as they are. exiftool writes the metadata and reads
them back; the bytes are searched besides.
"""
import json
import pathlib
import random
import signal
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    from PIL import Image, ImageChops, ImageOps, ImageStat
except ImportError:
    Image = None

FORMATS = {"base.jpg": {"quality": 92}, "progressive.jpg": {"quality": 85, "progressive": True}, "plain.png": {},
    "lossy.webp": {"quality": 88}, "lossless.webp": {"lossless": True}, "phone.heic": None, "web.avif": None,
    "scan.tif": {"compression": "tiff_lzw"}}
HEIF = (".heic", ".avif")  # made by heif-enc, with a thumbnail; EXIF's orientation does not turn them
ORIENTATIONS = (None, 1, 2, 3, 4, 5, 6, 7, 8)
KEPT = {"DateTimeOriginal": "2024:05:06 07:08:09", "OffsetTimeOriginal": "+02:00", "ExposureTime": "1/250",
    "FNumber": 2.8, "ISO": 200, "FocalLength": "50.0 mm", "Make": "Camera", "Model": "Type 1", "Artist": "A. Maker",
    "Copyright": "2024 A. Maker", "LensModel": "50mm"}
PERSONAL = {"GPSLatitude": 48.137, "GPSLongitude": 11.575, "SerialNumber": 4711, "OwnerName": "Anna",
    "UserComment": "at home", "ImageDescription": "Anna and Bert", "XMP-dc:Description": "Anna and Bert",
    "XMP-dc:Subject": "Anna", "XMP-mwg-rs:RegionName": "Anna"}
PICTURES = ("ThumbnailImage", "PreviewImage", "XMP-GDepth:Data", "XMP-GImage:Data", "PhotoshopThumbnail",
    "XMP-xmp:ThumbnailsImage")
STARTS = (b"\xff\xd8\xff", b"/9j/", b"ftyp", b"\x89PNG\r\n", b"iVBORw0KGgo", b"WEBPVP8", b"UklGR", b"GIF8", b"R0lGOD", b"SUkqA")


def picture(dark, seed, width=120, height=88):
    """What the sleeping model takes for a face (dark in the middle), or not; no two sides are alike."""
    draw = random.Random(seed)
    image = Image.new("RGB", (width, height))
    level = 98 if dark else 140
    image.putdata([(level + 30 * x // width - 15, level + 30 * y // height - 15, level + draw.randrange(4))
        for y in range(height) for x in range(width)])
    return image


def ultra_hdr(primary, gain_map):
    """A JPEG as phones make them: XMP that announces a gain map (Ultra HDR 1.1), an index of both pictures (CIPA DC-007, MPF),
    and the gain map, a JPEG with XMP of its own, behind the end."""
    def segment(marker, data):
        return bytes((0xff, marker)) + struct.pack(">H", len(data) + 2) + data
    hdrgm, container = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"', "http://ns.google.com/photos/1.0/container/"
    xmp = lambda about, inner="": (b"http://ns.adobe.com/xap/1.0/\0" + f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description {hdrgm} {about}>{inner}'
        f'</rdf:Description></rdf:RDF></x:xmpmeta>'.encode())
    behind = gain_map[:2] + segment(0xe1, xmp('hdrgm:Version="1.0" hdrgm:GainMapMax="2.5"')) + gain_map[2:]
    items = "".join(f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{what}" Item:Mime="image/jpeg" '
        f'Item:Length="{size}"/></rdf:li>' for what, size in (("Primary", 0), ("GainMap", len(behind))))
    first = segment(0xe1, xmp(f'xmlns:Container="{container}" xmlns:Item="{container}item/" hdrgm:Version="1.0"',
        f"<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory>"))
    index = lambda size: segment(0xe2, b"MPF\0MM\0*\0\0\0\x08" + struct.pack(">H", 3) +
        struct.pack(">HHI4s", 0xb000, 7, 4, b"0100") + struct.pack(">HHII", 0xb001, 4, 1, 2) +
        struct.pack(">HHII", 0xb002, 7, 32, 50) + bytes(4) + struct.pack(">IIIHH", 0x030000, size, 0, 0, 0) +
        struct.pack(">IIIHH", 0, len(behind), size - len(first) - 10, 0, 0))
    size = len(primary) + len(first) + len(index(1 << 20))
    return primary[:2] + first + index(size) + primary[2:] + behind


def exiftool(*words):
    done = subprocess.run(["exiftool", *map(str, words)], capture_output=True, timeout=300)
    if done.returncode:
        raise AssertionError(f"exiftool: {done.stderr.decode()}")
    return done.stdout


@fleet.unittest.skipIf(Image is None, "there is no python3-pil")
class Metadata(fleet.Case):
    @classmethod
    def setUpClass(cls):
        fleet.need("exiftool", "heif-enc", "heif-info", "heif-convert", "redis-server")
        cls.shared = fleet.Place()
        cls.addClassCleanup(cls.shared.close)
        cls.album = cls.shared.folder / "album"
        cls.album.mkdir()
        cls.make_album()
        cls.redis = cls.shared.redis()
        cls.worker = cls.shared.start_stub_worker(cls.redis.url, "w", 0)
        cls.outs = {policy: cls.deliver(policy) for policy in ("none", "safe", "keep")}
        cls.worker.signal(signal.SIGTERM)
        cls.worker.wait()

    @classmethod
    def make_album(cls):
        """144 files: eight kinds of files, nine orientations, with and without a face; and all the metadata."""
        folder, second = cls.album, cls.shared.folder / "second.jpg"
        picture(True, 1, 32, 24).save(second, "JPEG", quality=50)
        for i, (name, options) in enumerate(FORMATS.items()):
            for orientation in ORIENTATIONS:
                for dark in (True, False):
                    path = folder / f"{'face' if dark else 'none'}-{orientation or 0}-{name}"
                    if path.suffix in HEIF:
                        png = path.with_suffix(".png")
                        picture(dark, i).save(png)
                        subprocess.run(["heif-enc", "-q", "85", "-t", "32", *(["-A"] if path.suffix == ".avif" else []),
                            png, "-o", path], check=True, capture_output=True, timeout=60)
                        png.unlink()
                    else:
                        picture(dark, i).save(path, **options)
        sets = [f"-{k}={v}" for k, v in {**KEPT, **PERSONAL}.items()]
        exiftool("-q", "-m", "-overwrite_original", *sets, "-GPSLatitudeRef=N", "-GPSLongitudeRef=E",
            "-ExifImageWidth=9999", "-XMP-mwg-rs:RegionType=Face", f"-ThumbnailImage<={second}",
            f"-XMP-GDepth:Data<={second}", f"-XMP-GImage:Data<={second}", f"-PhotoshopThumbnail<={second}",
            "-XMP-xmp:ThumbnailsFormat=JPEG", f"-XMP-xmp:ThumbnailsImage<={second}",
            "-IPTC:CopyrightNotice=2024 A. Maker", "-IPTC:Caption-Abstract=Anna and Bert", "-ext", "jpg", "-ext", "png",
            "-ext", "webp", "-ext", "heic", "-ext", "avif", "-ext", "tif", folder)
        for orientation in ORIENTATIONS[1:]:
            exiftool("-q", "-overwrite_original", "-n", f"-Orientation={orientation}",
                *folder.glob(f"*-{orientation}-*"))
        for path in folder.glob("*.jpg"):  # a motion photo's film, and a whole second photo, behind the end
            path.write_bytes(path.read_bytes() + b"\0\0\0\x18ftypmp42" + bytes(50) + second.read_bytes())

    @classmethod
    def deliver(cls, policy):
        out = cls.shared.folder / f"out-{policy}"
        env = fleet.environment(CLOAK_REDIS=cls.redis.url)
        done = cls.shared.cloak("submit", cls.album, out, "--metadata", policy, env=env)
        assert done.code == 0, str(done)
        watch = cls.shared.cloak("watch", done.out.strip(), "--json", env=env)
        assert watch.code == 0, str(watch)
        return out

    def tags(self, folder):
        """{file: {tag: value}} of a folder, embedded pictures as exiftool names them."""
        found = json.loads(exiftool("-json", "-m", "-ext", "jpg", "-ext", "png", "-ext", "webp",
            "-ext", "heic", "-ext", "avif", "-ext", "tif", folder))
        return {pathlib.Path(f["SourceFile"]).name: f for f in found}

    def check_no_second_picture(self, folder):
        for path in sorted(p for p in folder.iterdir() if p.suffix != ".json"):
            data = path.read_bytes()
            for start in STARTS:
                self.assertEqual(data.find(start, 16 if data[8:12] == b"WEBP" else 8), -1, f"{path.name} holds {start}")
        for name, tags in self.tags(folder).items():
            for tag in PICTURES:
                self.assertNotIn(tag.rpartition(":")[2], tags, name)

    def test_sources_hold_all_of_it(self):
        found = self.tags(self.album)
        self.assertEqual(len(found), 144)
        for name, tags in found.items():
            for tag in list(KEPT) + ["GPSLatitude", "SerialNumber", "ThumbnailImage", "RegionName"]:
                if not (tag == "ThumbnailImage" and name.endswith(("png", "tif"))):
                    self.assertIn(tag, tags, name)

    def test_heif_thumbnails_do_not_pass(self):
        for path in [p for p in self.album.iterdir() if p.suffix in HEIF and "-0-" in p.name]:
            self.assertIn("thumbnail: 32x", self.heif_info(path))
            self.assertNotIn("thumbnail: 32x", self.heif_info(self.outs["keep"] / path.name))

    def heif_info(self, path):
        return subprocess.run(["heif-info", path], check=True, capture_output=True, text=True, timeout=60).stdout

    def test_no_second_picture_gets_out(self):
        for policy, out in self.outs.items():
            with self.subTest(policy):
                self.check_no_second_picture(out)

    def test_gain_maps_do_not_pass(self):
        album, second = self.folder / "album", self.folder / "second.jpg"
        album.mkdir()
        picture(True, 5, 32, 24).save(second, "JPEG", quality=60)
        for name, dark in (("face.jpg", True), ("none.jpg", False)):
            path = album / name
            picture(dark, 4).save(path, quality=90)
            path.write_bytes(ultra_hdr(path.read_bytes(), second.read_bytes()))
            tags = json.loads(exiftool("-json", "-a", "-G1", path))[0]
            self.assertEqual((tags["MPF0:NumberOfImages"], tags["XMP-hdrgm:Version"]), (2, 1))
            self.assertIn(b"GainMap", path.read_bytes())
            self.assertEqual(exiftool("-b", "-MPImage2", path)[:2], b"\xff\xd8")
        redis = self.place.redis()
        env = fleet.environment(CLOAK_REDIS=redis.url)
        self.place.start_stub_worker(redis.url, "w", 0)
        for policy in ("safe", "keep"):
            out = self.folder / policy
            done = self.place.cloak("submit", album, out, "--metadata", policy, env=env)
            self.assert_code(self.place.cloak("watch", done.out.strip(), env=env), 0)
            self.check_no_second_picture(out)
            self.assertEqual([fleet.receipts(out)[name]["outcome"] for name in ("face.jpg", "none.jpg")], ["cloaked", "no_face"])
            for path in out.glob("*.jpg"):
                for word in (b"MPF\0", b"hdr-gain-map", b"hdrgm", b"photos/1.0/container"):
                    self.assertNotIn(word, path.read_bytes(), path)

    def test_maker_notes_do_not_pass(self):
        """exiftool cannot invent a maker note: EXIF byte by byte, with a camera's own block in it."""
        secret = b"SECRET PREVIEW OF A FACE" * 4
        date, base = b"2024:05:06 07:08:09\0", 8 + 2 + 12 + 4
        folder = struct.pack("<H", 2) + struct.pack("<HHII", 0x9003, 2, len(date), base + 2 + 24 + 4) + struct.pack(
            "<HHII", 0x927c, 7, len(secret), base + 2 + 24 + 4 + len(date)) + bytes(4) + date + secret
        exif = (b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, base) + bytes(4) + folder)
        album, out = self.folder / "album", self.folder / "out"
        album.mkdir()
        picture(False, 3).save(album / "a.jpg", quality=90)
        data = (album / "a.jpg").read_bytes()
        (album / "a.jpg").write_bytes(
            data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
        self.assertEqual(self.tags(album)["a.jpg"]["DateTimeOriginal"], "2024:05:06 07:08:09")
        redis = self.place.redis()
        env = fleet.environment(CLOAK_REDIS=redis.url)
        self.place.start_stub_worker(redis.url, "w", 0)
        done = self.place.cloak("submit", album, out, "--metadata", "keep", env=env)
        self.assert_code(self.place.cloak("watch", done.out.strip(), env=env), 0)
        self.assertEqual(self.tags(out)["a.jpg"]["DateTimeOriginal"], "2024:05:06 07:08:09")
        self.assertNotIn(b"SECRET", (out / "a.jpg").read_bytes())

    def test_none_leaves_nothing(self):
        for name, tags in self.tags(self.outs["none"]).items():
            for tag in list(KEPT) + [t.rpartition(":")[2] for t in PERSONAL] + ["CopyrightNotice"]:
                self.assertNotIn(tag, tags, name)

    def check_kept(self, name, tags):
        self.assertEqual({tag: tags.get(tag) for tag in KEPT}, KEPT)

    def test_safe_keeps_when_and_how_but_not_who_and_where(self):
        for name, tags in self.tags(self.outs["safe"]).items():
            with self.subTest(name):
                self.check_kept(name, tags)
                for tag in [t.rpartition(":")[2] for t in PERSONAL] + ["Caption-Abstract"]:
                    self.assertNotIn(tag, tags)
                self.assertIn(tags.get("Orientation"), (None, "Horizontal (normal)"))
                self.assertEqual(tags.get("ExifImageWidth", tags["ImageWidth"]), tags["ImageWidth"])
                if name.endswith(("jpg", "tif")):
                    self.assertEqual(tags["CopyrightNotice"], "2024 A. Maker")
                data = (self.outs["safe"] / name).read_bytes()
                self.assertNotIn(b"Anna", data)
                self.assertNotIn(b"4711", data)

    def test_keep_keeps_people_and_places_too(self):
        for name, tags in self.tags(self.outs["keep"]).items():
            with self.subTest(name):
                self.check_kept(name, tags)
                for tag in PERSONAL:
                    self.assertIn(tag.rpartition(":")[2], tags)
                self.assertIn(tags.get("Orientation"), (None, "Horizontal (normal)"))

    def test_upright_and_readable(self):
        receipts = fleet.receipts(self.outs["safe"])
        self.assertEqual(len(receipts), 144)
        for path in sorted(self.album.iterdir()):
            with self.subTest(path.name):
                turned = path.suffix not in HEIF and path.name.split("-")[1] in "5678"
                self.assertEqual(receipts[path.name]["outcome"], "cloaked" if "face" in path.name else "no_face")
                self.assertEqual(receipts[path.name]["metadata"], "safe")
                self.assertEqual((receipts[path.name]["width"], receipts[path.name]["height"]),
                    (88, 120) if turned else (120, 88))
                if path.suffix not in HEIF:  # Pillow reads none; the worker has
                    with Image.open(self.outs["safe"] / path.name) as image, Image.open(path) as source:
                        self.assertEqual(image.size, (88, 120) if turned else (120, 88))
                        expected = (source if path.suffix == ".tif" else ImageOps.exif_transpose(source)).convert("RGB") # it turns TIFFs itself
                        differ = ImageStat.Stat(ImageChops.difference(expected, image.convert("RGB"))).mean
                        self.assertLess(max(differ), 4)  # turned or mirrored in any other way: 8 at least

    def test_passed_through_heif_pixels_are_untouched(self):
        """As heif-convert decodes them, which is not our code."""
        for path in [p for p in self.album.glob("none-*") if p.suffix in HEIF]:
            for policy in ("none", "keep"):
                both = []
                for i, source in enumerate((path, self.outs[policy] / path.name)):
                    png = self.folder / f"{i}.png"
                    subprocess.run(["heif-convert", source, png], check=True, capture_output=True, timeout=60)
                    with Image.open(png) as image:
                        both.append(image.convert("RGB").tobytes())
                self.assertEqual(both[0], both[1], path.name)

    def test_passed_through_pixels_are_untouched(self):
        for path in [p for p in self.album.glob("none-[01]-*") if p.suffix not in HEIF]:
            with Image.open(path) as a, Image.open(self.outs["keep"] / path.name) as b:
                self.assertEqual(a.convert("RGB").tobytes(), b.convert("RGB").tobytes(), path.name)


if __name__ == "__main__":
    fleet.main()
