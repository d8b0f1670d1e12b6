#!/usr/bin/env python3
"""What the detector's parts cost an attack, and what quality hangs on them, as Markdown tables.

    tradeoff.py MODEL.safetensors [--photos DIR --labels FILE [--limit N]] [--rounds N] [--threads N]

Cost: one step of the attack on one photo of 4:3, on torch's modules: the dense part forward and
backward to the pixels with frozen weights, and the box head forward on its proposals. Variants are
timed in turn, several rounds in one run; the table has medians as ratios to the model's own. Other
shapes than the model's own get random weights, which changes no time. RoIAlign, NMS and the choice
of proposals are not in it: they are our own in C++, and small.

Quality, where photos are given: AP and recall of the model as it is, and with single parts of it
changed at inference, which needs no training. A width of the pyramid or of the box head cannot be
judged so; only training would tell.
"""
import argparse
import statistics
import sys
import time

import torch

import detector
import evaluate
import labels
import refine
import weights_file


class Variant:
    """A detector with some keys of its architecture, its input or its head's width changed."""

    def __init__(self, name, architecture, width, size=None, first_level=0, **changes):
        self.name, self.first_level = name, first_level
        architecture = refine.plain({**architecture, **changes})
        long_side = size or int(architecture["input_max"])
        self.model = detector.build(architecture, width).eval()
        detector.freeze_norms(self.model.backbone.body)
        self.model.requires_grad_(False).to(memory_format=torch.channels_last)
        self.input = torch.rand(1, 3, _padded(long_side * 3 // 4), _padded(long_side))
        self.input = self.input.to(memory_format=torch.channels_last)
        proposals = int(architecture["rpn_post_nms"])
        self.pooled = torch.rand(proposals, self.model.roi_heads.box_head.fc6.in_features)
        self.seconds = []

    def step(self):
        """The dense part's maps and objectness, differentiated; then the box head."""
        x = self.input.detach().requires_grad_()
        features = list(self.model.backbone(x).values())
        objectness, _ = self.model.rpn.head(features[self.first_level:])
        total = sum(map(torch.sum, objectness)) + sum(map(torch.sum, features[:4]))
        torch.autograd.grad(total, x)
        with torch.no_grad():
            self.model.roi_heads.box_predictor(self.model.roi_heads.box_head(self.pooled))

    def time(self):
        start = time.perf_counter()
        self.step()
        self.seconds.append(time.perf_counter() - start)

    def gflop(self):
        """Multiplications and additions of convolutions and linear layers, forward, in 1e9."""
        total = [0]

        def count(module, _, output):
            each = module.weight[0].numel()
            total[0] += 2 * each * output.numel()

        hooks = [module.register_forward_hook(count) for module in self.model.modules()
                 if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))]
        self.step()
        for hook in hooks:
            hook.remove()
        return total[0] / 1e9


def _padded(pixels):
    return -(-pixels // 32) * 32


def variants(architecture, width):
    own = int(architecture["input_max"])
    channels = int(architecture["fpn_channels"])
    yield Variant("as it is", architecture, width)
    for other in (channels * 2 // 3, channels * 4 // 3, channels * 8 // 3):
        yield Variant(f"pyramid of {other} channels", architecture, width, fpn_channels=other)
    yield Variant("no RPN on stride 4", architecture, width, first_level=1)
    for other in (width // 2, width * 2, width * 4):
        yield Variant(f"box head of {other} units", architecture, other)
    for other in (300, 500):
        yield Variant(f"{other} proposals", architecture, width, rpn_post_nms=other)
    for other in (480, 800, 1024):
        if other != own:
            yield Variant(f"input of {other} px", architecture, width, size=other)
    for other in detector.BACKBONES:
        if other != architecture["backbone"]:
            yield Variant(other, architecture, width, backbone=other)


def cost(architecture, width, rounds):
    """Prints the table of costs."""
    entries = list(variants(architecture, width))
    gflops = [entry.gflop() for entry in entries]  # warms up, too
    for _ in range(rounds):
        for entry in entries:
            entry.time()
    medians = [statistics.median(entry.seconds) for entry in entries]
    print("| | GFLOP forward | time of a step |\n|---|---|---|")
    for entry, gflop, median in zip(entries, gflops, medians):
        print(f"| {entry.name} | {gflop:.1f} | {median / medians[0]:.2f} |")
    print(f"\nA step of the model as it is: {medians[0]:.3f} s.")


def _without_first_level(model):
    """The RPN looks at strides 8 and up only."""
    head, generate = model.rpn.head, model.rpn.anchor_generator
    model.rpn.head = _Skip(head)
    generator = model.rpn.anchor_generator = torch.nn.Module()
    generator.forward = lambda images, maps: [
        anchors[len(anchors) - sum(m.shape[-2] * m.shape[-1] for m in maps[1:]) *
                generate.num_anchors_per_location()[0]:]
        for anchors in generate(images, maps)]


class _Skip(torch.nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, maps):
        return self.head(maps[1:])


def quality(path, photos):
    """Prints the table of AP and recall."""
    own = int(detector.read_architecture(path)["input_max"])

    def proposals(count):
        return lambda model: model.rpn._post_nms_top_n.update(testing=count)

    def anchors_of_fewer(model):
        model.rpn._pre_nms_top_n.update(testing=300)

    changes = [(f"as it is ({own} px)", None, None),
               ("no RPN on stride 4", None, _without_first_level),
               ("300 anchors of a level", None, anchors_of_fewer),
               ("300 proposals", None, proposals(300)), ("500 proposals", None, proposals(500))]
    changes += [(f"input of {size} px", size, None) for size in (480, 800, 1024, 1280)]
    print("| | AP .5 | recall .5 | AP .7 | AP .8 |\n|---|---|---|---|---|")
    for name, size, change in changes:
        model = evaluate.load(path, size)
        if change:
            change(model)
        report = evaluate.evaluate(model, photos)
        ap, recall = report["ap"], report["recall"]
        print(f"| {name} | {ap['0.5']:.3f} | {recall['0.5']:.3f} | {ap['0.7']:.3f} | "
              f"{ap['0.8']:.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("--photos", metavar="DIR")
    parser.add_argument("--labels", metavar="FILE")
    parser.add_argument("--limit", type=int, help="only so many photos, evenly spread")
    parser.add_argument("--rounds", type=int, default=7, help="0: no table of costs")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if bool(args.photos) != bool(args.labels):
        parser.error("--photos and --labels go together")
    try:
        if args.rounds > 0:
            width = detector.head_width(weights_file.read(args.model)[0])
            cost(detector.read_architecture(args.model), width, args.rounds)
        if args.photos:
            print()
            quality(args.model, labels.thin_out(labels.read(args.labels, args.photos), args.limit))
    except (OSError, ValueError) as problem:
        print(f"tradeoff: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
