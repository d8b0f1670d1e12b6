#!/usr/bin/env python3
"""A face detector of another family: it finds centres, without anchors, proposals or a second stage.

    centre.py train --photos DIR --labels FILE --init BACKBONE.safetensors --out RUN
    centre.py export RUN OUT.onnx [--threshold T]
    centre.py evaluate RUN --photos DIR --labels FILE [--size 640]

DESIGN. An attack on one detector says little about others; this one shares neither head, loss nor
weights with our Faster R-CNN, and goes out as ONNX with a descriptor (models/targets), as other
people's detectors come in. It is a CenterNet (Zhou et al. 2019) on MobileNetV2: maps of strides 4 to
32 are merged top-down into one of stride 4, on which a heat map says where faces' centres are, and
two others how far off the cell the centre lies and how large the face is.
* There is no search for peaks: every cell above the threshold is a candidate, and suppression by IoU
  leaves one. So the boxes of a centre's neighbours are trained too (TTFNet, Liu et al. 2020), which
  also teaches more per sample; of a face, all cells together count as one.
* The boxes' loss is L1 on the logarithms of the sides and on the centre in shares of the sides:
  what a small face loses in IoU counts as much as what a large one does.
* A run is a function of its arguments; samples depend on the seed and their number (augment.py), and
  an interrupted run goes on as if it had not been.
"""
import argparse
import csv
import inspect
import json
import math
import os
import signal
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.ops import nms

import augment
import checkpoint
import detector
import evaluate
import labels
import train
import weights_file

STRIDE = 4
TAPS = {3: 24, 6: 32, 13: 96, 17: 320}  # MobileNetV2's blocks of strides 4 to 32, their channels
LEVEL = 127.5     # mean and deviation of what the network is fed, in levels 0 … 255
SPREAD = 0.09     # deviation of a face's bump on the heat map, in shares of its sides …
LEAST = 0.5       # … but at least so many cells
CORE = 0.1        # cells where the bump is higher than this learn the face's box
NMS = 0.4
FIXED = ("seed", "batch", "crop", "channels", "freeze")
COLUMNS = ("iteration", "rate", "loss", "heat", "box", "gradient")


class Centre(nn.Module):
    """Photos (N × 3 × H × W, sides multiples of 32, normalised) to maps of stride 4.

    Returns the heat's logits (N × 1 × H/4 × W/4), the logarithms of width and height in cells, and
    how far right of and below a cell's middle the centre lies, in cells (N × 2 × H/4 × W/4 each).
    """

    def __init__(self, channels=48):
        super().__init__()
        self.body = torchvision.models.mobilenet_v2(weights=None).features[:max(TAPS) + 1]
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in TAPS.values())
        self.merge = nn.ModuleList(_conv(channels) for _ in TAPS)
        self.score, self.box = _conv(channels), _conv(channels)
        self.heat, self.size, self.offset = (nn.Conv2d(channels, n, 1) for n in (1, 2, 2))
        for head, bias in ((self.heat, -4.0), (self.size, 1.0), (self.offset, 0.0)):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, bias)

    def forward(self, x):
        maps = []
        for number, block in enumerate(self.body):
            x = block(x)
            if number in TAPS:
                maps.append(x)
        x = None
        for lateral, merge, level in reversed(list(zip(self.lateral, self.merge, maps))):
            level = lateral(level)
            x = merge(level if x is None else level + F.interpolate(x, scale_factor=2.0))
        score, box = self.score(x), self.box(x)
        return self.heat(score), self.size(box), self.offset(box)


def _conv(channels):
    layer = nn.Conv2d(channels, channels, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU())


def build(channels):
    """The model with the backbone's norms frozen and folded (detector.py), weights at random."""
    model = Centre(channels)
    detector.freeze_norms(model.body)
    return model.to(memory_format=torch.channels_last)


def load_backbone(model, path):
    """Loads ImageNet weights with torchvision's names. Raises ValueError where they do not fit."""
    tensors = {name.removeprefix("features."): value.float()
               for name, value in weights_file.read(path)[0].items()}
    for name, value in detector.exported(model.body.state_dict()).items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise ValueError(f"{path}: is no MobileNetV2: {name} is missing or of another shape")
    model.body.load_state_dict(tensors, strict=False)  # the file has the classifier's layers too


def targets(sample, cells):
    """What the maps of a crop should be: (heat, weight, box, known), each … × cells × cells.

    heat is 1 at the cells that hold a face's centre and falls off around them; box (4 rows) is what
    size and offset should be, and weight how much that counts, 1 in sum per face. known is false
    where a face may be or not: at regions to ignore that no labelled face is near.
    """
    known = torch.ones(cells, cells, dtype=torch.bool)
    for x1, y1, x2, y2 in (sample.ignored / STRIDE).tolist():
        known[int(y1):math.ceil(y2), int(x1):math.ceil(x2)] = False
    if not len(sample.faces):
        zeros = torch.zeros(6, cells, cells)
        return zeros[0], zeros[1], zeros[2:], known
    faces, place = sample.faces / STRIDE, torch.arange(cells)
    sides, middle = faces[:, 2:] - faces[:, :2], (faces[:, 2:] + faces[:, :2]) / 2
    cell = middle.floor().clamp(0, cells - 1)
    spread = (SPREAD * sides).clamp(min=LEAST)[..., None]
    across, down = torch.exp(-((place - cell[..., None]) / spread) ** 2 / 2).unbind(1)
    heat, owner = (down[:, :, None] * across[:, None]).max(0)
    weight = heat * (heat > CORE)
    total = torch.zeros(len(faces)).index_add_(0, owner.flatten(), weight.flatten())
    weight = weight / total[owner].clamp(min=1e-6)
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy")) + 0.5
    box = torch.cat([sides[owner].log().permute(2, 0, 1), middle[owner].permute(2, 0, 1) - grid])
    return heat, weight, box, known | (heat > CORE)


def losses(maps, wanted):
    """(heat's loss, boxes' loss) per face of the batch, from the model's and the wanted maps."""
    heat, weight, box, known = (torch.stack(parts) for parts in zip(*wanted))
    logits, size, offset = (part.float() for part in maps)
    logits, found = logits[:, 0], logits[:, 0].sigmoid()
    centre = heat >= 1
    faces = max(1, int(centre.sum()))
    # Penalty-reduced focal loss (CornerNet, Law and Deng 2018): near a centre, heat is forgiven.
    hit = (1 - found) ** 2 * F.logsigmoid(logits)
    miss = (1 - heat) ** 4 * found ** 2 * F.logsigmoid(-logits) * known
    sides = box[:, :2].exp().clamp(min=1)
    error = (size - box[:, :2]).abs() + (offset - box[:, 2:]).abs() / sides
    return torch.stack([-torch.where(centre, hit, miss).sum() / faces,
                        (error.sum(1) * weight).sum() / faces])


class Run:
    """One training run: the model, its average, the optimiser and how far it has come."""

    def __init__(self, args):
        self.args, self.iteration = args, 0
        torch.manual_seed(args.seed)  # the random start of what --init does not give
        self.model = build(args.channels)
        if args.init:
            load_backbone(self.model, args.init)
        self.model.body[:args.freeze].requires_grad_(False)
        named = [pair for pair in self.model.named_parameters() if pair[1].requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.ema = {name: value.detach().clone() for name, value in named}
        self.shares = (args.body_rate, 1.0)
        groups = [[value for name, value in named if name.startswith("body.") == body]
                  for body in (True, False)]
        self.optimizer = torch.optim.AdamW([{"params": group} for group in groups], lr=args.lr,
                                           weight_decay=args.weight_decay)
        self.samples = augment.Samples(labels.read(args.labels, args.photos), args.crop, args.seed,
                                       args.crowds)

    def fixed(self):
        return {key: getattr(self.args, key) for key in FIXED}

    def summary(self):
        args = self.args
        return (f"{self.iteration} iterations of {args.batch} crops of {args.crop} px from "
                f"{len(self.samples.photos)} photos, AdamW {args.lr:g} (backbone "
                f"{args.lr * args.body_rate:g}), divided by 10 at {args.decay_at}, averaged with "
                f"{args.ema:g}, crowds {args.crowds:g}, box weight {args.box_weight:g}, seed "
                f"{args.seed}")

    def state(self):
        moments = {name: [self.optimizer.state[parameter][key] for key in ("exp_avg", "exp_avg_sq")]
                   for name, parameter in zip(self.names, self.parameters)
                   if self.optimizer.state[parameter]}
        return {"model": self.model.state_dict(), "ema": self.ema, "fixed": self.fixed(),
                "moments": moments, "iteration": self.iteration, "training": self.summary()}

    def restore(self, state):
        """Goes on from a checkpoint. Raises ValueError where it belongs to another run."""
        odd = [key for key, value in self.fixed().items() if state["fixed"].get(key) != value]
        if odd:
            raise ValueError(f"{self.args.out}: holds a checkpoint of a run with another "
                             f"{', '.join(odd)}; choose another --out or the same values")
        self.model.load_state_dict(state["model"])
        self.ema, self.iteration = state["ema"], state["iteration"]
        for name, parameter in zip(self.names, self.parameters):
            if name in state["moments"]:
                mean, square = state["moments"][name]
                self.optimizer.state[parameter].update(
                    step=torch.tensor(float(self.iteration)), exp_avg=mean, exp_avg_sq=square)

    def batch(self, iteration):
        """The iteration's photos and what the maps should be."""
        first = iteration * self.args.batch
        samples = [self.samples[first + i] for i in range(self.args.batch)]
        photos = torch.stack([sample.image for sample in samples])
        return photos, [targets(sample, self.args.crop // STRIDE) for sample in samples]

    def step(self, photos, wanted):
        """One step of the optimiser; returns a row of the curves."""
        args = self.args
        inputs = normalised(photos.float()).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.amp):
            maps = self.model(inputs)
        parts = losses(maps, wanted)
        total = parts[0] + args.box_weight * parts[1]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, args.clip).item()
        if not math.isfinite(norm + total.item()):
            raise FloatingPointError(f"iteration {self.iteration}: the loss or its gradient is "
                                     "not finite; try a lower --lr")
        rate = train.rate(args, self.iteration)
        for group, share in zip(self.optimizer.param_groups, self.shares):
            group["lr"] = rate * share
        self.optimizer.step()
        self._average()
        self.iteration += 1
        return [self.iteration, rate, total.item(), *parts.tolist(), norm]

    @torch.no_grad()
    def _average(self):
        decay = min(self.args.ema, (1 + self.iteration) / (10 + self.iteration))
        for name, parameter in zip(self.names, self.parameters):
            self.ema[name].lerp_(parameter, 1 - decay)


def normalised(photos):
    """Levels 0 … 255 as the network is fed them."""
    return (photos - LEVEL) / LEVEL


class Curves:
    """OUT/curves.csv: one row per iteration; rows after the checkpoint are dropped on resuming."""

    def __init__(self, folder, iteration):
        path, rows = os.path.join(folder, "curves.csv"), []
        if iteration and os.path.exists(path):
            with open(path, newline="") as file:
                rows = [row for row in list(csv.reader(file))[1:]
                        if len(row) == len(COLUMNS) and int(row[0]) <= iteration]
        self.file = open(path, "w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerows([COLUMNS, *rows])

    def add(self, row):
        self.writer.writerow([row[0]] + [f"{value:.6g}" for value in row[1:]])


def save(run, curves):
    curves.file.flush()
    checkpoint.save(run.args.out, run.state())


def loop(run, curves, stop):
    """Trains until the last iteration or until `stop` says so; the next batch is made meanwhile."""
    args, saved = run.args, time.monotonic()
    progress = train.Progress(args.iterations, run.iteration)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(run.batch, run.iteration)
        while run.iteration < args.iterations and not stop:
            batch = ahead.result()
            ahead = reader.submit(run.batch, run.iteration + 1)
            row = run.step(*batch)
            curves.add(row)
            progress.show(row)
            if time.monotonic() - saved >= args.save_every:
                save(run, curves)
                saved = time.monotonic()


def run_training(args):
    """Returns the exit status: 0 done, 130 interrupted and resumable."""
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    os.makedirs(args.out, exist_ok=True)
    run = Run(args)
    state = checkpoint.load(args.out)
    if state:
        run.restore(state)
        print(f"resuming after iteration {run.iteration}", flush=True)
    curves = Curves(args.out, run.iteration)
    loop(run, curves, stop)
    save(run, curves)
    if run.iteration < args.iterations:
        print(f"interrupted after iteration {run.iteration}; the same command goes on from there")
        return 130
    return 0


def load(folder):
    """(the averaged model of a run's checkpoint, ready for inference; how it was trained)."""
    state = checkpoint.load(folder)
    if state is None:
        raise ValueError(f"{folder}: holds no checkpoint")
    model = build(int(state["fixed"]["channels"]))
    model.load_state_dict({**state["model"], **state["ema"]})
    return model.eval(), state["training"]


def folded(module):
    """Replaces, in place, every convolution and its frozen norm by one plain convolution."""
    for name, child in list(module.named_children()):
        if isinstance(child, detector.FrozenNorm):
            setattr(module, name, nn.Identity())
        elif isinstance(child, detector.FoldedConv):
            norm = child._norm[0]
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            plain = nn.Conv2d(child.in_channels, child.out_channels, child.kernel_size,
                              child.stride, child.padding, child.dilation, child.groups)
            plain.weight.data = (child.weight * scale[:, None, None, None]).detach()
            plain.bias.data = (norm.bias - norm.running_mean * scale).detach()
            setattr(module, name, plain)
        else:
            folded(child)
    return module


class Graph(nn.Module):
    """What the ONNX file computes: the heat as probabilities, so that it needs no more said."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        heat, size, offset = self.model(image)
        return heat.sigmoid(), size, offset


def descriptor(name, size, threshold, training):
    """The file beside the ONNX file, as models/targets/README.md describes it."""
    return {
        "format": "cloakfleet.target/1", "name": name,
        "licence": "the project's; trained on WIDER FACE, which is for research use",
        "training": training,
        "input": {"name": "image", "long_side": size, "align": 32, "pad": 127,
                  "mean": [LEVEL] * 3, "std": [LEVEL] * 3},
        "threshold": threshold, "nms": NMS,
        "heads": [{"score": [{"output": "heat"}],
                   "box": {"kind": "offset_exp",
                           "of": [["offset", 0], ["offset", 1], ["size", 0], ["size", 1]]},
                   "anchors": [{"stride": STRIDE}], "layout": "maps"}]}


def run_export(args):
    """Writes the averaged model of a run as an ONNX file, and its descriptor beside it."""
    model, training = load(args.run)
    graph = Graph(folded(model).to(memory_format=torch.contiguous_format)).eval()
    sides = {2: "height", 3: "width"}
    cells = {2: "rows", 3: "columns"}
    # Newer versions' other exporter needs packages that this one does without.
    more = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is another exporter
        torch.onnx.export(graph, torch.zeros(1, 3, 128, 160), args.onnx, opset_version=13,
                          input_names=["image"], output_names=["heat", "size", "offset"],
                          dynamic_axes={"image": sides, "heat": cells, "size": cells,
                                        "offset": cells}, **more)
    path, _ = os.path.splitext(args.onnx)
    name = args.name or os.path.basename(path)
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in
             descriptor(name, args.size, args.threshold, training).items())
    with open(path + ".json", "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


class Finder:
    """The model with torchvision's calling convention, for evaluate.detect: what a target does."""

    def __init__(self, model, size, threshold):
        self.model, self.size, self.threshold = model, size, threshold

    def __call__(self, photos):
        return [self._find(photo * 255) for photo in photos]

    def _find(self, photo):
        height, width = photo.shape[1:]
        factor = min(1.0, self.size / max(height, width))
        sides = max(1, round(height * factor)), max(1, round(width * factor))
        photo = F.interpolate(photo[None], sides, mode="bilinear", align_corners=False)
        photo = F.pad(photo, (0, -sides[1] % 32, 0, -sides[0] % 32), value=127)
        boxes, scores = decode(*self.model(normalised(photo)), self.threshold)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, sides[1]) * (width / sides[1])
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, sides[0]) * (height / sides[0])
        kept = nms(boxes, scores, NMS)
        return {"boxes": boxes[kept], "scores": scores[kept]}


def decode(heat, size, offset, threshold):
    """(boxes in pixels of the input, scores) of the cells above the threshold, of one photo."""
    heat, size, offset = heat[0, 0].sigmoid(), size[0].exp(), offset[0]
    y, x = torch.nonzero(heat > threshold, as_tuple=True)
    middle = torch.stack([x, y]) + 0.5 + offset[:, y, x]
    half = size[:, y, x] / 2
    return STRIDE * torch.cat([middle - half, middle + half]).t(), heat[y, x]


def run_evaluation(args):
    """Prints AP at IoU 0.5, and precision and recall by threshold."""
    photos = labels.thin_out(labels.read(args.labels, args.photos), args.limit)
    finder, scores, fates = Finder(load(args.run)[0], args.size, args.least), [], []
    for photo in photos:
        boxes, found = evaluate.detect(finder, photo.path)
        scores.append(found.numpy())
        fates.append(evaluate.match(boxes.double(), torch.from_numpy(photo.faces).double(),
                                    torch.from_numpy(photo.ignored).double(), 0.5))
    scores, fates = np.concatenate(scores), np.concatenate(fates)
    faces = sum(len(photo.faces) for photo in photos)
    ap, recall = evaluate.average_precision(scores, fates, faces)
    print(f"{len(photos)} photos, {faces} faces; at IoU 0.5 and above {args.least:g}: "
          f"AP {ap:.3f}, recall {recall:.3f}\nthreshold  precision  recall     F1")
    for threshold in np.arange(0.1, 0.65, 0.05):
        hits, alarms = (int(((scores > threshold) & (fates == fate)).sum()) for fate in (1, 0))
        precision, recall = hits / max(1, hits + alarms), hits / max(1, faces)
        print(f"{threshold:9.2f}  {precision:9.3f}  {recall:6.3f}  "
              f"{2 * hits / max(1, hits + alarms + faces):5.3f}")
    return 0


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    training, export, evaluation = (verbs.add_parser(verb) for verb in
                                    ("train", "export", "evaluate"))
    for part in (training, evaluation):
        part.add_argument("--photos", required=True, metavar="DIR")
        part.add_argument("--labels", required=True, metavar="FILE", help="WIDER FACE bbx_gt text")
        part.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    for part in (export, evaluation):
        part.add_argument("run", metavar="RUN", help="what --out named")
        part.add_argument("--size", type=int, default=640, help="long side of the input")
    _training_options(training.add_argument)
    export.add_argument("onnx", metavar="OUT.onnx")
    export.add_argument("--name", help="what reports call it (default: the file's)")
    export.add_argument("--threshold", type=float, default=0.3, help="a face is found above it")
    evaluation.add_argument("--least", type=float, default=0.03, help="least score that AP counts")
    evaluation.add_argument("--limit", type=int, help="only so many photos, evenly spread")
    args = parser.parse_args(arguments)
    if args.verb == "train" and (args.crop % 32 or not 64 <= args.crop <= 2048):
        parser.error("--crop: a multiple of 32 from 64 to 2048")
    return args


def _training_options(add):
    add("--init", metavar="FILE", help="safetensors: an ImageNet MobileNetV2")
    add("--out", required=True, metavar="DIR", help="resumes when it holds a checkpoint")
    add("--channels", type=int, default=48, help="of the merged maps")
    add("--freeze", type=int, default=3, metavar="N", help="first blocks of the backbone to leave "
        "as they are")
    add("--iterations", type=int, default=4000)
    add("--batch", type=int, default=8, help="crops per step")
    add("--crop", type=int, default=448, help="pixels, a multiple of 32")
    add("--crowds", type=float, default=0.5, metavar="POWER",
        help="photos are drawn with weight faces^POWER: 0 all photos alike, 1 all faces alike")
    add("--lr", type=float, default=1e-3)
    add("--body-rate", type=float, default=0.4, help="the backbone's share of --lr")
    add("--decay-at", type=int, nargs="*", default=[], metavar="N",
        help="iterations at which the rate is divided by 10")
    add("--warmup", type=int, default=200, metavar="N", help="iterations of linear warm-up")
    add("--weight-decay", type=float, default=1e-3)
    add("--clip", type=float, default=10.0, help="largest norm of the gradient")
    add("--box-weight", type=float, default=2.0, help="of the boxes' loss")
    add("--ema", type=float, default=0.998, help="decay of the averaged weights (exported)")
    add("--seed", type=int, default=1)
    add("--amp", action="store_true", help="convolutions in bfloat16 (for CPUs with AVX512-BF16)")
    add("--save-every", type=float, default=300, metavar="SECONDS")


def main(arguments=None):
    """Returns the exit status: 0 done, 1 failed, 130 interrupted and resumable."""
    args = parse(arguments)
    torch.set_num_threads(getattr(args, "threads", 1))
    verbs = {"train": run_training, "export": run_export, "evaluate": run_evaluation}
    try:
        return verbs[args.verb](args)
    except (OSError, ValueError, FloatingPointError) as problem:
        print(f"centre: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
