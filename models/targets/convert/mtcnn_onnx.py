#!/usr/bin/env python3
"""facenet-pytorch's MTCNN as one ONNX file.

    mtcnn_onnx.py OUT.onnx PNET.pt RNET.pt ONET.pt

The weights lie in the package's facenet_pytorch/data. The three networks become three graphs of one file, each with an
input and outputs of its own, up to the logits before the softmax: known/mtcnn.json says how they follow each other.
"""
import argparse
import pickle
import sys
import warnings

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("mtcnn_onnx.py needs torch: apt-get install python3-torch")


class Network(nn.Module):
    """What the three have in common: convolutions with PReLU and some pooling between them, and two answers."""

    def answers(self, x, face, box):
        """(logits of background and face, shifts of a box's edges)."""
        return getattr(self, face)(x), getattr(self, box)(x)

    def add(self, number, layer, outputs):
        """A layer and its PReLU, named as in the weights; returns its outputs."""
        kind = "dense" if isinstance(layer, nn.Linear) else "conv"
        setattr(self, f"{kind}{number}", layer)
        setattr(self, f"prelu{number}", nn.PReLU(outputs))
        return outputs


class PNet(Network):
    """Looks at the whole photo; a location sees 12 × 12 pixels."""
    side = None

    def __init__(self):
        super().__init__()
        self.add(1, nn.Conv2d(3, 10, 3), 10)
        self.add(2, nn.Conv2d(10, 16, 3), 16)
        self.add(3, nn.Conv2d(16, 32, 3), 32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x):
        """1 × 3 × height × width -> maps."""
        x = nn.functional.max_pool2d(self.prelu1(self.conv1(x)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.answers(x, "conv4_1", "conv4_2")


class RNet(Network):
    """Looks at boxes of 24 × 24 pixels."""
    side = 24

    def __init__(self):
        super().__init__()
        self.add(1, nn.Conv2d(3, 28, 3), 28)
        self.add(2, nn.Conv2d(28, 48, 3), 48)
        self.add(3, nn.Conv2d(48, 64, 2), 64)
        self.add(4, nn.Linear(576, 128), 128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x):
        """N × 3 × 24 × 24 -> rows."""
        x = nn.functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)
        return self.answers(self.prelu4(self.dense4(x)), "dense5_1", "dense5_2")


class ONet(Network):
    """Looks at boxes of 48 × 48 pixels. Its third answer, the places of eyes, nose and mouth, is left out."""
    side = 48

    def __init__(self):
        super().__init__()
        self.add(1, nn.Conv2d(3, 32, 3), 32)
        self.add(2, nn.Conv2d(32, 64, 3), 64)
        self.add(3, nn.Conv2d(64, 64, 3), 64)
        self.add(4, nn.Conv2d(64, 128, 2), 128)
        self.add(5, nn.Linear(1152, 256), 256)
        self.dense6_1, self.dense6_2 = nn.Linear(256, 2), nn.Linear(256, 4)

    def forward(self, x):
        """N × 3 × 48 × 48 -> rows."""
        x = nn.functional.max_pool2d(self.prelu1(self.conv1(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu4(self.conv4(x)).permute(0, 3, 2, 1).flatten(1)
        return self.answers(self.prelu5(self.dense5(x)), "dense6_1", "dense6_2")


class Cascade(nn.Module):
    """The three side by side: none reads what another gives."""
    parts = {"pnet": PNet, "rnet": RNet, "onet": ONet}

    def __init__(self, paths):
        super().__init__()
        for (name, kind), path in zip(self.parts.items(), paths):
            network = kind()
            lacking = network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=False)
            if lacking.missing_keys:
                raise ValueError(f"{path}: has no {lacking.missing_keys[0]}: not facenet-pytorch's weights")
            self.add_module(name, network)

    def forward(self, *inputs):
        """All answers in order."""
        return sum((getattr(self, name)(x) for name, x in zip(self.parts, inputs)), ())


def export(path, weights):
    """Writes the ONNX file."""
    cascade = Cascade(weights).eval()
    images = tuple(torch.zeros(1 if kind is PNet else 2, 3, kind.side or 40, kind.side or 56)
                   for kind in Cascade.parts.values())
    outputs = [f"{name}_{what}" for name in Cascade.parts for what in ("face", "box")]
    free = {"pnet": {2: "height", 3: "width"}, "rnet": {0: "cuts"}, "onet": {0: "closer_cuts"}}
    legacy = {"dynamo": False} if torch.__version__ >= "2.5" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(cascade, images, path, opset_version=11, input_names=list(Cascade.parts),
                          output_names=outputs, dynamic_axes=free, **legacy)


def main():
    """Exit code 1 with a reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("onnx")
    parser.add_argument("weights", nargs=3, metavar="PT", help="pnet.pt, rnet.pt and onet.pt")
    args = parser.parse_args()
    try:
        export(args.onnx, args.weights)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        sys.exit(f"mtcnn_onnx.py: {error}")


if __name__ == "__main__":
    main()
