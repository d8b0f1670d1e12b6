#!/usr/bin/python3
"""`cloak eval survival`: real codecs on delivered files, and a cloak that is made to survive them."""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402


class EvalSurvival(fleet.Case):
    def setUp(self):
        super().setUp()
        self.photos = self.folder / "photos"
        self.photos.mkdir()
        names = "abc"
        for name, portrait in zip(names, fleet.portraits(3)):
            (self.photos / f"{name}.jpg").write_bytes(portrait.read_bytes())
        found = self.place.cloak("eval", "detector", "--photos", self.photos, "--labels",
                                 self.write_labels({name: [(0, 0, 9, 9)] for name in names}),
                                 "--per-photo", self.folder / "found", "--threads", "1")
        self.assert_code(found, 0)
        boxes = {}  # what the detector is sure of stands for the truth
        for line in (self.folder / "found").read_text().splitlines():
            photo = json.loads(line)
            boxes[photo["key"][0]] = [(x1, y1, x2 - x1, y2 - y1)
                                      for x1, y1, x2, y2, score in photo["boxes"] if score > 0.8]
        self.faces = sum(map(len, boxes.values()))
        self.labels = self.write_labels(boxes)

    def write_labels(self, boxes):
        path = self.folder / "labels.txt"
        path.write_text("".join(
            f"{name}.jpg\n{len(rows)}\n" + "".join(
                "{:.0f} {:.0f} {:.0f} {:.0f} 0 0 0 0 0 0\n".format(*row) for row in rows)
            for name, rows in boxes.items()))
        return path

    def survival(self, *options):
        return self.place.cloak("eval", "survival", "--photos", self.photos, "--labels", self.labels,
                                "--threads", "1", *options)

    def test_changes_are_undone_before_boxes_are_compared(self):
        names = "raw,x0.6,x1.5,crop0.1,rotate3,jpeg60,jpegfull60,webp90,view1.25,x0.8+crop0.05+rotate-4+jpeg80"
        result = self.survival("--cloaked", self.photos, "--changes", names, "--json")
        self.assert_code(result, 0)
        report = result.json
        self.assertEqual((report["photos"], report["faces"]), (3, self.faces))
        self.assertEqual(list(report["changes"]), names.split(","))
        self.assertEqual((report["psnr_db"], report["ssim_worst_face"]), (99, 1))
        for name, row in report["changes"].items():  # nothing is cloaked: faces stay where they were
            self.assertGreaterEqual(row["recall"]["after"]["0.5"], 0.8, name)
            self.assertEqual(row["recall"]["before"], row["recall"]["after"], name)

    def test_receipts_say_what_is_left_after_each_change(self):
        out = self.folder / "out"
        names = ["jpeg75", "x0.75", "x0.6+jpeg75"]
        result = self.place.cloak("run", self.photos, out, "--survive", ",".join(names), "--steps",
                                  "8", "--rounds", "0", "--restarts", "0", "--threads", "1")
        self.assertIn(result.code, (0, 3))
        receipts = fleet.receipts(out)
        self.assertEqual(len(receipts), 3)
        for key, receipt in receipts.items():
            self.assertEqual(receipt["survive"].split(","), names, key)
            left = dict(part.split(":") for part in receipt["survival"].split(","))
            self.assertEqual(list(left), names, key)
            self.assertEqual(receipt["survives"], all(float(x) == 0 for x in left.values()), key)
            self.assertTrue(all(x == "0" or 0.05 < float(x) <= 1 for x in left.values()), key)
            finders = dict(part.split(":") for part in receipt.get("survival_by", "").split(",") if part)
            self.assertEqual(finders, {name: receipt["model"] for name, x in left.items() if x != "0"}, key)

    @unittest.skipIf(fleet.ASAN, "hundreds of steps: the other tests go the same ways in fewer")
    def test_shared_survives_what_standard_does_not(self):
        # portraits of 150 px, which a face fills, are the hardest there are: one will do, and enough that it is less
        for name in "ac":
            (self.photos / f"{name}.jpg").unlink()
        after = {}
        for preset in ("standard", "shared"):
            result = self.survival("--preset", preset, "--changes", "raw,x0.75+jpeg75,x0.6", "--json")
            self.assert_code(result, 0)
            self.assertEqual(result.json["preset"], preset)
            after[preset] = {name: row["recall"]["after"]["0.5"]
                             for name, row in result.json["changes"].items()}
        self.assertEqual(after["standard"]["raw"], 0)
        self.assertEqual(after["shared"]["raw"], 0)
        for name in ("x0.75+jpeg75", "x0.6"):
            self.assertGreater(after["standard"][name], 0.5, name)
            self.assertLess(after["shared"][name], after["standard"][name], name)

    def test_wrong_words_are_refused(self):
        for options, word in ((("--cloaked", self.photos, "--changes", "raw,smaller"), "'smaller'"),
                              (("--cloaked", self.photos, "--preset", "shared"), "--preset"),
                              ((), "--cloaked"), (("--preset", "loud"), "loud")):
            result = self.survival(*options)
            self.assertIn(result.code, (1, 2))
            self.assertIn(word, result.err)
        self.assert_code(self.survival("--cloaked", self.folder / "nowhere"), 1)


if __name__ == "__main__":
    fleet.main()
