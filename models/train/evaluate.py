#!/usr/bin/env python3
"""AP and recall of a model file with torchvision's inference, as a check on `cloak eval detector`.

    evaluate.py MODEL.safetensors --photos DIR --labels FILE [--size 640] [--limit N] [--json]

AP is the area under the precision-recall envelope (PASCAL VOC 2010 and later); recall counts the
detections above the model's score threshold. Each IoU is matched on its own: in the order of
scores, a detection takes the free face it overlaps most. What overlaps an invalid box alone counts
neither way.
"""
import argparse
import json
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.ops import box_iou

import detector
import labels
import weights_file

IOUS = [i / 10 for i in range(3, 11)]


def load(path, size=None):
    """A model file as torchvision's FasterRCNN, ready for inference. Norms stay as they are."""
    tensors, _ = weights_file.read(path)
    model = detector.build(detector.read_architecture(path), detector.head_width(tensors), size)
    detector.load_weights(model, tensors, path)
    return model.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def detect(model, path):
    """(boxes in the photo's upright pixels, scores), best first."""
    with Image.open(path) as file:
        array = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    found = model([torch.from_numpy(array).permute(2, 0, 1).float() / 255])[0]
    return found["boxes"], found["scores"]


def match(boxes, faces, ignored, iou):
    """Per detection (best first): 1 a face, 0 false, -1 neither."""
    fate = np.zeros(len(boxes), np.int8)
    least = min(iou, 1 - 1e-10)
    overlap = box_iou(boxes, faces).numpy() if len(faces) else np.zeros((len(boxes), 0))
    overlap[overlap < least] = 0
    spare = box_iou(boxes, ignored).numpy().max(1) >= least if len(ignored) else fate > 0
    for i in range(len(boxes)):
        if overlap.shape[1] and overlap[i].max() > 0:
            fate[i] = 1
            overlap[:, overlap[i].argmax()] = 0
        elif spare[i]:
            fate[i] = -1
    return fate


def average_precision(scores, fates, faces):
    """(AP, recall) from all photos' detections."""
    counted = fates >= 0
    hits = fates[counted][np.argsort(-scores[counted], kind="stable")] == 1
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / max(1, faces)), float(hits.sum() / max(1, faces))


def evaluate(model, photos, say=lambda text: None):
    """A report: photos, faces, ap and recall by IoU, seconds per photo."""
    scores, fates = [], {iou: [] for iou in IOUS}
    start = time.monotonic()
    for number, photo in enumerate(photos, 1):
        boxes, found = detect(model, photo.path)
        scores.append(found.numpy())
        for iou in IOUS:
            fates[iou].append(match(boxes.double(), torch.from_numpy(photo.faces).double(),
                                    torch.from_numpy(photo.ignored).double(), iou))
        say(f"\r{number}/{len(photos)}")
    faces = sum(len(photo.faces) for photo in photos)
    report = {"photos": len(photos), "faces": faces, "ap": {}, "recall": {},
              "detections": sum(map(len, scores)),
              "seconds_per_photo": (time.monotonic() - start) / len(photos)}
    for iou in IOUS:
        ap, recall = average_precision(np.concatenate(scores), np.concatenate(fates[iou]), faces)
        report["ap"][f"{iou:.1f}"], report["recall"][f"{iou:.1f}"] = round(ap, 4), round(recall, 4)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("--photos", required=True, metavar="DIR")
    parser.add_argument("--labels", required=True, metavar="FILE")
    parser.add_argument("--size", type=int, help="long side of the input, if not the model's own")
    parser.add_argument("--limit", type=int, help="only so many photos, evenly spread")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true", help="the report as JSON, last on stdout")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        photos = labels.thin_out(labels.read(args.labels, args.photos), args.limit)
        say = (lambda text: print(text, end="", flush=True)) if sys.stdout.isatty() else \
            (lambda text: None)
        report = evaluate(load(args.model, args.size), photos, say)
    except (OSError, ValueError) as problem:
        print(f"evaluate: {problem}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"\r{report['photos']} photos, {report['faces']} faces, {report['detections']} "
          f"detections, {report['seconds_per_photo']:.2f} s per photo\nIoU     AP  recall")
    for iou in report["ap"]:
        print(f"{iou}  {report['ap'][iou]:.3f}   {report['recall'][iou]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
