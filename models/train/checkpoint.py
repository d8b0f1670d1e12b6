"""The state of a training run on disk: weights, their average, momentum, place, architecture.

Tensors, text and whole numbers only: torch 1.13's safe reader (`weights_only`) knows no floats.
"""
import json
import os

import torch

import detector
import weights_file

VERSION = 3
FILE = "checkpoint.pt"


def save(folder, state):
    """Writes the state as FOLDER/checkpoint.pt; a crash leaves the old one or the new one."""
    path = os.path.join(folder, FILE)
    temporary = path + ".part"
    with open(temporary, "wb") as file:
        torch.save({"version": VERSION, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path):
    """The state in the file, or in the folder's checkpoint; None where there is none."""
    if os.path.isdir(path):
        path = os.path.join(path, FILE)
    if not os.path.exists(path):
        return None
    try:  # weights_only: a checkpoint from elsewhere must not run code
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise ValueError(f"{path}: cannot be read as a checkpoint: {problem}") from problem
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise ValueError(f"{path}: is no checkpoint of this version")
    return state


def shift_scores(state, logits):
    """Adds to the logit of every face that the state's model reports; says so in its summary."""
    name = "roi_heads.box_predictor.cls_score.bias"
    shift = torch.tensor([0.0, logits])
    for tensors in (state["model"], state["ema"]):
        if name in tensors:
            tensors[name] = tensors[name] + shift
    state["training"] += f"; faces' logits raised by {logits:g}"


def export(state, path, name=None, single=False):
    """Writes the averaged weights as a model file, and its metadata beside it as JSON.

    fp16, or fp32 if `single`. The metadata is the architecture's, with how it was trained.
    """
    kind = torch.float32 if single else torch.float16
    tensors = {key: value.to(kind) for key, value in detector.exported(state["model"]).items()}
    tensors.update({key: value.to(kind) for key, value in state["ema"].items()})
    bad = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{path}: {bad[0]} is not finite in {kind}; not written")
    metadata = {**json.loads(state["architecture"]), "training": state["training"]}
    if name:
        metadata["name"] = name
    weights_file.write(path, tensors, metadata)
    with open(os.path.splitext(path)[0] + ".json", "w") as file:
        json.dump(metadata, file, indent=2)
        file.write("\n")
