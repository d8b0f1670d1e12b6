#!/usr/bin/env python3
"""Converts between our model files and torchvision checkpoints of a Faster R-CNN.

    convert.py to-torchvision MODEL.safetensors OUT.pth
    convert.py from-torchvision CHECKPOINT.pth ARCHITECTURE.json OUT.safetensors [--half]

The tensors' names are the same on both sides, so nothing is computed or folded: only the counters of
batch norms, which inference never reads, and what refines boxes (refine.py) are dropped, and names of
torchvision before 0.14 are brought up to date. What does not fit the architecture is refused. ARCHITECTURE.json has
the keys described in models/weights/README.md.
"""
import argparse
import os
import re
import sys

import torch

import detector
import refine
import weights_file

# Names that torchvision changed in 0.14.
RENAMED = ((re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)"), r"\1.0.\2"),
           (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"))


def read_checkpoint(path):
    """The state_dict in a .pth file, alone or under "model", with today's names."""
    try:  # weights_only: a checkpoint from elsewhere must not run code
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as problem:
        raise ValueError(f"{path}: cannot be read as a checkpoint: {problem}") from problem
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ValueError(f"{path}: is no state_dict; save the model's state_dict() with torch.save")
    for pattern, name in RENAMED:
        state = {pattern.sub(name, key) if pattern.fullmatch(key) else key: value
                 for key, value in state.items()}
    return detector.exported(state)


def check(tensors, architecture, source):
    """Raises ValueError, saying what, where the tensors are not those of the architecture."""
    classes = tensors.get("roi_heads.box_predictor.cls_score.weight")
    if classes is None:
        raise ValueError(f"{source}: has no roi_heads.box_predictor; it is no Faster R-CNN with "
                         "torchvision's two-layer box head")
    if len(classes) != 2:
        raise ValueError(f"{source}: tells {len(classes)} classes apart; a target must have two "
                         "(background, face): train it with models/train/train.py or your own code")
    model = detector.build(architecture, detector.head_width(tensors))
    detector.load_weights(model, tensors, source)


def to_torchvision(source, target):
    """Writes the model file's tensors, in fp32, as a state_dict of torchvision's FasterRCNN.

    Without what refines its boxes, of which torchvision knows nothing.
    """
    tensors = refine.without(weights_file.read(source)[0])
    check(tensors, refine.plain(detector.read_architecture(source)), source)
    temporary = f"{target}.part"
    torch.save({name: value.float() for name, value in tensors.items()}, temporary)
    os.replace(temporary, target)


def from_torchvision(source, architecture, target, half=False):
    """Writes a state_dict as a model file: fp32, or fp16 where the caller accepts the rounding."""
    metadata = refine.plain(detector.read_architecture(architecture))
    tensors = refine.without(read_checkpoint(source))
    check(tensors, metadata, source)
    kind = torch.float16 if half else torch.float32
    tensors = {name: value.to(kind) for name, value in tensors.items()}
    lost = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if lost:
        raise ValueError(f"{source}: {lost[0]} is not finite"
                         f"{' in fp16; leave out --half' if half else ''}")
    weights_file.write(target, tensors, metadata)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("to-torchvision")
    verb.add_argument("model")
    verb.add_argument("out")
    verb = verbs.add_parser("from-torchvision")
    verb.add_argument("checkpoint")
    verb.add_argument("architecture")
    verb.add_argument("out")
    verb.add_argument("--half", action="store_true", help="round to fp16")
    args = parser.parse_args()
    try:
        if args.verb == "to-torchvision":
            to_torchvision(args.model, args.out)
        else:
            from_torchvision(args.checkpoint, args.architecture, args.out, args.half)
    except (OSError, ValueError) as problem:
        print(f"convert: {problem}", file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
