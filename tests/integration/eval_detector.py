#!/usr/bin/python3
"""`cloak eval detector`: its AP and recall against pycocotools' COCOeval on the same detections,
for all faces and by height; its curves; photos without faces.

COCOeval is taken as it is. What differs from its defaults: it looks up the precision at 10,001
recalls instead of 101, so that its mean comes to the area under the envelope; it takes any number
of detections; and "area" holds a box's height, so that its ranges of area are ranges of height.

Boxes that count as ignored need a word. COCO's file format has no such box: COCOeval overwrites
"ignore" with "iscrowd", and over a crowd it divides the overlap by the detection's area. A box
whose area lies outside of the range is ignored with the usual IoU, as ours are, but takes one
detection only; ours take any number, as in WIDER FACE's own evaluation. So an ignored box is given
to COCOeval as such a box, once for each detection that touches it.
"""
import contextlib
import io
import json
import math
import pathlib
import sys
import unittest
import urllib.parse
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import numpy as np
    sys.path.insert(1, fleet.python_packages())
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except (ImportError, unittest.SkipTest) as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

WIDER = fleet.ROOT.parent / "shared/data/wider"
IOUS = [f"{i / 10:.1f}" for i in range(3, 11)]
FACE, IGNORED, CROWD = 0, 1, 2
HEIGHTS = {  # COCO's ranges include both ends, ours only the lower one
    "50+": (50, math.inf),
    "30-50": (30, math.nextafter(50, 0)),
    "10-30": (10, math.nextafter(30, 0)),
    "30+": (30, math.inf),
}
# Our detections enter the curve by bins of their score (ap.h). Where few faces are left, this alone
# moves AP: by 0.0047 for the sample album's 30 faces of 30-50 px at IoU 0.7, where COCOeval says 0.3285, and
# the same as we, 0.3238, when it is given the bins for scores. The report's four decimals move recall.
AP_TOLERANCE, BAND_AP_TOLERANCE, RECALL_TOLERANCE = 1e-3, 6e-3, 1e-4
SVG = "{http://www.w3.org/2000/svg}"


# --- COCOeval -------------------------------------------------------------------------------------


def touches(box, found):
    x, y, w, h = box
    x1, y1, x2, y2, _ = found
    return x1 < x + w and x2 > x and y1 < y + h and y2 > y


def annotations(truth, found, low, high):
    """COCO's annotations of one photo's boxes, (x, y, w, h, kind) each."""
    for *box, kind in truth:
        item = {"bbox": box, "iscrowd": int(kind == CROWD),
            "area": -1 if kind == IGNORED else box[3]}
        ignored = kind != CROWD and not low <= item["area"] <= high
        times = sum(touches(box, f) for f in found) if ignored else 1
        yield from (dict(item) for _ in range(max(1, times)))


def dataset(keys, rows):
    """An in-memory COCO file; `rows` has a list of annotations for each photo."""
    coco = COCO()
    coco.dataset = {"images": [{"id": i} for i, _ in enumerate(keys)],
        "categories": [{"id": 1, "name": "face"}], "annotations": []}
    for image, row in enumerate(rows):
        for item in row:
            item.update(id=len(coco.dataset["annotations"]) + 1, image_id=image, category_id=1)
            coco.dataset["annotations"].append(item)
    coco.createIndex()
    return coco


def coco_numbers(truth, found, low=0, high=math.inf):
    """{"ap": {iou: …}, "recall": {iou: …}} of COCOeval; None where there is no face."""
    keys = sorted(found)
    gt = [list(annotations(truth[k], found[k], low, high)) for k in keys]
    dt = [[{"bbox": [x1, y1, x2 - x1, y2 - y1], "area": y2 - y1, "score": score}
           for x1, y1, x2, y2, score in found[k]] for k in keys]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(dataset(keys, gt), dataset(keys, dt), "bbox")
        judge.params.iouThrs = np.array([float(i) for i in IOUS])
        judge.params.recThrs = np.linspace(0, 1, 10001)
        judge.params.maxDets = [1000000]
        judge.params.areaRng, judge.params.areaRngLbl = [[low, high]], ["heights"]
        judge.evaluate()
        judge.accumulate()
    ap = judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    recall = judge.eval["recall"][:, 0, 0, 0]
    return {name: {iou: None if v == -1 else float(v) for iou, v in zip(IOUS, values)}
            for name, values in (("ap", ap), ("recall", recall))}


# --- labels ---------------------------------------------------------------------------------------


def dlib_labels():
    """dlib's boxes of the sample album's groups: {file name: [[x, y, w, h, kind], …]}."""
    labels = {}
    for path in sorted((fleet.sample_album().parent / "sample-album-labels").glob("*.xml")):
        for image in ElementTree.parse(path).iter("image"):
            labels[image.get("file")] = [[int(box.get(side))
                for side in ("left", "top", "width", "height")] + [FACE]
                for box in image.iter("box")]
    return labels


def every_third(labels, kind):
    """The same with every third box, counted through all photos, of another kind."""
    boxes = [(key, *box) for key, row in sorted(labels.items()) for box in row]
    changed = {key: [] for key in labels}
    for i, (key, *box) in enumerate(boxes):
        changed[key].append(box[:4] + [kind if i % 3 == 1 else box[4]])
    return changed


def coco_json(labels):
    keys = sorted(labels)
    return json.dumps({"images": [{"id": i, "file_name": key} for i, key in enumerate(keys)],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [{"id": n, "image_id": i, "category_id": 1, "bbox": box[:4],
            "area": box[2] * box[3], "iscrowd": int(box[4] == CROWD)}
            for i, key in enumerate(keys) for n, box in enumerate(labels[key])]})


def wider_text(labels):
    lines = []
    for key, row in sorted(labels.items()):
        lines += [key, str(len(row))]
        lines += [f"{x} {y} {w} {h} 0 0 0 {kind} 0 0" for x, y, w, h, kind in row]
        lines += [] if row else ["0 0 0 0 0 0 0 0 0 0"]
    return "\n".join(lines) + "\n"


def wider_labels(path):
    """Reads WIDER's text; boxes without area count for nobody."""
    labels, lines = {}, iter(path.read_text().splitlines())
    for key in lines:
        rows = [[int(v) for v in next(lines).split()] for _ in range(int(next(lines)) or 1)]
        labels[key] = [[*r[:4], IGNORED if r[7] else FACE] for r in rows if r[2] and r[3]]
    return labels


# --- tests ----------------------------------------------------------------------------------------


class Detector(fleet.Case):
    def evaluate(self, photos, labels, *options):
        """Runs it; returns the report and the detections of each photo."""
        lines = self.folder / "photos.jsonl"
        result = self.place.cloak("eval", "detector", "--photos", photos, "--labels", labels,
            "--per-photo", lines, "--threads", "1", "--json", *options)
        self.assert_code(result, 0)
        report = json.loads(result.out.strip().splitlines()[-1], parse_constant=self.fail)
        photos = [json.loads(line) for line in lines.read_text().splitlines()]
        found = {urllib.parse.unquote(p["key"]): p["boxes"] for p in photos}
        self.assertEqual(report["photos"], len(found))
        self.assertEqual(report["detections"], sum(map(len, found.values())))
        self.assertGreater(min((f[4] for row in found.values() for f in row), default=1), 0.05)
        return report, found

    def assert_same(self, report, want, what, ap_tolerance):
        for name, tolerance in (("ap", ap_tolerance), ("recall", RECALL_TOLERANCE)):
            for iou in IOUS:
                got, wanted, place = report[name][iou], want[name][iou], f"{what}: {name} at {iou}"
                if wanted is None:
                    self.assertIsNone(got, place)
                else:
                    self.assertAlmostEqual(got, wanted, delta=tolerance, msg=place)

    def compare(self, report, found, truth):
        truth = {key: truth[key] for key in found}
        faces = [box for row in truth.values() for box in row if box[4] == FACE]
        self.assertEqual(report["faces"], len(faces))
        self.assertGreater(report["recall"]["0.3"], 0.3, "too little is found to compare")
        self.assert_same(report, coco_numbers(truth, found), "all", AP_TOLERANCE)
        self.assertEqual(list(report["by_height"]), list(HEIGHTS))
        for word, (low, high) in HEIGHTS.items():
            band = report["by_height"][word]
            self.assertEqual(band["faces"], sum(low <= box[3] <= high for box in faces), word)
            self.assert_same(
                band, coco_numbers(truth, found, low, high), word, BAND_AP_TOLERANCE)

    def compare_album(self, truth, labels):
        path = self.folder / "labels"
        path.write_text(labels)
        self.compare(*self.evaluate(fleet.sample_album() / "groups", path), truth)

    def test_faces(self):
        truth = dlib_labels()
        self.assertEqual(len(truth), 9)
        self.compare_album(truth, coco_json(truth))

    def test_crowds(self):
        truth = every_third(dlib_labels(), CROWD)
        self.compare_album(truth, coco_json(truth))

    def test_ignored_boxes(self):
        truth = every_third(dlib_labels(), IGNORED)
        self.compare_album(truth, wider_text(truth))

    @unittest.skipIf(fleet.ASAN, "the sanitizers have the sample album")
    def test_wider(self):
        labels = WIDER / "val_bbx_gt.txt"
        if not labels.exists():
            self.skipTest(f"there is no {labels}")
        report, found = self.evaluate(WIDER / "val", labels, "--limit", "24")
        self.assertEqual(len(found), 24)
        self.compare(report, found, wider_labels(labels))

    def test_photos_without_faces(self):
        photos = fleet.sample_album() / "others"
        labels = self.folder / "none.txt"
        labels.write_text(wider_text({p.name: [] for p in sorted(photos.glob("*.jpg"))[:3]}))
        report, found = self.evaluate(photos, labels, "--curve", self.folder / "none.svg")
        counts = [len(row) for row in found.values()]
        best = max((f[4] for row in found.values() for f in row), default=0)
        self.assertEqual(report["faceless"], {"photos": 3, "detections": sum(counts),
            "photos_with_detections": sum(map(bool, counts)), "best_score": round(best, 4)})
        nothing = {"ap": dict.fromkeys(IOUS), "recall": dict.fromkeys(IOUS)}
        self.assertEqual({name: report[name] for name in nothing}, nothing)
        for band in report["by_height"].values():
            self.assertEqual(band, {"faces": 0, **nothing})
        picture = (self.folder / "none.svg").read_text()
        self.assertEqual(len(list(ElementTree.fromstring(picture).iter(f"{SVG}path"))), 22)
        self.assertNotIn("nan", picture)

    def test_curve(self):
        truth = dict(sorted(dlib_labels().items())[:2])
        labels, picture = self.folder / "labels", self.folder / "curve.svg"
        labels.write_text(coco_json(truth))
        report, _ = self.evaluate(fleet.sample_album() / "groups", labels, "--curve", picture)
        root = ElementTree.parse(picture).getroot()
        texts = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
        for word in ("Recall", "Precision", "0.0", "1.0"):
            self.assertIn(word, texts)
        for iou in IOUS[:-1]:
            at = texts.index(iou, texts.index("AP"))
            self.assertEqual([round(float(t), 2) for t in texts[at + 1:at + 3]],
                [round(round(report[name][iou], 3), 2) for name in ("ap", "recall")], iou)
        lines = [p for p in root.iter(f"{SVG}path") if p.get("fill") == "none"]
        ends = [c for c in root.iter(f"{SVG}circle") if c.get("stroke")]
        found = sum(report["recall"][iou] > 0 for iou in IOUS[:-1])
        self.assertGreaterEqual(len(lines), found)
        self.assertEqual(len(lines), len(ends))
        for line, end in zip(lines, ends):  # a curve ends where its dot is
            self.assertTrue(line.get("d").endswith(f"{end.get('cx')} {end.get('cy')}"))
        frame = next(r for r in root.iter(f"{SVG}rect") if r.get("fill") == "none")
        left, top, width, height = (float(frame.get(n)) for n in ("x", "y", "width", "height"))
        for iou, end in zip(IOUS, ends):  # and the dot where all detections are in
            recall = report["recall"][iou]
            precision = recall * report["faces"] / report["detections"]
            self.assertAlmostEqual((float(end.get("cx")) - left) / width, recall, delta=3e-4)
            self.assertAlmostEqual(
                1 - (float(end.get("cy")) - top) / height, precision, delta=3e-4)

    def test_a_picture_that_cannot_be_written(self):
        labels = self.folder / "labels"
        labels.write_text(coco_json(dlib_labels()))
        result = self.place.cloak("eval", "detector", "--photos", fleet.sample_album() / "groups",
            "--labels", labels, "--curve", self.folder / "nowhere/curve.svg")
        self.assert_code(result, 2)
        self.assertIn("nowhere/curve.svg", result.err)


if __name__ == "__main__":
    fleet.main()
