"""Losses of the two stages, from torchvision's modules but with our own choice of samples.

DESIGN. WIDER's faces are tiny: half are lower than 12 px. What follows from it:
* An anchor counts as a face from IoU 0.5 (torchvision: 0.7), since a face of 8 px that lies badly
  on the grid of stride 4 overlaps no anchor by more; each face keeps its best anchor at least.
* The box head's regression is trained on the IoU itself (complete IoU, Zheng et al. 2020), which
  weighs a pixel at a tiny face as much as it matters to the match, and normalised by the positives
  expected rather than by all samples.
* Neither a region marked `ignored` nor anything in it is background, and a region that overlaps a
  face by 0.4 to 0.5 is neither one nor the other.
* Half of the background that the box head learns from is what the first stage was surest of (the
  idea of mining hard examples, Shrivastava et al. 2016, at no cost): what looks like a face and is
  none is rare, and it is what false alarms are made of.
* Every random choice comes from the sample's own seed, so that shards of a batch may run in any
  order on any thread with the same result.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import box_iou, complete_box_iou_loss


@dataclass(frozen=True)
class Recipe:
    """What is sampled, and how the four losses weigh."""
    rpn_face: float = 0.5
    rpn_background: float = 0.3
    rpn_samples: int = 512
    box_face: float = 0.5
    box_background: float = 0.4
    box_samples: int = 256
    box_positives: float = 0.25
    box_hard: float = 0.5
    rpn_box_weight: float = 2.0
    box_weight: float = 4.0
    beta: float = 1 / 9


NAMES = ("rpn_score", "rpn_box", "score", "box")


def label_boxes(boxes, faces, ignored, face_iou, background_iou, keep_best):
    """(labels: 1 face, 0 background, -1 neither; the face each box overlaps most).

    keep_best: the boxes that overlap a face most are its own, however little that is.
    """
    labels = torch.zeros(len(boxes), dtype=torch.int8)
    match = torch.zeros(len(boxes), dtype=torch.int64)
    if len(faces):
        overlap = box_iou(faces, boxes)
        best, match = overlap.max(0)
        labels[best >= background_iou] = -1
        labels[best >= face_iou] = 1
        if keep_best:
            top = overlap.max(1, keepdim=True).values
            rows, columns = torch.where((overlap >= top - 1e-4) & (top > 0.05))
            labels[columns] = 1
            match[columns] = rows
    if len(ignored):
        labels[(labels == 0) & (covered(boxes, ignored) > 0.5)] = -1
    return labels, match


def covered(boxes, regions):
    """The largest share of each box's area that one region covers."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    common = (high - low).clamp(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)
    return (common / area[:, None]).max(1).values


def choose(labels, count, positive_share, generator, hard_share=0.0):
    """Random positions of at most `count` samples: (faces, background).

    hard_share: of the background, from the first positions of it; twice as many are drawn from.
    """
    faces, background = torch.where(labels == 1)[0], torch.where(labels == 0)[0]
    faces = _some(faces, int(count * positive_share), generator)
    left = count - len(faces)
    hard = int(left * hard_share)
    hard = _some(background[:2 * hard], hard, generator)
    others = _some(background, len(background), generator)
    others = others[~torch.isin(others, hard)]
    return faces, torch.cat([hard, others])[:left]


def _some(positions, count, generator):
    order = torch.randperm(len(positions), generator=generator)[:count]
    return positions[order]


class Losses:
    """Computes the losses of shards of a batch. Safe to call from several threads."""

    def __init__(self, model, recipe, crop, amp):
        self.model, self.recipe, self.amp = model, recipe, amp
        self.mean = torch.tensor(model.transform.image_mean).view(1, 3, 1, 1)
        self.std = torch.tensor(model.transform.image_std).view(1, 3, 1, 1)
        self.crop, self.anchors = crop, None
        self.anchors = self._anchors()

    def _anchors(self):
        """All anchors of a crop, which depend on its size alone."""
        sides = [-(-self.crop // stride) for stride in (4, 8, 16, 32, 64)]
        maps = [torch.zeros(1, 1, side, side) for side in sides]
        images = ImageList(torch.zeros(1, 3, self.crop, self.crop), [(self.crop, self.crop)])
        return self.model.rpn.anchor_generator(images, maps)[0]

    def __call__(self, samples):
        """The four losses (a vector in the order of NAMES), summed over the samples."""
        model = self.model
        images = torch.stack([sample.image for sample in samples]).float()
        images = ((images / 255 - self.mean) / self.std).contiguous(
            memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
            features = model.backbone(images)
            objectness, deltas = model.rpn.head(list(features.values()))
        counts = [o[0].numel() for o in objectness]
        objectness, deltas = concat_box_prediction_layers(
            [o.float() for o in objectness], [d.float() for d in deltas])
        objectness = objectness.view(len(samples), -1)
        deltas = deltas.view(len(samples), -1, 4)
        proposals = self._proposals(objectness, deltas, counts)
        generators = [torch.Generator().manual_seed(sample.seed) for sample in samples]
        first = [self._first_stage(*rest) for rest in
                 zip(samples, objectness, deltas, generators)]
        second = self._second_stage(features, proposals, samples, generators)
        return torch.stack([torch.stack(first).sum(0), second]).flatten()

    def _proposals(self, objectness, deltas, counts):
        count = len(objectness)
        with torch.no_grad():
            boxes = self.model.rpn.box_coder.decode(
                deltas.reshape(-1, 4), [self.anchors] * count).view(count, -1, 4)
            return self.model.rpn.filter_proposals(
                boxes, objectness.reshape(-1, 1), [(self.crop, self.crop)] * count, counts)[0]

    def _first_stage(self, sample, objectness, deltas, generator):
        recipe = self.recipe
        labels, match = label_boxes(self.anchors, sample.faces, sample.ignored, recipe.rpn_face,
                                    recipe.rpn_background, True)
        faces, background = choose(labels, recipe.rpn_samples, 0.5, generator)
        chosen = torch.cat([faces, background])
        score = F.binary_cross_entropy_with_logits(objectness[chosen], labels[chosen].float())
        if not len(faces):
            return torch.stack([score, deltas.sum() * 0])
        target = self.model.rpn.box_coder.encode([sample.faces[match[faces]]],
                                                 [self.anchors[faces]])[0]
        box = F.smooth_l1_loss(deltas[faces], target, beta=recipe.beta, reduction="sum")
        return torch.stack([score, recipe.rpn_box_weight * box / recipe.rpn_samples])

    def _second_stage(self, features, proposals, samples, generators):
        heads, shape = self.model.roi_heads, [(self.crop, self.crop)] * len(samples)
        chosen = [self._regions(*rest) for rest in zip(proposals, samples, generators)]
        maps = {name: value.float() for name, value in features.items()}
        pooled = heads.box_roi_pool(maps, [boxes for boxes, _ in chosen], shape)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
            hidden = heads.box_head(pooled)
        logits, deltas = heads.box_predictor(hidden.float())
        total, start = torch.zeros(2), 0
        for boxes, target in chosen:
            end = start + len(boxes)
            total = total + self._region_losses(boxes, target, logits[start:end],
                                                deltas[start:end, 4:])
            start = end
        return total

    def _regions(self, proposals, sample, generator):
        """(regions of one photo to train the box head on, the faces of its first ones)."""
        recipe = self.recipe
        proposals = torch.cat([proposals, sample.faces])
        labels, match = label_boxes(proposals, sample.faces, sample.ignored, recipe.box_face,
                                    recipe.box_background, False)
        faces, background = choose(labels, recipe.box_samples, recipe.box_positives, generator,
                                   recipe.box_hard)  # proposals come surest first
        target = sample.faces[match[faces]] if len(faces) else sample.faces[:0]
        return proposals[torch.cat([faces, background])], target

    def _region_losses(self, boxes, target, logits, deltas):
        recipe, positives = self.recipe, len(target)
        labels = torch.zeros(len(boxes), dtype=torch.int64)
        labels[:positives] = 1
        score = F.cross_entropy(logits, labels)
        if not positives:
            return torch.stack([score, deltas.sum() * 0])
        decoded = self.model.roi_heads.box_coder.decode_single(deltas[:positives],
                                                               boxes[:positives])
        box = complete_box_iou_loss(decoded, target, reduction="sum")
        expected = recipe.box_samples * recipe.box_positives
        return torch.stack([score, recipe.box_weight * box / expected])
