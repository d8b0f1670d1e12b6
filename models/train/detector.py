"""The detector as torchvision's FasterRCNN, built from the architecture our model files carry.

The C++ side (models/detector) builds the same network from the same keys; they are described in
models/weights/README.md. For training, batch norms are frozen and folded into the convolution
before them on the fly: the parameters keep torchvision's names and values, and the pass over the
activations is saved.
"""
import json
import math

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

import refine
import vote
import weights_file

FORMAT = "cloakfleet.detector/1"
BACKBONES = ("mobilenet_v2", "resnet18", "resnet34", "resnet50")
BODY = "backbone.body."
HEADS = ("rpn.head.cls_logits.", "rpn.head.bbox_pred.", "roi_heads.box_predictor.")


def read_architecture(path):
    """The architecture as a dictionary, from a JSON file or a model file's metadata."""
    if path.endswith(".safetensors"):
        architecture = weights_file.read(path)[1]
    else:
        with open(path) as file:
            architecture = json.load(file)
    if architecture.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {architecture.get('format')!r}, not {FORMAT!r}")
    if architecture.get("backbone") not in BACKBONES:
        raise ValueError(f"{path}: backbone {architecture.get('backbone')!r}; "
                         f"known are {', '.join(BACKBONES)}")
    return architecture


def _backbone(name, channels):
    """Backbone and pyramid with maps at strides 4, 8, 16, 32 and 64."""
    if name == "mobilenet_v2":
        body = torchvision.models.mobilenet_v2(weights=None).features[:18]
        taps, widths = {"3": "0", "6": "1", "13": "2", "17": "3"}, [24, 32, 96, 320]
    else:
        body = getattr(torchvision.models, name)(weights=None)
        taps = {f"layer{i + 1}": str(i) for i in range(4)}
        widths = [body.fc.in_features >> shift for shift in (3, 2, 1, 0)]
    return BackboneWithFPN(body, taps, widths, channels, LastLevelMaxPool())


def build(architecture, width=256, size=None, classes=2):
    """torchvision's FasterRCNN with the architecture, its weights not yet loaded.

    width: of the two hidden layers of the box head. size: the long side of the input, if not the
    architecture's; the short side's bound grows alike, as the C side does it.
    """
    channels = int(architecture["fpn_channels"])
    sizes = tuple(tuple(level) for level in architecture["anchor_sizes"])
    ratios = (tuple(architecture["anchor_ratios"]),) * len(sizes)
    low, high = int(architecture["input_min"]), int(architecture["input_max"])
    if size:
        low, high = max(1, low * size // high), size
    model = FasterRCNN(
        _backbone(architecture["backbone"], channels),
        rpn_anchor_generator=AnchorGenerator(sizes, ratios),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2),
        box_head=TwoMLPHead(channels * 49, width), box_predictor=FastRCNNPredictor(width, classes),
        min_size=low, max_size=high, image_mean=architecture["mean"], image_std=architecture["std"],
        rpn_pre_nms_top_n_test=int(architecture["rpn_pre_nms"]),
        rpn_post_nms_top_n_test=int(architecture["rpn_post_nms"]),
        rpn_nms_thresh=float(architecture["rpn_nms"]),
        box_score_thresh=float(architecture["score_threshold"]),
        box_nms_thresh=float(architecture["box_nms"]),
        box_detections_per_img=int(architecture["max_detections"]))
    model.rpn.min_size = float(architecture.get("rpn_min_size", model.rpn.min_size))
    if float(architecture.get("box_vote", 0)) > 0:
        vote.install(model.roi_heads, float(architecture["box_vote"]))
    if float(architecture.get("box_refine", 0)) > 0:
        refine.install(model, float(architecture["box_refine"]))
    return model


class FrozenNorm(nn.Module):
    """A batch norm whose statistics and scale stay as they are; `FoldedConv` applies it.

    Its bias is the convolution's bias and is trained like any other.
    """

    def __init__(self, norm):
        super().__init__()
        self.eps = norm.eps
        self.bias = nn.Parameter(norm.bias.detach().clone())
        for name in ("weight", "running_mean", "running_var"):
            self.register_buffer(name, getattr(norm, name).detach().clone())

    def forward(self, x):
        return x


class FoldedConv(nn.Conv2d):
    """A convolution that applies the frozen norm behind it by way of its weights and bias."""

    def __init__(self, conv, norm):
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,
                         conv.padding, conv.dilation, conv.groups, bias=False)
        self.weight = conv.weight
        self._norm = [norm]  # in a list, lest it become this module's child

    def forward(self, x):
        norm = self._norm[0]
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return F.conv2d(x, self.weight * scale[:, None, None, None],
                        norm.bias - norm.running_mean * scale, self.stride, self.padding,
                        self.dilation, self.groups)


def freeze_norms(module):
    """Replaces every convolution followed by a batch norm by the folding pair; returns module."""
    previous = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            if not isinstance(previous and previous[1], nn.Conv2d):
                raise ValueError(f"batch norm {name} does not follow a convolution")
            norm = FrozenNorm(child)
            setattr(module, name, norm)
            setattr(module, previous[0], FoldedConv(previous[1], norm))
        else:
            freeze_norms(child)
        previous = (name, child)
    return module


def load_weights(model, tensors, source):
    """Loads a detector's or an ImageNet backbone's tensors into the model.

    A detector must fit in full. Of a backbone (`features.…` or a ResNet's own names), the rest of
    the model keeps its random start. Raises ValueError that names `source` and the tensors.
    """
    tensors = {name: value.float() for name, value in exported(tensors).items()}
    if not hasattr(model, "refinement"):
        tensors = refine.without(tensors)
    whole = any(name.startswith("roi_heads.") for name in tensors)
    if not whole:
        tensors = _backbone_names(tensors)
    wanted = {name: value.shape for name, value in exported(model.state_dict()).items()}
    if not whole:
        wanted = {name: shape for name, shape in wanted.items() if name.startswith(BODY)}
        tensors = {name: value for name, value in tensors.items() if name in wanted}
    odd = [f"lacks {name}" for name in sorted(wanted.keys() - tensors.keys())]
    odd += [f"has {name}, which is unknown" for name in sorted(tensors.keys() - wanted.keys())]
    odd += [f"{name} is {tuple(value.shape)} instead of {tuple(wanted[name])}"
            for name, value in tensors.items()
            if name in wanted and value.shape != wanted[name]]
    if odd:
        raise ValueError(f"{source}: does not fit the architecture: {'; '.join(odd[:3])}"
                         f"{f' and {len(odd) - 3} more' if len(odd) > 3 else ''}")
    model.load_state_dict(tensors, strict=False)  # strict would ask for the counters


def _backbone_names(tensors):
    """ImageNet names to the detector's: `features.0.…` or `layer1.…` under `backbone.body.`."""
    return {BODY + name.removeprefix("features."): value
            for name, value in tensors.items()}


def head_width(tensors):
    """The box head's width, as a file's tensors have it; 256 where there is no head."""
    weight = tensors.get("roi_heads.box_head.fc6.weight")
    return 256 if weight is None else weight.shape[0]


def widen_head(tensors, width):
    """The tensors with a box head of `width` units that still computes the same.

    New units start at random and count for nothing yet (Net2Net, Chen et al. 2016, without its
    copies). Uses torch's global generator. Raises ValueError where the head is wider already.
    """
    more = width - head_width(tensors)
    if more < 0:
        raise ValueError(f"the box head has {head_width(tensors)} units, more than {width}")
    if not more:
        return tensors
    tensors, head = dict(tensors), "roi_heads.box_head."
    for layer in ("fc6", "fc7"):
        weight = tensors[f"{head}{layer}.weight"].float()
        if layer == "fc7":
            weight = F.pad(weight, (0, more))
        fresh = torch.randn(more, weight.shape[1]) * math.sqrt(2 / weight.shape[1])
        tensors[f"{head}{layer}.weight"] = torch.cat([weight, fresh])
        tensors[f"{head}{layer}.bias"] = F.pad(tensors[f"{head}{layer}.bias"].float(), (0, more))
    for layer in ("cls_score", "bbox_pred"):
        name = f"roi_heads.box_predictor.{layer}.weight"
        tensors[name] = F.pad(tensors[name].float(), (0, more))
    return tensors


def exported(state):
    """What a model file holds of a state_dict: everything but batch norms' counters."""
    return {name: value for name, value in state.items()
            if not name.endswith("num_batches_tracked")}
