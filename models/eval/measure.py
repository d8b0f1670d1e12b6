"""What each detector sees on each picture, and which labelled faces that finds.

Every column looks in a process of its own (see detectors.py), so that a runtime that crashes costs its column and
nothing else. What it saw is kept in OUT/boxes/COLUMN.json under the picture's SHA-256: a run that stopped goes on
where it was, and a further row costs its own pictures only.
"""
import concurrent.futures
import hashlib
import io
import json
import multiprocessing
import os

import numpy as np
from PIL import Image

import detectors

CHANGES = {"raw": "the decoded file as delivered", "jpeg75": "recompressed as JPEG 75, 4:2:0",
           "x0.6": "shrunk to 0.6 of its size (Lanczos); the detector sees the shrunk picture"}
IOU = 0.3


def decoded(path):
    """A file's pixels, RGB. Raises ValueError that names the file."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a photo: {error}") from None


def changed(rgb, change):
    """(the picture after a change, its size as a share of what it was, per axis)."""
    if change == "raw":
        return rgb, np.ones(2)
    image = Image.fromarray(rgb)
    if change == "jpeg75":
        coded = io.BytesIO()
        image.save(coded, "JPEG", quality=75, subsampling=2)
        return np.asarray(Image.open(coded).convert("RGB")), np.ones(2)
    size = tuple(max(1, round(0.6 * side)) for side in image.size)
    return np.asarray(image.resize(size, Image.LANCZOS)), np.divide(size, image.size)


def digest(path):
    """A file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def overlaps(faces, boxes):
    """IoU of every face (F × 4) with every box (N × 4)."""
    low = np.maximum(faces[:, None, :2], boxes[None, :, :2])
    high = np.minimum(faces[:, None, 2:], boxes[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    area = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (faces, boxes)]
    return both / np.maximum(area[0][:, None] + area[1][None] - both, 1e-9)


def found(faces, boxes):
    """Per labelled face, whether a detection has IoU ≥ 0.3 with it, and whether one has its centre in it."""
    if not len(faces) or not len(boxes):
        return np.zeros(len(faces), bool), np.zeros(len(faces), bool)
    centres = (boxes[:, :2] + boxes[:, 2:4]) / 2
    inside = ((centres[None] >= faces[:, None, :2]) & (centres[None] <= faces[:, None, 2:])).all(axis=2)
    return (overlaps(faces, boxes[:, :4]) >= IOU).any(axis=1), inside.any(axis=1)


def _kept(path, identity):
    """What an earlier run saw, if it saw it with the same detector."""
    try:
        with open(path) as file:
            kept = json.load(file)
        return kept["seen"] if kept["identity"] == identity else {}
    except (OSError, ValueError, KeyError):
        return {}


def _keep(path, identity, seen):
    """Writes what was seen, whole or not at all."""
    with open(path + ".part", "w") as file:
        json.dump({"identity": identity, "seen": seen}, file)
    os.replace(path + ".part", path)


def _look(detector, jobs, path):
    """In a column's own process: looks at every (file, digest, change) not yet seen. Returns the identity."""
    detector.prepare()
    identity = {"versions": detector.versions(), "counted": detector.counted}
    seen = _kept(path, identity)
    for i, (file, sha, change) in enumerate(jobs):
        key = f"{sha}:{change}"
        if key not in seen:
            picture, scale = changed(decoded(file), change)
            boxes = detector.detect(picture)
            boxes[:, :4] /= np.tile(scale, 2)
            seen[key] = np.round(boxes.astype(float), 4).tolist()
            if i % 50 == 49:
                _keep(path, identity, seen)
    _keep(path, identity, seen)
    return identity


def look(detector, files, folder):
    """What one column sees: (identity, {(digest, change): rows}). Raises RuntimeError when its process fails."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, detector.name + ".json")
    jobs = [(file, digest(file), change) for file in files for change in CHANGES]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
        try:
            identity = process.submit(_look, detector, jobs, path).result()
        except concurrent.futures.process.BrokenProcessPool:
            raise RuntimeError("its process crashed") from None
    seen = _kept(path, identity)
    return identity, {(sha, change): np.array(seen[f"{sha}:{change}"], np.float32).reshape(-1, 5)
                      for _, sha, change in jobs}


def psnr(clean, cloaked):
    """Peak signal to noise of one picture against another, in dB; 99 where they are equal."""
    error = np.mean((clean.astype(np.float32) - cloaked) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255 ** 2 / error))
