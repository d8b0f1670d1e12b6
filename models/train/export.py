#!/usr/bin/env python3
"""Makes a model file from a checkpoint's averaged weights, also while training goes on.

    export.py CHECKPOINT OUT.safetensors [--name NAME] [--score-shift LOGITS]
        [--architecture FILE] [--single]

--score-shift adds to every face's logit. The order of the detections stays, and so does AP but for
what now comes above the threshold: more faces are reported, and more false alarms.
"""
import argparse
import json
import sys

import checkpoint
import detector
import refine


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("checkpoint", help="checkpoint.pt, or the folder that holds it")
    parser.add_argument("out", metavar="OUT.safetensors")
    parser.add_argument("--name", help="what reports call the model")
    parser.add_argument("--score-shift", type=float, default=0.0, metavar="LOGITS",
                        help="-10 to 10, added to every face's logit")
    parser.add_argument("--architecture", metavar="FILE", help="JSON with other settings of "
                        "inference than the run's, such as the number of proposals")
    parser.add_argument("--single", action="store_true", help="fp32 instead of fp16")
    args = parser.parse_args()
    if not -10 <= args.score_shift <= 10:
        parser.error("--score-shift: from -10 to 10")
    try:
        state = checkpoint.load(args.checkpoint)
        if state is None:
            raise ValueError(f"{args.checkpoint}: no checkpoint there")
        if args.architecture:
            state["architecture"] = json.dumps(
                refine.plain(detector.read_architecture(args.architecture)))
        if args.score_shift:
            checkpoint.shift_scores(state, args.score_shift)
        checkpoint.export(state, args.out, args.name, args.single)
    except (OSError, ValueError) as problem:
        print(f"export: {problem}", file=sys.stderr)
        return 1
    print(f"{args.out}: after iteration {state['iteration']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
