#!/usr/bin/python3
"""Ten SIGKILLs during one album: nothing is lost, nothing is double, every byte is the same.

An undisturbed run gives the bytes. Then the same album is cloaked again while ten processes of the
run are killed: `cloak` itself, a worker or the private redis-server, drawn by a seeded generator;
the moments are spread over the run's progress, with a random delay each. `cloak run` is started
again whenever it was killed. CLOAK_SEED repeats a sequence of targets.
"""
import collections
import json
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

PHOTOS, KILLS = 40, 10
# Two workers with one thread each: the shape of the run is the same on every machine, and the
# bytes with it.
RUN = fleet.FAST + ["--workers", "2", "--threads", "1", "--json"]


def role(command):
    """What a process of a run is: by the program's name, before or after it renamed itself."""
    if not command:
        return None
    name = os.path.basename(command[0].split(" ")[0])
    return {"cloak-worker": "worker", "redis-server": "redis"}.get(name)


class Kills(fleet.Case):
    def make_album(self):
        """Photos in three folders."""
        faces = sorted((fleet.sample_album() / "portraits").rglob("*.jpg"),
            key=lambda p: p.stat().st_size)[:PHOTOS]
        more = sorted((fleet.sample_album() / "others").rglob("*.jpg"), key=lambda p: p.stat().st_size)
        photos = (faces + more)[:PHOTOS]
        self.assertEqual(len(photos), PHOTOS)
        self.keys = []
        for i, photo in enumerate(photos):
            key = f"{'abc'[i % 3]}/{i:02}.jpg"
            (self.album / key).parent.mkdir(parents=True, exist_ok=True)
            (self.album / key).write_bytes(photo.read_bytes())
            self.keys.append(key)

    def settled(self, out):
        return sum(1 for _ in out.rglob("*.cloak.json"))

    def start(self, out):
        return self.place.start_cloak("run", self.album, out, *RUN)

    def targets(self, run):
        """{role: [process ids]} of a run, cloak itself among them."""
        found = collections.defaultdict(list)
        if run.alive():
            found["cloak"].append(run.pid)
            for pid, command in fleet.children(run.pid).items():
                if role(command):
                    found[role(command)].append(pid)
        return found

    def kill(self, run, what, at, out):
        """Waits until the run has come as far as `at` photos and kills its `what`."""
        fleet.wait_until(lambda: not run.alive() or (
            self.settled(out) >= at and self.targets(run)[what]), f"{what} at {at} photos")
        time.sleep(self.random.uniform(0, 1.5))
        pids = fleet.wait_until(lambda: self.targets(run)[what] or not run.alive(), what)
        self.assertTrue(run.alive(), f"the run ended before all kills: {run.text()[-2000:]}")
        pid = self.random.choice(pids)
        os.kill(pid, signal.SIGKILL)  # raises when there is no such process
        print(f"  killed {what} {pid} at {self.settled(out)} photos", file=sys.stderr, flush=True)

    def disturbed_run(self, out):
        """The run with its kills; returns its last result and how often each target was hit."""
        hits = collections.Counter()
        # every target three times or more, in random order; one kill in each tenth of the way
        order = (["cloak", "worker", "redis"] * KILLS)[:KILLS]
        self.random.shuffle(order)
        moments = [0.9 * PHOTOS * (i + self.random.random()) / KILLS for i in range(KILLS)]
        run = self.start(out)
        for what, at in zip(order, moments):
            self.kill(run, what, at, out)
            hits[what] += 1
            if what == "cloak":
                self.assertEqual(run.wait().code, -signal.SIGKILL)
                run = self.start(out)
        return run.wait(), hits

    def test_ten_kills_change_nothing(self):
        fleet.need("redis-server")
        seed = int(os.environ.get("CLOAK_SEED") or 20)
        self.random = random.Random(seed)
        print(f"\n  seed {seed}", file=sys.stderr, flush=True)
        self.album = self.folder / "album"
        self.make_album()
        calm, out = self.folder / "calm", self.folder / "out"
        undisturbed = self.start(calm).wait()
        self.assertIn(undisturbed.code, (0, 3), str(undisturbed))
        self.assert_delivered(calm, self.keys)
        print("  the undisturbed run is over", file=sys.stderr, flush=True)

        result, hits = self.disturbed_run(out)
        self.assertEqual(sum(hits.values()), KILLS)
        self.assert_code(result, undisturbed.code)
        report = result.json
        self.assert_balanced(report)
        self.assertEqual((report["total"], report["delivered"], report["dead"]),
            (PHOTOS, PHOTOS, 0))
        self.assert_delivered(out, self.keys)
        different = [k for k in self.keys if fleet.sha256(out / k) != fleet.sha256(calm / k)]
        self.assertEqual(different, [])
        # the sums count every photo once, however often it was begun
        for key in ("cloaked", "no_face", "residual", "faces_before", "faces_after", "steps",
                "ap", "recall", "psnr_db"):
            self.assertEqual(report[key], undisturbed.json[key], key)
        audit = self.place.cloak("audit", out, "--json")
        self.assert_code(audit, 0)
        self.assertEqual((audit.json["checked"], audit.json["problems"]), (PHOTOS, 0))
        receipts = fleet.receipts(out)
        self.assertEqual({r["failures"] for r in receipts.values()}, {0})
        print(f"  losses: {sum(r['losses'] for r in receipts.values())}, {dict(hits)}, "
              f"{json.dumps(report['stage_seconds'])}", file=sys.stderr)
        self.assert_no_leftovers(self.folder)
        self.assertEqual(fleet.snapshot(self.album).keys(), set(self.keys))


if __name__ == "__main__":
    fleet.main()
