#!/usr/bin/env python3
"""The average of two model files of one architecture, weight by weight.

    average.py FIRST.safetensors SECOND.safetensors OUT.safetensors [--share 0.5]

Runs that start from one another's weights end close enough for their average to be a model, and
often a better one than either (Wortsman et al. 2022, model soups): what a run has gained stays, and
so does much of what it has forgotten. `--share` is the first one's; the metadata is the second's.
"""
import argparse
import json
import os
import sys

import refine
import weights_file


def average(first, second, share):
    """Tensors in the second's types. Raises ValueError where names or shapes differ."""
    odd = sorted(name for name in first.keys() | second.keys()
                 if name not in first or name not in second
                 or first[name].shape != second[name].shape)
    if odd:
        raise ValueError(f"the two do not fit: {', '.join(odd[:3])}")
    return {name: (first[name].float() * share + value.float() * (1 - share)).to(value.dtype)
            for name, value in second.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("out", metavar="OUT.safetensors")
    parser.add_argument("--share", type=float, default=0.5, help="of the first, 0 to 1")
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error("--share: from 0 to 1")
    try:
        first, _ = weights_file.read(args.first)
        second, metadata = weights_file.read(args.second)
        metadata = refine.plain(metadata)  # a refinement belongs to the detector it was trained on
        tensors = average(refine.without(first), refine.without(second), args.share)
        metadata["training"] += f"; averaged with an earlier model, share {args.share:g}"
        weights_file.write(args.out, tensors, metadata)
        with open(os.path.splitext(args.out)[0] + ".json", "w") as file:
            json.dump(metadata, file, indent=2)
            file.write("\n")
    except (OSError, ValueError) as problem:
        print(f"average: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
