#!/usr/bin/env python3
"""An ONNX file that a Python module carries as a literal of bytes.

    literal_onnx.py OUT.onnx MODULE.py

The module is read, not run: the first name in it that is bound to bytes is the file.
"""
import ast
import pathlib
import sys


def literal_of(path):
    """The bytes. Raises ValueError where there are none."""
    for statement in ast.parse(pathlib.Path(path).read_bytes(), path).body:
        value = getattr(statement, "value", None)
        if isinstance(statement, ast.Assign) and isinstance(value, ast.Constant) and isinstance(value.value, bytes):
            return value.value
    raise ValueError(f"{path}: no name is bound to bytes in it")


def main():
    """Exit code 1 with a reason on stderr."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        pathlib.Path(sys.argv[1]).write_bytes(literal_of(sys.argv[2]))
    except (OSError, SyntaxError, ValueError) as error:
        sys.exit(f"literal_onnx.py: {error}")


if __name__ == "__main__":
    main()
