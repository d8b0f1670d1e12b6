#!/usr/bin/python3
"""`cloak run` on a small album of every format: what it delivers, says, refuses and resumes."""
import json
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import numpy as np
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

REPORT = ["album", "total", "delivered", "cloaked", "no_face", "residual", "dead", "cancelled",
    "faces_before", "faces_after", "seconds", "photos_per_second", "stage_seconds", "ap", "recall",
    "psnr_db", "books_balanced"]
STAGES = ["queue_wait", "fetch", "decode", "detect", "attack", "encode", "verify", "put"]
IOUS = [f"{i / 10:.1f}" for i in range(3, 11)]
# What must not be in a delivered file: tags of exiftool that tell of it.
PRIVATE = ["GPSLatitude", "GPSPosition", "ThumbnailImage", "ThumbnailLength", "PreviewImage",
    "Orientation", "SerialNumber", "UserComment"]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a - b) ** 2), 1e-9))


def gradient(width, height):
    """A picture with no face in it."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([40 + x * 120 // width, 60 + y * 90 // height,
        120 + 0 * x], axis=2).astype(np.uint8))


def add_metadata(path, orientation=None):
    """GPS, a camera's name, a thumbnail of the photo itself and, if asked to, an orientation."""
    thumbnail = path.with_suffix(".thumb")
    with Image.open(path) as image:
        image.resize((64, 48)).save(thumbnail, "JPEG")
    turn = [f"-Orientation={orientation}"] if orientation else []
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-n", *turn, "-GPSLatitude=48.137",
        "-GPSLatitudeRef=N", "-GPSLongitude=11.575", "-GPSLongitudeRef=E", "-Make=Camera",
        "-SerialNumber=4711", "-UserComment=at home", f"-ThumbnailImage<={thumbnail}", str(path)],
        check=True, timeout=60)
    thumbnail.unlink()


def tags(path):
    done = subprocess.run(["exiftool", "-json", "-n", str(path)], capture_output=True, check=True,
        timeout=60)
    return json.loads(done.stdout)[0]


def make_album(folder):
    """Five photos: JPEG, PNG, WebP, a turned one with metadata, and one without a face."""
    folder.mkdir(parents=True)
    (folder / "sub").mkdir()
    faces = fleet.portraits(4)
    (folder / "a.jpg").write_bytes(faces[0].read_bytes())
    canvas = gradient(480, 360)
    with Image.open(faces[1]) as face:
        canvas.paste(face.resize((100, 100)), (20, 20))
    canvas.save(folder / "b.png")
    with Image.open(faces[2]) as face:
        face.save(folder / "sub/c.webp", quality=90)
    with Image.open(faces[3]) as face:
        # stored lying on its side, "turn by 90 degrees to the right to see it upright"
        face.crop((0, 0, 140, 150)).transpose(Image.Transpose.ROTATE_90).save(
            folder / "sub/d.jpg", quality=95)
    add_metadata(folder / "sub/d.jpg", 6)
    gradient(300, 225).save(folder / "e.jpg", quality=90)
    add_metadata(folder / "e.jpg")
    (folder / "notes.txt").write_text("not a photo\n")


PHOTOS = ["a.jpg", "b.png", "sub/c.webp", "sub/d.jpg", "e.jpg"]
STEPS = ["--steps", "6", "--rounds", "0", "--threads", "1"]


class Delivery(fleet.Case):
    """One run, looked at from all sides. The tests of this class change nothing."""

    @classmethod
    def setUpClass(cls):
        fleet.need("exiftool", "redis-server")
        cls.shared = fleet.Place()
        cls.addClassCleanup(cls.shared.close)
        cls.album, cls.out = cls.shared.folder / "album", cls.shared.folder / "out"
        make_album(cls.album)
        cls.before = fleet.snapshot(cls.album)
        cls.run_result = cls.shared.cloak("run", cls.album, cls.out, *STEPS, "--json")
        cls.report = cls.run_result.json if cls.run_result.code in (0, 3) else None

    def setUp(self):
        super().setUp()
        self.assertIsNotNone(self.report, str(self.run_result))

    def test_exit_code_says_whether_a_face_is_left(self):
        self.assert_code(self.run_result, 3 if self.report["residual"] else 0)

    def test_no_sanitizer_complains(self):
        self.check_sanitizers(self.shared)

    def test_report_has_every_documented_key(self):
        r = self.report
        self.assertEqual([k for k in REPORT if k not in r], [])
        self.assertEqual(sorted(r["stage_seconds"]), sorted(STAGES))
        self.assertEqual(r["ap"]["reference"], "clean")
        for curve in ("ap", "recall"):
            for side in ("before", "after"):
                self.assertEqual(sorted(r[curve][side]), IOUS)
        # measured against its own sure detections, the clean album is found completely
        self.assertEqual(r["recall"]["before"]["0.5"], 1)

    def test_report_adds_up(self):
        r, receipts = self.report, fleet.receipts(self.out)
        self.assert_balanced(r)
        self.assertEqual((r["total"], r["delivered"], r["dead"], r["cancelled"], r["skipped"]),
            (5, 5, 0, 0, 1))
        for outcome in ("cloaked", "no_face", "residual"):
            self.assertEqual(r[outcome], sum(x["outcome"] == outcome for x in receipts.values()))
        for key in ("faces_before", "faces_after"):
            self.assertEqual(r[key], sum(x[key] for x in receipts.values()))
        self.assertEqual(r["steps"], sum(x.get("steps", 0) for x in receipts.values()))
        self.assertGreaterEqual(r["faces_before"], 4)
        self.assertGreater(r["seconds"], 0)

    def test_table_for_people(self):
        self.assertIn("album", self.run_result.err)
        self.assertIn("notes.txt", self.run_result.err)
        self.assertIn("not a photo", self.run_result.err)
        self.assertIn("photos    5:", self.run_result.err)
        self.assertIn(str(self.out), self.run_result.err)

    def test_originals_are_untouched(self):
        self.assertEqual(fleet.snapshot(self.album), self.before)

    def test_every_photo_with_its_receipt_and_nothing_else(self):
        self.assert_delivered(self.out, PHOTOS)

    def test_receipts_agree_with_the_files(self):
        receipts = fleet.receipts(self.out)
        self.assertEqual(sorted(x["index"] for x in receipts.values()), list(range(5)))
        formats = {"a.jpg": "jpeg", "b.png": "png", "sub/c.webp": "webp", "sub/d.jpg": "jpeg",
            "e.jpg": "jpeg"}
        for key, receipt in receipts.items():
            with self.subTest(key):
                with Image.open(self.out / key) as image:
                    self.assertEqual((receipt["width"], receipt["height"]), image.size)
                    self.assertEqual(image.format.lower(), formats[key])
                self.assertEqual(receipt["schema"], "cloakfleet.job/1")
                self.assertEqual(receipt["format"], formats[key])
                self.assertEqual(receipt["key"], key)
                self.assertEqual(receipt["album"], self.report["album"])
                self.assertEqual(receipt["job"], f"{self.report['album']}:{receipt['index']}")
                self.assertEqual(receipt["bytes_in"], (self.album / key).stat().st_size)
                self.assertEqual(receipt["source"], str(self.album))
                self.assertEqual(receipt["destination"], str(self.out))
                self.assertEqual((receipt["attempt"], receipt["failures"], receipt["losses"]),
                    (1, 0, 0))
                self.assertEqual(receipt["outcome"] == "residual", not receipt["success"])
                self.assertEqual(receipt["success"], receipt["residual_score"] == 0)
                self.assertNotIn("error_class", receipt)
                if receipt["outcome"] != "no_face":
                    self.assertLessEqual(receipt["steps"], 6)
                    self.assertEqual((receipt["eps_levels"], receipt["max_steps"]), (5, 6))

    def test_png_pixels_stay_within_the_budget_and_the_region(self):
        receipt = fleet.receipts(self.out)["b.png"]
        clean, cloaked = pixels(self.album / "b.png"), pixels(self.out / "b.png")
        self.assertEqual(clean.shape, cloaked.shape)
        change = np.abs(clean - cloaked)
        self.assertGreater(change.max(), 0)
        self.assertLessEqual(change.max(), receipt["eps_levels"])
        # lossless: what is in the file is what the attack did
        changed = int((change.max(axis=2) > 0).sum())
        self.assertEqual(changed, round(receipt["changed_fraction"] * change[..., 0].size))
        self.assertEqual(change[-60:, -60:].max(), 0, "changed far away from the face")
        self.assertAlmostEqual(psnr(clean, cloaked), receipt["psnr_db"], delta=0.01)

    def test_lossy_pixels_change_little(self):
        for key in ("a.jpg", "sub/c.webp"):
            with self.subTest(key):
                clean, cloaked = pixels(self.album / key), pixels(self.out / key)
                self.assertGreater(psnr(clean, cloaked), 30)
                self.assertFalse((clean == cloaked).all())

    def test_orientation_is_applied_to_the_pixels(self):
        with Image.open(self.album / "sub/d.jpg") as image:
            self.assertEqual((image.size, image.getexif()[0x0112]), ((150, 140), 6))
            upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270).convert("RGB"))
        cloaked = pixels(self.out / "sub/d.jpg")
        self.assertEqual(cloaked.shape, (150, 140, 3))
        self.assertGreater(psnr(upright.astype(int), cloaked), 30)

    def test_nothing_private_is_left(self):
        self.assertIn("GPSLatitude", tags(self.album / "sub/d.jpg"))
        self.assertIn("ThumbnailImage", tags(self.album / "e.jpg"))
        for key in PHOTOS:
            with self.subTest(key):
                left = tags(self.out / key)
                self.assertEqual([t for t in PRIVATE if t in left], [])
                self.assertEqual(left.get("Make"), tags(self.album / key).get("Make"))

    def test_photo_without_a_face_keeps_its_pixels(self):
        receipt = fleet.receipts(self.out)["e.jpg"]
        self.assertEqual(receipt["outcome"], "no_face")
        self.assertEqual((pixels(self.album / "e.jpg") - pixels(self.out / "e.jpg")).any(), False)
        self.assertEqual(receipt["changed_fraction"], 0)

    def test_residual_scores_agree_with_a_fresh_look(self):
        labels, found = self.folder / "labels.txt", self.folder / "found"
        labels.write_text("".join(f"{key}\n0\n0 0 0 0 0 0 0 0 0 0\n" for key in PHOTOS))
        result = self.place.cloak("eval", "detector", "--photos", self.out, "--labels", labels,
            "--per-photo", found, "--threads", "1", "--json")
        self.assert_code(result, 0)
        self.assertEqual((result.json["photos"], result.json["faces"]), (5, 0))
        fresh = {x["key"]: x for x in map(json.loads, found.read_text().splitlines())}
        receipts = fleet.receipts(self.out)
        self.assertEqual(sorted(fresh), sorted(PHOTOS))
        for key, receipt in receipts.items():
            with self.subTest(key):
                self.assertAlmostEqual(
                    receipt["residual_score"], fresh[key]["best_score"], delta=1e-5)
                self.assertEqual(receipt["detections_after"], fresh[key]["detections"])

    def test_audit(self):
        result = self.place.cloak("audit", self.out, "--json")
        self.assert_code(result, 0)
        self.assertEqual(result.json, {"album": self.report["album"], "books_balanced": True,
            "checked": 5, "problems": 0})

    def test_status(self):
        result = self.place.cloak("status", self.out, "--json")
        self.assert_code(result, self.run_result.code)
        status = result.json
        self.assertEqual([k for k in REPORT if k not in status], [])
        for key in ("album", "total", "delivered", "cloaked", "no_face", "residual", "dead",
                "faces_before", "faces_after", "ap", "recall", "psnr_db", "books_balanced"):
            self.assertEqual(status[key], self.report[key], key)

    def test_wrong_commands_are_refused(self):
        before = fleet.snapshot(self.shared.folder)
        new = self.folder / "new"
        for words, text in [
                ((self.album, self.album), "same folder"),
                ((self.album, self.album.parent), "inside the output folder"),
                ((self.folder / "missing", new), "no album at"),
                ((self.album / "a.jpg", new), "is a file"),
                ((self.album, self.album / "a.jpg"), "is a file"),
                ((self.album, new, "--preset", "nonsense"), 'unknown preset "nonsense"'),
                ((self.album, new, "--labels", self.folder / "none.txt"), "none.txt"),
                ((self.album, new, "--eps", "7"), "eps"),
                ((self.album, self.out, "--steps", "7", "--rounds", "0"), "settings"),
                ((self.album,), "usage")]:
            with self.subTest(text):
                result = self.place.cloak("run", *words)
                self.assert_code(result, 2)
                self.assertIn(text, result.err)
        self.assertFalse(new.exists())
        after = fleet.snapshot(self.shared.folder)
        changed = [p for p in after if after[p] != before.get(p)]
        self.assertEqual([p for p in changed if not p.startswith(("out.cloak/", "cloak-"))], [])
        result = self.place.cloak("status", self.folder)
        self.assert_code(result, 2)
        self.assertIn("neither an album id nor an output folder", result.err)

    def test_audit_finds_damage(self):
        # on a copy of one photo's result that is put back: the class's files stay as they are
        photo = self.out / "a.jpg"
        kept = photo.read_bytes()
        try:
            photo.write_bytes(kept[:-1] + b"x")
            result = self.place.cloak("audit", self.out, "--json")
            self.assert_code(result, 1)
            self.assertEqual(result.json["problems"], 1)
            self.assertIn("a.jpg", result.err)
            photo.unlink()
            result = self.place.cloak("audit", self.out, "--json")
            self.assert_code(result, 1)
            self.assertIn("a.jpg", result.err)
        finally:
            photo.write_bytes(kept)


class Again(fleet.Case):
    """What further runs of the same command do."""

    def setUp(self):
        super().setUp()
        fleet.need("redis-server")
        self.album, self.out = self.folder / "album", self.folder / "out"
        self.log = self.folder / "out.cloak/worker.log"
        self.album.mkdir()

    def run_album(self, *options):
        return self.place.cloak("run", self.album, self.out, *(options or STEPS), "--json")

    def test_second_run_does_nothing_and_a_third_does_what_is_new(self):
        (self.album / "1.jpg").write_bytes(fleet.portraits(1)[0].read_bytes())
        gradient(160, 120).save(self.album / "2.png")
        first = self.run_album()
        self.assertIn(first.code, (0, 3), str(first))
        out, log = fleet.snapshot(self.out), self.log.read_bytes()
        second = self.run_album()
        self.assert_code(second, first.code)
        self.assertIn("everything is done already", second.err)
        self.assertEqual(fleet.snapshot(self.out), out)
        self.assertEqual(self.log.read_bytes(), log, "a worker was started")
        for report in (first.json, second.json):
            report.pop("seconds"), report.pop("photos_per_second")
        gradient(100, 120).save(self.album / "0.png")  # sorts before the others
        third = self.run_album()
        self.assert_code(third, first.code)
        self.assertEqual((third.json["total"], third.json["delivered"]), (3, 3))
        self.assert_delivered(self.out, ["0.png", "1.jpg", "2.png"])
        after = fleet.snapshot(self.out)
        self.assertEqual({p: after[p] for p in out}, out)
        self.assertEqual(self.log.read_bytes()[len(log):].count(b'"photo_done"'), 1)

    def test_changed_photo_is_done_again(self):
        gradient(160, 120).save(self.album / "1.png")
        gradient(90, 120).save(self.album / "2.png")
        self.assert_code(self.run_album(), 0)
        out = fleet.snapshot(self.out)
        gradient(161, 120).save(self.album / "1.png")
        result = self.run_album()
        self.assert_code(result, 0)
        after = fleet.snapshot(self.out)
        self.assertEqual(after["2.png"], out["2.png"])
        self.assertEqual(pixels(self.out / "1.png").shape, (120, 161, 3))
        self.assert_delivered(self.out, ["1.png", "2.png"])
        audit = self.place.cloak("audit", self.out, "--json")
        self.assert_code(audit, 0)
        self.assertEqual(audit.json["problems"], 0)

    def test_interrupt_drains_and_the_same_command_goes_on(self):
        for i, face in enumerate(fleet.portraits(4)):
            (self.album / f"{i}.jpg").write_bytes(face.read_bytes())
        gradient(100, 100).save(self.album / "00.png")  # done soon
        program = self.place.start_cloak("run", self.album, self.out, *STEPS, "--json")
        fleet.wait_until(lambda: len(list(self.out.glob("*.cloak.json"))) > 0, "a first photo")
        program.signal(signal.SIGINT)
        result = program.wait()
        self.assert_code(result, 130)
        self.assertIn("nothing is lost: the same command goes on from here", result.err)
        self.assertEqual(fleet.children(program.pid), {})
        self.assert_no_leftovers(self.folder)
        done = fleet.snapshot(self.out)
        self.assertLess(len(done), 10, "all was done before the interrupt came")
        self.assert_delivered(self.out, [p for p in done if not p.endswith(".cloak.json")])
        status = self.place.cloak("status", self.out, "--json")
        self.assert_balanced(status.json)
        self.assertEqual(status.json["delivered"], len(done) // 2)
        result = self.run_album()
        self.assertIn(result.code, (0, 3), str(result))
        self.assertEqual(result.json["delivered"], 5)
        self.assert_balanced(result.json)
        after = fleet.snapshot(self.out)
        self.assertEqual({p: after[p] for p in done}, done, "done photos were done again")
        for key, receipt in fleet.receipts(self.out).items():
            self.assertEqual((key, receipt["failures"], receipt["losses"]), (key, 0, 0))

    def test_two_runs_at_once_do_not_mix(self):
        (self.album / "1.jpg").write_bytes(fleet.portraits(1)[0].read_bytes())
        program = self.place.start_cloak("run", self.album, self.out, *STEPS, "--json")
        fleet.wait_until(lambda: self.log.exists(), "a worker")
        status = self.place.cloak("status", self.out, "--json")  # of the run that is going on
        self.assertEqual(status.json["total"], 1)
        second = self.run_album()  # waits for the first, or is refused
        first = program.wait()
        self.assertIn(first.code, (0, 3), str(first))
        if second.code == 2:
            self.assertIn("another cloak is working on", second.err)
        else:
            self.assertIn("everything is done already", second.err)
        self.assert_delivered(self.out, ["1.jpg"])


if __name__ == "__main__":
    fleet.main()
