#!/usr/bin/python3
"""Writes a model file that looks at its photos smaller: the same weights, other metadata.

    smaller_model.py MODEL.safetensors SIDE OUT.safetensors

For tests of the way that photos take, not of the attack, and for the sanitizers' build, where a look at 640 px takes
seconds: what is tested there is what the code does with memory, which is the same at half the size.
"""
import json
import struct
import sys


def main(source, side, target):
    with open(source, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header, tensors = json.loads(file.read(length)), file.read()
    for key in ("input_min", "input_max"):
        header["__metadata__"][key] = str(side)
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + tensors)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
