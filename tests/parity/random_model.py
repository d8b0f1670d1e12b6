"""Model files with random weights that find things all the same: for backbones without weights.

The body's convolutions are torchvision's random start. Its batch norms get the statistics that a
photo gives them, each disturbed, and random scales and shifts, so that a norm that is folded
wrongly shows, while activations stay bounded. The last layer is scaled so that the scores of a
photo's regions spread around the detection threshold.
"""
import torch
from torch import nn

import detector
import weights_file

THRESHOLD = 0.05
SPREAD = 1.0  # standard deviation of the margin (face logit minus background), in logits
SHARE = 0.25  # of the regions that lie above the threshold


def architecture(backbone):
    """A small detector: 64 channels, an input of 320 px; every anchor may become a proposal."""
    return {"format": detector.FORMAT, "name": f"random-{backbone}", "backbone": backbone,
            "fpn_channels": 64, "training": "none: random weights",
            "anchor_sizes": [[16], [32], [64], [128], [256]], "anchor_ratios": [0.8, 1.25],
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "input_min": 256, "input_max": 320, "score_threshold": THRESHOLD, "box_nms": 0.4,
            "max_detections": 400, "rpn_pre_nms": 10000, "rpn_post_nms": 300, "rpn_nms": 0.6}


def randomise_norms(body, inputs):
    """Statistics as the inputs give them, disturbed; random scales and shifts."""
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0  # the statistics become those of the last batch
            norm.weight.uniform_(0.6, 1.4)
            norm.bias.normal_(0, 0.2)
        body.train()
        body(inputs)
        for norm in norms:
            norm.running_mean += norm.running_var.sqrt() * torch.randn(norm.num_features) * 0.2
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.7, 1.4)
        body.eval()


def spread_scores(model, photo):
    """Scales the last layer's scores to SPREAD, with SHARE of the photo's regions found."""
    seen = []
    predictor = model.roi_heads.box_predictor.cls_score
    hook = predictor.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    with torch.no_grad():
        model([photo])
        hook.remove()
        margin = seen[0][:, 1] - seen[0][:, 0]
        scale = SPREAD / margin.std()
        predictor.weight *= scale
        predictor.bias *= scale
        logit = torch.logit(torch.tensor(THRESHOLD))
        predictor.bias[1] += logit - scale * torch.quantile(margin, 1 - SHARE)


def write(path, backbone, photo, seed):
    """Writes a model file for the backbone, fp16; `photo` (3 × H × W, 0 … 1) sets its scales."""
    torch.manual_seed(seed)
    wanted = architecture(backbone)
    model = detector.build(wanted, width=64).eval()
    images, _ = model.transform([photo])
    randomise_norms(model.backbone.body, images.tensors)
    with torch.no_grad():
        for head in (model.rpn.head, model.roi_heads.box_predictor):
            head.bbox_pred.weight.normal_(0, 0.02)
    spread_scores(model, photo)
    state = detector.exported(model.state_dict())
    weights_file.write(path, {name: value.half() for name, value in state.items()}, wanted)
