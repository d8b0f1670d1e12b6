#!/usr/bin/python3
"""`cloak report`: what is known of each photo, as a page, as CSV and as JSON lines, and all of them the same."""
import base64
import csv
import html.parser
import io
import json
import pathlib
import random
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402
from PIL import Image  # noqa: E402

HOSTILE = '<b>"&amp;,\n x.png'  # a photo's name may hold anything


class Page(html.parser.HTMLParser):
    """The text of a page, its tags, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.refers, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.refers += [value for name, value in attributes if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        self.text += data


class Report(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)
        self.album, self.out = self.folder / "album", self.folder / "out"
        self.album.mkdir()
        draw = random.Random(1)
        for name in ("a.png", "b.png", "light.png", HOSTILE):
            fleet.stub_photo(self.album / name, draw, face=name != "light.png")
        (self.album / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
        self.id = self.cloak("submit", self.album, self.out).out.strip()
        worker = self.place.start_stub_worker(self.redis.url, "w", 0)
        self.assert_code(self.cloak("watch", self.id), 4)
        worker.signal(signal.SIGTERM)
        worker.wait()

    def cloak(self, *args):
        return self.place.cloak(*args, env=self.env)

    def report(self, name, code=0):
        result = self.cloak("report", self.id, "-o", self.folder / name, "--json")
        self.assert_code(result, code)
        self.assertEqual([p.name for p in self.folder.glob("*.part-*")], [])
        return (self.folder / name).read_text()

    def test_all_say_the_same(self):
        lines = [json.loads(line) for line in self.report("r.jsonl").splitlines()]
        self.assertEqual([r["outcome"] for r in lines].count("dead"), 1)
        receipts = fleet.receipts(self.out)
        self.assertEqual(len(receipts), 4)
        for record in lines:
            if record["outcome"] == "dead":
                self.assertEqual((record["key"], record["error_class"]), ("broken.jpg", "permanent"))
            else:
                self.assertIn(record, receipts.values())
        self.report("r.csv")
        with open(self.folder / "r.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 5)
        for row, record in zip(rows, lines):
            self.assertEqual(set(record) - set(row), set())
            for name, value in record.items():
                if isinstance(value, bool):
                    self.assertEqual(row[name], str(value).lower())
                elif isinstance(value, str):
                    self.assertEqual(row[name], value)
                else:
                    self.assertAlmostEqual(float(row[name]), value, delta=1e-6 * abs(value) + 1e-9)
            self.assertTrue(all(row[name] == "" for name in set(row) - set(record)))
        text = self.report("r.html")
        page = Page(text)
        self.assertEqual(page.refers, [], "it needs nothing else")
        self.assertNotIn("script", page.tags)
        self.assertNotIn("b", page.tags)
        for want in ('<b>"&amp;,%0A x.png', "broken.jpg", self.id, str(self.album), "permanent"):
            self.assertIn(want, page.text)
        self.assertEqual(self.cloak("report", self.id, "--format", "jsonl").out, (self.folder / "r.jsonl").read_text())

    def test_pictures(self):
        """Off unless asked for; they show where the photo was changed, from both files."""
        self.report("r.html")
        self.assertNotIn("<img", (self.folder / "r.html").read_text())
        with Image.open(self.album / "a.png") as image:
            size = image.size
        plain = Image.new("RGB", size, (98, 98, 98))
        plain.save(self.album / "a.png")
        plain.paste((250, 20, 20), (40, 30, 50, 40))  # what was delivered differs there
        plain.save(self.out / "a.png")
        self.assert_code(self.cloak("report", self.id, "-o", self.folder / "r.html", "--pictures"), 0)
        page = Page((self.folder / "r.html").read_text())
        self.assertTrue(page.refers and all(r.startswith("data:image/jpeg;base64,") for r in page.refers))
        self.assertEqual(len(page.refers) % 2, 0)
        pictures = [Image.open(io.BytesIO(base64.b64decode(r.partition(",")[2]))).convert("RGB") for r in page.refers]
        red = [i for i, picture in enumerate(pictures) if picture.getextrema()[1][0] < 60]
        self.assertTrue(red, "the changed place is on none of them")
        self.assertTrue(all(i % 2 for i in red), "and it is on the picture after")
        self.assertTrue(all(picture.size[0] == picture.size[1] for picture in pictures))
        (self.out / "b.png").unlink()
        self.assert_code(self.cloak("report", self.id, "-o", self.folder / "r.html", "--pictures"), 0)
        self.assertIn("no picture", (self.folder / "r.html").read_text())
        self.assert_code(self.cloak("report", self.id, "-o", self.folder / "r.csv", "--pictures"), 2)

    def test_what_cannot_be_read_is_told(self):
        (self.out / "a.png.cloak.json").write_text("{}")
        (self.out / "b.png.cloak.json").unlink()
        result = self.cloak("report", self.id, "-o", self.folder / "r.jsonl")
        self.assert_code(result, 1)
        self.assertIn("2 receipts cannot be read", result.err)
        self.assertEqual(len((self.folder / "r.jsonl").read_text().splitlines()), 3)

    def test_wrong_words_are_refused(self):
        for words, says in ((["-o", "r.pdf"], "pdf"), (["--format", "xml"], "xml"), (["-o"], "-o wants a value"),
                (["--o", "x.csv"], "unknown option --o"), (["-o", self.folder / "no/where.csv"], "cannot write"),
                (["-json"], "unknown option -json")):
            result = self.cloak("report", self.id, *words)
            self.assertIn(result.code, (1, 2))
            self.assertIn(says, result.err)


if __name__ == "__main__":
    fleet.main()
