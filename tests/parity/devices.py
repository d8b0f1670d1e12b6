#!/usr/bin/env python3
"""A GPU against the CPU: the same detections, and cloaks that the CPU believes.

    devices.py LIBRARY MODEL [TARGET.onnx...]

LIBRARY is a build with -DCLOAK_CUDA=ON; CLOAK_DEVICE names the GPU (cuda:0). On photos of the sample album, each model: scores
within 1e-3 and boxes within half a pixel; an attack twice with the same seed gives the same bytes; what it leaves is
nothing on either device. Prints seconds per photo. Ends with 77 and the reason where there is no such device.
"""
import os
import pathlib
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import fleet  # noqa: E402

try:
    import numpy as np
    from PIL import Image
    from same_faces import compare as compare_faces
    from shim import Model
    PHOTOS = sorted(fleet.sample_album().rglob("*.jpg"))[::12]
except (ImportError, unittest.SkipTest) as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


def compare(cpu, gpu, path):
    """One photo; returns how many faces there were."""
    rgb = np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")))
    started = time.monotonic()
    found = gpu.detect(rgb)
    detection = time.monotonic() - started
    box, score = compare_faces(cpu.detect(rgb), found, cpu.threshold)
    assert box < 0.5 and score < 1e-3, f"{path.name}: boxes differ by {box:.3f} pixels, scores by {score:.1e}"
    started = time.monotonic()
    cloaked, summary = gpu.attack(rgb, eps=8 / 255)
    attack = time.monotonic() - started
    again, _ = gpu.attack(rgb, eps=8 / 255)
    assert np.array_equal(cloaked, again), f"{path.name}: the same seed gave other bytes"
    assert summary["success"] and not len(gpu.detect(cloaked)), f"{path.name}: {summary}"
    left = cpu.detect(cloaked)
    assert not len(left) or left[:, 4].max() < cpu.threshold + 1e-3, f"{path.name}: the CPU finds {left}"
    print(f"  {path.name}: {len(found)} faces, {summary['steps']} steps, {detection:.3f} and {attack:.3f} s")
    return len(found)


def main():
    library, models = sys.argv[1], sys.argv[2:]
    device = os.environ.get("CLOAK_DEVICE", "cuda:0")
    faces = 0
    for path in models:
        try:
            gpu = Model(library, path, device=device)
        except RuntimeError as refusal:
            if "cannot use the device" not in str(refusal):
                raise
            print(f"skipped: {refusal}")
            sys.exit(77)
        cpu = Model(library, path)
        print(f"{os.path.basename(path)} on {device}:")
        for photo in PHOTOS:
            faces += compare(cpu, gpu, photo)
    assert faces > 5
    print("parity holds")


if __name__ == "__main__":
    main()
