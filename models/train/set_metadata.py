#!/usr/bin/env python3
"""Write architecture metadata into a safetensors file, leaving its tensors as they are.

    set_metadata.py IN.safetensors METADATA.json OUT.safetensors

METADATA.json is one object; values that are not strings are stored as JSON text, because
safetensors metadata maps strings to strings. The keys are described in models/weights/README.md.
"""
import json
import struct
import sys


def main():
    source, metadata_path, target = sys.argv[1:4]
    with open(source, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        tensors = file.read()
    with open(metadata_path) as file:
        metadata = json.load(file)
    header["__metadata__"] = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + tensors)


if __name__ == "__main__":
    main()
