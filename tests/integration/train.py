#!/usr/bin/python3
"""The trainer: reproducible, resumable, its product loads, conversions lose nothing.

Runs models/train/*.py as a user would, for a few iterations on drawn photos of 200 px.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = ROOT / "models/train"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/parity"), str(TRAIN)]
import fleet  # noqa: E402

if fleet.ASAN:
    print("skipped: nothing here runs in the sanitizers' build", file=sys.stderr)
    sys.exit(77)

try:
    import numpy as np
    import torch
    import torchvision  # noqa: F401
    from PIL import Image, ImageDraw
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

import augment  # noqa: E402
import checkpoint  # noqa: E402
import detector  # noqa: E402
import labels  # noqa: E402
import losses  # noqa: E402
import refine  # noqa: E402
import shim  # noqa: E402
import weights_file  # noqa: E402

WEIGHTS = ROOT / "models/weights/face-mbv2-fpn96.safetensors"
LIBRARY = fleet.BIN.parent / "models/libcloak_model.so"
FACES = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache",
                     "cloakfleet/sample-album/groups")
ITERATIONS = 6


def draw_photos(folder, count=5):
    """Photos of ellipses, and their labels; returns the labels' file."""
    rng, lines = np.random.default_rng(1), []
    for i in range(count):
        image = Image.fromarray(rng.integers(60, 120, (150, 200, 3), dtype=np.uint8))
        faces = []
        for _ in range(3):
            w, h = int(rng.integers(10, 40)), int(rng.integers(14, 50))
            x, y = int(rng.integers(0, 200 - w)), int(rng.integers(0, 150 - h))
            ImageDraw.Draw(image).ellipse((x, y, x + w, y + h), (220, 180, 150))
            faces.append(f"{x} {y} {w} {h} 0 0 0 {int(len(faces) == 2)} 0 0")
        image.save(folder / f"{i}.jpg", quality=90)
        lines += [f"{i}.jpg", "3", *faces]
    image.save(folder / "empty.jpg")
    (folder / "labels.txt").write_text("\n".join(lines + ["empty.jpg", "0", "0 " * 10]) + "\n")
    return folder / "labels.txt"


def script(name, *arguments):
    """Runs a script of models/train; returns the finished process."""
    return subprocess.run([sys.executable, "-B", str(TRAIN / name), *map(str, arguments)],
        capture_output=True, text=True, timeout=fleet.PATIENCE, env=fleet.environment())


class Trainer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.labels = draw_photos(cls.folder)
        cls.architecture = cls.folder / "small.json"
        metadata = {**weights_file.read(WEIGHTS)[1], "name": "small"}
        cls.architecture.write_text(json.dumps(metadata))
        done = cls.train("whole")
        assert done.returncode == 0, done.stderr
        cls.product = cls.folder / "whole/small.safetensors"

    @classmethod
    def command(cls, out, *more):
        arguments = ["--photos", cls.folder, "--labels", cls.labels, "--init", WEIGHTS,
            "--architecture", cls.architecture, "--out", cls.folder / out, "--crop", 128,
            "--batch", 4, "--iterations", ITERATIONS, "--decay-at", 4, "--warmup", 2,
            "--threads", 2, *more]
        return ["train.py", *map(str, arguments)]

    @classmethod
    def train(cls, out, *more):
        return script(*cls.command(out, *more))

    def curves(self, out):
        return (self.folder / out / "curves.csv").read_text()

    def same_as_whole(self, out):
        self.assertEqual(self.curves(out), self.curves("whole"))
        self.assertEqual((self.folder / out / "small.safetensors").read_bytes(),
                         self.product.read_bytes())

    def test_curves_have_every_iteration_and_finite_losses(self):
        rows = self.curves("whole").splitlines()
        self.assertEqual(len(rows), 1 + ITERATIONS)
        self.assertTrue(np.isfinite([float(v) for row in rows[1:] for v in row.split(",")]).all())
        self.assertEqual([float(row.split(",")[1]) for row in rows[4:6]], [0.008, 0.0008])
        with Image.open(self.folder / "whole/loss.png") as image:
            self.assertGreater(image.width, 100)

    def test_same_seed_same_curve_on_any_number_of_threads(self):
        done = self.train("again", "--threads", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.same_as_whole("again")
        done = self.train("other", "--seed", "2", "--iterations", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(self.curves("other").splitlines()[1],
                            self.curves("whole").splitlines()[1])

    def stopped(self, out, number):
        """Starts training, ends it by the signal after its first checkpoint; its exit status."""
        _, *arguments = self.command(out, "--save-every", "0")
        with subprocess.Popen([sys.executable, "-B", str(TRAIN / "train.py"), *arguments],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=fleet.environment()) as run:
            until = time.monotonic() + fleet.PATIENCE
            while not (self.folder / out / "checkpoint.pt").exists():
                self.assertIsNone(run.poll(), "ended without a checkpoint")
                self.assertLess(time.monotonic(), until)
                time.sleep(0.02)
            run.send_signal(number)
            run.communicate(timeout=fleet.PATIENCE)
        return run.returncode

    def test_interrupted_or_killed_and_resumed_gives_the_same(self):
        for out, number, status in (("term", signal.SIGTERM, 130),
                                    ("kill", signal.SIGKILL, -signal.SIGKILL)):
            with self.subTest(out):
                self.assertEqual(self.stopped(out, number), status)
                done = self.train(out)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("resuming after iteration", done.stdout)
                self.same_as_whole(out)

    def test_another_run_does_not_resume_here(self):
        for name, value in (("seed", 5), ("crowds", 0.25), ("head", 320)):
            done = self.train("whole", f"--{name}", value)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"another {name}", done.stderr)

    def test_heads_leaves_all_else_unaltered(self):
        done = self.train("heads", "--regime", "heads", "--iterations", "2", "--lr", "0.1")
        self.assertEqual(done.returncode, 0, done.stderr)
        before, after = weights_file.read(WEIGHTS)[0], \
            weights_file.read(self.folder / "heads/small.safetensors")[0]
        self.assertEqual(before.keys(), after.keys())
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        self.assertTrue(changed)
        self.assertEqual([name for name in changed if not name.startswith(detector.HEADS)], [])

    def test_full_trains_backbone_but_not_its_first_stages(self):
        state = checkpoint.load(str(self.folder / "whole"))
        before = weights_file.read(WEIGHTS)[0]
        changed = {name for name, value in state["ema"].items()
                   if not torch.equal(value, before[name].float())}
        self.assertIn("backbone.body.5.conv.0.0.weight", changed)
        self.assertIn("roi_heads.box_head.fc6.weight", changed)
        self.assertFalse([name for name in changed if name.startswith("backbone.body.2.")])

    def test_export_of_a_checkpoint_is_the_product(self):
        out = self.folder / "exported.safetensors"
        done = script("export.py", self.folder / "whole", out, "--name", "mine")
        self.assertEqual(done.returncode, 0, done.stderr)
        tensors, metadata = weights_file.read(out)
        expected, _ = weights_file.read(self.product)
        self.assertEqual(metadata["name"], "mine")
        self.assertTrue(all(torch.equal(tensors[name], expected[name]) for name in expected))
        self.assertEqual(json.loads(out.with_suffix(".json").read_text()), metadata)

    def test_export_shifts_the_faces_logits_and_takes_other_settings(self):
        settings, out = self.folder / "settings.json", self.folder / "shifted.safetensors"
        settings.write_text(json.dumps({**weights_file.read(WEIGHTS)[1], "rpn_post_nms": 7}))
        done = script("export.py", self.folder / "whole", out, "--single", "--score-shift", "0.5",
                      "--architecture", settings)
        self.assertEqual(done.returncode, 0, done.stderr)
        tensors, metadata = weights_file.read(out)
        ema = checkpoint.load(str(self.folder / "whole"))["ema"]
        changed = {name: tensors[name] - value for name, value in ema.items()
                   if not torch.equal(tensors[name], value)}
        self.assertEqual(list(changed), ["roi_heads.box_predictor.cls_score.bias"])
        torch.testing.assert_close(*changed.values(), torch.tensor([0.0, 0.5]))
        self.assertEqual(metadata["rpn_post_nms"], 7)
        self.assertIn("raised by 0.5", metadata["training"])

    @unittest.skipUnless(LIBRARY.exists() and not fleet.ASAN, f"no loadable {LIBRARY}")
    def test_the_shim_loads_the_product_and_finds_what_torchvision_finds(self):
        import evaluate
        from shim import Model
        path = sorted(self.folder.glob("*.jpg"))[0]
        with Image.open(path) as file:
            ours = Model(str(LIBRARY), str(self.product)).detect(np.array(file.convert("RGB")))
        boxes, scores = evaluate.detect(evaluate.load(str(self.product)), path)
        sure = scores.numpy() > 0.06
        self.assertEqual(sure.sum(), (ours[:, 4] > 0.06).sum())
        np.testing.assert_allclose(ours[:sure.sum(), 4], scores.numpy()[sure], atol=2e-3)
        np.testing.assert_allclose(ours[:sure.sum(), :4], boxes.numpy()[sure], atol=0.5)

    def test_convert_there_and_back_is_lossless(self):
        pth, back = self.folder / "model.pth", self.folder / "back.safetensors"
        done = script("convert.py", "to-torchvision", self.product, pth)
        self.assertEqual(done.returncode, 0, done.stderr)
        plain = detector.build(detector.read_architecture(str(self.product)))
        plain.load_state_dict(torch.load(pth))  # strictly: as any user of torchvision would
        done = script("convert.py", "from-torchvision", pth, self.product.with_suffix(".json"),
                      back, "--half")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(weights_file.read(back)[1], weights_file.read(self.product)[1])
        tensors, expected = weights_file.read(back)[0], weights_file.read(self.product)[0]
        self.assertEqual(tensors.keys(), expected.keys())
        self.assertTrue(all(torch.equal(tensors[name], expected[name]) for name in expected))

    def refused(self, state, word, architecture=None):
        path = self.folder / "odd.pth"
        torch.save(state, path)
        done = script("convert.py", "from-torchvision", path, architecture or self.architecture,
                      self.folder / "odd.safetensors")
        self.assertEqual(done.returncode, 1)
        self.assertIn(word, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertFalse((self.folder / "odd.safetensors").exists())

    def test_convert_refuses_what_does_not_fit(self):
        tensors = {k: v.float() for k, v in weights_file.read(self.product)[0].items()}
        self.refused({"a": "b"}, "no state_dict")
        self.refused({"a": torch.zeros(1)}, "no roi_heads.box_predictor")
        classes = {"roi_heads.box_predictor.cls_score.weight": torch.zeros(91, 256)}
        self.refused({**tensors, **classes}, "91 classes")
        self.refused({**tensors, "extra": torch.zeros(1)}, "has extra, which is unknown")
        shape = {"rpn.head.cls_logits.weight": torch.zeros(3, 96, 1, 1)}
        self.refused({**tensors, **shape}, "instead of (2, 96, 1, 1)")

    def test_resnets_train_and_convert_from_old_names(self):
        metadata = json.loads(self.architecture.read_text())
        path = self.folder / "resnet.json"
        path.write_text(json.dumps({**metadata, "backbone": "resnet18", "name": "r18"}))
        done = self.train("r18", "--architecture", path, "--iterations", "1", "--freeze", "1",
                          "--init", self.imagenet_resnet())
        self.assertEqual(done.returncode, 0, done.stderr)
        tensors = {k: v.float() for k, v in
                   weights_file.read(self.folder / "r18/r18.safetensors")[0].items()}
        plain = detector.build(detector.read_architecture(str(path)))
        plain.load_state_dict(tensors)
        old = {k.replace("_blocks.0.0.", "_blocks.0.").replace("conv.0.0.", "conv."): v
               for k, v in tensors.items()}
        self.assertNotEqual(old.keys(), tensors.keys())
        torch.save({"model": old}, self.folder / "r18.pth")
        done = script("convert.py", "from-torchvision", self.folder / "r18.pth", path,
                      self.folder / "r18.safetensors")
        self.assertEqual(done.returncode, 0, done.stderr)
        again = weights_file.read(self.folder / "r18.safetensors")[0]
        self.assertEqual(again.keys(), tensors.keys())
        self.assertTrue(all(torch.equal(again[name], tensors[name]) for name in tensors))

    def refine_boxes(self, out, *more):
        return script("refine_boxes.py", WEIGHTS, self.folder / out, "--photos", FACES, "--labels",
                      self.faces(), "--work", self.folder / (out + ".shards"), "--shards", 1,
                      "--crops", 12, "--epochs", 3, *more)

    def faces(self):
        """Labels of three photos, made once: where the detector is surest stands for the truth."""
        import evaluate
        path = self.folder / "faces.txt"
        if path.exists():
            return path
        model, lines = evaluate.load(str(WEIGHTS)), []
        for photo in sorted(FACES.glob("*.jpg"))[:3]:
            x1, y1, x2, y2 = evaluate.detect(model, photo)[0][0].tolist()
            lines += [photo.name, "1", f"{x1:.0f} {y1:.0f} {x2 - x1:.0f} {y2 - y1:.0f} 0 0 0 0 0 0"]
        path.write_text("\n".join(lines) + "\n")
        return path

    @unittest.skipUnless(FACES.is_dir(), "no sample album")
    def test_a_refinement_trains_alike_on_any_shards_and_is_left_behind_by_what_knows_none(self):
        refined, shard = self.folder / "once.safetensors", self.folder / "once.safetensors.shards/shard-0000.pt"
        done = self.refine_boxes(refined.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        first, made = refined.read_bytes(), shard.stat().st_mtime_ns
        done = self.refine_boxes(refined.name)  # from the shard that is there
        self.assertEqual((done.returncode, shard.stat().st_mtime_ns), (0, made), done.stderr)
        self.assertEqual(refined.read_bytes(), first)
        done = self.refine_boxes(refined.name, "--seed", "2")
        self.assertEqual(done.returncode, 1)
        self.assertIn("made-from.json", done.stderr)
        done = self.refine_boxes("twice.safetensors")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "twice.safetensors").read_bytes(), first)
        tensors, metadata = weights_file.read(refined)
        self.assertEqual(metadata["box_refine"], 0.7)
        self.assertIn("boxes refined", metadata["training"])
        self.assertEqual(tensors["refinement.bbox_pred.weight"].shape, (4, 512))
        for out, command in (("plain.pth", ("convert.py", "to-torchvision", refined)),
                             ("half.safetensors", ("average.py", refined, WEIGHTS))):
            done = script(*command, self.folder / out)
            self.assertEqual(done.returncode, 0, done.stderr)
        averaged = weights_file.read(self.folder / "half.safetensors")[1]
        self.assertNotIn("box_refine", averaged)
        self.assertNotIn("boxes refined", averaged["training"])
        done = self.train("on", "--init", refined, "--architecture", refined, "--iterations", 1)
        self.assertEqual(done.returncode, 0, done.stderr)
        product = next((self.folder / "on").glob("*.safetensors"))
        self.assertEqual(weights_file.read(product)[0].keys(), refine.without(tensors).keys())
        plain = detector.build(refine.plain(metadata))
        plain.load_state_dict(torch.load(self.folder / "plain.pth"))

    def imagenet_resnet(self):
        """A stand-in for an ImageNet ResNet-18: right names and shapes, random values."""
        torch.manual_seed(3)
        path = self.folder / "imagenet.safetensors"
        state = torchvision.models.resnet18(weights=None).state_dict()
        weights_file.write(path, detector.exported(state), {})
        return path

    def test_the_centre_detector_trains_resumes_and_loads_as_a_target(self):
        common = ["train", "--photos", self.folder, "--labels", self.labels, "--crop", 64, "--batch", 2,
                  "--threads", 1]
        for out, counts in (("centre", [4]), ("centre-resumed", [2, 4])):
            for count in counts:
                done = script("centre.py", *common, "--out", self.folder / out, "--iterations", count)
                self.assertEqual(done.returncode, 0, done.stderr)
        curves = [(self.folder / out / "curves.csv").read_text() for out in ("centre", "centre-resumed")]
        self.assertEqual(*curves)
        self.assertEqual(len(curves[0].splitlines()), 5)
        exported = self.folder / "centre.onnx"
        done = script("centre.py", "export", self.folder / "centre", exported)
        self.assertEqual(done.returncode, 0, done.stderr)
        model = shim.Model(str(LIBRARY), exported)  # reads the descriptor, too, and tries both
        with Image.open(self.folder / "0.jpg") as image:
            model.detect(np.array(image))


class Parts(unittest.TestCase):
    def test_folded_norms_compute_what_norms_do(self):
        torch.manual_seed(1)
        body = torchvision.models.resnet18(weights=None).eval()
        for name, value in body.state_dict().items():
            if "running" in name or ".bn" in name:
                value.uniform_(0.5, 1.5) if value.is_floating_point() else None
        x = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            expected = body(x)
            found = detector.freeze_norms(body)(x)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    def test_a_widened_head_computes_the_same(self):
        tensors, architecture = weights_file.read(WEIGHTS)
        wide = detector.widen_head(tensors, 300)
        self.assertEqual(detector.head_width(wide), 300)
        x, heads = torch.randn(5, 96, 7, 7), []
        for values in (tensors, wide):
            model = detector.build(architecture, detector.head_width(values))
            detector.load_weights(model, values, "head")
            with torch.no_grad():
                heads.append(model.roi_heads.box_predictor(model.roi_heads.box_head(x)))
        for before, after in zip(*heads):
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
        with self.assertRaisesRegex(ValueError, "256 units, more than 128"):
            detector.widen_head(tensors, 128)

    def test_half_of_the_background_is_what_the_first_stage_was_surest_of(self):
        found = torch.zeros(1000, dtype=torch.int8)
        found[::50] = 1
        faces, background = losses.choose(found, 200, 0.25, torch.Generator().manual_seed(1), 0.5)
        self.assertEqual(len(faces), 20)
        self.assertEqual(len(background.unique()), 180)
        self.assertTrue((found[background] == 0).all())
        self.assertGreaterEqual((background < 184).sum(), 90)  # 180 of the first 184 are background
        self.assertGreater((background > 500).sum(), 20)
        few = torch.tensor([0, 1, 0], dtype=torch.int8)
        faces, background = losses.choose(few, 8, 0.25, torch.Generator().manual_seed(1), 0.5)
        self.assertEqual((faces.tolist(), sorted(background.tolist())), ([1], [0, 2]))

    def test_samples_that_hold_nothing_and_samples_that_end(self):
        with tempfile.TemporaryDirectory() as folder:
            photos = labels.read(draw_photos(pathlib.Path(folder)), folder)
            nothing = augment.Samples(photos, 128, 3, blank=1, cut=0)
            pictures = {nothing[i].image.numpy().tobytes() for i in range(20)}
            self.assertEqual(len(pictures), 20)
            self.assertFalse(any(len(nothing[i].faces) + len(nothing[i].ignored)
                                 for i in range(20)))
            ended = augment.Samples(photos, 128, 3, blank=0, cut=1)
            whole = augment.Samples(photos, 128, 3, blank=0, cut=0)
            margins = 0
            for i in range(20):
                picture = ended[i].image.numpy()
                grey = (picture == 127).all(0)
                width, height = 128 - grey.all(0)[::-1].argmin(), 128 - grey.all(1)[::-1].argmin()
                margins += 256 - width - height
                np.testing.assert_array_equal(picture[:, :height, :width],
                                              whole[i].image.numpy()[:, :height, :width])
                for boxes in (ended[i].faces, ended[i].ignored):
                    self.assertTrue((boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all())
            self.assertGreater(margins, 300)  # 15.5 on average, on each of 40 edges

    def test_a_mirrored_label_still_counts_the_same_pixels(self):
        with tempfile.TemporaryDirectory() as folder:
            image = Image.new("RGB", (96, 96), (20, 20, 20))
            ImageDraw.Draw(image).rectangle((20, 40, 29, 49), (250, 250, 250))
            image.save(f"{folder}/a.png")
            face = np.array([[20, 40, 29, 49]], np.float32)  # from the first pixel to the last
            photo = labels.Photo(f"{folder}/a.png", face, face[:0])
            mirrored = 0
            for raster, off in ((96, 0), (0, 1)):
                samples = augment.Samples([photo], 96, 3, scale=(1, 1), anywhere=0, blank=0, cut=0,
                                          raster=raster)
                for i in range(12):
                    lit = samples[i].image.float().mean(0)
                    lit = torch.where(lit.mean(0) > lit.mean(0).mean() + 5)[0].float().mean().item()
                    centre = samples[i].faces[0, [0, 2]].mean().item()
                    self.assertAlmostEqual(centre, lit + (off if lit > 48 else 0), delta=0.3)
                    mirrored += lit > 48
            self.assertTrue(0 < mirrored < 24)

    def test_average_of_two_models(self):
        with tempfile.TemporaryDirectory() as folder:
            tensors, metadata = weights_file.read(str(WEIGHTS))
            moved = {name: value + 2 for name, value in tensors.items()}
            weights_file.write(f"{folder}/moved.safetensors", moved, metadata)
            command = [sys.executable, TRAIN / "average.py", f"{folder}/moved.safetensors", WEIGHTS]
            subprocess.run([*command, f"{folder}/out.safetensors", "--share", "0.25"], check=True)
            mean, told = weights_file.read(f"{folder}/out.safetensors")
            self.assertIn("share 0.25", told["training"])
            for name, value in tensors.items():
                off = (mean[name].float() - value.float() - 0.5).abs().max().item()
                self.assertLess(off, 0.02 + 0.001 * value.float().abs().max().item(), name)
            del moved[sorted(moved)[0]]
            weights_file.write(f"{folder}/moved.safetensors", moved, metadata)
            done = subprocess.run([*command, f"{folder}/no.safetensors"], capture_output=True,
                                  text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("do not fit", done.stderr)
            self.assertFalse(os.path.exists(f"{folder}/no.safetensors"))

    def test_bad_model_files_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "bad.safetensors")
            for data in (b"", b"short", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]",
                         b"\x04" + b"\0" * 7 + b"{,,}"):
                pathlib.Path(path).write_bytes(data)
                with self.assertRaisesRegex(ValueError, "bad.safetensors"):
                    weights_file.read(path)


if __name__ == "__main__":
    fleet.main()
