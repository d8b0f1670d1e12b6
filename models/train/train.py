#!/usr/bin/env python3
"""Trains the face detector: from labelled photos to a model file that `cloak` loads.

DESIGN. A run is a function of its arguments: sample i depends on the seed and on i alone
(augment.py), the losses' random choices on the sample (losses.py), and the shards of a batch are
summed in their order. Weights, their average, the momentum and the iteration are all there is to
restore; so an interrupted run goes on as if it had not been, and the schedule may be changed in
between. Shards run one per thread with one core each: RoIAlign, NMS and the bookkeeping are serial
in torchvision, and side by side they use the cores that one large batch would leave idle.
"""
import argparse
import csv
import json
import math
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch

import augment
import checkpoint
import detector
import labels
import losses
import refine
import weights_file

# What a run cannot change when it resumes, because its samples would no longer be the same.
FIXED = ("seed", "batch", "crop", "regime", "freeze", "raster")
COLUMNS = ("iteration", "rate", "loss") + losses.NAMES + ("gradient",)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--photos", required=True, metavar="DIR")
    add("--labels", required=True, metavar="FILE", help="WIDER FACE bbx_gt text")
    add("--architecture", required=True, metavar="FILE", help="JSON as models/weights/*.json")
    add("--init", metavar="FILE", help="safetensors: a detector or an ImageNet backbone")
    add("--out", required=True, metavar="DIR", help="resumes when it holds a checkpoint")
    add("--regime", choices=("full", "heads"), default="full",
        help="heads: only the layers that predict are trained")
    add("--freeze", type=int, default=3, metavar="N", help="first stages of the backbone to "
        "leave as they are (MobileNetV2: blocks; ResNet: 1 is the stem)")
    add("--head", type=int, metavar="UNITS", help="width of the box head; a narrower one from "
        "--init is widened (default: as it is there, else 256)")
    add("--iterations", type=int, default=6000)
    add("--batch", type=int, default=4, help="crops per step")
    add("--crop", type=int, default=448, help="pixels, a multiple of 32")
    add("--crowds", type=float, default=0.5, metavar="POWER",
        help="photos are drawn with weight faces^POWER: 0 all photos alike, 1 all faces alike")
    add("--raster", type=int, default=1024, metavar="PIXELS", help="width of the photos whose pixels "
        "the labels count; 0 where boxes bound areas, as COCO's do")
    add("--lr", type=float, default=0.008)
    add("--decay-at", type=int, nargs="*", default=[], metavar="N",
        help="iterations at which the rate is divided by 10")
    add("--warmup", type=int, default=200, metavar="N", help="iterations of linear warm-up")
    add("--momentum", type=float, default=0.9)
    add("--weight-decay", type=float, default=1e-4)
    add("--clip", type=float, default=5.0, help="largest norm of the gradient")
    add("--box-weight", type=float, default=4.0, help="of the box head's IoU loss")
    add("--ema", type=float, default=0.999, help="decay of the averaged weights (exported)")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--amp", action="store_true", help="convolutions in bfloat16 (for CPUs with AVX512-BF16)")
    add("--save-every", type=float, default=300, metavar="SECONDS")
    args = parser.parse_args(arguments)
    if args.crop % 32 or not 64 <= args.crop <= 2048:
        parser.error("--crop: a multiple of 32 from 64 to 2048")
    if args.iterations < 1 or args.threads < 1 or args.batch < 1:
        parser.error("--iterations, --batch and --threads must be at least 1")
    if args.head is not None and not 1 <= args.head <= 4096:
        parser.error("--head: from 1 to 4096")
    return args


def rate(args, iteration):
    """The learning rate of an iteration (counted from 0)."""
    value = args.lr * 0.1 ** sum(iteration >= place for place in args.decay_at)
    return value * min(1.0, (iteration + 1) / max(1, args.warmup))


def freeze(model, regime, stages):
    """Switches off the gradient of what the regime leaves alone."""
    if regime == "heads":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(detector.HEADS))
        return
    body = list(model.backbone.body.named_children())
    if "conv1" in dict(body):  # a ResNet: its stem is conv1 and bn1, then relu, maxpool, layers
        layers = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
        frozen = {name for stage in layers[:stages] for name in stage}
    else:
        frozen = {name for name, _ in body[:stages]}
    for name, module in body:
        if name in frozen:
            module.requires_grad_(False)


class Run:
    """One training run: the model, its average, the optimiser and how far it has come."""

    def __init__(self, args):
        self.args = args
        self.architecture = refine.plain(detector.read_architecture(args.architecture))
        torch.manual_seed(args.seed)  # the random start of what --init does not give
        tensors = refine.without(weights_file.read(args.init)[0]) if args.init else {}
        width = args.head or detector.head_width(tensors)
        if any(name.startswith("roi_heads.") for name in tensors):
            tensors = detector.widen_head(tensors, width)
        self.model = detector.build(self.architecture, width)
        detector.freeze_norms(self.model.backbone.body)
        if tensors:
            detector.load_weights(self.model, tensors, args.init)
        self.model.to(memory_format=torch.channels_last).train()
        # As many proposals as the model has in use: more cost time and are never seen there.
        self.model.rpn._pre_nms_top_n["training"] = int(self.architecture["rpn_pre_nms"])
        self.model.rpn._post_nms_top_n["training"] = int(self.architecture["rpn_post_nms"])
        freeze(self.model, args.regime, args.freeze)
        named = [pair for pair in self.model.named_parameters() if pair[1].requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.ema = {name: value.detach().clone() for name, value in named}
        self.optimizer = torch.optim.SGD(
            [{"params": [p for p in self.parameters if p.dim() > 1],
              "weight_decay": args.weight_decay},
             {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0}],
            lr=args.lr, momentum=args.momentum)
        self.samples = augment.Samples(
            labels.read(args.labels, args.photos), args.crop, args.seed, args.crowds,
            raster=args.raster)
        self.losses = losses.Losses(
            self.model, losses.Recipe(box_weight=args.box_weight), args.crop, args.amp)
        self.iteration = 0

    def fixed(self):
        return {**{key: getattr(self.args, key) for key in FIXED},
                "crowds": f"{self.args.crowds:g}",  # as text: torch 1.13 refuses numbers with a point
                "head": self.model.roi_heads.box_predictor.cls_score.in_features}

    def summary(self):
        args = self.args
        return (f"{self.iteration} iterations of {args.batch} crops of {args.crop} px from "
                f"{len(self.samples.photos)} photos, {args.regime} model, SGD {args.lr:g}, divided "
                f"by 10 at {args.decay_at}, averaged with {args.ema:g}, crowds {args.crowds:g}, "
                f"box weight {args.box_weight:g}, seed {args.seed}")

    def state(self):
        return {"model": self.model.state_dict(), "ema": self.ema, "fixed": self.fixed(),
                "momentum": self._momentum(), "iteration": self.iteration,
                "architecture": json.dumps(self.architecture), "training": self.summary()}

    def _momentum(self):
        """By parameter; none before the first step."""
        return {name: self.optimizer.state[parameter]["momentum_buffer"]
                for name, parameter in zip(self.names, self.parameters)
                if self.optimizer.state[parameter].get("momentum_buffer") is not None}

    def restore(self, state):
        """Goes on from a checkpoint. Raises ValueError where it belongs to another run."""
        differing = [key for key, value in self.fixed().items() if state["fixed"].get(key) != value]
        if json.loads(state["architecture"]) != self.architecture:
            differing.append("architecture")
        if differing:
            raise ValueError(f"{self.args.out}: holds a checkpoint of a run with another "
                             f"{', '.join(differing)}; choose another --out or the same values")
        self.model.load_state_dict(state["model"])
        for name, parameter in zip(self.names, self.parameters):
            if name in state["momentum"]:
                self.optimizer.state[parameter]["momentum_buffer"] = state["momentum"][name]
        self.ema, self.iteration = state["ema"], state["iteration"]

    def batch(self, iteration):
        first = iteration * self.args.batch
        return [self.samples[first + i] for i in range(self.args.batch)]

    def shard(self, samples):
        """(losses, gradients) of some samples; each sample counts 1/batch."""
        values = self.losses(samples) / self.args.batch
        gradients = torch.autograd.grad(values.sum(), self.parameters, allow_unused=True)
        return values.detach(), gradients

    def step(self, pool, batch):
        """One step of the optimiser; returns a row of the curves."""
        # Fixed shards whatever the number of threads, so that this number changes no result.
        results = list(pool.map(self.shard, [batch[i:i + 2] for i in range(0, len(batch), 2)]))
        values = sum(result[0] for result in results)
        for parameter, *parts in zip(self.parameters, *(result[1] for result in results)):
            parts = [part for part in parts if part is not None]
            parameter.grad = sum(parts[1:], parts[0]) if parts else None
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.args.clip).item()
        if not math.isfinite(norm) or not torch.isfinite(values).all():
            raise FloatingPointError(f"iteration {self.iteration}: the loss or its gradient is "
                                     "not finite; try a lower --lr")
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.args, self.iteration)
        self.optimizer.step()
        self._average()
        self.iteration += 1
        return [self.iteration, rate(self.args, self.iteration - 1), values.sum().item(),
                *values.tolist(), norm]

    @torch.no_grad()
    def _average(self):
        decay = min(self.args.ema, (1 + self.iteration) / (10 + self.iteration))
        for name, parameter in zip(self.names, self.parameters):
            self.ema[name].lerp_(parameter, 1 - decay)


class Curves:
    """OUT/curves.csv: one row per iteration; rows after the checkpoint are dropped on resuming."""

    def __init__(self, folder, iteration):
        self.path = os.path.join(folder, "curves.csv")
        rows = []
        if iteration and os.path.exists(self.path):
            with open(self.path, newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:]
                        if len(row) == len(COLUMNS) and int(row[0]) <= iteration]
        self.file = open(self.path, "w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerow(COLUMNS)
        self.writer.writerows(rows)

    def add(self, row):
        self.writer.writerow([row[0]] + [f"{value:.6g}" for value in row[1:]])

    def flush(self):
        self.file.flush()


class Progress:
    """One line that is rewritten on a terminal; elsewhere a plain line now and then."""

    def __init__(self, total, first):
        self.total, self.first, self.start = total, first, time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.shown, self.smooth = self.start, None

    def show(self, row):
        now = time.monotonic()
        self.smooth = row[2] if self.smooth is None else 0.98 * self.smooth + 0.02 * row[2]
        if now - self.shown < (1 if self.terminal else 20) and row[0] < self.total:
            return
        self.shown = now
        each = (now - self.start) / (row[0] - self.first)
        left = int(each * (self.total - row[0]))
        line = (f"{row[0]}/{self.total}  loss {self.smooth:.4f}  rate {row[1]:.2g}  "
                f"gradient {row[-1]:.2f}  {each:.2f} s/iteration  "
                f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
        print(f"\r{line}\033[K" if self.terminal else line, end="" if self.terminal else "\n",
              flush=True)


def save(run, curves):
    curves.flush()
    checkpoint.save(run.args.out, run.state())
    try:
        import plot
        plot.losses(curves.path, os.path.join(run.args.out, "loss.png"))
    except Exception as problem:  # a picture must never end a training run
        print(f"loss.png: {problem}", file=sys.stderr)


def loop(run, curves, stop):
    """Trains until the last iteration or until `stop` says so."""
    args, saved = run.args, time.monotonic()
    progress = Progress(args.iterations, run.iteration)
    with ThreadPoolExecutor(args.threads, initializer=torch.set_num_threads, initargs=(1,)) as \
            pool, ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(run.batch, run.iteration)
        while run.iteration < args.iterations and not stop:
            batch = ahead.result()
            ahead = reader.submit(run.batch, run.iteration + 1)
            row = run.step(pool, batch)
            curves.add(row)
            progress.show(row)
            if time.monotonic() - saved >= args.save_every:
                save(run, curves)
                saved = time.monotonic()
    if progress.terminal:
        print()


def main(arguments=None):
    """Returns the exit status: 0 done, 1 failed, 130 interrupted and resumable."""
    args = parse(arguments)
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    torch.set_num_threads(args.threads)
    try:
        os.makedirs(args.out, exist_ok=True)
        run = Run(args)
        state = checkpoint.load(args.out)
        if state:
            run.restore(state)
            print(f"resuming after iteration {run.iteration}", flush=True)
        curves = Curves(args.out, run.iteration)
        loop(run, curves, stop)
        save(run, curves)
    except (OSError, ValueError, FloatingPointError) as problem:
        print(f"train: {problem}", file=sys.stderr)
        return 1
    if run.iteration < args.iterations:
        print(f"interrupted after iteration {run.iteration}; the same command goes on from there")
        return 130
    path = os.path.join(args.out, run.architecture["name"] + ".safetensors")
    checkpoint.export(run.state(), path)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
