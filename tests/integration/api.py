#!/usr/bin/python3
"""The JSON API of `cloak serve` and the page that uses it: what they show, what they change, and for whom they do not."""
import http.client
import json
import os
import pathlib
import random
import signal
import ssl
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import browser  # noqa: E402
import fleet  # noqa: E402

ACT = {"X-Cloak-Action": "test"}
EXAMPLES = int(os.environ.get("CLOAK_API_EXAMPLES") or 25)  # per operation and phase of schemathesis


class Api(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)
        self.serve("--actions")

    def serve(self, *options, **env):
        self.server = self.place.start_cloak("serve", "--listen", "127.0.0.1:0", *options,
            env=fleet.environment(CLOAK_REDIS=self.redis.url, **env))

        def port():
            self.assertTrue(self.server.alive(), self.server.text())
            lines = [line for line in self.server.text().splitlines() if '"serve_start"' in line]
            return lines and int(json.loads(lines[0])["text"].split()[-1])
        self.port = fleet.wait_until(port, "the server")

    def ask(self, path, method="GET", headers=None, body=None):
        """(status, parsed JSON or text, headers)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        is_json = reply.headers["Content-Type"] == "application/json" and text
        return reply.status, json.loads(text) if is_json else text, reply.headers

    def get(self, path):
        status, value, _ = self.ask(path)
        self.assertEqual(status, 200, value)
        return value

    def post(self, path, want=200, headers=ACT):
        status, value, _ = self.ask(path, "POST", headers)
        self.assertEqual(status, want, value)
        return value

    def submit(self, name, photos, broken=0):
        album = self.folder / name
        album.mkdir()
        draw = random.Random(name)
        for i in range(photos):
            fleet.stub_photo(album / f"{i:02}.png", draw)
        for i in range(broken):
            (album / f"broken-{i}.jpg").write_bytes(b"\xff\xd8\xff no photo")
        done = self.place.cloak("submit", album, self.folder / f"{name}-out", env=self.env)
        self.assert_code(done, 0)
        return done.out.strip()

    def work(self, album, code):
        worker = self.place.start_stub_worker(self.redis.url, "w", 0)
        self.assert_code(self.place.cloak("watch", album, env=self.env), code)
        return worker

    # --- tests ---

    def test_what_is_shown(self):
        albums = [self.submit(f"a{i}", 1) for i in range(3)]
        broken = self.submit("b", 1, 3)
        worker = self.work(broken, 4)
        self.assertEqual(self.get("/v1/server"), {"version": self.get("/v1/server")["version"], "queue": "default",
            "actions": True})
        everything = self.get("/v1/albums")
        self.assertEqual([a["album"] for a in everything["albums"]], [broken, *reversed(albums)])
        self.assertIsNone(everything["next"])
        first = self.get("/v1/albums?limit=3")
        self.assertEqual((len(first["albums"]), first["next"]), (3, 3))
        second = self.get("/v1/albums?limit=3&offset=3")
        self.assertEqual((second["albums"], second["next"]), (everything["albums"][3:], None))
        self.assertEqual(self.get("/v1/albums?offset=99")["albums"], [])
        dead = self.get(f"/v1/albums/{broken}/dead?limit=2")
        self.assertEqual((dead["total"], dead["next"], len(dead["dead"])), (3, 2, 2))
        self.assertEqual({d["class"] for d in dead["dead"]}, {"permanent"})
        rest = self.get(f"/v1/albums/{broken}/dead?limit=2&offset=2")
        self.assertEqual(sorted(d["key"] for d in dead["dead"] + rest["dead"]), [f"broken-{i}.jpg" for i in range(3)])
        self.assertEqual((len(rest["dead"]), rest["next"]), (1, None))
        self.assertEqual(self.get(f"/v1/albums/{broken}/dead?error=transient"), {"dead": [], "total": 0, "next": None})
        self.assertEqual(self.get(f"/v1/albums/{broken}/dead?error=permanent")["total"], 3)
        workers = self.get("/v1/workers")["workers"]
        self.assertEqual([(w["worker"], w["device"]) for w in workers], [("w", "cpu")])
        self.assertLess(workers[0]["silent_seconds"], 15)
        worker.signal(signal.SIGTERM)
        worker.wait()

    def test_actions(self):
        album = self.submit("a", 2, 1)
        self.assertEqual(self.post(f"/v1/albums/{album}/pause"), {"action": "pause", "album": album})
        self.assertTrue(self.get(f"/v1/albums/{album}")["paused"])
        self.post(f"/v1/albums/{album}/resume")
        self.assertFalse(self.get(f"/v1/albums/{album}")["paused"])
        self.assertEqual(self.post("/v1/queue/pause"), {"action": "pause"})
        self.assertTrue(self.get("/v1/queue")["paused"])
        self.post("/v1/queue/resume")
        self.assertEqual(self.post("/v1/tenants/default/pause"), {"action": "pause", "tenant": "default"})
        self.assertEqual([t["paused"] for t in self.get("/v1/queue")["tenants"]], [True])
        self.post("/v1/tenants/default/resume")
        self.assertEqual([t["paused"] for t in self.get("/v1/queue")["tenants"]], [False])
        for path in ("/v1/tenants/default/cancel", "/v1/tenants/a b/pause".replace(" ", "%20"), "/v1/tenants/default", "/v1/tenants"):
            self.post(path, 404)
        worker = self.work(album, 4)
        worker.signal(signal.SIGTERM)
        worker.wait()
        self.assertEqual(self.post(f"/v1/albums/{album}/retry?error=transient")["moved"], 0)
        self.assertEqual(self.post(f"/v1/albums/{album}/retry")["moved"], 1)
        self.assertEqual(self.get(f"/v1/albums/{album}")["waiting"], 1)
        self.post(f"/v1/albums/{album}/cancel")
        self.assertEqual(self.get(f"/v1/albums/{album}")["cancelled"], 1)

    def test_cancel_many(self):
        first, second, done = self.submit("a", 2), self.submit("b", 3), self.submit("c", 1)
        other = self.folder / "d"
        other.mkdir()
        fleet.stub_photo(other / "x.png", random.Random(1))
        theirs = self.place.cloak("submit", other, self.folder / "d-out", "--tenant", "ann", env=self.env).out.strip()
        self.place.cloak("cancel", done, env=self.env)

        def cancel(*words, code=0):
            result = self.place.cloak("cancel", *words, "--json", env=self.env)
            self.assert_code(result, code)
            return result.json if code == 0 else result.err
        self.assertEqual(cancel("--tenant", "nobody")["albums"], 0)
        self.assertEqual(cancel("--tenant", "ann"), {"albums": 1, "cancelled": 1, "delivered": 0, "leased": 0})
        self.assertEqual(self.get(f"/v1/albums/{theirs}")["cancelled"], 1)
        self.assertEqual(self.get(f"/v1/albums/{first}")["cancelled"], 0)
        # one that is still being fed, of which nothing is in the queue yet
        feeding = self.place.start_cloak("submit", other, self.folder / "e-out", "--backlog", "1", env=self.env)
        fleet.wait_until(lambda: "the queue is full" in feeding.text(), "a feeder that waits")
        self.assertEqual(cancel("--all"), {"albums": 3, "cancelled": 5, "delivered": 0, "leased": 0})
        self.assertNotEqual(feeding.wait().code, 0)
        self.assertIn("cancelled", feeding.text())
        self.assertEqual(self.get(f"/v1/albums/{second}")["cancelled"], 3)
        for words in ([], ["--all", "--tenant", "ann"], [first, "--all"]):
            self.assertIn("name an album", cancel(*words, code=2))

    def test_who_may_not(self):
        album = self.submit("a", 1)
        pause = f"/v1/albums/{album}/pause"
        for headers in ({}, {**ACT, "Sec-Fetch-Site": "cross-site"}, {**ACT, "Sec-Fetch-Site": "same-site"}):
            self.assertIn("X-Cloak-Action", self.post(pause, 403, headers)["error"])
        self.post(pause, 200, {**ACT, "Sec-Fetch-Site": "same-origin"})
        self.post(f"/v1/albums/{album}/resume")
        self.assertEqual(self.ask(pause, "POST", ACT, b"x=1")[0], 413)
        self.assertEqual(self.ask(pause, "POST", {**ACT, "Transfer-Encoding": "chunked"}, iter([b"x"]))[0], 413)
        self.assertEqual((self.ask(pause)[0], self.ask(pause)[2]["Allow"]), (405, "POST"))
        status, _, headers = self.ask("/v1/queue", "POST", ACT)
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.ask("/", "POST", ACT)[0], 405)
        self.assertEqual(self.ask(pause, "OPTIONS")[0], 405) # a browser that asks for a page from elsewhere gets no leave
        # a name that somebody has made to point here
        for host, want in (("evil.example", 403), (f"evil.example:{self.port}", 403), ("127.0.0.1.evil.example", 403),
                (f"localhost:{self.port}", 200), (f"127.0.0.1:{self.port}", 200), ("[::1]:1", 200)):
            self.assertEqual(self.ask("/v1/queue", headers={"Host": host})[0], want, host)
        self.assertFalse(self.get(f"/v1/albums/{album}")["paused"])
        self.serve() # without --actions
        self.assertFalse(self.get("/v1/server")["actions"])
        self.assertIn("--actions", self.post(pause, 403)["error"])
        self.serve("--actions", CLOAK_HTTP_TOKEN="sesame")
        self.assertEqual(self.ask(pause, "POST", ACT)[0], 401)
        self.assertFalse(self.place.cloak("status", album, "--json", env=self.env).json["paused"])
        self.assertEqual(self.ask(pause, "POST", {**ACT, "Authorization": "Bearer sesame", "Host": "fleet.example"})[0], 200)

    def test_tls(self):
        fleet.need("openssl")
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.serve(CLOAK_HTTP_CERT=str(cert), CLOAK_HTTP_KEY=str(key), CLOAK_HTTP_TOKEN="sesame")
        trusting = ssl.create_default_context(cafile=cert)

        def connect(context):
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        for path, token, want in (("/v1/queue", "sesame", 200), ("/v1/queue", "x", 401), ("/healthz", "", 200)):
            connection = connect(trusting)
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            self.assertEqual(connection.getresponse().status, want)
            connection.close()
        connection = connect(trusting)
        connection.request("GET", "/v1/events", headers={"Authorization": "Bearer sesame"})
        self.assertIn(self.event(connection.getresponse())[0], ("queue", "workers"))
        connection.close()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(OSError): # ssl.SSLError is one
            connect(old).request("GET", "/healthz")
        with self.assertRaises(ssl.SSLCertVerificationError):
            connect(ssl.create_default_context()).request("GET", "/healthz")
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.ask("/healthz") # not in the clear
        for env, says in (({"CLOAK_HTTP_CERT": str(cert)}, "go together"), ({"CLOAK_HTTP_CERT": str(cert), "CLOAK_HTTP_KEY": str(cert)},
                "fit together"), ({"CLOAK_HTTP_CERT": "/nowhere", "CLOAK_HTTP_KEY": str(key)}, "/nowhere")):
            refused = self.place.cloak("serve", "--listen", "127.0.0.1:0", env={**self.env, **env})
            self.assert_code(refused, 2)
            self.assertIn(says, refused.err)

    def test_what_makes_no_sense(self):
        album, nobody = self.submit("a", 1), uuid.uuid4()
        for path in ("/v1/albums?limit=0", "/v1/albums?limit=201", "/v1/albums?limit=x", "/v1/albums?offset=-1",
                "/v1/albums?offset=99999999999", f"/v1/albums/{album}/dead?limit=1001", "/v1/albums?limit="):
            self.assertEqual(self.ask(path)[0], 400, path)
        for path in (f"/v1/albums/{nobody}", f"/v1/albums/{nobody}/dead", "/v1/albums/", "/v1/albums/x/y/z", "/v1/", "/v1/queue/",
                "/v1/albums/..%2f..%2fetc", f"/v1/albums/{album}/dead/", f"/v1/albums/{album}/", "/v1/queues"):
            status, value, _ = self.ask(path)
            self.assertEqual(status, 404, path)
            self.assertIn("error", value)
        for path in (f"/v1/albums/{nobody}/pause", "/v1/queue/cancel", "/v1/queue/retry", f"/v1/albums/{album}/delete"):
            self.post(path, 404)
        self.post(f"/v1/albums/{album}/retry?error=sadness", 400)
        self.assertEqual(self.get(f"/v1/albums/{album}")["total"], 1)

    def test_schemathesis_finds_nothing(self):
        """No answer of 5xx, none that the description does not have."""
        packages = fleet.python_packages("api")
        album = self.submit("a", 3, 3)
        self.work(album, 4)
        self.submit("b", 2)
        (self.folder / "config.toml").write_text(f'[parameters]\n"path.album" = "{album}"\n')
        done = subprocess.run(["/usr/bin/python3", f"{packages}/bin/st", "--config-file", "config.toml", "run",
            f"http://127.0.0.1:{self.port}/v1/openapi.json", "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color",
            "--exclude-path", "/v1/events", # which does not end
            "--phases", "examples,coverage,fuzzing", "--header", "X-Cloak-Action: test", "--generation-database", "none"],
            env={**self.env, "PYTHONPATH": packages}, cwd=self.folder, capture_output=True, text=True, timeout=fleet.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        print(done.stdout[-700:])
        self.assertTrue(self.server.alive())

    def listen(self):
        """A connection to /v1/events and a file to read it from."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/v1/events")
        reply = connection.getresponse()
        self.assertEqual((reply.status, reply.headers["Content-Type"]), (200, "text/event-stream"))
        self.addCleanup(connection.close)
        reply.connection = connection # which Python closes only when told
        return reply

    def event(self, stream):
        """(event, its data) that comes next."""
        lines = [stream.readline().decode() for _ in range(3)]
        self.assertEqual((lines[0][:7], lines[1][:6], lines[2]), ("event: ", "data: ", "\n"))
        return lines[0][7:-1], json.loads(lines[1][6:])

    def hear(self, stream, wanted, test):
        """The data of the next event `wanted` that passes the test."""
        until = time.monotonic() + fleet.PATIENCE
        while time.monotonic() < until:
            event, data = self.event(stream)
            if event == wanted and test(data):
                return data
        self.fail(f"no {wanted} that is as it should be")

    def test_events(self):
        album = self.submit("a", 3)
        streams = [self.listen() for _ in range(3)]
        for stream in streams:
            seen = dict([self.event(stream), self.event(stream)])
            self.assertEqual(seen, {"queue": self.get("/v1/queue") | {"oldest_seconds": seen["queue"]["oldest_seconds"]},
                "workers": {"workers": []}})
            self.assertEqual([(t["tenant"], t["waiting"]) for t in seen["queue"]["tenants"]], [("default", 3)])
        worker = self.work(album, 0)
        for stream in streams: # what has changed is told
            self.hear(stream, "queue", lambda data: data["albums"][0]["delivered"] == 3)
        data = self.hear(streams[0], "workers", lambda data: data["workers"] and data["workers"][0]["photos"] == 3
            and data["workers"][0]["stage"] == "idle")
        self.assertGreater(data["workers"][0]["photos_per_second"], 0)
        worker.signal(signal.SIGTERM)
        worker.wait()
        # so many may listen, and who has gone makes room
        more = [self.listen() for _ in range(29)]
        status, text, _ = self.ask("/v1/events")
        self.assertEqual(status, 503, text)
        self.assertEqual(self.ask("/v1/events", "POST", ACT)[0], 405)
        for stream in more:
            stream.close()
            stream.connection.close()

        def room():
            status = None
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.request("GET", "/v1/events")
            status = connection.getresponse().status
            connection.close()
            return status == 200
        fleet.wait_until(room, "room for one more")
        self.redis.process.kill()
        self.redis.process.wait()
        self.assertIn("cannot connect", self.hear(streams[1], "queue", lambda data: "error" in data)["error"])
        self.server.signal(signal.SIGTERM) # though some listen
        self.assertEqual(self.server.wait().code, 0)

    def test_jobs(self):
        first, second = self.submit("a", 3), self.submit("b", 2)
        worker = self.work(second, 0)
        self.assert_code(self.place.cloak("watch", first, env=self.env), 0)
        jobs = self.get("/v1/jobs")
        self.assertEqual(sorted(j["job"] for j in jobs["jobs"]), sorted([f"{first}:{i}" for i in range(3)]
            + [f"{second}:{i}" for i in range(2)]))
        self.assertIsNone(jobs["next"])
        times = [j["finished_at"] for j in jobs["jobs"]]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertEqual([j["job"] for j in self.get(f"/v1/jobs?album={second}")["jobs"]],
            [j["job"] for j in jobs["jobs"] if j["job"].startswith(second)])
        seen, page = [], self.get("/v1/jobs?limit=2")
        for _ in range(5):
            seen += page["jobs"]
            if page["next"] is None:
                break
            page = self.get(f"/v1/jobs?limit=2&before={page['next']}")
        self.assertEqual(seen, jobs["jobs"])
        for outcome in ("cloaked", "no_face", "residual"):
            self.assertEqual(self.get(f"/v1/jobs?outcome={outcome}")["jobs"], [j for j in jobs["jobs"] if j["outcome"] == outcome])
        scores = sorted(j["residual_score"] for j in jobs["jobs"])
        self.assertEqual(len(self.get(f"/v1/jobs?residual={scores[-1]:f}")["jobs"]),
            sum(s >= float(f"{scores[-1]:f}") for s in scores))
        for query in ("outcome=dead", "outcome=x", "residual=2", "residual=x", "limit=0", "limit=201", "before=x", "before=1-1-1", "before="):
            self.assertEqual(self.ask(f"/v1/jobs?{query}")[0], 400, query)
        self.assertEqual(self.get("/v1/jobs?residual=1e-30")["jobs"], [j for j in jobs["jobs"] if j["residual_score"] > 0])
        for before in ("0-0", "0-1", "00-0"):
            self.assertEqual(self.get(f"/v1/jobs?before={before}"), {"jobs": [], "next": None}, before)
        worker.signal(signal.SIGTERM)
        worker.wait()

    def test_page_acts(self):
        fleet.need("chromium")
        album = self.submit("a", 2, 2)
        worker = self.work(album, 4)
        worker.signal(signal.SIGTERM)
        worker.wait()
        waiting = self.submit("b", 3)
        with browser.Browser(self.folder) as page:
            page.open(f"http://127.0.0.1:{self.port}/#{album}")
            page.wait("document.querySelectorAll('#dead tr').length === 2")
            self.assertIn("broken-0.jpg", page.run("document.getElementById('dead').innerText"))
            page.click("Retry dead photos")
            page.wait("document.getElementById('dead-part').hidden")
            fleet.wait_until(lambda: self.get(f"/v1/albums/{album}")["waiting"] == 2 or None, "two photos that wait again")
            page.run(f"document.querySelector('[data-album=\"{waiting}\"]').click()")
            page.wait(f"document.getElementById('detail-id').textContent === '{waiting}'")
            page.click("Pause")
            page.wait("[...document.querySelectorAll('#album-actions button')].some(b => b.textContent === 'Resume')")
            self.assertTrue(self.get(f"/v1/albums/{waiting}")["paused"])
            page.click("Resume")
            page.click("Cancel") # and the question is answered
            fleet.wait_until(lambda: self.get(f"/v1/albums/{waiting}")["cancelled"] == 3, "a cancelled album")
            last = self.submit("c", 2)
            page.wait("document.querySelectorAll('#tenants button').length === 1")
            page.run("document.querySelector('#tenants button').click()")
            page.wait("document.querySelector('#tenants button').textContent === 'Resume'")
            self.assertEqual([t["paused"] for t in self.get("/v1/queue")["tenants"]], [True])
            page.run("document.querySelector('#tenants button').click()")
            self.post(f"/v1/albums/{last}/cancel")
            page.click("Pause everything")
            page.wait("document.getElementById('state').textContent.includes('paused')")
            self.assertTrue(self.get("/v1/queue")["paused"])
            self.assertEqual(page.errors, [])

    def test_page_keeps_nobody_out(self):
        """Light and dark, on a desk and on a phone."""
        fleet.need("chromium")
        axe = pathlib.Path(fleet.python_packages("axe"), "axe_playwright_python", "axe.min.js")
        pictures = pathlib.Path(os.environ.get("CLOAK_PICTURES") or self.folder)
        album = self.submit("a", 2, 2)
        worker = self.work(album, 4)
        self.submit("b", 3)
        with browser.Browser(self.folder) as page:
            page.open(f"http://127.0.0.1:{self.port}/#{album}")
            page.wait("document.querySelectorAll('#dead tr').length === 2 && document.querySelectorAll('#tenants tr').length === 0")
            worker.signal(signal.SIGTERM)
            worker.wait()
            self.submit("c", 3)
            page.wait("document.querySelectorAll('#tenants tr').length === 1")
            for width, dark in ((1100, False), (1100, True), (390, False)):
                page.look(width, 900, dark)
                self.assertEqual(page.barriers(axe), [], (width, dark))
                self.assertLessEqual(page.run("document.documentElement.scrollWidth"), width) # nothing sticks out
                page.picture(pictures / f"page-{width}-{dark}.png")

    def test_page_of_a_server_that_only_looks(self):
        fleet.need("chromium")
        self.submit("a", 1)
        self.serve()
        with browser.Browser(self.folder) as page:
            page.open(f"http://127.0.0.1:{self.port}/")
            page.wait("document.querySelectorAll('#albums tr').length === 1")
            self.assertTrue(page.run("document.getElementById('queue-actions').hidden"))


if __name__ == "__main__":
    fleet.main()
