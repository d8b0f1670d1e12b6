#!/usr/bin/python3
"""Files with unusual names, links and modes: a folder into a folder, and into a bucket and back."""
import io
import json
import os
import pathlib
import signal
import stat
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import buckets  # noqa: E402
import fleet  # noqa: E402

try:
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

LONGEST = 255 - len(".cloak.json") # bytes of a name whose receipt fits
UTF8 = ["new\nline.jpg", "tab\t and  spaces .jpg", " first.jpg", "-rf.jpg", "--help.JPG", "\U0001F60A\U0001F1E9\U0001F1EA.jpg",
    "u\u0308 and \u00fc.jpg", "\u0634\u0645\u0633.jpg", "100%25 %0A.jpg", "back\\slash.jpg", "quote\"'`$(x);&|.jpg", "x..jpg",
    "\u009b31m\x1b[31m.jpg", "a" * (LONGEST - 4) + ".jpg", "\u20ac" * 80 + ".jpg", "new\nfolder/\U0001F600/x.jpg",
    "/".join(["deep" * 50] * 4) + "/x.jpg", ".hidden/x.jpg", "#~*?[x].jpg", "photo.jpg.cloak.jpg"]
KEYS = [os.fsencode(name) for name in UTF8]
NOT_UTF8 = [b"\xff\xfe.jpg", b"caf\xe9/\xe9t\xe9.jpg", b"half \xf0\x9f\x98.jpg"]
HIDDEN = b".hidden.jpg"
TOO_LONG = b"b" * (LONGEST - 3) + b".jpg"


class Unusual(fleet.Case):
    def setUp(self):
        super().setUp()
        self.album = self.folder / "album"
        self.colours = 0
        for name in KEYS + NOT_UTF8 + [TOO_LONG, HIDDEN]:
            self.photo(name)
        (self.folder / "elsewhere").mkdir()
        self.photo(b"../elsewhere/private.jpg")
        links = {"linked.jpg": "--help.JPG", "out.jpg": "../elsewhere/private.jpg", "folder.jpg": ".hidden", "loop.jpg": "loop.jpg",
            "nowhere.jpg": "nothing.jpg", "root.jpg": "/etc/passwd"}
        for link, target in links.items():
            (self.album / link).symlink_to(target)
        os.link(os.fsencode(self.album) + b"/-rf.jpg", self.album / "hard.jpg")
        self.delivered = KEYS + [b"linked.jpg", b"hard.jpg"]
        for folder, _, names in os.walk(self.album):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.utime(path, ns=(10 ** 18 + 1, 10 ** 18 + 7))
                    os.chmod(path, 0o440)
            os.chmod(folder, 0o555)
        self.addCleanup(lambda: [os.chmod(folder, 0o755) for folder, _, _ in os.walk(self.album)])
        self.before = self.looks()
        self.redis = self.place.redis()

    def photo(self, name):
        """A JPEG of a colour of its own."""
        path = os.path.join(os.fsencode(self.album), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.colours += 6
        with open(path, "wb") as file:
            Image.new("RGB", (48, 48), (self.colours, 255 - self.colours, 90)).save(file, "JPEG")

    def looks(self):
        """What there is to see of the album: kind, mode, time, links and bytes of each entry."""
        seen = {}
        for folder, folders, names in os.walk(os.fsencode(self.album)):
            for name in folders + names:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                content = os.readlink(path) if stat.S_ISLNK(info.st_mode) else \
                    pathlib.Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(info.st_mode) else None
                seen[path] = (info.st_mode, info.st_mtime_ns, info.st_nlink, content)
        return seen

    def work_off(self, source, out, env, *options):
        """Submits and has it worked off; returns the submit's and status' results."""
        env = dict(env, CLOAK_REDIS=self.redis.url)
        submit = self.place.cloak("submit", source, out, "--steps", "4", "--json", *options, env=env)
        self.assert_code(submit, 0)
        worker = self.place.start_stub_worker(
            self.redis.url, f"w{self.place.count}", 0, CLOAK_STUB_SEES_ALL="1", **buckets.for_workers(env))
        status = lambda: self.place.cloak("status", submit.json["album"], "--json", env=env).json
        end = fleet.wait_until(
            lambda: (s := status())["delivered"] + s["dead"] == submit.json["total"] and s, "all photos", pause=0.3)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        self.assert_balanced(end)
        audit = self.place.cloak("audit", submit.json["album"], "--json", env=env)
        self.assert_code(audit, 0)
        self.assertEqual(audit.json["problems"], 0)
        self.assertEqual(self.looks(), self.before)
        return submit, end


class Folders(Unusual):
    def test_folder_to_folder(self):
        out = self.folder / "out"
        _, end = self.work_off(self.album, out, fleet.environment())
        self.assertEqual(end["dead"], 0)
        self.assert_delivered(out, self.delivered + NOT_UTF8)
        manifest = (self.folder / "out.cloak/manifest").read_text() # one line of UTF-8 each
        for key, why in [("out.jpg", "leads out of the album"), ("root.jpg", "leads out of the album"),
                ("loop.jpg", "cannot be followed"), ("nowhere.jpg", "to nothing"), ("folder.jpg", "link to a folder"),
                (os.fsdecode(TOO_LONG), "too long"),
                (os.fsdecode(HIDDEN), "hidden")]:
            self.assertRegex(manifest, rf"(?m)^s {key}\t.*{why}")
        again = self.place.cloak("submit", self.album, out, "--steps", "4", "--json",
            env=fleet.environment(CLOAK_REDIS=self.redis.url))
        self.assertEqual(again.json["total"], len(self.delivered + NOT_UTF8), "every name is known again")
        umask = os.umask(0)
        os.umask(umask)
        for path in filter(pathlib.Path.is_file, out.rglob("*")): # photos as their sources are, and what is new as anybody's file
            source = self.album / path.relative_to(out)
            info, like = path.stat(), source.stat() if source.is_file() else None
            self.assertEqual(stat.S_IMODE(info.st_mode), stat.S_IMODE(like.st_mode) if like else 0o666 & ~umask, path)
            if like:
                self.assertEqual(info.st_mtime_ns, like.st_mtime_ns, path)

    def test_links_are_followed_where_asked(self):
        out = self.folder / "out"
        submit, end = self.work_off(self.album, out, fleet.environment(), "--follow-links")
        self.assertEqual(end["dead"], 1)
        dead = self.place.cloak("dead", end["album"], env=fleet.environment(CLOAK_REDIS=self.redis.url))
        self.assertRegex(dead.out, "root.jpg.*holds no photo")
        self.assert_delivered(out, self.delivered + NOT_UTF8 + [b"out.jpg", b"folder.jpg/x.jpg"])
        receipt = json.loads((out / "out.jpg.cloak.json").read_text())
        self.assertTrue(receipt["source"].endswith("/album?links=follow"), receipt["source"])
        within = self.folder / "within"
        within.mkdir()
        (within / "here").symlink_to(self.album)
        look = self.place.cloak("submit", f"file://{within}?links=follow", "s3://nowhere/out", "--dry-run", "--json",
            env=fleet.environment(CLOAK_REDIS=self.redis.url, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b"), preexec=lambda: os.chdir(self.album))
        self.assertEqual(look.json["photos"], submit.json["total"])
        self.assert_code(self.place.cloak("submit", self.album, f"file://{out}?links=follow", env=fleet.environment(CLOAK_REDIS=self.redis.url)), 2)
        plain = self.place.cloak("submit", self.album, out, "--steps", "4", env=fleet.environment(CLOAK_REDIS=self.redis.url))
        self.assert_code(plain, 2)
        self.assertIn("another album", plain.err)
        bucket = self.place.cloak("submit", "s3://album/x", out, "--follow-links", env=fleet.environment(CLOAK_REDIS=self.redis.url))
        self.assert_code(bucket, 2)
        self.assertIn("no links to follow", bucket.err)


class Buckets(Unusual, buckets.Case):
    @classmethod
    def setUpClass(cls):
        buckets.start()

    @classmethod
    def tearDownClass(cls):
        buckets.stop()

    def test_folder_to_bucket_and_back(self):
        env = buckets.environment(XDG_STATE_HOME=str(self.folder / "state"))
        _, end = self.work_off(self.album, f"s3://{self.bucket}/out", env)
        self.assertEqual(end["dead"], len(NOT_UTF8))
        dead = self.place.cloak("dead", end["album"], env=dict(env, CLOAK_REDIS=self.redis.url))
        self.assertEqual(dead.out.count("keys are UTF-8 and this name is not"), len(NOT_UTF8), str(dead))
        names = [os.fsdecode(key) for key in self.delivered]
        self.assertEqual(self.keys(), sorted([f"out/{n}" for n in names] + [f"out/{n}.cloak.json" for n in names] +
            ["out.cloak/manifest"]))
        # no file can have these names: one is too long as it is, one for its receipt
        data = io.BytesIO()
        Image.new("RGB", (48, 48), (9, 9, 9)).save(data, "JPEG")
        for name in ("c" * 300 + ".jpg", os.fsdecode(TOO_LONG)):
            self.client.put_object(Bucket=self.bucket, Key=f"out/{name}", Body=data.getvalue())
        back = self.folder / "back"
        submit, end = self.work_off(f"s3://{self.bucket}/out", back, env)
        self.assertEqual((end["dead"], submit.json["skipped"]), (0, len(names) + 2)) # the receipts, and these two
        self.assert_delivered(back, self.delivered)


if __name__ == "__main__":
    fleet.main()
