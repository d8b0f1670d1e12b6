#!/usr/bin/python3
"""Photos that are lost to their worker: one that kills whoever takes it, and those of a queue that falls silent."""
import pathlib
import random
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402


class Losses(fleet.Case):
    LEASE = "12" if fleet.ASAN else "5"  # Redis has a sixth of it for each answer to the lease's keeper

    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)

    def submit(self, name, photos, deadly=None):
        (self.folder / name).mkdir()
        draw = random.Random(11)
        for i in range(photos):
            fleet.stub_photo(self.folder / name / f"{i:02}.png", draw, light=20 if i == deadly else None)
        result = self.place.cloak("submit", self.folder / name, self.folder / f"{name}-out", env=self.env)
        self.assert_code(result, 0)
        return result.out.strip()

    def worker(self, name, seconds=0):
        return self.place.start_stub_worker(self.redis.url, name, seconds, "--lease", self.LEASE, CLOAK_STUB_KILLS="1")

    def end(self, worker):
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)

    def test_a_photo_that_kills_is_dead_after_three_workers(self):
        worker, deaths = self.worker("w0"), 0
        calm = self.submit("calm", 40)  # from it the first worker learns how fast it is: it then takes several photos at once
        self.assert_code(self.place.cloak("watch", calm, env=self.env), 0)
        album = self.submit("album", 10, deadly=3)
        watch = self.place.start_cloak("watch", album, "--json", env=self.env)
        while watch.alive():
            fleet.wait_until(lambda: not watch.alive() or not worker.alive(), "the worker's end or the album's")
            if not worker.alive():
                self.assertEqual(worker.wait().code, -signal.SIGKILL)
                deaths += 1
                worker = self.worker(f"w{deaths}")
        ended = watch.wait()
        self.assert_code(ended, 4)
        self.assertEqual((ended.json["delivered"], ended.json["dead"], deaths), (9, 1, 3))
        dead = self.place.cloak("dead", album, "--json", env=self.env).json["dead"]
        self.assertEqual([(d["key"], d["class"]) for d in dead], [("03.png", "lost")])
        self.assertIn("died with this photo in hand 3 times, last w2", dead[0]["text"])
        receipts = fleet.receipts(self.folder / "album-out")
        losses = {int(key[:2]): r["losses"] for key, r in receipts.items()}
        held = [i for i, n in losses.items() if n]  # beside the deadly one when it killed first
        self.assertTrue(4 in held and min(held) > 3, losses)
        self.assertEqual(max(losses.values()), 1, losses)
        self.assertEqual({r["failures"] for r in receipts.values()}, {0})
        self.end(worker)

    def test_a_worker_that_cannot_renew_drops_the_photo_it_works_on(self):
        album = self.submit("album", 1)
        worker = self.worker("one", 3000)  # far longer than anybody waits
        fleet.wait_until(lambda: '"stage":"attack"' in (self.redis.ask("HGET", "cloak:{default}:workers:about", "one") or ""),
            "an attack")
        self.redis.signal(signal.SIGSTOP)  # nobody tells the worker anything
        fleet.wait_until(lambda: "photo_fenced" in worker.text(), "the worker's own decision")
        self.assertEqual(list((self.folder / "album-out").glob("*.png*")), [])
        worker.signal(signal.SIGKILL)
        self.redis.signal(signal.SIGCONT)
        other = self.worker("two")
        watch = self.place.cloak("watch", album, "--json", env=self.env)
        self.assert_code(watch, 0)
        (receipt,) = fleet.receipts(self.folder / "album-out").values()
        self.assertEqual((receipt["worker"], receipt["failures"], receipt["losses"]), ("two", 0, 1))
        self.end(other)


if __name__ == "__main__":
    fleet.main()
