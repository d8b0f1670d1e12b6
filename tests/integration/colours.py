#!/usr/bin/python3
"""Colours and depth: what a delivered photo shows outside the region around a face is what its source shows.

The real worker with a model that sleeps and changes the middle half of a photo (tests/stub_model.c). The photos are
parts of the sample album, made by vips, exiftool and heif-enc in every format, depth and colour space, upright and on
their side, with and without a face. Both files of a pair are taken to CIE L*a*b* by vips through their own profiles.
"""
import base64
import pathlib
import re
import signal
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import numpy
    from PIL import Image
except ImportError:
    numpy = None

WIDTH, HEIGHT, MARGIN = 320, 240, 24  # the margin: a block of a subsampled JPEG and what smooths into it
DARK, LIGHT = 99, 150                 # means of the middle: what the sleeping model takes for a face, or not, in sRGB
# The same as numbers with another curve than sRGB's. `grey` and `dim` are dark in sRGB only, `pale` only for programs that
# know nothing of profiles; of `paler` these still see a face when sRGB shows none.
CURVED = {"grey": {DARK: 115, LIGHT: 165}, "dim": {DARK: 115, LIGHT: 165}, "pale": {DARK: 100, LIGHT: 140},
    "paler": {DARK: 94, LIGHT: 140}}
GREY = ("grey", "pale", "paler")


def icc(space, matrix, gamma):
    """A profile of version 2 (ICC.1:2001-04): RGB with a matrix, or grey, and a power for its curve."""
    def tag(kind, body):
        return kind + bytes(4) + body

    def xyz(*values):
        return tag(b"XYZ ", b"".join(struct.pack(">i", round(v * 65536)) for v in values))

    curve = tag(b"curv", struct.pack(">IH", 1, round(gamma * 256)) + bytes(2))
    tags = {b"desc": tag(b"desc", struct.pack(">I", 5) + b"test\0" + bytes(78)), b"cprt": tag(b"text", b"none\0\0\0\0"),
        b"wtpt": xyz(.9642, 1, .8249)}
    if space == b"RGB ":
        tags.update({b"rXYZ": xyz(*matrix[0]), b"gXYZ": xyz(*matrix[1]), b"bXYZ": xyz(*matrix[2]), b"rTRC": curve,
            b"gTRC": curve, b"bTRC": curve})
    else:
        tags[b"kTRC"] = curve
    table, data = b"", b""
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", 132 + len(table) + len(data), b"test", 0x02200000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + data


# Primaries adapted to D50 (Bradford): Adobe RGB (1998), and Display P3 with a power for its curve.
PROFILES = {"none": None,
    "adobe": icc(b"RGB ", ((.60974, .31111, .01947), (.20528, .62567, .06087), (.14919, .06322, .74457)), 2.2),
    "p3": icc(b"RGB ", ((.51512, .24120, -.00105), (.29198, .69225, .04189), (.15710, .06657, .78407)), 2.2),
    "grey": icc(b"GRAY", None, 2.6), "pale": icc(b"GRAY", None, 1.8), "paler": icc(b"GRAY", None, 1.8),
    "dim": icc(b"RGB ", ((.43607, .22249, .01392), (.38515, .71687, .09708), (.14307, .06061, .71410)), 2.6)}
RGB = ("none", "p3", "adobe")
# ending: (colour spaces, depths, what vips writes it with; None: as PNG, or by heif-enc)
KINDS = {"png": (RGB + tuple(CURVED), (8, 16), None), "jpg": (RGB + ("grey", "cmyk"), (8,), "[Q=92]"),
    "444.jpg": (("p3",), (8,), "[Q=92,no-subsample]"), "webp": (("none", "p3"), (8,), "[Q=90]"),
    "lossless.webp": (RGB, (8,), "[lossless]"), "tif": (RGB + ("grey", "cmyk"), (8, 16), "[compression=lzw]"),
    "heic": (("none", "p3"), (8, 10), None), "avif": (("none", "p3"), (8, 12), None)}
HEIF = (".heic", ".avif")


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"{words}: {done.stderr.decode()}")
    return done.stdout


def png(path, pixels, profile):
    """Writes an array of height x width x 1 or 3 numbers of 8 or 16 bits."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, 2 if pixels.shape[2] == 3 else 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + (chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))
        if profile else b"") + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))) +
        chunk(b"IEND", b""))


def numbers(photo, mean, depth, grey):
    """A photo's pixels at a depth, with a mean in the middle that the sleeping model knows."""
    with Image.open(photo) as image:
        image = image.convert("L" if grey else "RGB").resize((WIDTH, HEIGHT))
        pixels = numpy.asarray(image, dtype=float).reshape(HEIGHT, WIDTH, -1)
    middle = pixels[HEIGHT * 3 // 8:HEIGHT * 5 // 8, WIDTH * 3 // 8:WIDTH * 5 // 8, 0].mean()
    pixels = (pixels - middle) * .5 + mean
    draw = numpy.random.default_rng(5)
    fine = (pixels.clip(1, 254) + draw.random(pixels.shape) - .5) * 257
    return fine.round().astype(numpy.uint16) if depth > 8 else pixels.clip(0, 255).round().astype(numpy.uint8)


def means(values):
    """Of 8 x 8 pixels each."""
    h, w = values.shape[0] // 8, values.shape[1] // 8
    return values[:h * 8, :w * 8].reshape(h, 8, w, 8, -1).mean(axis=(1, 3))


def samples(path):
    """height x width x bands of a file in vips' own format: samples follow a header of 64 bytes as they were in memory."""
    magic, width, height, bands, _, kind = struct.unpack("=I5i", path.read_bytes()[:24])
    assert magic == 0x08f2a6b6, path
    dtype = {0: numpy.uint8, 2: numpy.uint16, 6: numpy.float32}[kind]
    return numpy.fromfile(path, dtype, width * height * bands, offset=64).reshape(height, width, bands)


def profile(path):
    """The colour profile of such a file, or None: what vips keeps besides the samples follows them as XML."""
    found = re.search(rb'name="icc-profile-data">([^<]+)<', path.read_bytes()[64 + samples(path).nbytes:])
    return base64.b64decode(found[1]) if found else None


@fleet.unittest.skipIf(numpy is None, "there is no python3-numpy or python3-pil")
class Colours(fleet.Case):
    @classmethod
    def setUpClass(cls):
        fleet.need("vips", "exiftool", "heif-enc", "redis-server")
        cls.shared = fleet.Place()
        cls.addClassCleanup(cls.shared.close)
        cls.album, cls.out, cls.work = (cls.shared.folder / name for name in ("album", "out", "work"))
        cls.album.mkdir()
        cls.work.mkdir()
        cls.make_album()
        redis = cls.shared.redis()
        worker = cls.shared.start_stub_worker(redis.url, "w", 0)
        env = fleet.environment(CLOAK_REDIS=redis.url)
        done = cls.shared.cloak("submit", cls.album, cls.out, env=env)
        assert done.code == 0, str(done)
        watch = cls.shared.cloak("watch", done.out.strip(), "--json", env=env)
        assert watch.code in (0, 3), str(watch)  # whether a lift is enough is not the question here
        worker.signal(signal.SIGTERM)
        worker.wait()

    @classmethod
    def make_album(cls):
        groups = sorted(fleet.sample_album().glob("groups/*.jpg"))
        count = 0
        for ending, (spaces, depths, options) in KINDS.items():
            for space in spaces if not fleet.ASAN else [s for s in spaces if s in ("p3", *CURVED)]: # they go all ways
                for depth in depths if space != "cmyk" else depths[:1]:
                    for mean in (DARK, LIGHT):
                        source = groups[count % len(groups)]
                        count += 1
                        cls.make(source, mean, depth, space, ending, options)
        run("exiftool", "-q", "-overwrite_original", "-n", "-Orientation=6", *cls.album.glob("*-6.*"))

    @classmethod
    def make(cls, source, mean, depth, space, ending, options):
        stem = f"{'face' if mean == DARK else 'none'}-{space}-{depth}"
        upright, plain = cls.album / f"{stem}-1.{ending}", cls.work / "plain.png"
        png(plain, numbers(source, CURVED.get(space, {}).get(mean, mean), depth, space in GREY), PROFILES.get(space))
        if space == "cmyk":
            run("vips", "icc_transform", plain, f"{upright}{options}", "cmyk", "--input-profile", "srgb")
        elif upright.suffix in HEIF:
            run("heif-enc", "-q", 90, "-b", depth, *(["-A"] if upright.suffix == ".avif" else []), plain, "-o", upright)
        elif options:
            run("vips", "copy", plain, f"{upright}{options}")
        else:
            upright.write_bytes(plain.read_bytes())
        if upright.suffix in HEIF:  # EXIF does not turn them
            return
        turned = cls.album / f"{stem}-6.{ending}"
        turned.write_bytes(upright.read_bytes())

    def pairs(self):
        for path in sorted(self.album.iterdir()):
            yield path, self.out / path.name

    def upright(self, path):
        """The file as vips decodes and turns it, in its own format; made once."""
        out = self.work / f"{path.parent.name}-{path.name}.v"
        if not out.exists():
            run("vips", "autorot", path, self.work / "part.v")
            (self.work / "part.v").rename(out)
        return out

    def lab(self, path, cmyk):
        """L*a*b* per pixel, from the file's own colour space; one that has no profile is sRGB."""
        out = self.work / "lab.v"
        run("vips", "icc_import", self.upright(path), out, "--embedded", "--input-profile", "srgb", "--pcs",
            "lab", "--intent", "relative", *(["--black-point-compensation"] if cmyk else []))
        return samples(out)

    @staticmethod
    def outside(shape, face):
        """A mask of what the model has left alone."""
        mask = numpy.ones(shape[:2], dtype=bool)
        if face:
            h, w = shape[:2]
            mask[h // 4 - MARGIN:h * 3 // 4 + MARGIN, w // 4 - MARGIN:w * 3 // 4 + MARGIN] = False
        return mask

    def test_there_are_enough_of_them(self):
        receipts = fleet.receipts(self.out)
        self.assertGreaterEqual(len(receipts), 40 if fleet.ASAN else 120)
        for name, receipt in receipts.items():
            self.assertEqual(receipt["outcome"] != "no_face", name.startswith("face"), name)
            if name.split("-")[1] in CURVED and name.endswith(".png"):  # made so that one lift is enough, or is not
                self.assertEqual(receipt["outcome"] == "residual", name.startswith("face-paler"), name)

    @staticmethod
    def is_exact(path):
        """Stored without loss, or copied as it is coded."""
        stored = path.suffix in (".png", ".tif") or "lossless" in path.name
        copied = path.suffix in HEIF + (".webp",) and path.name.startswith("none") and "-1." in path.name
        return stored or copied or (path.suffix == ".jpg" and "-1." in path.name)

    def test_colours_outside_the_region(self):
        """What was stored without loss, or copied as it was coded, has no difference at all. What was coded anew with loss
        keeps its colours within a CIE76 of 1, between 98 of 100 means of 8 x 8 pixels: coders add noise to single
        ones, which is no colour."""
        worst = {}
        for source, delivered in self.pairs():
            with self.subTest(source.name):
                a, b = (self.lab(path, "cmyk" in source.name) for path in (source, delivered))
                mask = self.outside(a.shape, source.name.startswith("face"))
                pixels = numpy.sqrt(((a - b) ** 2).sum(axis=2))
                blocks = numpy.sqrt(((means(a) - means(b)) ** 2).sum(axis=2))[means(mask[:, :, None])[:, :, 0] == 1]
                if self.is_exact(source):
                    self.assertLess(pixels[mask].max(), .01)
                self.assertLess(blocks.mean(), .5)
                self.assertLess(numpy.percentile(blocks, 98), 1)
                self.assertLess(pixels[mask].mean(), 2.5)
                if source.name.startswith("face"):
                    self.assertGreater(pixels[~mask].mean(), pixels[mask].mean())
                worst[source.name] = (blocks.mean(), numpy.percentile(blocks, 98), pixels[mask].mean())
        for name in sorted(worst, key=worst.get)[-16:]:
            print("colours: {}: blocks {:.2f} on average, {:.2f} (98 %); pixels {:.2f}".format(name, *worst[name]))

    def test_profiles_stay(self):
        for source, delivered in self.pairs():
            before, after = (profile(self.upright(path)) for path in (source, delivered))
            self.assertEqual(before, after, source.name)
            self.assertEqual(before is None, source.name.split("-")[1] == "none", source.name)

    def test_sixteen_bits_are_exact(self):
        for source, delivered in self.pairs():
            if "-16-" not in source.name:
                continue
            with self.subTest(source.name):
                a, b = (samples(self.upright(path)).astype(int) for path in (source, delivered))
                self.assertEqual(a.shape[2], 1 if any(space in source.name for space in GREY) else 3)
                mask = self.outside(a.shape, source.name.startswith("face"))
                self.assertTrue((a[mask] == b[mask]).all())
                self.assertGreater((a % 257 != 0).mean(), .9)  # they were no 8 bits
                self.assertLessEqual(abs(a - b).max(), 8 * 257)

    def test_depth_stays(self):
        for source, delivered in self.pairs():
            before, after = (samples(self.upright(path)).dtype for path in (source, delivered))
            self.assertEqual(before, after, source.name)
            self.assertEqual(before == numpy.uint16, "-8-" not in source.name, source.name)


if __name__ == "__main__":
    fleet.main()
