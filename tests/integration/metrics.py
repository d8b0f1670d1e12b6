#!/usr/bin/python3
"""What the fleet tells of itself: a real Prometheus scrapes three workers and `cloak serve` during an album, and what
it then knows agrees with the books and with the receipts; and the server keeps bad requests out.

The workers' model sleeps (tests/stub_model.c): all that is counted here is real but the attack. With CLOAK_REAL_ALBUM=1 the
workers and the attack are real, too, and the album is the sample album, which takes minutes.
"""
import base64
import json
import os
import pathlib
import random
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import browser  # noqa: E402
import fleet  # noqa: E402

PHOTOS, BROKEN = 40, 2
REAL = bool(os.environ.get("CLOAK_REAL_ALBUM"))


def get(url, token=None, method="GET"):
    """(status, body, headers) of a request."""
    request = urllib.request.Request(url, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read().decode(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def port_of(program, event):
    """The port that a program logs once it listens."""
    def logged():
        for line in program.text().splitlines():
            if f'"{event}"' in line:
                return int(json.loads(line)["text"].split()[-1])
        assert program.alive(), program.text()
        return None
    return fleet.wait_until(logged, event)


class Metrics(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)

    def make_album(self):
        album = self.folder / "album"
        album.mkdir()
        draw = random.Random(4)
        for i in range(PHOTOS):
            fleet.stub_photo(album / f"{i:02}.png", draw, face=i % 4 > 0)
        for i in range(BROKEN):
            (album / f"broken-{i}.jpg").write_bytes(b"\xff\xd8\xff no photo")
        return album

    def serve(self, *options, **env):
        server = self.place.start_cloak("serve", "--listen", "127.0.0.1:0", *options,
            env=fleet.environment(CLOAK_REDIS=self.redis.url, **env))
        return server, f"http://127.0.0.1:{port_of(server, 'serve_start')}"

    def worker(self, name, real=False):
        listen = ("--metrics", "127.0.0.1:0")
        worker = (self.place.start_worker(self.redis.url, name, *listen) if real
            else self.place.start_stub_worker(self.redis.url, name, 0.2, *listen))
        return worker, f"127.0.0.1:{port_of(worker, 'metrics_start')}"

    def prometheus(self, targets):
        config, port = self.folder / "prometheus.yml", fleet.free_port()
        config.write_text(f"""global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{json.dumps(str(fleet.ROOT / "deploy/prometheus/rules.yml"))}]
scrape_configs:
- job_name: cloakfleet
  static_configs: [{{targets: {json.dumps(targets)}}}]
""")
        self.place.start("prometheus", ["prometheus", f"--config.file={config}", "--storage.tsdb.path",
            self.folder / "tsdb", f"--web.listen-address=127.0.0.1:{port}"])
        self.prometheus_url = f"http://127.0.0.1:{port}"
        fleet.wait_until(self.is_ready, "Prometheus")

    def is_ready(self):
        try:
            return get(self.prometheus_url + "/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, text):
        """{label value or "": number} of an instant query."""
        url = f"{self.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
        found = json.loads(get(url)[1])["data"]["result"]
        return {",".join(r["metric"].values()): float(r["value"][1]) for r in found}

    def check_dashboards(self):
        """Grafana's dashboards are what their script writes, and each of their queries has an answer here."""
        folder = fleet.ROOT / "deploy/grafana"
        script = runpy.run_path(str(folder / "dashboards.py"))
        for name, text in script["written"]().items():
            self.assertEqual((folder / name).read_text(), text, f"run {folder}/dashboards.py")
            for panel in json.loads(text)["panels"]:
                for target in panel["targets"]:
                    # of what is rare there may be none, but never an error
                    found = fleet.wait_until(lambda: self.query(target["expr"]) or any(w in target["expr"] for w in ("fenced", "gpu")),
                        f"{panel['title']}: {target['expr']}")
                    self.assertTrue(found)

    def check_logs(self, workers, receipts, trace):
        """One event per photo, with the receipt's names and numbers, and no name of a file."""
        lines = [json.loads(line) for worker in workers for line in worker.text().splitlines()]
        done = {line["job"]: line for line in lines if line["event"] == "photo_done"}
        self.assertEqual(len(done), len(receipts))
        for receipt in receipts:
            line = done[receipt["job"]]
            for name in set(line) - {"time", "level", "event", "pid"}:
                self.assertEqual(line[name], receipt[name], name)
            self.assertLessEqual({"outcome", "seconds_attack", "faces_before", "residual_score"}, set(line))
            self.assertFalse({"key", "source", "destination"} & set(line))
        dead = [line for line in lines if line["event"] == "photo_dead"]
        self.assertEqual([line["error_class"] for line in dead], ["permanent"] * BROKEN)
        attempts = [*done.values(), *dead]
        self.assertEqual({line["trace"][3:35] for line in attempts}, {trace})
        self.assertEqual(len({line["trace"][36:52] for line in attempts}), len(attempts)) # a span each
        self.assertTrue(all(line["seconds_total"] > 0 for line in attempts))

    def promtool(self, text):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), text)

    def test_prometheus_agrees_with_books_and_receipts(self):
        fleet.need("prometheus", "promtool")
        album, out, photos = self.make_album(), self.folder / "out", PHOTOS
        if REAL:
            for path in album.glob("*.png"):
                path.unlink()
            shutil.copytree(fleet.sample_album(), album, dirs_exist_ok=True)
            photos = sum(1 for path in album.rglob("*") if path.is_file()) - BROKEN
        serve, url = self.serve()
        workers = [self.worker(f"w{i}", REAL) for i in range(3)]
        self.prometheus([url.removeprefix("http://")] + [at for _, at in workers])
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        submit = self.place.cloak("submit", album, out, env={**self.env, "TRACEPARENT": f"00-{trace}-00f067aa0ba902b7-01"})
        self.assert_code(submit, 0)
        name = submit.out.strip()
        self.assert_code(self.place.cloak("watch", name, env=self.env, timeout=3600 if REAL else None), 4)
        status = self.place.cloak("status", name, "--json", env=self.env).json
        receipts = fleet.receipts(out).values()
        self.assertEqual((status["delivered"], status["dead"]), (photos, BROKEN))

        def scraped():
            counts = self.query("sum by (outcome) (cloak_photos_total)")
            dead, failed = (list(self.query(q).values()) for q in ("sum(cloak_queue_dead_photos)", "sum(cloak_photo_failures_total)"))
            return sum(counts.values()) == photos and dead == failed == [BROKEN] and counts
        counts = fleet.wait_until(scraped, "the last scrape")
        for outcome in ("cloaked", "no_face"):
            self.assertEqual(counts[outcome], status[outcome])
            self.assertEqual(counts[outcome], sum(r["outcome"] == outcome for r in receipts))
        self.assertEqual(self.query("sum(cloak_photo_failures_total)"), {"": BROKEN})
        faces = self.query("sum by (when) (cloak_faces_total)")
        self.assertEqual(faces, {"before": status["faces_before"], "after": status["faces_after"]})
        self.assertEqual(self.query("sum(cloak_attack_steps_total)"), {"": status["steps"]})
        self.assertEqual(self.query('sum(cloak_photo_bytes_total{direction="out"})'),
            {"": sum(r["bytes_out"] for r in receipts)})
        stages = self.query("sum by (stage) (cloak_stage_seconds_sum)")
        for stage, seconds in status["stage_seconds"].items():
            self.assertAlmostEqual(stages[stage], seconds, delta=0.001 + 1e-6 * photos)
        self.assertEqual(self.query("sum(cloak_photo_seconds_count)"), {"": photos})
        self.assertEqual(self.query("sum(up)"), {"": 4})
        self.assertEqual(self.query('sum(cloak_failed_stages_total{stage="decode"})'), {"": BROKEN})
        self.assertEqual(self.query("sum by (event) (cloak_queue_events_total)"),
            {"lost": 0, "retried": 0, "dead": BROKEN})
        for series in ("cloak_redis_round_trips_total", "cloak_destination_free_bytes", 'cloak_redis_memory_bytes{kind="used"}'):
            self.assertGreater(min(self.query(series).values()), 0)
        self.check_logs([worker for worker, _ in workers], receipts, trace)
        self.check_dashboards()
        for metric, want in (("cloak_redis_up", 1), ("cloak_albums", 1), ("cloak_albums_imbalanced", 0),
                ("cloak_queue_workers", 3), ("cloak_queue_dead_photos", BROKEN), ("cloak_queue_oldest_seconds", 0)):
            self.assertEqual(list(self.query(metric).values()), [want], metric)

        # what they say is well formed, and the JSON is what the command line prints
        self.promtool(get(url + "/metrics")[1])
        self.promtool(get(f"http://{workers[0][1]}/metrics")[1])
        self.assertEqual(json.loads(get(f"{url}/v1/albums/{name}")[1]),
            self.place.cloak("status", name, "--json", env=self.env).json)
        if shutil.which("chromium"):
            with browser.Browser(self.folder) as page:
                page.open(f"{url}/#{name}")
                page.wait(f"document.getElementById('detail-id').textContent === '{name}'")
                text = page.run("document.body.innerText")
            for title, value in (("Faces before", "faces_before"), ("Faces after", "faces_after"), ("Cloaked", "cloaked"),
                    ("Without a face", "no_face"), ("Residual", "residual")):
                self.assertIn(f"{title}\n{status[value]}\n", text)
            self.assertIn(f"{photos} / {photos + BROKEN}", text)
        queue = json.loads(get(url + "/v1/queue")[1])
        self.assertEqual(queue["albums"], self.place.cloak("status", "--json", env=self.env).json["albums"])
        self.assertEqual(get(url + "/readyz")[0], 200)
        # no name of a user, an album or a photo is in it
        for text in (get(url + "/metrics")[1], get(f"http://{workers[0][1]}/metrics")[1]):
            for private in (name, "default", "album", ".png"):
                self.assertNotIn(private, text.replace("cloak_albums", "").replace("Albums", "").replace("albums", ""))
        for worker, _ in workers:
            worker.signal(signal.SIGTERM)
            self.assertEqual(worker.wait().code, 0)
        serve.signal(signal.SIGTERM)
        self.assertEqual(serve.wait().code, 0)

    def test_gpus_are_told(self):
        """By the driver's library; here by one of ours (tests/nvml.c), as there is no GPU."""
        fleet.need("promtool")
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, "--metrics", "127.0.0.1:0",
            LD_LIBRARY_PATH=str(fleet.BIN.parent / "nvml"))
        text = get(f"http://127.0.0.1:{port_of(worker, 'metrics_start')}/metrics")[1]
        for line in ('cloak_gpu_memory_used_bytes{gpu="0"} 21474836480', 'cloak_gpu_memory_total_bytes{gpu="0"} 85899345920',
                'cloak_gpu_busy_ratio{gpu="0"} 0.75'):
            self.assertIn(line + "\n", text)
        self.assertNotIn('gpu="1"', text)
        self.promtool(text)
        other, at = self.worker("x") # without a driver
        self.assertNotIn("cloak_gpu", get(f"http://{at}/metrics")[1])

    def test_redis_away_is_what_it_tells(self):
        serve, url = self.serve()
        self.assertIn("cloak_redis_up 1\n", get(url + "/metrics")[1])
        self.redis.process.kill()
        self.redis.process.wait()
        self.assertIn("cloak_redis_up 0\n", get(url + "/metrics")[1])
        self.assertEqual((get(url + "/readyz")[0], get(url + "/v1/queue")[0], get(url + "/healthz")[0]), (503, 503, 200))
        self.redis.restart()
        fleet.wait_until(lambda: get(url + "/readyz")[0] == 200, "readiness")
        self.assertTrue(serve.alive())

    def test_bad_requests_are_kept_out(self):
        serve, url = self.serve()
        port = int(url.rpartition(":")[2])
        for path in ("/index.html", "/v1/albums/", "/v1/albums/..%2f..%2fetc", "/v1/albums/x" * 50, "/metrics/"):
            self.assertEqual(get(url + path)[0], 404, path)
        for method in ("POST", "DELETE", "PUT"):
            self.assertEqual(get(url + "/v1/queue", method=method)[0], 405)
        status, body, headers = get(url + "/metrics", method="HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]  # and say nothing
        for junk in (b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 9000 + b"\r\n",
                b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100000):
            with socket.create_connection(("127.0.0.1", port), 20) as connection:
                try:
                    connection.sendall(junk)
                    self.assertNotIn(b" 200 ", connection.recv(4096))
                except (ConnectionError, TimeoutError):
                    pass
            self.assertEqual(get(url + "/healthz")[0], 200)
        for connection in slow:
            connection.close()
        self.assertTrue(serve.alive())

    def test_page_in_a_browser(self):
        fleet.need("chromium")
        album, out = self.make_album(), self.folder / "out"
        _, url = self.serve()
        with browser.Browser(self.folder) as page:
            page.open(url)
            page.wait("document.body.innerText.includes('There is no album')")
            self.worker("w")
            name = self.place.cloak("submit", album, out, env=self.env).out.strip()
            self.assert_code(self.place.cloak("watch", name, env=self.env), 4)
            page.wait(f"document.body.innerText.includes('{PHOTOS} / {PHOTOS + BROKEN}')") # without having been asked
            page.run(f"document.querySelector('[data-album=\"{name}\"]').click()")
            page.wait("document.body.innerText.includes('ended, some dead')")
            page.wait(f"document.getElementById('detail-id').textContent === '{name}'")
            text = page.run("document.body.innerText")
            for want in ("Faces before\n30", "Faces after\n0", "recall before", f"{BROKEN} photos are dead"):
                self.assertIn(want, text)
            self.redis.process.kill()
            self.redis.process.wait()
            page.wait("document.getElementById('state').textContent.startsWith('No answer')")
            self.redis.restart()
            page.wait(f"document.getElementById('state').textContent.includes('{BROKEN} photos are dead')")

    def test_token(self):
        _, url = self.serve(CLOAK_HTTP_TOKEN="sesame")
        self.assertEqual([get(url + "/metrics", t)[0] for t in (None, "wrong!", "sesame2", "", "sesame")],
            [401, 401, 401, 401, 200])
        self.assertEqual(get(url + "/healthz")[0], 200)
        for user, want in (("cloak:sesame", 200), ("cloak:wrong", 401), ("other:sesame", 401)):
            request = urllib.request.Request(url + "/")
            request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
            try:
                self.assertEqual(urllib.request.urlopen(request, timeout=20).status, want)
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, want)
        for listen, text in (("0.0.0.0:0", "CLOAK_HTTP_TOKEN"), ("nowhere", "expected HOST:PORT"),
                ("127.0.0.1:99999", "expected HOST:PORT"), (url.removeprefix("http://"), "cannot listen")):
            refused = self.place.cloak("serve", "--listen", listen, env=self.env)
            self.assert_code(refused, 2)
            self.assertIn(text, refused.err)
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, "--metrics", "0.0.0.0:0")
        self.assertEqual(worker.wait().code, 2)


if __name__ == "__main__":
    fleet.main()
