#!/usr/bin/env python3
"""Trains what refines a detector's boxes; the detector itself stays as it is.

    refine_boxes.py DETECTOR.safetensors OUT.safetensors --photos DIR --labels FILE --work DIR

First the detector looks at random crops of the photos, and what the refinement would read for each of
its boxes goes to shards in the work folder, with the face that the box overlaps most; then the
refinement is trained on the shards, over and over, which costs little. The shards depend on the arguments
alone, what is made of them also on the number of threads. An interrupted run goes on with the shards that
are there.
"""
import argparse
import hashlib
import json
import math
import multiprocessing
import os
import sys
import time

import torch
import torch.nn.functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou, clip_boxes_to_image

import augment
import detector
import labels
import refine
import weights_file

CROP = 448
SCALE = (0.65, 1.8)  # of a photo, when a crop is cut from it
NEAR = 0.45          # least IoU with a face of a box that is to be moved to it
# Boxes per crop: detections; candidates before suppression; faces; and how far the latter two are
# moved at random, as a share of their size.
DETECTIONS, CANDIDATES, FACES, CANDIDATE_JITTER, FACE_JITTER = 18, 8, 4, 0.05, 0.08
BATCH, RATE, DECAY, WARM_UP, CLIP, DROPOUT, AVERAGE = 512, 1e-3, 1e-2, 100, 5.0, 0.1, 0.995


class Harvest:
    """Makes shards. One per process."""

    def __init__(self, args):
        self.args = args
        torch.set_num_threads(1)
        tensors, architecture = weights_file.read(args.detector)
        self.model = detector.build(refine.plain(architecture), detector.head_width(tensors))
        detector.load_weights(self.model, refine.without(tensors), args.detector)
        self.model.eval().to(memory_format=torch.channels_last)
        self.maps = refine.Maps(self.model)
        self.samples = augment.Samples(labels.read(args.labels, args.photos), CROP, args.seed,
                                       scale=SCALE, blank=0, cut=0.15, raster=args.raster)
        transform = self.model.transform
        self.mean = torch.tensor(transform.image_mean).view(1, 3, 1, 1)
        self.std = torch.tensor(transform.image_std).view(1, 3, 1, 1)

    @torch.inference_mode()
    def shard(self, number):
        """{"pooled": n × numbers in fp16, "boxes", "faces": n × 4}"""
        parts = [self._crop(self.samples[number * self.args.crops + i]) for i in range(self.args.crops)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _crop(self, sample):
        image = (sample.image.float()[None] / 255 - self.mean) / self.std
        found, candidates = self._look(image.contiguous(memory_format=torch.channels_last))
        random = torch.Generator().manual_seed(sample.seed)
        boxes = torch.cat([
            some(near(found, sample.faces), DETECTIONS, random),
            moved(some(near(candidates, sample.faces), CANDIDATES, random), CANDIDATE_JITTER, random),
            moved(some(sample.faces, FACES, random), FACE_JITTER, random)])
        boxes = near(clip_boxes_to_image(boxes, (CROP, CROP)), sample.faces)
        faces = sample.faces[box_iou(boxes, sample.faces).argmax(1)] if len(boxes) else boxes
        return {"pooled": self.maps.pool(0, boxes).half(), "boxes": boxes, "faces": faces}

    def _look(self, image):
        """(detections, what they were chosen from), boxes of one image."""
        shape, heads = [(CROP, CROP)], self.model.roi_heads
        maps = self.model.backbone(image)
        proposals, _ = self.model.rpn(ImageList(image, shape), maps)
        hidden = heads.box_head(heads.box_roi_pool(maps, proposals, shape))
        logits, deltas = heads.box_predictor(hidden)
        found, _, _ = heads.postprocess_detections(logits, deltas, proposals, shape)
        candidates = clip_boxes_to_image(heads.box_coder.decode(deltas, proposals)[:, 1], shape[0])
        return found[0], candidates[F.softmax(logits, -1)[:, 1] > heads.score_thresh]


def near(boxes, faces):
    """Those of the boxes that overlap a face by NEAR at least and are more than a pixel."""
    if not len(faces) or not len(boxes):
        return boxes[:0]
    large = ((boxes[:, 2:] - boxes[:, :2]) > 1).all(1)
    return boxes[large & (box_iou(boxes, faces).max(1).values >= NEAR)]


def some(boxes, count, random):
    return boxes[torch.randperm(len(boxes), generator=random)[:count]]


def moved(boxes, jitter, random):
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + torch.randn(boxes.shape, generator=random) * size * jitter


def shard_path(args, number):
    return os.path.join(args.work, f"shard-{number:04}.pt")


def make_shard(args, number, kept=[]):
    """In a process of its own: makes the shard unless it is there. `kept` is the process' Harvest."""
    path = shard_path(args, number)
    if not os.path.exists(path):
        if not kept:
            kept.append(Harvest(args))
        torch.save(kept[0].shard(number), path + ".part")
        os.replace(path + ".part", path)
    return number


def claim(args):
    """Writes into the work folder what its shards were made from; raises ValueError where that is other."""
    made_from = {"detector": checksum(args.detector), "labels": checksum(args.labels), "seed": args.seed,
                 "raster": args.raster, "how": [CROP, SCALE, args.crops, NEAR, DETECTIONS, CANDIDATES, FACES,
                                                CANDIDATE_JITTER, FACE_JITTER, refine.WIDER]}
    made_from = json.dumps(made_from, indent=2) + "\n"
    path = os.path.join(args.work, "made-from.json")
    if not os.path.exists(path):
        with open(path, "w") as file:
            file.write(made_from)
    with open(path) as file:
        if file.read() != made_from:
            raise ValueError(f"{args.work}: has shards made from something else (see made-from.json there); "
                             "give another folder")


def checksum(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def gather(args):
    """All shards' boxes, after making those that are missing."""
    count, start = args.shards, time.monotonic()
    claim(args)
    with multiprocessing.get_context("spawn").Pool(args.threads) as pool:
        jobs = [pool.apply_async(make_shard, (args, number)) for number in range(count)]
        for done, job in enumerate(jobs, 1):
            job.get()
            print(f"{done}/{count} shards, {time.monotonic() - start:.0f} s", flush=True)
    shards = [torch.load(shard_path(args, number), weights_only=True) for number in range(count)]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}


def overlap(boxes, others):
    """IoU of each box with its own other one; differentiable."""
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    areas = sum((box[:, 2:] - box[:, :2]).prod(1) for box in (boxes, others))
    return common / (areas - common).clamp(min=1e-6)


def train(args, data, channels):
    """The refinement, its weights the average over the last steps."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = refine.Refinement(channels)
    torch.nn.init.normal_(network.bbox_pred.weight, std=1e-3)
    torch.nn.init.zeros_(network.bbox_pred.bias)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY)
    average = [parameter.detach().clone() for parameter in network.parameters()]
    batch = min(BATCH, len(data["boxes"]))
    steps = args.epochs * (len(data["boxes"]) // batch)
    for step in range(steps):
        place = step % (steps // args.epochs)
        if place == 0:
            order = torch.randperm(len(data["boxes"]))
        rows = order[place * batch:(place + 1) * batch]
        boxes, faces = data["boxes"][rows], data["faces"][rows]
        deltas = network(F.dropout(data["pooled"][rows].float(), DROPOUT))
        after = overlap(refine.place(boxes, deltas), faces)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        (1 - after).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        with torch.no_grad():
            for kept, parameter in zip(average, network.parameters()):
                kept.lerp_(parameter, 1 - min(AVERAGE, (1 + step) / (10 + step)))
        if step % 50 == 0 or step == steps - 1:
            print(f"{step + 1}/{steps}  IoU {overlap(boxes, faces).mean():.4f} before, "
                  f"{after.mean():.4f} after", flush=True)
    with torch.no_grad():
        for kept, parameter in zip(average, network.parameters()):
            parameter.copy_(kept)
    return network


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    add = parser.add_argument
    add("detector", metavar="DETECTOR.safetensors")
    add("out", metavar="OUT.safetensors")
    add("--photos", required=True, metavar="DIR")
    add("--labels", required=True, metavar="FILE", help="WIDER FACE bbx_gt text")
    add("--work", required=True, metavar="DIR", help="for the shards, 40 MB for every 100 crops; all "
        "of them are read at once, into twice as much memory")
    add("--shards", type=int, default=60)
    add("--crops", type=int, default=100, help="of photos, in each shard (100)")
    add("--epochs", type=int, default=5)
    add("--share", type=float, default=0.7, help="how much of the way to the refined box to go")
    add("--raster", type=int, default=1024, metavar="PIXELS", help="as train.py has it")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if min(args.shards, args.crops, args.epochs, args.threads) < 1 or not 0 < args.share <= 1:
        parser.error("--shards, --crops, --epochs and --threads must be at least 1, --share above 0 and at most 1")
    return args


def main():
    args = parse()
    try:
        tensors, _ = weights_file.read(args.detector)
        architecture = refine.plain(detector.read_architecture(args.detector))
        refine.Maps(detector.build(architecture, detector.head_width(tensors)))  # whether it can be refined
        os.makedirs(args.work, exist_ok=True)
        data = gather(args)
        if not len(data["boxes"]):
            raise ValueError(f"{args.detector}: finds no face of {args.labels}")
        trained = train(args, data, int(architecture["fpn_channels"])).state_dict()
        tensors = refine.without(tensors)
        kind = next(iter(tensors.values())).dtype
        tensors.update({f"refinement.{name}": value.to(kind) for name, value in trained.items()})
        if not all(value.isfinite().all() for value in tensors.values()):
            raise ValueError("the training diverged; nothing was written")
    except (OSError, ValueError) as problem:
        print(f"refine_boxes: {problem}", file=sys.stderr)
        return 1
    architecture = {**architecture, "box_refine": args.share}
    architecture["training"] += (f"{refine.TRAINED}{args.epochs} epochs over {args.shards * args.crops} crops, "
                                 f"seed {args.seed}")
    weights_file.write(args.out, tensors, architecture)
    with open(os.path.splitext(args.out)[0] + ".json", "w") as file:
        json.dump(architecture, file, indent=2)
        file.write("\n")
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
