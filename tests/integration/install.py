#!/usr/bin/python3
"""`cmake --install`: the programs work from where the folder was moved to, and take nothing from the tree."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402


class Install(fleet.Case):
    def setUp(self):
        super().setUp()
        first = self.folder / "first"
        subprocess.run(["cmake", "--install", fleet.BIN.parent, "--prefix", first, "--strip"], check=True, timeout=120,
                       stdout=subprocess.DEVNULL)
        self.place_of_it = self.folder / "moved" / "here"
        self.place_of_it.parent.mkdir()
        first.rename(self.place_of_it)

    def run_it(self, *words, targets=None):
        """Runs an installed program outside of the source tree, with nothing said of where things are."""
        env = fleet.environment()
        env.pop("CLOAK_MODEL", None)
        if targets:
            env["CLOAK_TARGETS"] = str(targets)
        done = subprocess.run([self.place_of_it / "bin" / words[0], *words[1:]], cwd=self.folder, env=env,
                              capture_output=True, text=True, timeout=fleet.PATIENCE)
        return fleet.Result(done.returncode, done.stdout, done.stderr)

    def test_an_album_is_cloaked(self):
        album = self.folder / "album"
        album.mkdir()
        shutil.copy(fleet.portraits(1)[0], album)
        done = self.run_it("cloak", "run", album, self.folder / "out", *fleet.RUN_FAST, "--json")
        self.assertIn(done.code, (0, 3), done)
        self.assertEqual(done.json["dead"], 0)
        self.assertEqual(len(list((self.folder / "out").glob("*.cloak.json"))), 1)

    def test_nothing_is_taken_from_the_source_tree(self):
        linked = subprocess.run(["ldd", self.place_of_it / "bin/cloak-worker"], capture_output=True, text=True,
                                check=True, timeout=60).stdout
        self.assertIn(str(self.place_of_it), os.path.realpath(linked.split("libcloak_model.so => ")[1].split()[0]))
        self.assertNotIn(str(fleet.BIN.parent), linked)
        (self.folder / "x.onnx").write_text("no ONNX")
        for name, says in (("yunet", "cannot load"), ("nobody", "no descriptor")):  # descriptors come along
            added = self.run_it("cloak", "targets", "add", name, self.folder / "x.onnx",
                                targets=self.folder / "targets")
            self.assertNotEqual(added.code, 0)
            self.assertIn(says, added.err)
        converters = {path.name for path in (self.place_of_it / "share/cloakfleet/convert").iterdir()}
        self.assertEqual(converters, {"literal_onnx.py", "mtcnn_onnx.py", "tflite_onnx.py", "tflite_onnx.txt"})
        weights = list((self.place_of_it / "share/cloakfleet").glob("*.safetensors"))
        self.assertEqual(len(weights), 1)
        self.assertTrue(os.access(self.place_of_it / "share/cloakfleet/install-packages", os.X_OK))
        weights[0].unlink()
        done = self.run_it("cloak", "doctor", "--json")
        model = [check for check in done.json["checks"] if check["name"] == "model"]
        self.assertEqual([check["ok"] for check in model], [False], done)

    def test_the_worker_s_unit_is_one(self):
        if not shutil.which("systemd-analyze"):
            raise unittest.SkipTest("no systemd-analyze on this machine")
        name = "cloak-worker@.service"
        unit = self.folder / name
        text = (self.place_of_it / "share/cloakfleet" / name).read_text()
        unit.write_text(text.replace("/usr/local", str(self.place_of_it)))
        done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True,
                              text=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    fleet.main()
