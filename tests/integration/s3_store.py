#!/usr/bin/python3
"""The S3 store call by call: what is sent, what comes back, and what is done about trouble on the way."""
import datetime
import email.utils
import itertools
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import buckets  # noqa: E402
import faults  # noqa: E402
import fleet  # noqa: E402
from buckets import Case, Moto, client, environment, faulty  # noqa: E402

setUpModule, tearDownModule = buckets.start, buckets.stop

ODD_KEYS = ["a b.jpg", "a+b=c@d~e.jpg", "50%25 & more's.jpg", "\u00fcml\u00e4ut/\U0001F60A.jpg", "tab\there.jpg",
    "new\nline.jpg", "semi;colon,comma.jpg", "[x]{y}|z^`.jpg", "a?b#c.jpg", "q\"uote<>.jpg", "back\\slash.jpg"]


class Objects(Case):
    def test_odd_keys_there_and_back(self):
        for key in ODD_KEYS:
            data = f"one {key}".encode()
            self.assertEqual(self.tool(self.place_url, "put", key, data=data)[0], 0, key)
            self.assertEqual(self.body("album/" + key), data)
            code, out, err = self.tool(self.place_url, "get", key)
            self.assertEqual((code, out), (0, data), err)
        code, out, err = self.tool(self.place_url, "list")
        self.assertEqual(code, 0, err)
        listed = dict(reversed(e.split(" ", 1)) for e in out.decode().split("\0")[:-1])
        self.assertEqual(listed, {k: str(len(f"one {k}".encode())) for k in ODD_KEYS})

    def test_what_is_listed(self):
        for key in ("album/a.jpg", "album/sub/b.jpg", "album/empty", "album/folder/", "album2/no.jpg", "albu", "album//x",
                "album/../y"):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=b"" if key.endswith(("empty", "/")) else b"abc")
        _, out, _ = self.tool(self.place_url, "list")
        self.assertEqual(sorted(out.decode().split("\0")[:-1]), ["! its key has empty, \".\" or \"..\" parts ../y",
            "! its key has empty, \".\" or \"..\" parts /x", "0 empty", "3 a.jpg", "3 sub/b.jpg"])
        _, out, _ = self.tool(f"s3://{self.bucket}", "list") # the whole bucket
        self.assertEqual(len(out.decode().split("\0")[:-1]), 7)
        code, out, _ = self.tool(f"s3://{self.bucket}/nothing", "list")
        self.assertEqual((code, out), (0, b""))

    def test_stat_and_remove(self):
        before = time.time() - 3
        self.tool(self.place_url, "put", "a.jpg", data=b"12345")
        code, out, err = self.tool(self.place_url, "stat", "a.jpg")
        self.assertEqual(code, 0, err)
        size, modified = map(int, out.split()[:2])
        self.assertEqual(size, 5)
        self.assertTrue(before < modified / 1e9 < time.time() + 3, modified)
        self.assertEqual(self.client.head_object(Bucket=self.bucket, Key="album/a.jpg")["ContentType"], "image/jpeg")
        for _ in range(2): # what is not there may be removed
            self.assertEqual(self.tool(self.place_url, "remove", "a.jpg")[0], 0)
        self.assertIn("NoSuchKey", self.refused(self.place_url, "stat", "a.jpg", word="permanent"))
        self.assertIn("NoSuchKey", self.refused(self.place_url, "get", "a.jpg", word="permanent"))

    def test_limits_and_names(self):
        self.tool(self.place_url, "put", "a.jpg", data=b"12345")
        self.tool(self.place_url, "put", "none.jpg", data=b"")
        self.assertEqual(self.tool(self.place_url, "get", "a.jpg", 5)[1], b"12345")
        self.assertEqual(self.tool(self.place_url, "get", "none.jpg", 5)[:2], (0, b""))
        self.assertIn("more than 4 bytes", self.refused(self.place_url, "get", "a.jpg", 4, word="permanent"))
        self.assertIn("1024 bytes", self.refused(self.place_url, "put", "x" * 1020, word="permanent"))
        done = subprocess.run([fleet.BIN / "store_tool", self.place_url, "put", b"\xff.jpg"], input=b"x",
            capture_output=True, env=environment())
        self.assertIn(b"permanent", done.stderr)
        self.assertIn(b"UTF-8", done.stderr)

    def test_many_pages(self):
        with Moto() as moto:
            other = client(moto.url)
            other.create_bucket(Bucket="many")
            want = {f"deep/{i:05d}.jpg" for i in range(2050)}
            for key in want:
                other.put_object(Bucket="many", Key=key, Body=b"x")
            code, out, err = self.tool("s3://many", "list", env=environment(moto.url))
            self.assertEqual(code, 0, err)
            listed = [e.split(" ", 1)[1] for e in out.decode().split("\0")[:-1]]
            self.assertEqual(len(listed), 2050)
            self.assertEqual(set(listed), want)

    def test_bucket_in_the_host_name(self):
        with Moto() as moto:
            client(moto.url).create_bucket(Bucket="virtual")
            env = environment(f"http://localhost:{moto.port}", CLOAK_S3_ADDRESSING="virtual")
            self.assertEqual(self.tool("s3://virtual/a", "put", "b c.jpg", data=b"xyz", env=env)[0], 0)
            self.assertEqual(client(moto.url).get_object(Bucket="virtual", Key="a/b c.jpg")["Body"].read(), b"xyz")
            self.assertEqual(self.tool("s3://virtual/a", "list", env=env)[1], b"3 b c.jpg\0")


class Parts(Case):
    BIG = random.Random(1).randbytes((16 << 20) + 12345)

    def test_large_object_in_parts(self):
        code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG)
        self.assertEqual(code, 0, err)
        head = self.client.head_object(Bucket=self.bucket, Key="album/big.png")
        self.assertTrue(head["ETag"].endswith('-3"'), head["ETag"])
        self.assertEqual(head["ContentType"], "image/png")
        self.assertEqual(self.body("album/big.png"), self.BIG)
        self.assertEqual(self.tool(self.place_url, "get", "big.png")[1], self.BIG)
        self.assertEqual(self.uploads(), [])

    def test_trouble_on_the_way(self):
        """Two parts are answered 503, one answer gets lost, and so does the one that the object is complete."""
        plan = {1: faults.s3_error(503, "SlowDown"), 3: "drop", 5: faults.s3_error(500, "InternalError"), 7: "drop"}
        with faulty(lambda n, *_: plan.get(n)) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual([m for m, _, _ in proxy.seen], ["POST"] + ["PUT"] * 6 + ["POST", "POST"])
        self.assertEqual(self.body("album/big.png"), self.BIG)
        self.assertEqual(self.uploads(), [])

    def test_complete_that_answers_ok_and_an_error(self):
        bad = faults.s3_error(200, "InternalError")
        with faulty(lambda n, *_: bad if n == 4 else None) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 6)
        self.assertEqual(self.body("album/big.png"), self.BIG)

    def test_complete_that_promises_too_much(self):
        """200 is no object yet: nothing, white space and an error, or a page of some proxy, are each tried again."""
        answers = {4: (200, {}, b""), 5: (200, {}, b" \n \n" + faults.s3_error(200, "InternalError")[2]),
            6: (200, {}, b"<html><body>hello</body></html>")}
        with faulty(lambda n, *_: answers.get(n)) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 8)
        self.assertEqual(self.body("album/big.png"), self.BIG)

    def test_uploads_of_unknown_age_or_name_stay(self):
        page = ("<ListMultipartUploadsResult><Upload><Key>album/a%25b</Key><UploadId>1</UploadId></Upload><Upload>"
            "<Key>album/%C3%BC</Key><UploadId>2</UploadId><Initiated>2020-01-01T00:00:00Z</Initiated></Upload>"
            "<EncodingType>url</EncodingType></ListMultipartUploadsResult>")
        answer = lambda n, method, path: (200, {}, page.encode()) if method == "GET" else (204, {}, b"")
        with faulty(answer) as proxy:
            self.assertEqual(self.tool(self.place_url, "sweep", 0, "", env=environment(proxy.url))[0], 0)
            self.assertEqual([p for m, p, _ in proxy.seen if m == "DELETE"],
                [f"/{self.bucket}/album/%C3%BC?uploadId=2"])

    def test_failure_leaves_nothing(self):
        rule = lambda n, method, path: faults.s3_error(403, "AccessDenied") if "partNumber=2" in path else None
        with faulty(rule) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 1)
            self.assertIn("AccessDenied", err)
            self.assertEqual(proxy.seen[-1][0], "DELETE")
        self.assertEqual((self.keys(), self.uploads()), ([], []))

    def test_killed_on_the_way_and_swept(self):
        rule = lambda n, method, path: "hang" if "partNumber=2" in path else None
        other = self.client.create_multipart_upload(Bucket=self.bucket, Key="elsewhere/x")
        with faulty(rule) as proxy:
            process = subprocess.Popen([fleet.BIN / "store_tool", self.place_url, "put", "big \u00fc.png"],
                stdin=subprocess.PIPE, env=environment(proxy.url))
            process.stdin.write(self.BIG)
            process.stdin.close()
            fleet.wait_until(lambda: len(proxy.seen) == 3, "the second part")
            process.kill()
            process.wait()
        self.assertEqual(self.keys(), [])
        self.assertEqual(len(self.uploads()), 2)
        for seconds, beginning in ((3600, "big"), (-5, "small")): # too young; not ours. -5: Swift rounds times up
            self.assertEqual(self.tool(self.place_url, "sweep", seconds, beginning)[0], 0)
            self.assertEqual(len(self.uploads()), 2)
        code, _, err = self.tool(self.place_url, "sweep", -5, "big")
        self.assertEqual(code, 0, err)
        self.assertEqual([u["UploadId"] for u in self.uploads()], [other["UploadId"]], "not ours to abort")


class Conditions(Case):
    """Puts that depend on what is there. moto heeds If-None-Match, and If-Match but when parts become an object; Swift
    knows neither, and refuses."""
    BIG = Parts.BIG

    def setUp(self):
        super().setUp()
        moto = Moto()
        self.moto = self.enterContext(moto)
        self.other = client(moto.url)
        self.other.create_bucket(Bucket=self.bucket)
        self.servers = [(self.client, buckets.server.url, buckets.server.ports["proxy"]), (self.other, moto.url, moto.port)]

    def put_if(self, version, data, url, key="m"):
        """The new version, or None where another was there; every other failure fails the test."""
        code, out, err = self.tool(self.place_url, "put_if", key, version, data=data, env=environment(url))
        if code:
            self.assertTrue(err.startswith("fenced: "), err)
            return None
        return out.decode().strip()

    def there(self, server):
        return server.get_object(Bucket=self.bucket, Key="album/m")["Body"].read()

    def test_only_what_was_seen_is_replaced(self):
        for small in (True, False):
            first, second, third = (b"1", b"22", b"333") if small else (self.BIG, self.BIG[:-1], self.BIG[:-2])
            for server, url, _ in self.servers:
                server.delete_object(Bucket=self.bucket, Key="album/m")
                one = self.put_if("", first, url)
                self.assertTrue(one)
                self.assertIsNone(self.put_if("", second, url))
                self.assertEqual(self.there(server), first)
                two = self.put_if(one, second, url)
                self.assertEqual(two, server.head_object(Bucket=self.bucket, Key="album/m")["ETag"])
                self.assertIsNone(self.put_if(one, third, url))
                self.assertEqual(self.there(server), second)
                server.delete_object(Bucket=self.bucket, Key="album/m")
                self.assertIsNone(self.put_if(two, third, url))
            self.assertEqual(self.uploads(), [])

    def test_another_comes_between_look_and_put(self):
        """A server that heeds conditions refuses; at one that does not, that gap is left."""
        for (server, _, port), heeds in zip(self.servers, (False, True)):
            for before in (None, b"old"):
                server.delete_object(Bucket=self.bucket, Key="album/m")
                version = server.put_object(Bucket=self.bucket, Key="album/m", Body=before)["ETag"] if before else ""

                def rule(number, method, path):
                    if method == "PUT" and not came:
                        came.append(server.put_object(Bucket=self.bucket, Key="album/m", Body=b"other"))
                came = []
                with faults.Faults(port, rule) as proxy:
                    self.assertEqual(self.put_if(version, b"mine", proxy.url) is None, heeds)
                self.assertEqual(self.there(server), b"other" if heeds else b"mine")

    def test_an_answer_that_gets_lost(self):
        """The next attempt meets the object of the one before it. Its bytes tell whose it is."""
        for data, method in ((b"mine", "PUT"), (self.BIG, "POST")):
            for (server, _, port), lost, foreign in itertools.product(self.servers, (0, 1), (False, True)):
                server.delete_object(Bucket=self.bucket, Key="album/m")

                def rule(number, verb, path): # of the requests that make an object, one loses its answer
                    if verb != method or "uploads=" in path:
                        return None
                    makes.append(path)
                    if foreign and len(makes) == lost + 2:
                        server.put_object(Bucket=self.bucket, Key="album/m", Body=b"another")
                    return "drop" if len(makes) == lost + 1 else None
                makes = []
                with faults.Faults(port, rule) as proxy:
                    version = self.put_if("", data, proxy.url)
                came = foreign and len(makes) > lost + 1
                self.assertEqual(self.there(server), data if version else b"another")
                if server is self.other or not came: # else in Swift's gap, or not
                    self.assertEqual(version is None, came, makes)

    def test_a_server_that_takes_no_notice(self):
        """Then the look before is all there is."""
        server, _, port = self.servers[1]

        class Deaf(faults.Faults):
            def forward(self, request, body, fault):
                del request.headers["if-none-match"], request.headers["if-match"]
                super().forward(request, body, fault)
        with Deaf(port) as proxy:
            one = self.put_if("", b"1", proxy.url)
            self.assertIsNone(self.put_if("", b"2", proxy.url))
            self.assertTrue(self.put_if(one, b"3", proxy.url))
        self.assertEqual(self.there(server), b"3")

    def test_two_at_once_are_told_apart(self):
        """409: another write is under way, and it may fail."""
        busy = faults.s3_error(409, "ConditionalRequestConflict")
        puts = []

        def rule(number, method, path):
            puts.append(method)
            return busy if method == "PUT" and puts.count("PUT") == 1 else None
        with faults.Faults(self.moto.port, rule) as proxy:
            self.assertTrue(self.put_if("", b"mine", proxy.url))
        self.assertEqual(puts.count("PUT"), 2)

    def test_folders_have_locks_instead(self):
        self.assertIn("is a folder", self.refused(self.folder / "x", "put_if", "m", "", word="usage"))


class Trouble(Case):
    def test_bytes_that_change_on_the_way(self):
        """Each request's SHA-256 is signed, and what does not fit it is sent again: objects as well as parts."""
        for data in (b"photo", Parts.BIG):
            spoilt = []
            rule = lambda n, method, path: None if method != "PUT" or spoilt else spoilt.append(n) or "spoil"
            with faulty(rule) as proxy:
                code, _, err = self.tool(self.place_url, "put", "a.jpg", data=data, env=environment(proxy.url))
                self.assertEqual(code, 0, err)
            self.assertEqual(len(spoilt), 1)
            self.assertEqual(self.body("album/a.jpg"), data)

    def test_transfer_that_breaks_off_goes_on(self):
        data = random.Random(2).randbytes(300000)
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=data)
        with faulty(lambda n, *_: "cut" if n < 7 else None) as proxy:
            code, out, err = self.tool(self.place_url, "get", "a.jpg", len(data), env=environment(proxy.url))
            self.assertEqual((code, out == data), (0, True), err)
            self.assertEqual([h.get("range") for _, _, h in proxy.seen][:3], [None, "bytes=150000-", "bytes=225000-"])
            self.assertEqual(len(proxy.seen), 8)

    def test_object_that_changes_meanwhile(self):
        """Never half of one and half of the other."""
        old, new = b"o" * 200000, b"n" * 250000
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=old)

        def rule(number, *_):
            if number == 1:
                client().put_object(Bucket=self.bucket, Key="album/a.jpg", Body=new)
            return "cut" if number == 0 else None
        with faulty(rule) as proxy:
            code, out, err = self.tool(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertEqual((code, out == new), (0, True), err)
            self.assertEqual(len(proxy.seen), 3)

    def test_server_that_does_not_heed_if_match(self):
        data = random.Random(5).randbytes(200000)
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=data)
        other = (206, {"ETag": '"other"', "Content-Range": "bytes 100000-199999/200000"}, b"x" * 100000)
        with faulty(lambda n, *_: ["cut", other, None][n]) as proxy:
            code, out, err = self.tool(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertEqual((code, out == data), (0, True), err)

    def test_download_that_never_ends_is_given_up(self):
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=b"o" * 200000)
        rule = lambda n, *_: faults.s3_error(412, "PreconditionFailed") if n % 2 else "cut"
        with faulty(rule) as proxy:
            self.refused(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertLess(len(proxy.seen), 20)

    def test_answers_of_others_than_s3(self):
        """A proxy that has lost its server says 404, or 200 and a page: neither is a missing object or an empty album."""
        cases = [("get", (404, {}, b"default backend - 404"), 6), ("list", (200, {}, b"<html></html>"), 1),
            ("get", (501, {}, b""), 1)]
        for verb, answer, asked in cases:
            with faulty(lambda *_: answer) as proxy:
                self.refused(self.place_url, verb, "a.jpg", env=environment(proxy.url))
                self.assertEqual(len(proxy.seen), asked, answer)
        with faulty(lambda *_: faults.s3_error(404, "NoSuchKey")) as proxy:
            self.assertEqual(self.tool(self.place_url, "remove", "a.jpg", env=environment(proxy.url))[0], 0)
            self.assertIn("NoSuchKey", self.refused(self.place_url, "get", "a.jpg", 10, word="permanent",
                env=environment(proxy.url))) # the limit is the object's, not the error's
        bad = faults.s3_error(403, "AccessDenied", "\u009b31m\nred")
        with faulty(lambda *_: bad) as proxy:
            err = self.refused(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertIn("%C2%9B31m%0Ared", err)

    def test_empty_pages_are_no_end(self):
        page = "<ListBucketResult><IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
        pages = [page.format("true", "<NextContinuationToken>1</NextContinuationToken>"),
            page.format("true", "<NextContinuationToken>2</NextContinuationToken>"),
            page.format("false", "<Contents><Key>album/a.jpg</Key><Size>5</Size></Contents>")]
        with faulty(lambda n, *_: (200, {}, pages[n].encode())) as proxy:
            self.assertEqual(self.tool(self.place_url, "list", env=environment(proxy.url))[1], b"5 a.jpg\0")

    def test_passing_trouble(self):
        plan = [faults.s3_error(503, "SlowDown", **{"Retry-After": "1"}), "drop", faults.s3_error(500, "InternalError"),
            (502, {}, b"<html>bad gateway</html>"), (429, {}, b"")]
        with faulty(lambda n, *_: plan[n] if n < len(plan) else None) as proxy:
            code, _, err = self.tool(self.place_url, "put", "a.jpg", data=b"abc", env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 6)
        self.assertEqual(self.body("album/a.jpg"), b"abc")

    def test_lasting_trouble_has_an_end(self):
        with faulty(lambda *_: faults.s3_error(503, "SlowDown")) as proxy:
            err = self.refused(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertIn("503 SlowDown", err)
            self.assertEqual(len(proxy.seen), 6)

    def test_errors_say_what_to_do(self):
        late = email.utils.format_datetime(datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1))
        late = late.replace("+0000", "GMT")
        cases = [
            (environment(AWS_SECRET_ACCESS_KEY="wrong"), "AWS_SECRET_ACCESS_KEY"),
            (environment("http://127.0.0.1:1"), "127.0.0.1"),
        ]
        for env, says in cases:
            self.assertIn(says, self.refused(self.place_url, "put", "a.jpg", env=env))
        self.assertIn("NoSuchBucket", self.refused("s3://not-there/x", "put", "a.jpg"))
        self.assertIn("create it", self.refused("s3://not-there/x", "list"))
        answers = [(faults.s3_error(403, "RequestTimeTooSkewed", Date=late), "ahead of the server's: run an NTP client"),
            (faults.s3_error(403, "AccessDenied"), "s3:PutObject"), ((403, {}, b"go away"), "403 AccessDenied"),
            (faults.s3_error(307, "TemporaryRedirect"), "AWS_REGION")]
        for answer, says in answers:
            with faulty(lambda *_: answer) as proxy:
                self.assertIn(says, self.refused(self.place_url, "put", "a.jpg", env=environment(proxy.url)))
                self.assertEqual(len(proxy.seen), 1, says)

    def test_usage(self):
        for url, env, says in [("s3://", environment(), "no bucket"), ("s3://ab", environment(), "no bucket"),
                ("s3://photos/a//b", environment(), "parts"), ("s3://photos/../b", environment(), "parts"),
                (self.place_url, environment("http://example.org"), "unencrypted"),
                (self.place_url, environment("ftp://127.0.0.1"), "no URL"),
                (self.place_url, environment("https:///"), "no URL"),
                (self.place_url, environment("http://127.evil.example"), "unencrypted"),
                (self.place_url, environment("http://localhost.example:80/x"), "unencrypted"),
                (self.place_url, environment(AWS_PROFILE="work"), "such a profile"),
                (self.place_url, environment(AWS_REGION="here/there"), "no region"),
                (self.place_url, environment(CLOAK_S3_ADDRESSING="both"), "CLOAK_S3_ADDRESSING"),
                (self.place_url, environment(AWS_SECRET_ACCESS_KEY=None), "secret key is not"),
                (self.place_url, environment(AWS_SECRET_ACCESS_KEY=None, AWS_ACCESS_KEY_ID=None), "no keys for S3")]:
            self.assertIn(says, self.refused(url, "put", "a.jpg", env=env, word="usage"))

    def test_passwords_are_not_shown(self):
        err = self.refused(self.place_url, "put", "a.jpg", env=environment("https://me:secret@127.0.0.1"), word="usage")
        self.assertNotIn("secret", err)

    def test_region_is_followed(self):
        code, _, err = self.tool(self.place_url, "put", "a.jpg", data=b"x", env=environment(AWS_REGION="eu-west-1"))
        self.assertEqual(code, 0, err)

    def test_certificates_are_checked(self):
        fleet.need("openssl")
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        with faulty(certificate=(certificate, key)) as proxy:
            err = self.refused(self.place_url, "put", "a.jpg", env=environment(proxy.url))
            self.assertIn("AWS_CA_BUNDLE", err)
            self.assertEqual(proxy.seen, [])
            env = environment(proxy.url, AWS_CA_BUNDLE=str(certificate))
            self.assertEqual(self.tool(self.place_url, "put", "a.jpg", data=b"x", env=env)[0], 0)
            err = self.refused(self.place_url, "put", "a.jpg",
                env=environment(proxy.url.replace("127.0.0.1", "localhost"), AWS_CA_BUNDLE=str(certificate)))
            self.assertIn("localhost", err)


if __name__ == "__main__":
    fleet.main()
