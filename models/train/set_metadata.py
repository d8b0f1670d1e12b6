#!/usr/bin/env python3
"""Write architecture metadata into a safetensors file, leaving its tensors as they are.

    set_metadata.py IN.safetensors METADATA.json OUT.safetensors

METADATA.json is one object; its keys are described in models/weights/README.md.
"""
import json
import sys

import weights_file


def main():
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    source, metadata, target = sys.argv[1:]
    try:
        with open(metadata) as file:
            weights_file.write(target, weights_file.read(source)[0], json.load(file))
    except (OSError, ValueError) as problem:
        print(f"set_metadata: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
