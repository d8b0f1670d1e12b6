#!/usr/bin/env python3
"""The transfer matrix: how many faces do other detectors still find on cloaked photos?

Rows are cloaks (a preset and a set of targets), columns are detectors, each run by its own runtime. A cell counts
labelled faces that the column finds on the clean file: found before, with the same change made to the clean photo,
and found after, on the decoded delivered file. See README.md for what is counted and why.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys

try:
    import numpy as np

    import detectors
    import matrix_svg
    import measure

    sys.path.insert(0, os.path.join(detectors.TREE, "models/train"))
    import labels
except ImportError as missing:
    sys.exit(f"transfer.py: {missing}: install models/eval/requirements.txt, and name that Python by CLOAK_PYTHON")

KINDS = ("iou", "centre", "published")
NONE_RAN = "no detector could run: "


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", required=True, help="folder of photos")
    parser.add_argument("--labels", required=True, help="their faces, WIDER FACE bbx_gt")
    parser.add_argument("--out", required=True, help="folder for album, rows and results; a second run goes on")
    parser.add_argument("--limit", type=int, default=40, help="photos at most, evenly spread (40)")
    parser.add_argument("--max-faces", type=int, default=12, help="only photos with at most so many faces (12)")
    parser.add_argument("--min-face", type=int, default=16, help="count faces of this height in pixels or more (16)")
    parser.add_argument("--cloaks", default="standard:none", metavar="ROWS",
                        help="PRESET[@EPS]:TARGETS,…; targets joined by +, or none, or all (standard:none)")
    parser.add_argument("--all", default="yunet+ultraface-320+centerface", metavar="TARGETS",
                        help="what a row's `all` stands for (yunet+ultraface-320+centerface)")
    parser.add_argument("--cloak", default=os.path.join(detectors.TREE, "build/release/bin/cloak"),
                        help="the program (the tree's release build)")
    parser.add_argument("--cloak-options", default="", metavar="WORDS", help="more words for every `cloak run`")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds that one row may take (3600)")
    parser.add_argument("--detectors-dir", help="folder with yunet*.onnx and version-RFB-320.onnx")
    parser.add_argument("--library", dest="shared_object", help="libcloak_model.so (the tree's release build)")
    parser.add_argument("--weights", help="our detector's weights (models/weights)")
    parser.add_argument("--columns", help="only these detectors, comma-separated")
    parser.add_argument("--beside", metavar="FILE", help="an earlier transfer.json: its other rows stand before these")
    parser.add_argument("--json", action="store_true", help="the results as one JSON line at the end")
    return parser.parse_args()


def rows_of(text, everything):
    """[{name, preset, eps, targets}] of 'PRESET[@EPS]:TARGETS,…'. Raises ValueError with what to write instead."""
    rows = []
    for word in text.split(","):
        preset, colon, names = word.strip().partition(":")
        if not preset or not colon or not names:
            raise ValueError(f"--cloaks {word!r}: write PRESET:TARGETS, such as standard:none or "
                             "shared:yunet+centerface")
        targets = [] if names == "none" else (everything if names == "all" else names).split("+")
        if not all(targets):
            raise ValueError(f"--cloaks {word!r}: a target without a name; join names by one +")
        called = names if names in ("none", "all") else "+".join(target_name(target) for target in targets)
        preset, _, eps = preset.partition("@")
        rows.append({"name": f"{word.strip().partition(':')[0]}:{called}", "preset": preset, "eps": eps,
                     "targets": targets})
    if len({folder_of(row) for row in rows}) < len(rows):
        raise ValueError(f"--cloaks {text}: a row twice")
    return rows


def descriptor_of(target):
    """The descriptor of an installed target, or beside FILE.onnx; {} where it cannot be read."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    folder = os.environ.get("CLOAK_TARGETS") or os.path.join(data, "cloakfleet/targets")
    path = target[:-len(".onnx")] if target.endswith(".onnx") else os.path.join(folder, target)
    try:
        with open(path + ".json") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def target_name(target):
    """What a target is called: a file's own name is in the descriptor beside it."""
    if not target.endswith(".onnx"):
        return target
    return descriptor_of(target).get("name") or os.path.basename(target)[:-len(".onnx")]


def is_in_loop(detector, targets):
    """Whether a cloak was made against a column: against its detector, at the size at which the column looks."""
    if detector.target == "ours":
        return True
    for target in targets:
        size = descriptor_of(target).get("input", {})
        if target_name(target) == detector.target and (
                detector.size is None or detector.size in [size.get("long_side"), *size.get("also", [])]):
            return True
    return False


def folder_of(row):
    """A row's folder name: its own targets are in it, so that a changed `all` is another row."""
    return "-".join([row["preset"] + row["eps"].replace("/", "_"), *([target_name(target) for target in row["targets"]] or ["none"])])


def pick(args):
    """The labelled photos to use, their faces reduced to those that count."""
    chosen = []
    for photo in labels.read(args.labels, args.photos):
        tall = photo.faces[:, 3] - photo.faces[:, 1] >= args.min_face
        if tall.any() and len(photo.faces) <= args.max_faces and os.path.exists(photo.path):
            photo.faces = photo.faces[tall]
            chosen.append(photo)
    if not chosen:
        raise ValueError(f"{args.labels}: no photo in {args.photos} with 1 to {args.max_faces} faces of "
                         f"{args.min_face} pixels: see --max-faces and --min-face")
    return labels.thin_out(chosen, args.limit)


def copy_album(photos, args):
    """Copies the photos to OUT/album; returns their names below it. Refuses an album of other photos."""
    album = os.path.join(args.out, "album")
    names = [os.path.relpath(photo.path, args.photos) for photo in photos]
    there = {os.path.relpath(os.path.join(top, file), album)
             for top, _, files in os.walk(album) for file in files}
    if there - set(names):
        raise ValueError(f"{album}: holds other photos, such as {min(there - set(names))}: name another --out")
    for photo, name in zip(photos, names):
        path = os.path.join(album, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path):
            shutil.copyfile(photo.path, path + ".part")
            os.replace(path + ".part", path)
    return names


def knows_targets(cloak):
    """Whether this `cloak run` has --targets."""
    try:
        said = subprocess.run([cloak, "run", "--help"], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        raise ValueError(f"{cloak}: {error.strerror}; build first, or name the program with --cloak") from None
    return "--targets" in said.stdout + said.stderr


def command_of(row, folder, args, targets_known):
    """The `cloak run` of one row."""
    words = [args.cloak, "run", os.path.join(args.out, "album"), folder, "--preset", row["preset"], "--json"]
    if row["eps"]:
        words += ["--eps", row["eps"]]
    if targets_known:
        words += ["--targets", ",".join(row["targets"]) or "none"]
    elif row["targets"]:
        raise ValueError(f"{args.cloak}: has no --targets: row {row['name']} needs a newer one")
    return words + args.cloak_options.split()


def run_cloak(row, args, targets_known):
    """Cloaks the album as a row says, or goes on with it; returns (folder, the program's own summary)."""
    folder = os.path.join(os.path.abspath(args.out), "rows", folder_of(row))
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    process = subprocess.Popen(command_of(row, folder, args, targets_known), stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise ValueError(f"row {row['name']}: not done after {args.timeout} s; the same command goes on "
                         "where it stopped, or give it a longer --timeout") from None
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"row {row['name']}: `cloak run` ended with {process.returncode} and no result")
    return folder, json.loads(lines[-1])


def quality_of(clean, cloaked):
    """Mean PSNR of the delivered files and the largest change of any pixel."""
    pairs = [(measure.decoded(a), measure.decoded(b)) for a, b in zip(clean, cloaked)]
    for path, (a, b) in zip(cloaked, pairs):
        if a.shape != b.shape:
            raise ValueError(f"{path}: another size than its original")
    return {"psnr_db": round(float(np.mean([measure.psnr(a, b) for a, b in pairs])), 2),
            "largest_change": int(max(np.abs(a.astype(int) - b).max() for a, b in pairs))}


def masks(detector, seen, files, photos, change):
    """{kind: which of all labelled faces are found} and the number of detections, for files after a change."""
    every, sure, count = [], [], 0
    for file, photo in zip(files, photos):
        boxes = seen[measure.digest(file), change]
        count += len(boxes)
        every.append(measure.found(photo.faces, boxes))
        sure.append(measure.found(photo.faces, boxes[boxes[:, 4] >= detector.published]))
    return {"iou": np.concatenate([m[0] for m in every]), "centre": np.concatenate([m[1] for m in every]),
            "published": np.concatenate([m[0] for m in sure])}, count


def cell(reference, before, after):
    """One cell: counts and recall of every kind, among the faces found on the clean file."""
    told = {"detections_before": before[1], "detections_after": after[1]}
    for kind in KINDS:
        known = reference[0][kind]
        counts = [int((known & mask[0][kind]).sum()) for mask in (before, after)]
        total = len(known)
        told[kind] = {"reference": int(known.sum()), "before": counts[0], "after": counts[1],
                      "recall_before": round(counts[0] / total, 4), "recall_after": round(counts[1] / total, 4)}
    return told


def measure_column(detector, photos, clean, rows, args):
    """Fills in one column of every row; returns what the column is."""
    files = clean + [file for row in rows for file in row["files"]]
    identity, seen = measure.look(detector, files, os.path.join(args.out, "boxes"))
    reference = masks(detector, seen, clean, photos, "raw")
    for change in measure.CHANGES:
        before = masks(detector, seen, clean, photos, change)
        for row in rows:
            after = masks(detector, seen, row["files"], photos, change)
            row["cells"].setdefault(change, {})[detector.name] = cell(reference, before, after)
    for row in rows:
        row["in_loop"][detector.name] = is_in_loop(detector, row["targets"])
    return {"name": detector.name, "target": detector.target, "threshold_published": detector.published,
            "threshold_counted": identity["counted"], "versions": identity["versions"]}


def table(result, change):
    """One change's counts as text: a line for the clean photos, one per cloak, a column per detector."""
    names = [column["name"] for column in result["columns"]]
    first = result["rows"][0]["cells"][change]
    lines = [["", "PSNR", *names],
             ["score at least", "", *(f"{column['threshold_counted']:g}" for column in result["columns"])],
             ["clean", "", *(str(first[name]["iou"]["before"]) for name in names)]]
    for row in result["rows"]:
        cells = row["cells"][change]
        lines.append([row["name"], f"{row['psnr_db']:.1f}",
                      *(f"{cells[name]['iou']['after']}{'*' if row['in_loop'][name] else ''}" for name in names)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = "\n".join("  ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in
                                                           zip(line[1:], widths[1:]))]) for line in lines)
    return f"{change}: {measure.CHANGES[change]}\n{body}"


def machine():
    """The processor's name and the system, for the record."""
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        name = ""
    return {"processor": name or platform.processor(), "cores": os.cpu_count(), "system": platform.platform(),
            "python": platform.python_version(), "numpy": np.__version__,
            "pillow": detectors.metadata.version("pillow")}


def make_rows(args, names):
    """Runs every row's cloak; returns the rows with their files, quality and the program's summary."""
    rows, targets_known = rows_of(args.cloaks, args.all), knows_targets(args.cloak)
    clean = [os.path.join(args.out, "album", name) for name in names]
    for row in rows:
        command_of(row, "", args, targets_known)
    for row in rows:
        print(f"cloaking  {row['name']}", file=sys.stderr)
        folder, row["summary"] = run_cloak(row, args, targets_known)
        row["files"] = [os.path.join(folder, name) for name in names]
        missing = [file for file in row["files"] if not os.path.exists(file)]
        if missing:
            raise ValueError(f"row {row['name']}: {missing[0]} was not delivered; see `cloak run`'s messages")
        row.update(quality_of(clean, row["files"]), cells={}, in_loop={})
    return clean, rows


def put_beside(result, path):
    """Puts those rows of an earlier result that have other names before this one's. Raises ValueError where it is of
    other photos, changes or detectors, or where those found other faces on the clean photos."""
    with open(path) as file:
        earlier = json.load(file)
    for key in ("schema", "photos", "faces", "picked", "iou", "changes", "columns"):
        if earlier.get(key) != result[key]:
            raise ValueError(f"--beside {path}: was measured with other {key}; measure all rows anew")
    here = {row["name"] for row in result["rows"]}
    rows = [row for row in earlier["rows"] if row["name"] not in here]
    for row in rows:
        for change, cells in row["cells"].items():
            for name, its in cells.items():
                if its["iou"]["before"] != result["rows"][0]["cells"][change][name]["iou"]["before"]:
                    raise ValueError(
                        f"--beside {path}: {name} found other faces on the clean photos; measure all rows anew")
        row.setdefault("made_at", earlier["made_at"])
        row.setdefault("processor", earlier["machine"]["processor"])
    result["rows"] = rows + result["rows"]


def measured(args):
    """The whole matrix as one dict."""
    wanted = [name.strip() for name in args.columns.split(",")] if args.columns else None
    able, left_out = detectors.gather(args.detectors_dir, args.shared_object, args.weights, wanted)
    if not able:
        raise ValueError(NONE_RAN + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    photos = pick(args)
    clean, rows = make_rows(args, copy_album(photos, args))
    columns = []
    for detector in able:
        print(f"looking   {detector.name}", file=sys.stderr)
        try:
            columns.append(measure_column(detector, photos, clean, rows, args))
        except Exception as error:  # a foreign runtime may raise anything; its column is left out and said so
            left_out[detector.name] = f"failed: {error}"
    if not columns:
        raise ValueError(NONE_RAN + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    return {"schema": "cloakfleet.transfer/1", "made_at": datetime.datetime.now(datetime.timezone.utc).isoformat(
                timespec="seconds"), "machine": machine(), "photos": len(photos),
            "faces": int(sum(len(photo.faces) for photo in photos)),
            "picked": {"limit": args.limit, "max_faces": args.max_faces, "min_face": args.min_face},
            "iou": measure.IOU, "changes": measure.CHANGES, "columns": columns, "left_out": left_out,
            "rows": [{key: row[key] for key in ("name", "preset", "eps", "targets", "psnr_db", "largest_change",
                                                "in_loop", "cells", "summary")} for row in rows]}


def main():
    """Measures, prints, writes OUT/transfer.json and OUT/transfer.svg. Exit code 1 with a reason on stderr."""
    args = options()
    try:
        os.makedirs(args.out, exist_ok=True)
        result = measured(args)
        if args.beside:
            put_beside(result, args.beside)
    except (KeyError, OSError, ValueError) as error:
        sys.exit(f"transfer.py: {error}")
    with open(os.path.join(args.out, "transfer.json"), "w") as file:
        json.dump(result, file, indent=1)
    matrix_svg.write(result, os.path.join(args.out, "transfer.svg"))
    print(f"{result['photos']} photos, {result['faces']} labelled faces of {args.min_face} pixels or more; counted: "
          f"those found on the clean file, IoU ≥ {measure.IOU}; * in the cloak's loop\n")
    print("\n\n".join(table(result, change) for change in measure.CHANGES))
    for name, reason in result["left_out"].items():
        print(f"\nleft out  {name}: {reason}", end="")
    print(f"\nresults   {os.path.join(args.out, 'transfer.json')}, transfer.svg")
    if args.json:
        print(json.dumps(result, separators=(",", ":")))


if __name__ == "__main__":
    main()
