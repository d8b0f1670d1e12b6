#!/usr/bin/env python3
"""A second reading of a target's descriptor (models/targets/README.md), on onnxruntime and NumPy.

    descriptor.py FILE.onnx PHOTO …                  the faces found, one per line
    descriptor.py FILE.onnx --against COLUMN PHOTO … how far they are from what the detector's own runtime finds

A descriptor is right when both find the same faces at the same places. Before they are compared every photo is
stretched to a size that the detector takes as it is, so that nobody's resizing or padding is compared. Of several
sizes (`also`) the first is looked at.
"""
import argparse
import json
import os
import sys

import numpy as np

import detectors
import measure


def of_any_size(path):
    """An ONNX file whose inputs and outputs take any shape: some say the one that they were exported with."""
    import onnx
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in [*model.graph.input, *model.graph.output]:
        for i, size in enumerate(value.type.tensor_type.shape.dim if value.name not in weights else []):
            size.dim_param = f"{value.name}_{i}"
    return model.SerializeToString()


class Described:
    """One ONNX file run as its descriptor says. `detect` as in detectors.py."""

    def __init__(self, path, said=None):
        import onnxruntime
        with open(said or os.path.splitext(path)[0] + ".json") as file:
            self.said = json.load(file)
        if "cascade" in self.said:
            raise ValueError("cascades are not read here; tests/parity/mtcnn_parity.py compares MTCNN with its runtime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(of_any_size(path), options, providers=["CPUExecutionProvider"])

    def size_of(self, width, height):
        """(size after resizing, size after padding) of a photo, each width, height."""
        take = self.said["input"]
        if "width" in take:
            return (take["width"], take["height"]), (take["width"], take["height"])
        scale = take["long_side"] / max(width, height)
        scale = scale if take.get("enlarge") else min(scale, 1)
        size = tuple(max(1, round(side * scale)) for side in (width, height))
        align = take.get("align", 1)
        padded = [take["long_side"]] * 2 if take.get("square") else size
        padded = tuple(-(-side // align) * align for side in padded)
        return (padded if take.get("stretch") else size), padded

    def tensor(self, rgb):
        """(what the graph is fed, size after resizing, size after padding)."""
        take = self.said["input"]
        size, padded = self.size_of(rgb.shape[1], rgb.shape[0])
        canvas = np.full((padded[1], padded[0], 3), take.get("pad", 0), np.float32)
        if rgb.shape[1::-1] != size:
            import cv2
            rgb = cv2.resize(rgb, size)
        canvas[:size[1], :size[0]] = rgb
        if take.get("colour", "RGB") == "BGR":
            canvas = canvas[:, :, ::-1]
        canvas = (canvas - np.float32(take.get("mean", [0] * 3))) / np.float32(take.get("std", [1] * 3))
        return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]), size, padded

    def detect(self, rgb):
        """Rows x1 y1 x2 y2 score above the threshold, in the photo's pixels, suppressed."""
        tensor, size, padded = self.tensor(rgb)
        names = [output.name for output in self.session.get_outputs()]
        take = self.said["input"].get("name") or self.session.get_inputs()[0].name
        outputs = dict(zip(names, self.session.run(None, {take: tensor})))
        rows = np.concatenate([head_rows(head, outputs, padded) for head in self.said["heads"]])
        rows = detectors.suppressed(rows[rows[:, 4] > self.said["threshold"]], self.said.get("nms", 0.4))
        rows[:, :4] *= np.tile(np.divide(rgb.shape[1::-1], size), 2)
        return rows


def columns_of(output, layout, sizes):
    """An output as locations × columns, whatever its layout; `sizes` is the number of anchors per place."""
    if layout == "maps":
        columns = output.shape[1] // sizes
        return output[0].reshape(sizes, columns, *output.shape[2:]).transpose(2, 3, 0, 1).reshape(-1, columns)
    output = output.reshape(output.shape[-2:])
    return output.T if layout == "columns" else output


def scores_of(head, values):
    """A score per location: the factors' product to a power."""
    product = 1.0
    for factor in head["score"]:
        rows, column = values(factor["output"]), factor.get("column", 0)
        kind = factor.get("activation", "none")
        if kind == "softmax":
            rows = np.exp(rows - rows.max(axis=1, keepdims=True))
            rows = rows / rows.sum(axis=1, keepdims=True)
        share = rows[:, column]
        product = product * (1 / (1 + np.exp(-np.clip(share, -80, 80))) if kind == "sigmoid" else share)
    return np.maximum(product, 0) ** head.get("power", 1)


def anchors_of(head, padded):
    """Centre x, centre y, size and stride of every location (N × 4)."""
    every = []
    for anchor in head.get("anchors", []):
        stride, offset = anchor["stride"], anchor.get("offset", 0.5)
        sizes = np.array(anchor.get("sizes", [stride]), float)
        x, y = np.meshgrid(*(np.arange(-(-side // stride)) for side in padded))
        places = np.stack([x, y], axis=2).reshape(-1, 1, 2).repeat(len(sizes), 1)
        size = np.broadcast_to(sizes[None, :, None], (*places.shape[:2], 1))
        every.append(np.concatenate([(places + offset) * stride, size, np.full_like(size, stride)], 2).reshape(-1, 4))
    return np.concatenate(every) if every else None


def boxes_of(head, values, anchors, padded):
    """Corners per location (N × 4), in input pixels."""
    box = head["box"]
    four = (np.stack([values(name)[:, column] for name, column in box["of"]], 1)
            if "of" in box else values(box["output"])[:, :4]).astype(float)
    if box["kind"] in ("corners", "centre") and box.get("unit", "pixels") == "input":
        four = four * np.tile(padded, 2)
    if box["kind"] == "corners":
        return four
    if box["kind"] == "distance":
        reach = four * anchors[:, 3:]
        return np.hstack([anchors[:, :2] - reach[:, :2], anchors[:, :2] + reach[:, 2:]])
    centre, size = four[:, :2], four[:, 2:]
    if box["kind"] == "offset_exp":
        first, second = box.get("variances", [1, 1])
        centre = anchors[:, :2] + centre * first * anchors[:, 2:3]
        size = anchors[:, 2:3] * np.exp(size * second)
    elif box["kind"] == "offset_linear":
        centre = anchors[:, :2] + centre
    return np.hstack([centre - size / 2, centre + size / 2])


def head_rows(head, outputs, padded):
    """All locations of one head as rows x1 y1 x2 y2 score, in input pixels."""
    anchors = anchors_of(head, padded)
    sizes = len(head["anchors"][0].get("sizes", [0])) if anchors is not None else 1

    def values(name):
        """An output by name, as locations × columns."""
        if name not in outputs:
            raise ValueError(f"output {name} is not in the graph; it has {', '.join(outputs)}")
        return columns_of(outputs[name], head.get("layout", "rows"), sizes)
    scores = scores_of(head, values)
    if anchors is not None and len(anchors) != len(scores):
        raise ValueError(f"{len(scores)} locations in the graph, {len(anchors)} in the descriptor")
    return detectors.rows(boxes_of(head, values, anchors, padded), scores)


def difference(described, column, rgb):
    """(faces ours, faces the column's, paired at IoU ≥ 0.5, largest gaps in pixels and score) on one photo."""
    threshold = max(described.said["threshold"], column.counted)
    ours, theirs = (rows[rows[:, 4] > threshold] for rows in (described.detect(rgb), column.detect(rgb)))
    if not len(ours) or not len(theirs):
        return len(ours), len(theirs), 0, 0.0, 0.0
    same = measure.overlaps(ours[:, :4], theirs[:, :4])
    pairs = [(i, int(same[i].argmax())) for i in range(len(ours)) if same[i].max() >= 0.5]
    gap = np.abs(np.array([ours[i] - theirs[k] for i, k in pairs])).reshape(-1, 5)
    return len(ours), len(theirs), len(pairs), gap[:, :4].max(initial=0), gap[:, 4].max(initial=0)


def untouched(described, rgb):
    """The photo stretched to a size that the detector takes without resizing or padding."""
    import cv2
    take = described.said["input"]
    if "width" in take:
        size = (take["width"], take["height"])
    elif take.get("square"):
        size = (take["long_side"],) * 2
    else:
        fit = take["long_side"] / max(rgb.shape[:2])
        size = tuple(max(32, round(side * fit / 32) * 32) for side in rgb.shape[1::-1])
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def main():
    """Exit code 1 with a reason on stderr."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("onnx")
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--json", help="its descriptor (the file beside it)")
    parser.add_argument("--against", metavar="COLUMN", help="a detector of detectors.py")
    parser.add_argument("--detectors-dir", help="as for transfer.py")
    args = parser.parse_args()
    try:
        described = Described(args.onnx, args.json)
        columns = detectors.gather(args.detectors_dir, names=[args.against]) if args.against else ([], {})
        if args.against and not columns[0]:
            raise ValueError(columns[1][args.against])
        for photo in args.photos:
            rgb = measure.decoded(photo)
            if args.against:
                told = difference(described, columns[0][0], untouched(described, rgb))
                print("described %d, own runtime %d, same %d; at most %.3f px and %.5f apart" % told,
                      os.path.basename(photo))
            else:
                for row in described.detect(rgb):
                    print("%.1f %.1f %.1f %.1f %.4f" % tuple(row), os.path.basename(photo))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"descriptor.py: {error}")


if __name__ == "__main__":
    main()
