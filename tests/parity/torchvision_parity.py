#!/usr/bin/env python3
"""Our detector and RoIAlign against torchvision's, on the same weights and real photos.

    torchvision_parity.py LIBRARY WEIGHTS

The same detections: as many, boxes within 0.5 px, scores within 1e-3. A detection may be missing on
one side only where its score lies within 1e-3 of the threshold. RoIAlign: values and gradients
within 1e-4. Ends with 77 when there are no photos.
"""
import ctypes as c
import glob
import os
import pathlib
import sys

import numpy as np

try:
    import torch
    from torchvision.ops import roi_align
    from PIL import Image
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "models/train")]
import detector  # noqa: E402
import weights_file  # noqa: E402
from same_faces import compare  # noqa: E402
from shim import Model  # noqa: E402

PHOTOS = 12


def reference(path):
    """torchvision's Faster R-CNN with the architecture and weights of the file."""
    tensors, _ = weights_file.read(path)
    model = detector.build(detector.read_architecture(path), detector.head_width(tensors))
    detector.load_weights(model, tensors, path)
    return model.eval()


def photos(count):
    """Paths of that many photos of the sample album; ends with 77 where there is none."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = sorted(glob.glob(cache + "/cloakfleet/sample-album/groups/*.jpg"))
    if len(found) < 8:
        print("skipped: no sample album (deploy/sample-album fetches it)")
        sys.exit(77)
    return found[:count]


def read_photo(path):
    """The photo as the shim takes it, and as torchvision does."""
    array = np.ascontiguousarray(np.array(Image.open(path).convert("RGB")))
    return array, torch.from_numpy(array).permute(2, 0, 1).float() / 255


def check_detections(model, ours, paths, threshold):
    """Asserts the same detections on the photos; returns how many there are."""
    count = 0
    for path in paths:
        array, tensor = read_photo(path)
        with torch.no_grad():
            result = model([tensor])[0]
        theirs = np.concatenate(
            [result["boxes"].numpy(), result["scores"].numpy()[:, None]], axis=1)
        found = ours.detect(array)
        box, score = compare(found, theirs, threshold)
        count += len(found)
        print(f"{os.path.basename(path):28} {len(found):3} detections, torchvision "
              f"{len(theirs):3}; largest difference {box:.4f} px, score {score:.2e}")
        assert box <= 0.5 and score <= 1e-3
    return count


def check_roi_align(library):
    lib = c.CDLL(library)
    torch.manual_seed(1)
    channels, height, width, count = 96, 40, 60, 50
    features = torch.randn(1, channels, height, width, requires_grad=True)
    corner = torch.rand(count, 2) * torch.tensor([220.0, 140.0]) - 5
    size = torch.exp(torch.rand(count, 2) * 5.5)
    boxes = torch.cat([corner, corner + size], 1)
    pooled = roi_align(features, [boxes], 7, 0.25, 2, False)
    grad = torch.randn_like(pooled)
    (expected,) = torch.autograd.grad(pooled, features, grad)

    def pointer(tensor):
        assert tensor.is_contiguous() and tensor.dtype == torch.float32
        return c.c_void_p(tensor.data_ptr())

    last = features.detach().permute(0, 2, 3, 1).contiguous()
    ours = torch.full_like(pooled, float("nan"))
    lib.cloak_roi_align_forward(pointer(last), channels, height, width, pointer(boxes), count,
                                c.c_float(0.25), 7, 2, pointer(ours))
    back = torch.zeros_like(last)
    lib.cloak_roi_align_backward(pointer(grad), channels, height, width, pointer(boxes), count,
                                 c.c_float(0.25), 7, 2, pointer(back))
    forward = (ours - pooled).abs().max().item()
    backward = (back.permute(0, 3, 1, 2) - expected).abs().max().item()
    print(f"RoIAlign: largest difference forward {forward:.2e}, gradient {backward:.2e}")
    assert forward <= 1e-4 and backward <= 1e-4


if __name__ == "__main__":
    check_roi_align(sys.argv[1])
    library, weights = sys.argv[1:]
    found = check_detections(reference(weights), Model(library, weights), photos(PHOTOS), 0.05)
    assert found > 50
    print("parity holds")
