#!/usr/bin/env python3
"""Every backbone against torchvision's; the ResNets, which we have no weights of, with random ones.

    backbones.py LIBRARY PROBE WEIGHTS

Detections on real photos as in torchvision_parity.py; the backbone's feature maps within 1e-4, and the gradient of a
random weighted sum of them, at all places and at one in fifty, within 1e-2 and mostly within 1e-4; the gradient of
single convolutions that goes by places; two steps of the attack; files that do not fit, which must
be refused at load with a text that names the tensor. WEIGHTS is a MobileNetV2's. Ends with 77 when
there are no photos.
"""
import ctypes as c
import os
import sys
import tempfile

from torchvision_parity import Model, check_detections, photos, read_photo, reference
import torch

import detector
import random_model
import weights_file

RESNETS = ("resnet18", "resnet34", "resnet50")
TOLERANCE, KINKS = 1e-4, 1e-2


def run_probe(probe, path, images, seeds):
    """Our backbone's maps, and the gradient of the sum of seeds × maps; seeds and maps flat."""
    maps, gradient = torch.empty_like(seeds), torch.empty_like(images)
    error = c.create_string_buffer(768)
    run = c.CDLL(probe).cloak_probe_backbone
    run.restype = c.c_bool
    fine = run(os.fsencode(path), c.c_void_p(images.data_ptr()), *images.shape[2:],
               *(c.c_void_p(tensor.data_ptr()) for tensor in (seeds, maps, gradient)), error)
    assert fine, error.value.decode()
    return maps, gradient


def flat(maps):
    return torch.cat([level.detach().flatten() for level in maps])


def check_backbone(probe, path, photo):
    """Our backbone's maps and gradient are torchvision's.

    The gradient is compared with torchvision's modules after their norms were folded, channels-last:
    rounding as we do, they find the same units on the same side of a rectifier's kink, on most processors. A unit on the
    other side is no error, but changes a thousandth of the gradient: so it is nine in ten numbers of it that must agree.
    """
    model = reference(path)
    images = model.transform([photo])[0].tensors
    with torch.no_grad():
        expected = list(model.backbone(images).values())
    torch.manual_seed(1)
    leaf = images.contiguous(memory_format=torch.channels_last).requires_grad_()
    folded = detector.freeze_norms(model.backbone).to(memory_format=torch.channels_last)
    folded = list(folded(leaf).values())
    for share in (1, 0.02):  # few places go another way in the pyramid
        seeds = [torch.randn_like(level) * (torch.rand(level.shape[2:]) < share)
                 for level in expected]
        (slope,) = torch.autograd.grad(folded, leaf, seeds, retain_graph=True)
        maps, gradient = run_probe(probe, path, images, flat(seeds))
        forward = ((maps - flat(expected)).norm() / flat(expected).norm()).item()
        backward = ((gradient - slope).norm() / slope.norm()).item()
        print(f"{os.path.basename(path):28} relative difference of the maps {forward:.2e}, "
              f"of the gradient at {share} of the places {backward:.2e}")
        most = (gradient - slope).abs().flatten().kthvalue(int(gradient.numel() * .9)).values
        assert forward <= TOLERANCE and backward <= KINKS
        assert most <= TOLERANCE * slope.abs().median()


def check_places(probe):
    """A convolution's gradient from no, few and many places is torch's."""
    run = c.CDLL(probe).cloak_probe_conv
    run.restype = c.c_bool
    torch.manual_seed(2)
    for kernel in (1, 3):
        for height, width in ((1, 1), (1, 3), (5, 7), (60, 80)):
            quarter = height * width // 4
            for filled in {0, 1, quarter, quarter + 1, height * width}:
                x = torch.randn(1, 24, height, width, requires_grad=True)
                weight = torch.randn(40, 24, kernel, kernel)
                seeds = torch.randn(1, 40, height * width)
                seeds[:, :, torch.randperm(height * width)[filled:]] = 0
                seeds = seeds.view(1, 40, height, width)
                y = torch.relu(torch.nn.functional.conv2d(x, weight, padding=kernel // 2))
                (slope,) = torch.autograd.grad(y, x, seeds)
                gradient, error = torch.empty_like(x), c.create_string_buffer(768)
                sizes = (c.c_int64 * 5)(24, 40, kernel, height, width)
                fine = run(sizes, *(c.c_void_p(tensor.data_ptr())
                                    for tensor in (x, weight, seeds, gradient)), error)
                assert fine, error.value.decode()
                assert torch.allclose(gradient, slope, rtol=1e-4, atol=1e-4), \
                    f"{kernel} x {kernel}, {height} x {width}, {filled} places"


def check_attack(model, photo):
    """Two steps of the attack take away from what is found."""
    before = model.detect(photo)
    after, summary = model.attack(photo, max_steps=2, region=1000.0)
    left = model.detect(after)
    print(f"attack: {summary['steps']} steps, {len(before)} detections before, {len(left)} after, "
          f"sum of scores {before[:, 4].sum():.2f} and {left[:, 4].sum():.2f}")
    assert summary["steps"] == 2 or summary["success"]
    assert left[:, 4].sum() < 0.8 * before[:, 4].sum()


def check_refused(library, path, word, tensors, metadata):
    """A file of these tensors is refused with a text that has the word in it."""
    weights_file.write(path, tensors, metadata)
    try:
        Model(library, path)
    except RuntimeError as problem:
        print(f"refused: {str(problem).replace(path, 'FILE')}")
        assert word in str(problem) and path in str(problem), problem
        return
    raise AssertionError(f"loaded although {word} does not fit")


def check_refusals(library, folder, good):
    """Spoils the model file `good`, a ResNet-18, in one place at a time."""
    tensors, metadata = weights_file.read(good)
    path = os.path.join(folder, "spoilt.safetensors")

    def refused(word, changed, **keys):
        check_refused(library, path, word, {**tensors, **changed}, {**metadata, **keys})

    def cut(name, dim=0):
        return {name: tensors[name].narrow(dim, 0, tensors[name].shape[dim] - 1).contiguous()}

    body = "backbone.body."
    for name, dim in ((body + "conv1.weight", 2), (body + "layer1.0.conv2.weight", 1),
                      (body + "layer1.1.conv2.weight", 0), (body + "layer2.0.bn1.running_mean", 0),
                      (body + "layer3.0.downsample.0.weight", 0),
                      ("backbone.fpn.inner_blocks.2.0.weight", 1),
                      ("backbone.fpn.layer_blocks.0.0.bias", 0), ("rpn.head.conv.0.0.weight", 1),
                      ("rpn.head.bbox_pred.weight", 0), ("roi_heads.box_head.fc7.weight", 1),
                      ("roi_heads.box_predictor.cls_score.bias", 0)):
        refused(name, cut(name, dim))
    name = body + "layer4.1.conv1.weight"
    refused(name, {name: torch.full_like(tensors[name], float("nan"))})
    name = body + "bn1.running_var"
    refused(name, {name: -tensors[name]})
    refused("layer1.2.conv1.weight", {}, backbone="resnet34")
    refused("layer1.0.conv1.weight", {}, backbone="resnet50")
    refused("backbone.body.0.0.weight", {}, backbone="mobilenet_v2")
    refused("resnet101", {}, backbone="resnet101")
    surplus = body + "layer2.2.conv1.weight"
    refused(surplus, {surplus: tensors[body + "layer2.1.conv1.weight"]})
    refused("anchor_sizes", {}, anchor_sizes=[[]] * 5)
    refused('bad value for "box_refine"', {}, box_refine=1.5)
    refused("mobilenet_v2", {}, box_refine=0.5)


def main(library, probe, weights):
    check_places(probe)
    paths = photos(3)
    array, photo = read_photo(paths[0])
    check_backbone(probe, weights, photo)
    with tempfile.TemporaryDirectory() as folder:
        for number, backbone in enumerate(RESNETS):
            path = os.path.join(folder, backbone + ".safetensors")
            random_model.write(path, backbone, photo, seed=number)
            check_backbone(probe, path, photo)
            ours = Model(library, path)
            found = check_detections(reference(path), ours, paths, random_model.THRESHOLD)
            assert found > 50, f"only {found} detections prove little"
            if backbone == "resnet18":
                check_attack(ours, array)
                check_refusals(library, folder, path)
    print("parity holds")


if __name__ == "__main__":
    main(*sys.argv[1:])
