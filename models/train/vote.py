"""Box voting (Gidaris and Komodakis 2015) behind torchvision's box head.

A detection that survives non-maximum suppression gets the mean box of all candidates that overlap
it, weighted by score x IoU^2. What is found does not change, only where. The C++ side is
models/detector/vote.h.
"""
import types

import torch.nn.functional as F
from torchvision.ops import box_iou, clip_boxes_to_image, nms, remove_small_boxes


def install(heads, least):
    """Makes torchvision's RoIHeads `heads` place its detections by voting; two classes only.

    least: IoU from which a candidate votes.
    """
    heads.vote_iou = least
    heads.postprocess_detections = types.MethodType(_postprocess, heads)


def _postprocess(heads, logits, deltas, proposals, shapes):
    """In place of RoIHeads.postprocess_detections: (boxes, scores, labels), a list each."""
    counts = [len(boxes) for boxes in proposals]
    decoded = heads.box_coder.decode(deltas, proposals)[:, 1].split(counts)
    scores = F.softmax(logits, -1)[:, 1].split(counts)
    found = [_place(heads, *photo) for photo in zip(decoded, scores, shapes)]
    return tuple(list(part) for part in zip(*found))


def _place(heads, boxes, scores, shape):
    boxes = clip_boxes_to_image(boxes, shape)
    above = scores > heads.score_thresh
    boxes, scores = boxes[above], scores[above]
    large = remove_small_boxes(boxes, 1e-2)
    boxes, scores = boxes[large], scores[large]
    kept = nms(boxes, scores, heads.nms_thresh)[:heads.detections_per_img]
    overlap = box_iou(boxes[kept], boxes)
    weights = (overlap >= heads.vote_iou) * scores * overlap ** 2
    placed = weights @ boxes / weights.sum(1, keepdim=True)
    return placed, scores[kept], scores.new_ones(len(kept), dtype=int)
