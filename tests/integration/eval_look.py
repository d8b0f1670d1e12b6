#!/usr/bin/python3
"""`cloak eval look`: a fresh look at what was delivered agrees with the receipts, and says where it does not."""
import hashlib
import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

TARGET = "face-centre-mbv2"


class EvalLook(fleet.Case):
    def setUp(self):
        super().setUp()
        self.env = fleet.environment(CLOAK_TARGETS=str(self.folder / "targets"))
        self.assert_code(self.cloak("targets", "add", TARGET, fleet.ROOT / "models/weights" / f"{TARGET}.onnx"), 0)
        self.album, self.out = self.folder / "album", self.folder / "out"
        (self.album / "in").mkdir(parents=True)
        self.originals = fleet.portraits(2)
        for name, portrait in zip(("a.jpg", "in/b.jpg"), self.originals):
            shutil.copy(portrait, self.album / name)
        run = self.cloak("run", self.album, self.out, *fleet.RUN_FAST, "--targets", TARGET)
        self.assertIn(run.code, (0, 3), str(run))

    def cloak(self, *words):
        return self.place.cloak(*words, env=self.env)

    def look(self, code):
        result = self.cloak("eval", "look", self.out, "--threads", "1", "--json")
        self.assert_code(result, code)
        return result

    def test_agrees_with_receipts_and_finds_what_was_put_in_their_place(self):
        residual = sum(r["residual_score"] > 0 for r in fleet.receipts(self.out).values())
        self.assertEqual(self.look(0).json, {"photos": 2, "residual": residual, "worse": 0})
        photo, receipt = self.out / "a.jpg", self.out / "a.jpg.cloak.json"
        shutil.copy(self.originals[0], photo)
        result = self.look(1)
        self.assertIn("a.jpg: the photo is not the one that the receipt describes", result.err)
        self.assertEqual((result.json["photos"], result.json["worse"]), (1, 1))
        said = json.loads(receipt.read_text())
        def write(**changed):
            receipt.write_text(json.dumps({**said, "sha256_out": hashlib.sha256(photo.read_bytes()).hexdigest(), **changed}))
        write(model_after=0, targets_after=f"{TARGET}:0")
        result = self.look(1)
        self.assertRegex(result.err, rf"a\.jpg: {said['model']} finds a face at [01]\.\d+, and the receipt says 0\.000; {TARGET} finds")
        self.assertEqual((result.json["photos"], result.json["worse"]), (2, 1))
        write(model_after=1, targets_after=f"{TARGET}:0")  # each detector by itself
        self.assertRegex(self.look(1).err, rf"a\.jpg: {TARGET} finds")
        write(model_after=1, targets_after=f"{TARGET}:1")
        self.look(0)
        other = self.out / "in/b.jpg.cloak.json"  # hidden from fewer: its targets are its own
        other.write_text(json.dumps({k: v for k, v in json.loads(other.read_text()).items() if not k.startswith("targets")}))
        self.look(0)
        write(targets="nonsense")
        self.assertIn("a.jpg: ", self.look(1).err)
        (self.out / "in/b.jpg").write_bytes(b"no photo")
        digest = hashlib.sha256(b"no photo").hexdigest()
        other.write_text(json.dumps({**json.loads(other.read_text()), "sha256_out": digest}))
        write(model_after=1, targets_after=f"{TARGET}:1")
        result = self.look(1)
        self.assertEqual((result.json["photos"], result.json["worse"]), (1, 1))
        self.assert_code(self.cloak("targets", "remove", TARGET), 0)
        self.assertIn("which this machine lacks", self.cloak("eval", "look", self.out).err)
        write(model_sha256="0" * 64)
        self.assertIn("name that by --model", self.cloak("eval", "look", self.out).err)

    def test_wrong_words(self):
        self.assertIn("has no receipts", self.cloak("eval", "look", self.album).err)
        self.assert_code(self.cloak("eval", "look", self.album), 2)
        self.assert_code(self.cloak("eval", "look"), 2)


if __name__ == "__main__":
    fleet.main()
