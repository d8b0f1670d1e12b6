#!/usr/bin/env python3
"""Our detector and RoIAlign against torchvision's, on the same weights and real photos.

    torchvision_parity.py LIBRARY WEIGHTS

The same detections: as many, boxes within 0.5 px, scores within 1e-3. A detection may be missing on
one side only where its score lies within 1e-3 of the threshold. RoIAlign: values and gradients
within 1e-4. Ends with 77 when there are no photos.
"""
import ctypes as c
import glob
import json
import os
import struct
import sys

import numpy as np

try:
    import torch
    import torchvision
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign, roi_align
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
    from PIL import Image
except ImportError as problem:
    print(f"skipped: {problem}")
    sys.exit(77)

sys.path.insert(0, os.path.dirname(__file__))
from shim import Model  # noqa: E402

PHOTOS = 12


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__")
    kinds = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        array = np.frombuffer(data[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.astype(np.float32))
    return tensors, metadata


def reference(path):
    """torchvision's Faster R-CNN with the architecture and weights of the file."""
    tensors, meta = read_safetensors(path)
    body = torchvision.models.mobilenet_v2(weights=None).features[:18]
    backbone = BackboneWithFPN(body, {"3": "0", "6": "1", "13": "2", "17": "3"}, [24, 32, 96, 320],
                               int(meta["fpn_channels"]), LastLevelMaxPool())
    sizes = tuple(tuple(level) for level in json.loads(meta["anchor_sizes"]))
    ratios = tuple(json.loads(meta["anchor_ratios"]))
    fc6 = tensors["roi_heads.box_head.fc6.weight"]
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(sizes, (ratios,) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
        box_head=torchvision.models.detection.faster_rcnn.TwoMLPHead(fc6.shape[1], fc6.shape[0]),
        box_predictor=torchvision.models.detection.faster_rcnn.FastRCNNPredictor(fc6.shape[0], 2),
        min_size=int(meta["input_min"]), max_size=int(meta["input_max"]),
        image_mean=json.loads(meta["mean"]), image_std=json.loads(meta["std"]),
        rpn_pre_nms_top_n_test=int(meta["rpn_pre_nms"]),
        rpn_post_nms_top_n_test=int(meta["rpn_post_nms"]), rpn_nms_thresh=float(meta["rpn_nms"]),
        box_score_thresh=float(meta["score_threshold"]), box_nms_thresh=float(meta["box_nms"]),
        box_detections_per_img=int(meta["max_detections"]))
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return model.eval()


def compare(ours, theirs, threshold):
    """Pairs detections by nearest box; returns the largest box and score differences."""
    worst_box = worst_score = 0.0
    free = list(range(len(theirs)))
    for row in ours:
        distances = [np.abs(theirs[i, :4] - row[:4]).max() for i in free]
        if not free or min(distances) > 0.5:
            assert row[4] < threshold + 1e-3, f"only ours: {row}"
            continue
        # of equally near ones (there are none in practice) the nearest score
        best = free.pop(int(np.argmin(distances)))
        worst_box = max(worst_box, np.abs(theirs[best, :4] - row[:4]).max())
        worst_score = max(worst_score, abs(theirs[best, 4] - row[4]))
    for i in free:
        assert theirs[i, 4] < threshold + 1e-3, f"only torchvision's: {theirs[i]}"
    return worst_box, worst_score


def photos():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    found = sorted(glob.glob(cache + "/cloakfleet/sample-album/groups/*.jpg"))
    return found[:PHOTOS]


def check_detections(library, weights):
    paths = photos()
    if len(paths) < 8:
        print("skipped: no sample album (deploy/sample-album fetches it)")
        sys.exit(77)
    model, ours = reference(weights), Model(library, weights)
    count = 0
    for path in paths:
        array = np.ascontiguousarray(np.array(Image.open(path).convert("RGB")))
        tensor = torch.from_numpy(array).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            result = model([tensor])[0]
        theirs = np.concatenate(
            [result["boxes"].numpy(), result["scores"].numpy()[:, None]], axis=1)
        found = ours.detect(array)
        box, score = compare(found, theirs, 0.05)
        count += len(found)
        print(f"{os.path.basename(path):28} {len(found):3} detections, torchvision "
              f"{len(theirs):3}; largest difference {box:.4f} px, score {score:.2e}")
        assert box <= 0.5 and score <= 1e-3
    assert count > 50


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
    check_detections(sys.argv[1], sys.argv[2])
    print("parity holds")
