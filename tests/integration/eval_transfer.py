#!/usr/bin/python3
"""`cloak eval transfer`: the matrix of one cloak and our own detector, what it counts, and that a second run cloaks nothing anew."""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import numpy  # noqa: F401
    import PIL  # noqa: F401
    sys.path.insert(1, str(fleet.ROOT / "models/eval"))
    import detectors
    import transfer
except ImportError as missing:
    print(f"skipped: {missing} (python3-numpy, python3-pil)", file=sys.stderr)
    sys.exit(77)

CHANGES = {"raw", "jpeg75", "x0.6"}
MODEL = os.environ.get("CLOAK_TEST_MODEL") or fleet.ROOT / "models/weights/face-mbv2-fpn96-head512.safetensors"


class EvalTransfer(fleet.Case):
    def setUp(self):
        super().setUp()
        if fleet.ASAN:
            self.skipTest("the library would have to be loaded into an interpreter that is not instrumented")
        self.photos = self.folder / "photos"
        self.photos.mkdir()
        (self.photos / "a.jpg").write_bytes(fleet.portraits(1)[0].read_bytes())
        self.labels = self.folder / "labels.txt"
        self.labels.write_text("a.jpg\n1\n14 4 106 135 0 0 0 0 0 0\n")
        self.out = self.folder / "out"

    def transfer(self, *options):
        return self.place.cloak(
            "eval", "transfer", "--photos", self.photos, "--labels", self.labels, "--out", self.out, "--columns", "ours",
            "--cloak", fleet.BIN / "cloak", "--library", fleet.BIN.parent / "models/libcloak_model.so",
            "--weights", MODEL, "--cloak-options", "--threads 1", "--json", *options,
            env=fleet.environment(CLOAK_PYTHON=sys.executable))

    def delivered(self):
        return {path: path.stat().st_ino for path in (self.out / "rows").glob("*/a.jpg")}

    def test_matrix(self):
        result = self.transfer("--cloaks", "standard:none,standard@8/255:none")
        self.assert_code(result, 0)
        matrix = result.json
        self.assertEqual((matrix["photos"], matrix["faces"]), (1, 1))
        (column,) = matrix["columns"]
        self.assertEqual((column["name"], column["threshold_counted"]), ("ours", 0.05))
        weak, strong = matrix["rows"]
        self.assertEqual([row["name"] for row in matrix["rows"]], ["standard:none", "standard@8/255:none"])
        self.assertEqual(set(weak["cells"]), CHANGES)
        raw = weak["cells"]["raw"]["ours"]["iou"]
        self.assertEqual((raw["reference"], raw["before"], raw["after"], raw["recall_after"]), (1, 1, 0, 0))
        self.assertGreater(weak["psnr_db"], strong["psnr_db"])
        self.assertEqual(json.loads((self.out / "transfer.json").read_text())["rows"], matrix["rows"])
        self.assertIn("<svg", (self.out / "transfer.svg").read_text())
        delivered = self.delivered()
        matrix["rows"][0]["name"] = "another:none"
        earlier = self.folder / "earlier.json"
        earlier.write_text(json.dumps(matrix))
        again = self.transfer("--cloaks", "standard:none,standard@8/255:none", "--beside", earlier).json
        names = ["another:none", "standard:none", "standard@8/255:none"]
        self.assertEqual([row["name"] for row in again["rows"]], names)
        self.assertEqual([row["cells"] for row in again["rows"]], [weak["cells"], weak["cells"], strong["cells"]])
        self.assertEqual([row.get("made_at") for row in again["rows"]], [matrix["made_at"], None, None])
        self.assertEqual(self.delivered(), delivered)
        matrix["rows"][0]["cells"]["raw"]["ours"]["iou"]["before"] = 0
        for changed, says in ((matrix, "ours found other faces"), ({**matrix, "photos": 2}, "other photos")):
            earlier.write_text(json.dumps(changed))
            result = self.transfer("--cloaks", "standard:none", "--beside", earlier)
            self.assert_code(result, 1)
            self.assertIn(says, result.err)

    def test_a_detector_at_another_size_is_not_in_the_loop(self):
        columns = {d.name: d for d in (kind() for kind in detectors.PUBLIC)}
        known = fleet.ROOT / "models/targets/known"
        yunet = json.loads((known / "yunet.json").read_text())
        several = {**yunet, "input": {**yunet["input"], "also": ["native"]}}
        for said, looks in ((yunet, {"yunet-640"}), (several, {"yunet-640", "yunet-native"})):
            (self.folder / "it.json").write_text(json.dumps(said))
            targets = [str(self.folder / "it.onnx"), str(known / "blazeface-full.onnx")]
            seen = {name for name, column in columns.items() if transfer.is_in_loop(column, targets)}
            self.assertEqual(seen, {*looks, "blazeface-full"})
        self.assertFalse(any(transfer.is_in_loop(column, []) for column in columns.values()))
        self.assertTrue(transfer.is_in_loop(detectors.Ours(), []))

    def test_refuses_what_it_cannot_do(self):
        for words, says in ((("--cloaks", "standard"), "PRESET:TARGETS"), (("--max-faces", "0"), "no photo"),
                            (("--columns", "nobody"), "nobody")):
            result = self.transfer(*words)
            self.assert_code(result, 1)
            self.assertIn(says, result.err)
        (self.out / "album").mkdir(parents=True, exist_ok=True)
        (self.out / "album/other.jpg").write_bytes(b"")
        result = self.transfer()
        self.assert_code(result, 1)
        self.assertIn("holds other photos, such as other.jpg", result.err)


if __name__ == "__main__":
    fleet.main()
