#!/usr/bin/python3
"""Whole albums through buckets: a fleet, `cloak run`, and going on from another machine."""
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import buckets  # noqa: E402
import faults  # noqa: E402
import fleet  # noqa: E402
from buckets import Case, Moto, client, environment, faulty, for_workers  # noqa: E402

setUpModule, tearDownModule = buckets.start, buckets.stop

# In the album from bucket to bucket; CLOAK_S3_PHOTOS=300 is what docs/evaluating.md quotes.
PHOTOS = int(os.environ.get("CLOAK_S3_PHOTOS") or (40 if fleet.ASAN else 100))
LARGE = 1 if fleet.ASAN else 3  # further photos, which are put in parts


class Albums(Case):
    def tiny(self, count, prefix, client=None):
        """Photos of their own colours in the bucket; returns their keys below the prefix."""
        keys = []
        for i in range(count):
            data = io.BytesIO()
            Image.new("RGB", (48, 48), (i % 200 + 20, i // 200 + 30, 60)).save(data, "JPEG", quality=90)
            keys.append(f"day {i // 50}/{i:03d}.jpg")
            (client or self.client).put_object(Bucket=self.bucket, Key=f"{prefix}/{keys[-1]}", Body=data.getvalue())
        return keys

    def large(self, count, prefix):
        """PNGs of noise, above the 16 MiB from which on objects are put in parts."""
        keys = []
        for i in range(count):
            data = io.BytesIO()
            Image.frombytes("RGB", (2400, 2400), random.Random(i).randbytes(2400 * 2400 * 3)).save(data, "PNG", compress_level=1)
            keys.append(f"large/{i}.png")
            self.client.put_object(Bucket=self.bucket, Key=f"{prefix}/{keys[-1]}", Body=data.getvalue())
        return keys

    def test_bucket_to_bucket(self):
        """A fleet of two, one of which is killed; the server restarts; one answer in twenty is 503."""
        keys = self.tiny(PHOTOS, "in") + self.large(LARGE, "in")
        count = len(keys)
        chance = random.Random(3)
        refused, parts = [], set()

        def rule(*request):
            parts.update(re.findall(r"partNumber=\d+", str(request)))
            refused.append(chance.random() < 0.05)
            return faults.s3_error(503, "SlowDown") if refused[-1] else None
        home = {"XDG_STATE_HOME": str(self.folder / "state")}
        redis = self.place.redis()
        out = f"s3://{self.bucket}/out"
        with faulty(rule) as proxy:
            env = environment(proxy.url, CLOAK_REDIS=redis.url, **home)
            submit = self.place.cloak("submit", f"s3://{self.bucket}/in", out, "--steps", "4", "--json", env=env)
            self.assert_code(submit, 0)
            self.assertEqual(submit.json["total"], count)
            album = submit.json["album"]
            variables = for_workers(env)
            workers = [self.place.start_stub_worker(redis.url, f"w{i}", 0.02, "--lease", "5", CLOAK_STUB_SEES_ALL="1",
                **variables) for i in range(2)]
            status = lambda: self.place.cloak("status", album, "--json", env=env).json
            fleet.wait_until(lambda: status()["delivered"] > count / 10, "some photos")
            workers[0].process.kill()
            buckets.server.kill_proxy()
            time.sleep(0.5)
            buckets.server.start_proxy()
            workers.append(self.place.start_stub_worker(redis.url, "w2", 0.02, CLOAK_STUB_SEES_ALL="1", **variables))
            end = fleet.wait_until(lambda: (s := status())["delivered"] + s["dead"] == count and s, "all photos", pause=0.5)
            self.assertEqual((end["delivered"], end["dead"]), (count, 0))
            self.assertTrue(end["books_balanced"])
            audit = self.place.cloak("audit", album, "--json", env=env)
            self.assert_code(audit, 0)
            self.assertEqual((audit.json["checked"], audit.json["problems"]), (count, 0))
            for worker in workers[1:]:
                worker.signal(signal.SIGTERM)
                self.assertEqual(worker.wait().code, 0)
            self.assertGreater(sum(refused), count / 10)
            self.assertGreater(len(parts), 1)
        want = {f"in/{k}" for k in keys} | {f"out/{k}" for k in keys} | {f"out/{k}.cloak.json" for k in keys}
        self.assertEqual(set(self.keys()), want | {"out.cloak/manifest"})
        self.assertEqual(self.uploads(), [])
        receipt = json.loads(self.body(f"out/{keys[0]}.cloak.json"))
        self.assertEqual((receipt["source"], receipt["destination"]), (f"s3://{self.bucket}/in", out))
        self.from_another_machine(redis, out, album, keys)

    def test_killed_between_any_two_requests(self):
        """A worker that delivers a photo in parts and its receipt, killed before its first request, its second, and so on:
        what is there is nothing or whole, and no receipt is there without its photo. Then others deliver them all. Each
        has a queue of its own, so that nobody takes up what another left before it is asked to."""
        key, = self.large(1, "in")
        redis = self.place.redis()
        env = environment(CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / "state"))

        def start(name, url, out, *args):
            variables = for_workers(environment(url))
            return self.place.start_stub_worker(redis.url, f"{name}-{out}", 0, "--queue", out, "--max-photos", "1", *args,
                CLOAK_STUB_SEES_ALL="1", **variables)

        def whole(out, worker):
            """The one attempt that this worker has is enough."""
            done = worker.wait()
            self.assert_code(done, 0)
            self.assertLessEqual({f"{out}/{key}", f"{out}/{key}.cloak.json"}, set(self.keys()), str(done))

        def deliver(out, stop_at):
            """How many requests it took, or None where it was killed."""
            submit = self.place.cloak("submit", f"s3://{self.bucket}/in", f"s3://{self.bucket}/{out}", "--steps", "4",
                "--queue", out, env=env)
            self.assert_code(submit, 0)
            with faulty(lambda number, *_: "hang" if number == stop_at else None) as proxy:
                if stop_at is None:
                    whole(out, start("first", proxy.url, out))
                    return len(proxy.seen)
                worker = start("first", proxy.url, out, "--lease", "10")
                fleet.wait_until(lambda: len(proxy.seen) > stop_at, f"request {stop_at}")
                worker.process.kill()
                worker.wait()
                return None
        requests = deliver("whole", None)
        self.assertGreater(requests, 5)
        want = self.body(f"whole/{key}")
        step = 3 if fleet.ASAN else 1
        outs = {f"out{n}": n for n in range(0, requests, step)}
        receipts = 0
        for out, n in outs.items():
            deliver(out, n)
            there = [k for k in self.keys() if k.startswith(f"{out}/")]
            if f"{out}/{key}" in there:
                self.assertEqual(self.body(f"{out}/{key}"), want, out)
            else:
                self.assertEqual(there, [], out)
            receipts += f"{out}/{key}.cloak.json" in there
        self.assertLess(receipts, len(outs))
        for out in outs:
            whole(out, start("last", None, out))
            self.assertEqual(self.body(f"{out}/{key}"), want, out)

    def from_another_machine(self, redis, out, album, keys):
        """The manifest is in the bucket: without this machine's copy everything goes on as before."""
        env = environment(CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / "elsewhere"))
        audit = self.place.cloak("audit", out, "--json", env=env)
        self.assert_code(audit, 0)
        self.assertEqual((audit.json["album"], audit.json["checked"]), (album, len(keys)))
        again = self.place.cloak("submit", f"s3://{self.bucket}/in", out, "--steps", "4", "--json", env=env)
        self.assert_code(again, 0)
        self.assertEqual((again.json["album"], again.json["total"]), (album, len(keys)))
        other = self.place.cloak("submit", f"s3://{self.bucket}/in", out, "--steps", "5", env=env)
        self.assert_code(other, 2)
        self.assertIn("another settings", other.err)

    def test_folder_to_bucket_and_back(self):
        """`cloak run`, with a real worker and a real photo."""
        album, back = self.folder / "album", self.folder / "back"
        album.mkdir()
        face = fleet.portraits(1)[0]
        (album / "one.jpg").write_bytes(face.read_bytes())
        env = environment(XDG_STATE_HOME=str(self.folder / "state"))
        first = self.place.cloak("run", album, f"s3://{self.bucket}/there", *fleet.RUN_FAST, "--json", env=env)
        self.assertIn(first.code, (0, 3), str(first))
        self.assertEqual(self.keys(), ["there.cloak/manifest", "there/one.jpg", "there/one.jpg.cloak.json"])
        local = self.place.cloak("run", album, self.folder / "local", *fleet.RUN_FAST)
        self.assertIn(local.code, (0, 3), str(local))
        self.assertEqual(self.body("there/one.jpg"), (self.folder / "local/one.jpg").read_bytes())
        again = self.place.cloak("run", f"s3://{self.bucket}/there", back, *fleet.RUN_FAST, "--json", env=env)
        self.assertIn(again.code, (0, 3), str(again))
        self.assertEqual([p.name for p in back.iterdir() if p.suffix == ".jpg"], ["one.jpg"])

    def test_a_name_whose_receipt_would_not_fit_is_skipped(self):
        """S3's keys have at most 1,024 bytes, "out/" and ".cloak.json" among them."""
        album, env = self.folder / "album", environment(CLOAK_REDIS=self.place.redis().url)
        deep = album / "/".join(["d" * 200] * 4)
        deep.mkdir(parents=True)
        fits, not_quite = ("x" * (1024 - 4 - 11 - 804 - 4 + more) + ".jpg" for more in (0, 1))
        for name in (fits, not_quite):
            Image.new("RGB", (48, 48), (90, 120, 60)).save(deep / name, "JPEG")
        out = f"s3://{self.bucket}/out"
        count = self.place.cloak("submit", album, out, "--dry-run", "--json", env=env)
        self.assertEqual((count.json["photos"], count.json["skipped"]), (1, 1), str(count))
        submit = self.place.cloak("submit", album, out, "--steps", "4", "--json", env=env)
        self.assertEqual((submit.json["total"], submit.json["skipped"]), (1, 1), str(submit))
        worker = self.place.start_stub_worker(env["CLOAK_REDIS"], "w", 0, CLOAK_STUB_SEES_ALL="1",
            **for_workers(env))
        self.assert_code(self.place.cloak("watch", submit.json["album"], env=env), 0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        there = "out/" + str((deep / fits).relative_to(album))
        self.assertEqual(self.keys(), ["out.cloak/manifest", there, there + ".cloak.json"])

    def test_a_worker_without_keys_kills_no_photo(self):
        """It fails, rests, and another delivers them all."""
        keys = self.tiny(6, "in")
        redis = self.place.redis()
        env = environment(CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / "state"))
        submit = self.place.cloak("submit", f"s3://{self.bucket}/in", f"s3://{self.bucket}/out", "--steps", "4", env=env)
        self.assert_code(submit, 0)
        variables = for_workers(env)
        lacking = {**variables, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        poor = self.place.start_stub_worker(redis.url, "poor", 0, CLOAK_STUB_SEES_ALL="1", **lacking)
        fleet.wait_until(lambda: "worker_rest" in poor.text(), "a rest")
        self.assertGreaterEqual(poor.text().partition("worker_rest")[0].count("photo_failed"), 5)
        poor.signal(signal.SIGTERM)
        poor.wait()
        self.assertNotIn("photo_dead", poor.text())
        rich = self.place.start_stub_worker(redis.url, "rich", 0, CLOAK_STUB_SEES_ALL="1", **variables)
        status = lambda: self.place.cloak("status", submit.out.strip(), "--json", env=env).json
        fleet.wait_until(lambda: status()["delivered"] == len(keys), "all photos", pause=0.3)
        rich.signal(signal.SIGTERM)
        self.assertEqual(rich.wait().code, 0)

    def test_a_stop_is_heard_while_the_server_is_silent(self):
        self.tiny(1, "in")
        redis = self.place.redis()
        env = environment(CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / "state"))
        submit = self.place.cloak("submit", f"s3://{self.bucket}/in", f"s3://{self.bucket}/out", "--steps", "4", env=env)
        with faulty(lambda *_: "hang") as proxy:
            variables = for_workers(environment(proxy.url))
            worker = self.place.start_stub_worker(redis.url, "w", 0, "--drain-seconds", "1", **variables)
            fleet.wait_until(lambda: proxy.seen, "a request")
            worker.signal(signal.SIGTERM)
            self.assertEqual(worker.wait().code, 0) # on its own: the proxy hangs on for minutes
            run = self.place.start_cloak("run", f"s3://{self.bucket}/in", self.folder / "out", env=environment(proxy.url))
            fleet.wait_until(lambda: len(proxy.seen) > 1, "a request")
            run.signal(signal.SIGINT)
            self.assertEqual(run.wait().code, 130)
        books = self.place.cloak("status", submit.out.strip(), "--json", env=env).json
        self.assertEqual((books["waiting"], books["leased"], books["dead"]), (1, 0, 0))

    def test_starting_afresh(self):
        """What was removed from the bucket is not called done."""
        self.tiny(2, "in")
        env = environment(CLOAK_REDIS=self.place.redis().url, XDG_STATE_HOME=str(self.folder / "state"))
        submit = lambda: self.place.cloak("submit", f"s3://{self.bucket}/in", f"s3://{self.bucket}/out", env=env)
        first = submit()
        self.assert_code(first, 0)
        self.client.delete_object(Bucket=self.bucket, Key="out.cloak/manifest")
        gone = submit()
        self.assert_code(gone, 2)
        self.assertIn("remove ", gone.err)
        state = gone.err.split("remove ")[1].split(" as well")[0]
        subprocess.run(["rm", "-r", state], check=True)
        second = submit()
        self.assert_code(second, 0)
        self.assertNotEqual(first.out, second.out)
        # another machine lists another album to the same output
        self.tiny(1, "in2")
        other = {**env, "XDG_STATE_HOME": str(self.folder / "elsewhere")}
        self.client.delete_object(Bucket=self.bucket, Key="out.cloak/manifest")
        self.assert_code(self.place.cloak("submit", f"s3://{self.bucket}/in2", f"s3://{self.bucket}/out", env=other), 0)
        late = submit()
        self.assert_code(late, 2)
        self.assertIn("another album", late.err)

    def test_the_manifest_is_fetched_only_where_it_is_news(self):
        self.tiny(2, "in")
        redis = self.place.redis()
        album, out = f"s3://{self.bucket}/in", f"s3://{self.bucket}/out"
        with faulty() as proxy:
            def fetched(machine, *args):
                before = len(proxy.seen)
                env = environment(proxy.url, CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / machine))
                self.assert_code(self.place.cloak(*args, env=env), 0)
                return [m for m, p, _ in proxy.seen[before:] if p.endswith("/out.cloak/manifest")].count("GET")
            self.assertEqual(fetched("one", "submit", album, out), 0)
            self.assertEqual(fetched("one", "submit", album, out), 0)
            self.assertEqual(fetched("two", "submit", album, out), 1)
            self.assertEqual(fetched("two", "submit", album, out), 0)
            self.assertEqual(fetched("three", "status", out), 1)
            self.assertEqual(fetched("three", "status", out), 0)
            self.tiny(3, "in") # one more, listed by the second machine
            self.assertEqual(fetched("two", "submit", album, out), 0)
            self.assertEqual(fetched("one", "submit", album, out), 1)
        self.assertEqual(self.body("out.cloak/manifest"), next((self.folder / "one").rglob("manifest")).read_bytes())

    def test_two_albums_at_once_for_one_output(self):
        """Both machines have found the output empty. Where the server heeds conditions, one album gets it."""
        redis = self.place.redis()
        with Moto() as moto:
            there = client(moto.url)
            there.create_bucket(Bucket=self.bucket)
            for prefix in ("in", "in2"):
                self.tiny(1, prefix, there)
            submit = lambda url, machine, prefix: self.place.cloak("submit", f"s3://{self.bucket}/{prefix}",
                f"s3://{self.bucket}/out", env=environment(url, CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / machine)))
            other = []

            def rule(number, method, path):
                if method == "PUT" and not other:
                    other.append(submit(moto.url, "two", "in2"))
            with faults.Faults(moto.port, rule) as proxy:
                late = submit(proxy.url, "one", "in")
            self.assert_code(other[0], 0)
            self.assert_code(late, 2)
            self.assertIn("another album", late.err)
            manifest = there.get_object(Bucket=self.bucket, Key="out.cloak/manifest")["Body"].read().decode()
            self.assertIn(other[0].out.strip(), manifest)
            self.assertEqual(submit(moto.url, "two", "in2").out, other[0].out)

    def test_refusals(self):
        env = environment(XDG_STATE_HOME=str(self.folder / "state"), CLOAK_REDIS="redis://127.0.0.1:1")
        for source, destination, says in [(self.place_url, self.place_url + "/", "the same"),
                (self.place_url + "/a", self.place_url, "lies inside the output"),
                ("s3://no-such-bucket/x", self.folder / "out", "NoSuchBucket")]:
            run = self.place.cloak("run", source, destination, env=env)
            self.assertNotEqual(run.code, 0)
            self.assertIn(says, run.err)


if __name__ == "__main__":
    fleet.main()
