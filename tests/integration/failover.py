#!/usr/bin/python3
"""A Redis that fails over, and one that forgets: albums are completed, with the bytes of an undisturbed run."""
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

PHOTOS = 4 if fleet.ASAN else 8


class Failover(fleet.Case):
    def setUp(self):
        super().setUp()
        self.album, self.out = self.folder / "album", self.folder / "out"
        self.album.mkdir()
        for i, face in enumerate(fleet.portraits(PHOTOS)):
            (self.album / f"{i}.jpg").write_bytes(face.read_bytes())
        self.keys = [f"{i}.jpg" for i in range(PHOTOS)]

    def undisturbed(self):
        """The digests of a run that nothing happens to."""
        calm = self.folder / "calm"
        run = self.place.cloak("run", self.album, calm, *fleet.FAST, "--workers", "1", "--threads", "1")
        self.assertIn(run.code, (0, 3), str(run))
        return {k: fleet.sha256(calm / k) for k in self.keys}

    def submit(self, url):
        env = fleet.environment(CLOAK_REDIS=url)
        result = self.place.cloak("submit", self.album, self.out, *fleet.FAST, env=env)
        self.assert_code(result, 0)
        return env, result.out.strip()

    def delivered(self):
        return sum(1 for _ in self.out.rglob("*.cloak.json"))

    def complete(self, env, album):
        """Follows the album to its end and checks everything."""
        def ended():
            status = self.place.cloak("status", album, "--json", env=env)
            return status.code in (0, 3) and status.json["delivered"] == PHOTOS and status.json
        self.assert_balanced(fleet.wait_until(ended, "all photos delivered", pause=0.5))
        self.assert_delivered(self.out, self.keys)
        audit = self.place.cloak("audit", album, "--json", env=env)
        self.assert_code(audit, 0)
        self.assertEqual(audit.json["checked"], PHOTOS)

    def test_sentinels_promote_the_replica(self):
        want = self.undisturbed()
        group = fleet.Sentinels(self.place)
        env, album = self.submit(group.url)
        workers = [self.place.start_worker(group.url, f"w{i}") for i in range(2)]
        fleet.wait_until(lambda: self.delivered() >= 2, "two photos")
        old = group.primary()
        self.assertIs(old, group.nodes[0])
        old.process.kill()
        self.assertLess(self.delivered(), PHOTOS)
        fleet.wait_until(lambda: group.primary() not in (None, old), "a new primary")
        fleet.wait_until(lambda: self.place.cloak("audit", self.out, "--repair", env=env).code == 0,
            "a repair", pause=1)
        self.complete(env, album)
        self.assertEqual({k: fleet.sha256(self.out / k) for k in self.keys}, want)
        for worker in workers:
            self.assertTrue(worker.alive(), worker.text()[-2000:])
            worker.signal(signal.SIGTERM)
            self.assertEqual(worker.wait().code, 0)

    def test_sentinels_that_want_a_password(self):
        """And what took over is looked at before photos are entrusted to it, by who was connected before, too."""
        group = fleet.Sentinels(self.place, password="sesame")
        old, new = group.nodes
        self.assertEqual(new.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "OK")
        without = group.url.partition("?")[0]
        for password, says in ("", "to answer without"), ("?sentinel-password=other", "this user and password"):
            wrong = self.place.cloak("status", env=fleet.environment(CLOAK_REDIS=without + password))
            self.assert_code(wrong, 1)
            self.assertIn(says, wrong.err)
            self.assertIn("sentinel-password=PASSWORD", wrong.err)
            self.assertNotIn("other", wrong.err)
        env, album = self.submit(group.url)
        worker = self.place.start_stub_worker(group.url, "w", 3600)
        fleet.wait_until(lambda: old.ask("HLEN", "cloak:{default}:leased") not in (None, "0", 0), "a photo in its hands")
        old.process.kill()
        fleet.wait_until(lambda: group.primary() is new and (new.ask("ROLE") or [""])[0] == "master", "a new primary")
        refused = self.place.cloak("status", album, env=env)
        self.assert_code(refused, 1)
        self.assertIn("maxmemory-policy is allkeys-lru", refused.err)
        self.assertNotIn("sesame", refused.err)
        fleet.wait_until(lambda: "maxmemory-policy is allkeys-lru" in worker.text(), "the worker's refusal")
        self.assertNotIn("sesame", worker.text())

    def test_replica_is_not_taken_for_the_primary(self):
        """A Sentinel that is wrong (it was told so) does not get a write to a replica."""
        primary = self.place.redis()
        replica = self.place.redis("--replicaof", f"127.0.0.1 {primary.port}")
        port = fleet.free_port()
        config = self.folder / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\ndir {self.folder}\n"
                          f"sentinel monitor fleet 127.0.0.1 {replica.port} 2\n")
        sentinel = self.place.start("sentinel", ["redis-server", config, "--sentinel"])
        fleet.wait_until(lambda: "+monitor" in sentinel.out.read_text(), "a Sentinel")
        env = fleet.environment(CLOAK_REDIS=f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/fleet")
        first = self.place.cloak("submit", self.album, self.out, *fleet.FAST, env=env)
        self.assert_code(first, 1)
        self.assertIn("the server that the Sentinels name is a replica", first.err)
        wrong = self.place.cloak("submit", self.album, self.out, *fleet.FAST,
            env=fleet.environment(CLOAK_REDIS=f"redis+sentinel://127.0.0.1:{port}/other"))
        self.assert_code(wrong, 1)
        self.assertIn("knows no primary called other", wrong.err)

    def test_repair_after_everything_was_forgotten(self):
        redis = self.place.redis()
        env, album = self.submit(redis.url)
        worker = self.place.start_stub_worker(redis.url, "w", 1, CLOAK_STUB_SEES_ALL="1")
        fleet.wait_until(lambda: self.delivered() >= 2, "two photos")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        kept = fleet.snapshot(self.out)
        self.assertEqual(redis.ask("FLUSHALL"), "OK")
        lost = self.place.cloak("audit", album, "--repair", env=env)
        self.assert_code(lost, 2)
        self.assertIn("name its output folder", lost.err)
        repaired = self.place.cloak("audit", self.out, "--repair", "--tenant", "anna", env=env)
        self.assert_code(repaired, 0)
        self.assertIn(f"{PHOTOS} of {PHOTOS} photos were not in the queue", repaired.err)
        self.place.start_stub_worker(redis.url, "w2", 0, CLOAK_STUB_SEES_ALL="1")
        self.complete(env, album)
        # what was delivered before is as it was, the receipts too
        self.assertEqual({k: v for k, v in fleet.snapshot(self.out).items() if k in kept}, kept)
        again = self.place.cloak("audit", self.out, "--repair", env=env)
        self.assert_code(again, 0)
        self.assertIn(f"  repaired: 0 of {PHOTOS}", again.err)


if __name__ == "__main__":
    fleet.main()
