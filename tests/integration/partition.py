#!/usr/bin/python3
"""Between the fleet and its Redis: a slow line, one that swallows everything for longer than a lease, and a server that
comes back without the last of what it had said."""
import pathlib
import random
import shutil
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402
from wire import Wire  # noqa: E402

LEASE = 12 if fleet.ASAN else 5  # seconds


class Partition(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)

    def wire(self, **options):
        wire = Wire(self.redis.port, **options)
        self.addCleanup(wire.close)
        return wire, f"redis://127.0.0.1:{wire.port}/0"

    def submit(self, name, photos, url=None):
        (self.folder / name).mkdir()
        draw = random.Random(name)
        for i in range(photos):
            fleet.stub_photo(self.folder / name / f"{i:02}.png", draw)
        result = self.place.cloak("submit", self.folder / name, self.folder / f"{name}-out", "--redis", url or self.redis.url)
        self.assert_code(result, 0)
        return result.out.strip()

    def worker(self, name, seconds, url=None):
        return self.place.start_stub_worker(url or self.redis.url, name, seconds, "--lease", str(LEASE))

    def end(self, *workers):
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            self.assertEqual(worker.wait().code, 0)

    def finish(self, name, album, photos):
        """Waits for the album; returns its receipts. Each photo is there, counted once, of the bytes it was measured with."""
        watch = self.place.cloak("watch", album, "--json", env=self.env)
        self.assert_code(watch, 0)
        self.assertEqual((watch.json["delivered"], watch.json["books_balanced"]), (photos, True))
        audit = self.place.cloak("audit", album, "--json", env=self.env)
        self.assert_code(audit, 0)
        self.assertEqual(audit.json["checked"], photos)
        return fleet.receipts(self.folder / f"{name}-out").values()

    def in_hand(self, worker):
        return '"stage":"attack"' in (self.redis.ask("HGET", "cloak:{default}:workers:about", worker) or "")

    def test_a_slow_line_loses_nothing(self):
        _, url = self.wire(delay=0.05)
        worker = self.worker("far", 0.1, url)
        album = self.submit("album", 12, url)
        receipts = self.finish("album", album, 12)
        self.assertEqual({(r["worker"], r["failures"], r["losses"]) for r in receipts}, {("far", 0, 0)})
        self.end(worker)

    def test_who_is_cut_off_drops_its_photo_and_comes_back(self):
        wire, url = self.wire()
        album = self.submit("album", 1)
        far = self.worker("far", 1.8 * LEASE, url)  # 0.9 leases and more
        fleet.wait_until(lambda: self.in_hand("far"), "an attack")
        wire.silent.set()
        near = self.worker("near", 0)
        (receipt,) = self.finish("album", album, 1)
        self.assertEqual((receipt["worker"], receipt["failures"], receipt["losses"]), ("near", 0, 1))
        fleet.wait_until(lambda: "photo_fenced" in far.text(), "the far worker's own decision")
        self.end(near)
        wire.silent.clear()
        again = self.submit("again", 1)
        (receipt,) = self.finish("again", again, 1)
        self.assertEqual(receipt["worker"], "far")
        (receipt,) = self.finish("album", album, 1)  # nothing of it was counted or written a second time
        self.assertEqual(receipt["worker"], "near")
        self.end(far)

    def test_a_server_that_forgot_its_last_seconds(self):
        log = self.redis.place / f"redis-{self.redis.port}/appendonlydir"
        album, workers = self.submit("album", 40), [self.worker(f"w{i}", 0.3) for i in range(2)]
        done = lambda: len(fleet.receipts(self.folder / "album-out"))
        fleet.wait_until(lambda: done() >= 6, "a quarter of the photos")
        shutil.copytree(log, self.folder / "earlier")  # as a crash then would have left it
        known = done()
        fleet.wait_until(lambda: done() >= known + 8, "some more")
        self.redis.signal(signal.SIGKILL)
        self.redis.process.wait(10)
        out = self.folder / "album-out"
        before = {path.name: path.read_bytes() for path in out.glob("*.png")}
        lost = sorted(out.glob("*.cloak.json"), key=lambda path: path.stat().st_mtime_ns)[-3:]
        for receipt in lost:  # photos without one are made anew; the others are known again by theirs
            receipt.unlink()
        shutil.rmtree(log)
        shutil.copytree(self.folder / "earlier", log)
        self.redis.restart()
        fleet.wait_until(lambda: self.redis.ask("PING") == "PONG", "the server")
        receipts = list(self.finish("album", album, 40))
        self.assertGreaterEqual(len(before), known + 8)
        for name, content in before.items():
            self.assertEqual((out / name).read_bytes(), content, name)
        self.assertTrue(all(receipt.exists() for receipt in lost))
        self.assertEqual({r["failures"] for r in receipts}, {0})
        self.end(*workers)


if __name__ == "__main__":
    fleet.main()
