#!/usr/bin/env python3
"""A TensorFlow Lite file in ONNX form, by tflite2onnx.

    tflite_onnx.py OUT.onnx FILE.tflite

Needs the packages in tflite_onnx.txt. The converter says that it was not tested with weights of half precision; what it makes
of BlazeFace's finds the faces that LiteRT finds, with scores to 1e-5 (models/eval/descriptor.py --against, 2026-11-30).
"""
import logging
import sys

try:
    import tflite2onnx
except ImportError as error:
    sys.exit(f"tflite_onnx.py: {error}; pip install --no-deps -r tflite_onnx.txt")


def main():
    """Exit code 1 with a reason on stderr."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    logging.disable(logging.WARNING)
    try:
        tflite2onnx.convert(sys.argv[2], sys.argv[1])
    except Exception as error:  # the converter has no class in common for what it raises
        sys.exit(f"tflite_onnx.py: {sys.argv[2]}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
