#!/usr/bin/env python3
"""Makes a model file from a checkpoint's averaged weights, also while training goes on.

    export.py CHECKPOINT OUT.safetensors [--name NAME] [--single]
"""
import argparse
import sys

import checkpoint


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", help="checkpoint.pt, or the folder that holds it")
    parser.add_argument("out", metavar="OUT.safetensors")
    parser.add_argument("--name", help="what reports call the model")
    parser.add_argument("--single", action="store_true", help="fp32 instead of fp16")
    args = parser.parse_args()
    try:
        state = checkpoint.load(args.checkpoint)
        if state is None:
            raise ValueError(f"{args.checkpoint}: no checkpoint there")
        checkpoint.export(state, args.out, args.name, args.single)
    except (OSError, ValueError) as problem:
        print(f"export: {problem}", file=sys.stderr)
        return 1
    print(f"{args.out}: after iteration {state['iteration']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
