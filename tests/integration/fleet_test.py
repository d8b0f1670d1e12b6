#!/usr/bin/python3
"""The distributed form: verbs of `cloak` and several `cloak-worker`s around one Redis on TCP."""
import json
import pathlib
import random
import re
import signal
import socket
import sys
import time
import urllib.request
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402


class Fleet(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis("--maxmemory-policy", "noeviction")
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)
        self.album, self.out = self.folder / "album", self.folder / "out"

    def make_album(self, count):
        self.album.mkdir()
        for i, face in enumerate(fleet.portraits(count)):
            (self.album / f"{i}.jpg").write_bytes(face.read_bytes())
        return [f"{i}.jpg" for i in range(count)]

    def cloak(self, *args):
        return self.place.cloak(*args, env=self.env)

    def submit(self):
        result = self.cloak("submit", self.album, self.out, *fleet.FAST)
        self.assert_code(result, 0)
        return str(uuid.UUID(result.out.strip()))

    def worker(self, name, *options):
        """The real worker with a model that sleeps a second, which is enough for all but the tests that say so."""
        return self.place.start_stub_worker(self.redis.url, name, 1, *options, CLOAK_STUB_SEES_ALL="1")

    def status(self, album):
        result = self.cloak("status", album, "--json")
        self.assertIn(result.code, (0, 3, 4), str(result))
        self.assert_balanced(result.json)
        return result.json

    def assert_audit(self, album, checked):
        result = self.cloak("audit", album, "--json")
        self.assert_code(result, 0)
        self.assertEqual(result.json, {"album": album, "books_balanced": True, "checked": checked,
            "problems": 0})

    def log(self, worker, event):
        """The lines of a worker's log about an event."""
        lines = [line for line in worker.text().splitlines() if line.startswith("{")]
        return [e for e in map(json.loads, lines) if e["event"] == event]

    def holds_a_photo(self, worker):
        """True while this worker, by the queue's books, has a photo in hand."""
        return worker.alive() and self.log(worker, "worker_start") and self.leased() > 0

    def leased(self):
        return self.status(self.id)["leased"]

    def work_off(self, album, name):
        """A worker finishes the album and is then told to stop."""
        worker = self.worker(name)
        fleet.wait_until(lambda: self.log(worker, "worker_start"), "a worker")
        watch = self.cloak("watch", album)
        self.assertIn(watch.code, (0, 3, 4), str(watch))
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        return worker

    # --- tests ---

    def test_dry_run(self):
        self.make_album(3)
        (self.album / "notes.txt").write_text("x")
        look = lambda *more: self.cloak("submit", self.album, self.out, *fleet.FAST, "--dry-run", "--json", *more)
        first = look("--price", "3600")
        self.assert_code(first, 0)
        size = sum(p.stat().st_size for p in self.album.glob("*.jpg"))
        self.assertEqual(first.json, {"photos": 3, "bytes": size, "known": 0, "skipped": 1, "formats": {"jpg": 3},
            "seconds_per_photo": 2, "measured_photos": 0, "same_settings": False, "device_seconds": 6, "cost": 6})
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith("out")], [])
        album = self.submit()
        self.assertEqual(self.cloak("status", "--json").json["backlog_seconds"], 6)
        worker = self.place.start_stub_worker(self.redis.url, "stub", 0.01)
        self.assertIn(self.cloak("watch", album).code, (0, 3))
        worker.signal(signal.SIGTERM)
        (self.album / "new.JPG").write_bytes((self.album / "0.jpg").read_bytes())
        again = look().json
        self.assertEqual((again["photos"], again["known"], again["formats"]), (1, 3, {"jpg": 1}))
        self.assertEqual((again["measured_photos"], again["same_settings"], again["cost"]), (3, True, None))
        taken = self.status(album)["seconds"]
        self.assertAlmostEqual(again["device_seconds"], taken / 3, places=3)
        self.assertFalse(look("--seed", "7").json["same_settings"])
        dear = look("--preset", "shared").json # as much more as presets differ
        self.assertFalse(dear["same_settings"])
        self.assertAlmostEqual(dear["seconds_per_photo"] / again["seconds_per_photo"], 12, places=3)
        self.assertEqual(self.status(album)["total"], 3)
        self.assertEqual(self.submit(), album)  # with the new one
        self.assertAlmostEqual(self.cloak("status", "--json").json["backlog_seconds"], taken / 3, places=3)

    def test_doctor(self):
        def found(result):
            return {c["name"]: (c["ok"], c["text"]) for c in result.json["checks"]}
        out = self.folder / "somewhere"
        fine = self.cloak("doctor", out, "--json")
        self.assert_code(fine, 0)
        checks = found(fine)
        self.assertEqual(sorted(checks), ["clock", "folder", "log", "memory", "model", "redis", "targets"])
        self.assertTrue(all(ok for ok, _ in checks.values()), checks)
        self.assertIn("looks at 640 x 480 in", checks["model"][1])
        self.assertEqual(list(out.iterdir()), [])
        self.redis.ask("CONFIG", "SET", "appendonly", "no")
        (self.folder / "file").write_text("")
        ill = self.cloak("doctor", self.folder / "file", "--model", self.folder / "file", "--json")
        self.assert_code(ill, 1)
        self.assertEqual(sorted(name for name, (ok, _) in found(ill).items() if not ok), ["folder", "log", "model"])
        self.redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        self.assertRegex(self.cloak("doctor").err, r"FAIL +redis .*noeviction")

    def test_two_workers_share_an_album(self):
        keys = self.make_album(4)
        album = self.submit()
        self.assertEqual(self.status(album)["waiting"], 4)
        load = self.cloak("status", "--json").json
        self.assertEqual((load["waiting"], load["leased"], load["workers"]), (4, 0, 0))
        self.assertGreater(load["backlog_seconds"], 0)
        self.assertGreater(load["oldest_seconds"], 0)
        self.assertEqual([a["album"] for a in load["albums"] if a["books_balanced"]], [album])
        again = self.cloak("submit", self.album, self.out, *fleet.FAST, "--json")
        self.assert_code(again, 0)
        self.assertEqual(again.json, {"album": album, "total": 4, "skipped": 0})
        self.assertEqual(self.status(album)["total"], 4, "submitted twice")
        watch = self.place.start_cloak("watch", album, "--json", env=self.env)
        workers = [self.place.start_worker(self.redis.url, name) for name in ("one", "two")]  # with the real model
        ended = watch.wait()
        status = self.status(album)
        self.assert_code(ended, 3 if status["residual"] else 0)
        self.assertEqual(ended.json["delivered"], 4)
        self.assert_delivered(self.out, keys)
        by = {r["worker"] for r in fleet.receipts(self.out).values()}
        self.assertEqual(by, {"one", "two"})
        self.assert_audit(album, 4)
        self.assertEqual({pathlib.Path(f"/proc/{w.pid}/comm").read_text() for w in workers}, {"cloak-worker\n"})
        listing = self.cloak("status")
        self.assertIn(f"{album}  4 photos: 4 done", listing.out)
        self.assertIn("2 workers", listing.err)
        by_folder = self.cloak("status", self.out, "--json")  # found by its manifest
        self.assertEqual(by_folder.json["album"], album)
        before = fleet.snapshot(self.out)
        self.assertEqual(self.submit(), album)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            self.assertEqual(worker.wait().code, 0)
            self.assertEqual(len(self.log(worker, "worker_stop")), 1)
        self.assertEqual(fleet.snapshot(self.out), before, "submitting again redid photos")

    def test_cancel_and_retry(self):
        self.make_album(3)
        (self.album / "bad.jpg").write_bytes(b"no photo")
        album = self.submit()
        one = self.work_off(album, "one")
        status = self.status(album)
        self.assertEqual((status["delivered"], status["dead"]), (3, 1))
        self.assert_code(self.cloak("status", album), 4)
        self.assertEqual(self.cloak("retry", album, "--json").json, {"album": album, "retried": 1})
        again = self.work_off(album, "again")
        (first,), (second,) = (self.log(worker, "photo_dead") for worker in (one, again))
        self.assertEqual((first["job"], first["failures"]), (second["job"], second["failures"]))  # counts begin anew
        self.assertNotEqual(first["trace"], second["trace"])  # spans do not
        retry = self.cloak("retry", album, "--error", "transient", "--json")
        self.assertEqual(retry.json, {"album": album, "retried": 0})
        self.assert_code(self.cloak("retry", album, "--error", "nonsense"), 2)
        (dead,) = self.cloak("dead", "--all", "--json").json["dead"]
        self.assertEqual((dead["album"], dead["key"], dead["class"]), (album, "bad.jpg", "permanent"))
        self.assertEqual(self.cloak("dead", "--tenant", "nobody").out, "")
        self.assertEqual(self.cloak("dead", "--tenant", "default").out.split("\t")[:3], [album, "bad.jpg", "permanent"])
        self.assertEqual(self.cloak("retry", "--tenant", "nobody", "--json").json, {"albums": 0, "retried": 0})
        for words in ([], [album, "--all"]):
            self.assert_code(self.cloak("retry", *words), 2)
        cancelled = self.cloak("submit", self.album, self.folder / "other").out.strip()
        self.assert_code(self.cloak("cancel", cancelled), 0)  # is in nobody's way
        self.assertEqual(self.cloak("retry", "--all", "--error", "permanent", "--json").json, {"albums": 1, "retried": 1})
        self.assertEqual(self.status(album)["waiting"], 1)
        self.assert_code(self.cloak("pause"), 2)
        self.assertEqual(self.cloak("pause", album, "--json").json, {"album": album})
        self.assertIn("0 cancelled, paused", self.cloak("status").out)
        self.assertEqual(self.cloak("pause", "--tenant", "default", "--json").json, {"tenant": "default"})
        self.assertEqual([(t["tenant"], t["paused"]) for t in self.cloak("status", "--json").json["tenants"]], [("default", True)])
        self.assert_code(self.cloak("resume", "--tenant", "default"), 0)
        self.assertEqual(self.cloak("share", "default", ".5", "--json").json, {"tenant": "default", "weight": .5})
        self.assertEqual([t["weight"] for t in self.cloak("status", "--json").json["tenants"]], [.5])
        for words in (["default", "much"], ["default", "0"], ["default"]):
            self.assert_code(self.cloak("share", *words), 2)
        self.assert_code(self.cloak("pause", album, "--tenant", "default"), 2)
        self.assert_code(self.cloak("pause", "--all"), 0)
        self.assertTrue(self.cloak("status", "--json").json["paused"])
        self.assert_code(self.cloak("resume", "--all"), 0)
        self.assert_code(self.cloak("resume", album), 0)
        self.assertFalse(self.cloak("status", "--json").json["albums"][0]["paused"])
        for _ in range(2):  # the second finds it done
            cancel = self.cloak("cancel", album, "--json")
            self.assert_code(cancel, 0)
            self.assertEqual(cancel.json,
                {"album": album, "cancelled": 1, "delivered": 3, "leased": 0})
        self.work_off(album, "two")
        status = self.status(album)
        self.assertEqual((status["delivered"], status["cancelled"], status["dead"]), (3, 1, 0))
        self.assert_code(self.cloak("watch", album), 4)
        self.assert_audit(album, 3)
        refused = self.cloak("submit", self.album, self.out, *fleet.FAST)
        self.assert_code(refused, 2)
        self.assertIn("cancel", refused.err)

    def test_sigterm_drains(self):
        keys = self.make_album(3)
        self.id = self.submit()
        worker = self.worker("one", "--drain-seconds", "0")
        fleet.wait_until(lambda: self.holds_a_photo(worker), "a photo in hand")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        self.assert_no_leftovers(self.folder)
        status = self.status(self.id)
        self.assertEqual(status["leased"], 0, "a lease was left behind")
        self.assertEqual(status["waiting"] + status["delivered"], 3)
        self.assertGreater(status["waiting"], 0)
        self.work_off(self.id, "two")
        self.assert_delivered(self.out, keys)
        self.assertEqual({(r["failures"], r["losses"]) for r in fleet.receipts(self.out).values()},
            {(0, 0)}, "a drained photo was counted as failed or lost")
        self.assert_audit(self.id, 3)

    def test_recycling(self):
        self.make_album(4)
        album = self.submit()
        for name, options, left in (("few", ("--max-photos", "2"), 2), ("large", ("--max-memory", "1"), 1)):
            worker = self.worker(name, *options)
            self.assertEqual(worker.wait().code, 0)
            self.assertEqual(len(self.log(worker, "worker_recycle")), 1)
            status = self.status(album)
            self.assertEqual((status["waiting"], status["leased"]), (left, 0), name)
        self.work_off(album, "last")
        self.assertEqual(self.status(album)["delivered"], 4)
        self.assert_audit(album, 4)
        losses = [r["losses"] for r in fleet.receipts(self.out).values()]
        self.assertEqual(losses, [0] * 4)

    def test_killed_worker_is_replaced_by_the_other(self):
        keys = self.make_album(4)
        self.id = self.submit()
        victim = self.worker("victim", "--lease", "2")
        fleet.wait_until(lambda: self.holds_a_photo(victim), "a photo in hand")
        victim.signal(signal.SIGKILL)
        self.assertEqual(victim.wait().code, -signal.SIGKILL)
        self.assertEqual(self.leased(), 1)
        other = self.worker("other", "--lease", "2")
        watch = self.cloak("watch", self.id, "--json")
        self.assertIn(watch.code, (0, 3), str(watch))
        other.signal(signal.SIGTERM)
        self.assertEqual(other.wait().code, 0)
        self.assert_delivered(self.out, keys)
        self.assert_audit(self.id, 4)
        receipts = fleet.receipts(self.out).values()
        self.assertEqual(sorted(r["losses"] for r in receipts), [0, 0, 0, 1])
        self.assertEqual({r["failures"] for r in receipts}, {0})

    def test_redis_goes_away_and_comes_back(self):
        keys = self.make_album(2)
        self.id = self.submit()
        worker = self.worker("one")
        fleet.wait_until(lambda: self.holds_a_photo(worker), "a photo in hand")
        self.redis.signal(signal.SIGSTOP)  # silent, and then as if nothing had been
        time.sleep(1)
        self.redis.signal(signal.SIGCONT)
        watch = self.cloak("watch", self.id, "--json")
        self.assertIn(watch.code, (0, 3), str(watch))
        self.assert_delivered(self.out, keys)
        self.assert_audit(self.id, 2)

    def test_redis_that_would_forget_is_refused(self):
        wrong = self.place.redis("--maxmemory-policy", "allkeys-lru")
        self.make_album(1)
        for program in (
                self.place.start_cloak("submit", self.album, self.out, "--redis", wrong.url),
                self.place.start_cloak("status", "--redis", wrong.url),
                self.place.start_worker(wrong.url, "one", "--patience", "3")):
            with self.subTest(program.name):
                result = program.wait()
                self.assert_code(result, 1)
                self.assertIn("maxmemory-policy is allkeys-lru", result.err)
                self.assertIn("noeviction", result.err)
                self.assertIn(str(wrong.port), result.err)
        self.assertEqual(wrong.ask("DBSIZE"), 0)
        self.assertEqual(list(self.out.glob("**/*")), [])
        self.assertFalse((self.folder / "out.cloak/manifest").exists())

    def test_a_user_who_may_use_the_queue_and_nothing_else(self):
        (line,) = re.findall(r"^ +(ACL SETUSER .*)$", (fleet.ROOT / "docs/operating.md").read_text(), re.M)
        self.assertEqual(self.redis.ask(*line.replace("PASSWORD", "open-sesame").split()), "OK")
        self.assertEqual(self.redis.ask("CONFIG", "SET", "requirepass", "another"), "OK")  # for everybody else
        url = self.redis.url.replace("//", "//cloakfleet:open-sesame@")
        env = fleet.environment(CLOAK_REDIS=url)
        cloak = lambda *words: self.place.cloak(*words, env=env)
        self.album.mkdir()
        for i in range(4):
            fleet.stub_photo(self.album / f"{i}.png", random.Random(i))
        (self.album / "bad.png").write_bytes(b"no photo")
        album = cloak("submit", self.album, self.out).out.strip()
        for words in (["doctor", self.out], ["pause", album], ["pause", "--tenant", "default"], ["share", "default", "2"], ["status"],
                ["resume", "--tenant", "default"], ["resume", album]):
            self.assert_code(cloak(*words), 0)
        worker = self.place.start_stub_worker(url, "one", 0)
        self.assert_code(cloak("watch", album), 4)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        self.assertEqual(cloak("retry", album, "--json").json["retried"], 1)
        for words in (["audit", album], ["audit", self.out, "--repair"], ["cancel", album], ["dead", album], ["report", album, "-o", self.folder / "report.jsonl"]):
            self.assert_code(cloak(*words), 0)
        server = self.place.start_cloak("serve", "--listen", "127.0.0.1:0", env=env)
        (port,) = fleet.wait_until(lambda: re.findall(r"serve_start.*?port (\d+)", server.text()), "cloak serve")
        for path, text in (("metrics", "cloak_redis_up 1"), ("v1/jobs", album), ("v1/workers", "workers"), ("v1/queue", "backlog")):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
                self.assertIn(text, answer.read().decode())
        self.assert_code(self.place.cloak("status", env=self.env), 1)  # nobody comes in without
        with socket.create_connection(("127.0.0.1", self.redis.port), 5) as connection:
            stream = connection.makefile("rb")
            def ask(*words):
                connection.sendall((" ".join(words) + "\r\n").encode())
                return fleet.redis_reply(stream)
            self.assertEqual(ask("AUTH", "cloakfleet", "open-sesame"), "OK")
            for words in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["GET", "theirs"], ["KEYS", "*"], ["SHUTDOWN"], ["SCAN", "0"],
                    ["RANDOMKEY"], ["DBSIZE"], ["MOVE", "theirs", "1"], ["SCRIPT", "FLUSH"], ["PUBLISH", "theirs", "x"]):
                with self.assertRaisesRegex(ValueError, "NOPERM"):
                    ask(*words)

    def test_no_redis_there(self):
        port = fleet.free_port()
        url = f"redis://127.0.0.1:{port}/0"
        self.make_album(1)
        for program in (
                self.place.start_cloak("submit", self.album, self.out, "--redis", url),
                self.place.start_cloak("watch", str(uuid.uuid4()), "--redis", url),
                self.place.start_worker(url, "one", "--patience", "3")):
            with self.subTest(program.name):
                result = program.wait()
                self.assert_code(result, 1)
                self.assertIn(f"127.0.0.1:{port}", result.err)
                self.assertIn("Connection refused", result.err)
        wrong = self.cloak("status", "--redis", "http://example")
        self.assert_code(wrong, 2)

    def test_unknown_album(self):
        unknown = str(uuid.uuid4())
        for verb in ("status", "watch", "cancel", "dead", "retry", "audit"):
            with self.subTest(verb):
                result = self.cloak(verb, unknown)
                self.assert_code(result, 2)
                self.assertIn(unknown, result.err)


if __name__ == "__main__":
    fleet.main()
