"""Box refinement behind torchvision's box head: each detection is looked at once more, to place it.

A later stage that learns from the boxes of the one before, as in Cascade R-CNN (Cai and Vasconcelos
2018), but for two things: it leaves the scores alone, so that what is found does not change, and it also
reads an early map of stride 2, where edges still are where they were. What it pools is wider than the
box, because a box's edge is seen from both sides of it. The C++ side is models/detector/refine.h.
"""
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import clip_boxes_to_image, roi_align

UNITS = 512
WIDER = 1.4  # what is pooled, by the box's size
BINS, EARLY_BINS, SAMPLES = 7, 14, 2
LEAST_SIDE = 1e-2  # what would be smaller, once clipped, stays where it is
EARLY, EARLY_CHANNELS = "1", 16  # of MobileNetV2: its second block, stride 2
TRAINED = "; boxes refined, "  # begins what a model file's "training" says of the refinement
CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


class Refinement(nn.Module):
    """From what is pooled for n boxes to n × 4 deltas, as the box head encodes them."""

    def __init__(self, channels):
        super().__init__()
        self.fc6 = nn.Linear(channels * BINS ** 2 + EARLY_CHANNELS * EARLY_BINS ** 2, UNITS)
        self.fc7 = nn.Linear(UNITS, UNITS)
        self.bbox_pred = nn.Linear(UNITS, 4)

    def forward(self, pooled):
        return self.bbox_pred(F.relu(self.fc7(F.relu(self.fc6(pooled)))))


def pool(pyramid, early, boxes):
    """What is read for the boxes of one image, n × numbers: first the pyramid's, then the early map's.

    pyramid: four maps of 1 × C × h × w, strides 4 to 32. early: the map of stride 2.
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * WIDER
    wide = torch.cat([centre - half, centre + half], 1)
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    levels = torch.floor(4 + torch.log2(side / 224) + 1e-6).clamp(2, 5) - 2
    pooled = wide.new_zeros(len(boxes), pyramid[0].shape[1], BINS, BINS)
    for level, features in enumerate(pyramid):
        rows = torch.where(levels == level)[0]
        if len(rows):
            pooled[rows] = roi_align(features, [wide[rows]], BINS, 0.25 / (1 << level), SAMPLES)
    edges = roi_align(early, [wide], EARLY_BINS, 0.5, SAMPLES)
    return torch.cat([pooled.flatten(1), edges.flatten(1)], 1)


def place(boxes, deltas):
    """The boxes moved by the deltas, n × 4."""
    return CODER.decode_single(deltas, boxes)


def plain(architecture):
    """The architecture of the detector alone."""
    alone = {key: value for key, value in architecture.items() if key != "box_refine"}
    if "training" in alone:
        alone["training"] = alone["training"].split(TRAINED)[0]
    return alone


def without(tensors):
    """The tensors of the detector alone."""
    return {name: value for name, value in tensors.items() if not name.startswith("refinement.")}


class Maps:
    """The maps that a model made of its last input, kept by hooks while it does not train.

    Raises ValueError where its backbone is not MobileNetV2.
    """

    def __init__(self, model):
        if not isinstance(dict(model.backbone.body.named_children()).get(EARLY), InvertedResidual):
            raise ValueError("box_refine: only the backbone mobilenet_v2 has it")
        self.pyramid = self.early = None
        model.backbone.register_forward_hook(self._keep_pyramid)
        model.backbone.body[EARLY].register_forward_hook(self._keep_early)

    def _keep_pyramid(self, module, _inputs, maps):
        if not module.training:
            self.pyramid = list(maps.values())[:4]

    def _keep_early(self, module, _inputs, features):
        if not module.training:
            self.early = features

    def pool(self, photo, boxes):
        """`pool` for the boxes of photo number `photo` of the input."""
        one = slice(photo, photo + 1)
        return pool([level[one] for level in self.pyramid], self.early[one], boxes)


def install(model, share):
    """Makes torchvision's FasterRCNN `model` (MobileNetV2, two classes) refine its detections.

    share: how much of the way from the box to the refined one a detection goes, 0 … 1. Its weights are
    `refinement.…` in the model's state; they are not trained with the rest. Raises ValueError for another
    backbone.
    """
    model.refinement = Refinement(model.backbone.out_channels).requires_grad_(False)
    maps, heads = Maps(model), model.roi_heads
    find = heads.postprocess_detections

    def refined(logits, deltas, proposals, shapes):
        boxes, scores, labels = find(logits, deltas, proposals, shapes)
        for photo, shape in enumerate(shapes):
            if len(boxes[photo]):
                moved = place(boxes[photo], model.refinement(maps.pool(photo, boxes[photo])))
                moved = clip_boxes_to_image(torch.lerp(boxes[photo], moved, share), shape)
                left = ((moved[:, 2:] - moved[:, :2]) >= LEAST_SIDE).all(1)
                boxes[photo] = torch.where(left[:, None], moved, boxes[photo])
        return boxes, scores, labels

    heads.postprocess_detections = refined
