#!/usr/bin/python3
"""Albums in buckets, and the S3 store call by call.

The server is Debian's Swift with its S3 layer, which verifies signatures; botocore, which shares no
line with us, puts and looks. moto, which does not verify, adds what Swift has not (a token service,
buckets in host names). Between them a proxy makes trouble (tests/faults.py)."""
import datetime
import email.utils
import functools
import http.server
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import faults  # noqa: E402
import fleet  # noqa: E402
import swift  # noqa: E402

try:
    import botocore.client
    import botocore.config
    import botocore.exceptions
    import botocore.session
except ImportError:
    botocore = None

# In the album from bucket to bucket; CLOAK_S3_PHOTOS=300 is what docs/operating.md quotes.
PHOTOS = int(os.environ.get("CLOAK_S3_PHOTOS") or (40 if fleet.ASAN else 100))

ODD_KEYS = ["a b.jpg", "a+b=c@d~e.jpg", "50%25 & more's.jpg", "\u00fcml\u00e4ut/\U0001F60A.jpg", "tab\there.jpg",
    "new\nline.jpg", "semi;colon,comma.jpg", "[x]{y}|z^`.jpg", "a?b#c.jpg", "q\"uote<>.jpg", "back\\slash.jpg"]

server, place = None, None


def setUpModule():
    global server, place
    if botocore is None:
        raise unittest.SkipTest("python3-botocore is not installed")
    if swift.missing():
        raise unittest.SkipTest(swift.missing())
    place = fleet.Place()
    server = swift.Swift(place.folder)
    server.start()


def tearDownModule():
    if server:
        server.close()


def environment(url=None, **changes):
    """An environment that has no keys and settings but these."""
    env = {k: v for k, v in fleet.environment().items() if not k.startswith("AWS_")}
    env.update(server.environment(), AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null",
        AWS_SHARED_CREDENTIALS_FILE="/dev/null", no_proxy="127.0.0.1,localhost")
    if url:
        env["AWS_ENDPOINT_URL_S3"] = url
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


@functools.cache
def client(url=None):
    session = botocore.session.Session()
    session.set_credentials(server.access, server.secret)
    return session.create_client("s3", region_name=server.region, endpoint_url=url or server.url,
        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 5}))


class Case(fleet.Case):
    count = 0

    def setUp(self):
        super().setUp()
        Case.count += 1
        self.bucket = f"photos-{Case.count}"
        self.client = client()
        self.client.create_bucket(Bucket=self.bucket)
        self.place_url = f"s3://{self.bucket}/album"

    def tool(self, url, verb, *args, data=b"", env=None):
        """(exit code, stdout, stderr) of a call of the store."""
        done = subprocess.run([fleet.BIN / "store_tool", url, verb, *map(str, args)], input=data,
            capture_output=True, env=env or environment(), timeout=fleet.PATIENCE)
        self.assertIsNone(fleet.SANITIZER.search(done.stderr.decode(errors="replace")), done.stderr)
        return done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape")

    def refused(self, url, verb, *args, env=None, word="transient"):
        code, _, err = self.tool(url, verb, *args, data=b"x", env=env)
        self.assertEqual(code, 1)
        self.assertTrue(err.startswith(word + ": "), err)
        return err

    def body(self, key, bucket=None):
        return self.client.get_object(Bucket=bucket or self.bucket, Key=key)["Body"].read()

    def keys(self):
        return sorted(o["Key"] for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket) for o in page.get("Contents", []))

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


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
        size, modified = map(int, out.split())
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
        with faults.Faults(server.ports["proxy"], lambda n, *_: plan.get(n)) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual([m for m, _, _ in proxy.seen], ["POST"] + ["PUT"] * 6 + ["POST", "POST"])
        self.assertEqual(self.body("album/big.png"), self.BIG)
        self.assertEqual(self.uploads(), [])

    def test_complete_that_answers_ok_and_an_error(self):
        bad = faults.s3_error(200, "InternalError")
        with faults.Faults(server.ports["proxy"], lambda n, *_: bad if n == 4 else None) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 6)
        self.assertEqual(self.body("album/big.png"), self.BIG)

    def test_complete_that_promises_too_much(self):
        """200 is no object yet: nothing, white space and an error, or a page of some proxy, are each tried again."""
        answers = {4: (200, {}, b""), 5: (200, {}, b" \n \n" + faults.s3_error(200, "InternalError")[2]),
            6: (200, {}, b"<html><body>hello</body></html>")}
        with faults.Faults(server.ports["proxy"], lambda n, *_: answers.get(n)) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 8)
        self.assertEqual(self.body("album/big.png"), self.BIG)

    def test_uploads_of_unknown_age_or_name_stay(self):
        page = ("<ListMultipartUploadsResult><Upload><Key>album/a%25b</Key><UploadId>1</UploadId></Upload><Upload>"
            "<Key>album/%C3%BC</Key><UploadId>2</UploadId><Initiated>2020-01-01T00:00:00Z</Initiated></Upload>"
            "<EncodingType>url</EncodingType></ListMultipartUploadsResult>")
        answer = lambda n, method, path: (200, {}, page.encode()) if method == "GET" else (204, {}, b"")
        with faults.Faults(server.ports["proxy"], answer) as proxy:
            self.assertEqual(self.tool(self.place_url, "sweep", 0, "", env=environment(proxy.url))[0], 0)
            self.assertEqual([p for m, p, _ in proxy.seen if m == "DELETE"],
                [f"/{self.bucket}/album/%C3%BC?uploadId=2"])

    def test_failure_leaves_nothing(self):
        rule = lambda n, method, path: faults.s3_error(403, "AccessDenied") if "partNumber=2" in path else None
        with faults.Faults(server.ports["proxy"], rule) as proxy:
            code, _, err = self.tool(self.place_url, "put", "big.png", data=self.BIG, env=environment(proxy.url))
            self.assertEqual(code, 1)
            self.assertIn("AccessDenied", err)
            self.assertEqual(proxy.seen[-1][0], "DELETE")
        self.assertEqual((self.keys(), self.uploads()), ([], []))

    def test_killed_on_the_way_and_swept(self):
        rule = lambda n, method, path: "hang" if "partNumber=2" in path else None
        other = self.client.create_multipart_upload(Bucket=self.bucket, Key="elsewhere/x")
        with faults.Faults(server.ports["proxy"], rule) as proxy:
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


class Trouble(Case):
    def test_transfer_that_breaks_off_goes_on(self):
        data = random.Random(2).randbytes(300000)
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=data)
        with faults.Faults(server.ports["proxy"], lambda n, *_: "cut" if n < 7 else None) as proxy:
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
        with faults.Faults(server.ports["proxy"], rule) as proxy:
            code, out, err = self.tool(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertEqual((code, out == new), (0, True), err)
            self.assertEqual(len(proxy.seen), 3)

    def test_server_that_does_not_heed_if_match(self):
        data = random.Random(5).randbytes(200000)
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=data)
        other = (206, {"ETag": '"other"', "Content-Range": "bytes 100000-199999/200000"}, b"x" * 100000)
        with faults.Faults(server.ports["proxy"], lambda n, *_: ["cut", other, None][n]) as proxy:
            code, out, err = self.tool(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertEqual((code, out == data), (0, True), err)

    def test_download_that_never_ends_is_given_up(self):
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=b"o" * 200000)
        rule = lambda n, *_: faults.s3_error(412, "PreconditionFailed") if n % 2 else "cut"
        with faults.Faults(server.ports["proxy"], rule) as proxy:
            self.refused(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertLess(len(proxy.seen), 20)

    def test_answers_of_others_than_s3(self):
        """A proxy that has lost its server says 404, or 200 and a page: neither is a missing object or an empty album."""
        cases = [("get", (404, {}, b"default backend - 404"), 6), ("list", (200, {}, b"<html></html>"), 1),
            ("get", (501, {}, b""), 1)]
        for verb, answer, asked in cases:
            with faults.Faults(server.ports["proxy"], lambda *_: answer) as proxy:
                self.refused(self.place_url, verb, "a.jpg", env=environment(proxy.url))
                self.assertEqual(len(proxy.seen), asked, answer)
        with faults.Faults(server.ports["proxy"], lambda *_: faults.s3_error(404, "NoSuchKey")) as proxy:
            self.assertEqual(self.tool(self.place_url, "remove", "a.jpg", env=environment(proxy.url))[0], 0)
            self.assertIn("NoSuchKey", self.refused(self.place_url, "get", "a.jpg", 10, word="permanent",
                env=environment(proxy.url))) # the limit is the object's, not the error's
        bad = faults.s3_error(403, "AccessDenied", "\u009b31m\nred")
        with faults.Faults(server.ports["proxy"], lambda *_: bad) as proxy:
            err = self.refused(self.place_url, "get", "a.jpg", env=environment(proxy.url))
            self.assertIn("%C2%9B31m%0Ared", err)

    def test_empty_pages_are_no_end(self):
        page = "<ListBucketResult><IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
        pages = [page.format("true", "<NextContinuationToken>1</NextContinuationToken>"),
            page.format("true", "<NextContinuationToken>2</NextContinuationToken>"),
            page.format("false", "<Contents><Key>album/a.jpg</Key><Size>5</Size></Contents>")]
        with faults.Faults(server.ports["proxy"], lambda n, *_: (200, {}, pages[n].encode())) as proxy:
            self.assertEqual(self.tool(self.place_url, "list", env=environment(proxy.url))[1], b"5 a.jpg\0")

    def test_passing_trouble(self):
        plan = [faults.s3_error(503, "SlowDown", **{"Retry-After": "1"}), "drop", faults.s3_error(500, "InternalError"),
            (502, {}, b"<html>bad gateway</html>"), (429, {}, b"")]
        with faults.Faults(server.ports["proxy"], lambda n, *_: plan[n] if n < len(plan) else None) as proxy:
            code, _, err = self.tool(self.place_url, "put", "a.jpg", data=b"abc", env=environment(proxy.url))
            self.assertEqual(code, 0, err)
            self.assertEqual(len(proxy.seen), 6)
        self.assertEqual(self.body("album/a.jpg"), b"abc")

    def test_lasting_trouble_has_an_end(self):
        with faults.Faults(server.ports["proxy"], lambda *_: faults.s3_error(503, "SlowDown")) as proxy:
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
            with faults.Faults(server.ports["proxy"], lambda *_: answer) as proxy:
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
        with faults.Faults(server.ports["proxy"], certificate=(certificate, key)) as proxy:
            err = self.refused(self.place_url, "put", "a.jpg", env=environment(proxy.url))
            self.assertIn("AWS_CA_BUNDLE", err)
            self.assertEqual(proxy.seen, [])
            env = environment(proxy.url, AWS_CA_BUNDLE=str(certificate))
            self.assertEqual(self.tool(self.place_url, "put", "a.jpg", data=b"x", env=env)[0], 0)
            err = self.refused(self.place_url, "put", "a.jpg",
                env=environment(proxy.url.replace("127.0.0.1", "localhost"), AWS_CA_BUNDLE=str(certificate)))
            self.assertIn("localhost", err)


class Moto:
    """moto's server: S3 without verification, and STS."""

    def __enter__(self):
        self.port = fleet.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {**environment(), "PYTHONPATH": fleet.python_packages()}
        self.program = fleet.Program(place.folder, f"moto-{self.port}",
            ["/usr/bin/python3", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)], env=env)
        place.programs.append(self.program)

        def up():
            if not self.program.alive():
                raise AssertionError(self.program.text()[-2000:])
            try:
                return client(self.url).list_buckets()
            except botocore.exceptions.BotoCoreError:
                return None
        fleet.wait_until(up, "moto")
        return self

    def __exit__(self, *_):
        self.program.end()


class Lender(http.server.BaseHTTPRequestHandler):
    """Lends the keys of Swift's user, as a container's agent does and as instance metadata do."""
    asked, lives, lend = [], 3600, None

    def log_message(self, *_):
        pass

    def reply(self, text, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        Lender.asked.append(self.path)
        fine = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        self.reply("a-token" if fine else "", 200 if fine else 400)

    def do_GET(self):
        Lender.asked.append(self.path)
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=Lender.lives)
        access, secret = Lender.lend or (server.access, server.secret)
        keys = json.dumps({"AccessKeyId": access, "SecretAccessKey": secret, "Code": "Success",
            "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")})
        machine = self.headers.get("X-aws-ec2-metadata-token") == "a-token"
        if self.path == "/keys" and self.headers.get("Authorization") == "Bearer me":
            self.reply(keys)
        elif self.path == "/latest/meta-data/iam/security-credentials/" and machine:
            self.reply("photos-role")
        elif self.path == "/latest/meta-data/iam/security-credentials/photos-role" and machine:
            self.reply(keys)
        else:
            self.reply("", 403)


class Keys(Case):
    NONE = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}

    def setUp(self):
        super().setUp()
        self.lender = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lender)
        threading.Thread(target=self.lender.serve_forever, daemon=True).start()
        self.lender_url = f"http://127.0.0.1:{self.lender.server_address[1]}"
        Lender.asked, Lender.lives, Lender.lend = [], 3600, None
        self.client.put_object(Bucket=self.bucket, Key="album/a.jpg", Body=b"x")

    def tearDown(self):
        self.lender.shutdown()
        self.lender.server_close()
        super().tearDown()

    def works(self, **env):
        code, out, err = self.tool(self.place_url, "get", "a.jpg", env=environment(**{**self.NONE, **env}))
        self.assertEqual((code, out), (0, b"x"), err)

    def test_profiles(self):
        config, credentials = self.folder / "config", self.folder / "credentials"
        credentials.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key=nothing\n"
            f"; a comment\n[work]\naws_access_key_id={server.access}\naws_secret_access_key = {server.secret} \n")
        config.write_text(f"[default]\nregion = eu-west-1\n[profile  work]\nregion=us-east-1\ns3 =\n"
            f"  max_concurrent_requests = 3\n  addressing_style = path\nservices = here\n"
            f"[services here]\ns3 = \n  endpoint_url = {server.url}/\n")
        files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_ENDPOINT_URL_S3": None, "AWS_REGION": None}
        self.works(AWS_PROFILE="work", **files)
        err = self.refused(self.place_url, "get", "a.jpg", env=environment(**{**self.NONE, **files,
            "AWS_ENDPOINT_URL_S3": server.url}))
        self.assertIn("SignatureDoesNotMatch", err)
        credentials.write_text("[default]\n")
        config.write_text("[default]\nsso_session = office\n")
        self.assertIn("export-credentials", self.refused(self.place_url, "get", "a.jpg", word="usage",
            env=environment(**{**self.NONE, **files, "AWS_ENDPOINT_URL_S3": server.url})))

    def test_containers_agent(self):
        agent = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.lender_url}/keys"}
        self.works(AWS_CONTAINER_AUTHORIZATION_TOKEN="Bearer me", **agent)
        token = self.folder / "token"
        token.write_text("Bearer me\n")
        self.works(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(token), **agent)
        err = self.refused(self.place_url, "get", "a.jpg", env=environment(**self.NONE, **agent))
        self.assertIn("agent answers 403", err)
        for url in ("http://example.org/keys", "http://localhost.example/", "http://localhost@example.org/",
                "http://169.254.170.2.example/"):
            self.assertIn("this machine", self.refused(self.place_url, "get", "a.jpg", word="usage", env=environment(
                **self.NONE, AWS_CONTAINER_CREDENTIALS_FULL_URI=url)))
        self.refused(self.place_url, "get", "a.jpg", env=environment(**self.NONE, **agent,
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(self.folder / "nothing"))) # never the photo's fault

    def test_machines_metadata(self):
        self.works(AWS_EC2_METADATA_DISABLED=None, AWS_EC2_METADATA_SERVICE_ENDPOINT=self.lender_url)
        self.assertEqual(len(Lender.asked), 3)

    def test_renewal(self):
        """Keys that are about to expire are fetched anew for each request; so are those the server calls expired."""
        agent = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.lender_url}/keys",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer me"}
        self.client.put_object(Bucket=self.bucket, Key="album/b.jpg", Body=b"y" * 1000)
        Lender.lives = 200
        with faults.Faults(server.ports["proxy"], lambda n, *_: "cut" if n == 0 else None) as proxy:
            self.works_at(proxy.url, **agent)
        self.assertEqual(Lender.asked, ["/keys"] * 2)
        Lender.lives, Lender.asked = 3600, []
        gone = faults.s3_error(400, "ExpiredToken")
        with faults.Faults(server.ports["proxy"], lambda n, *_: gone if n == 0 else None) as proxy:
            self.works_at(proxy.url, **agent)
        self.assertEqual(Lender.asked, ["/keys"] * 2)
        with faults.Faults(server.ports["proxy"], lambda *_: gone) as proxy:
            err = self.refused(self.place_url, "get", "b.jpg", env=environment(proxy.url, **{**self.NONE, **agent}))
            self.assertIn("AWS_SESSION_TOKEN", err)
            self.assertEqual(len(proxy.seen), 2)

    def works_at(self, url, **env):
        code, out, err = self.tool(self.place_url, "get", "b.jpg", env=environment(url, **{**self.NONE, **env}))
        self.assertEqual((code, out), (0, b"y" * 1000), err)

    def test_web_identity(self):
        """moto lends keys that only moto believes in."""
        with Moto() as moto:
            client(moto.url).create_bucket(Bucket="web")
            token = self.folder / "token"
            token.write_text("a.b.c\n")
            env = environment(moto.url, **self.NONE, AWS_ROLE_ARN="arn:aws:iam::123456789012:role/photos",
                AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ENDPOINT_URL_STS=moto.url)
            with faults.Faults(moto.port) as proxy:
                env["AWS_ENDPOINT_URL_S3"] = proxy.url
                self.assertEqual(self.tool("s3://web", "put", "a.jpg", data=b"x", env=env)[0], 0)
                headers = proxy.seen[0][2]
            self.assertIn("x-amz-security-token", headers)
            self.assertIn("x-amz-security-token", headers["authorization"])
            self.assertIn("Credential=ASIA", headers["authorization"])
            env["AWS_ENDPOINT_URL_STS"] = "http://example.org"
            self.assertIn("https://", self.refused("s3://web", "get", "a.jpg", env=env, word="usage"))


class Albums(Case):
    def tiny(self, count, prefix):
        """Photos of their own colours in the bucket; returns their keys below the prefix."""
        keys = []
        for i in range(count):
            data = io.BytesIO()
            Image.new("RGB", (48, 48), (i % 200 + 20, i // 200 + 30, 60)).save(data, "JPEG", quality=90)
            keys.append(f"day {i // 50}/{i:03d}.jpg")
            self.client.put_object(Bucket=self.bucket, Key=f"{prefix}/{keys[-1]}", Body=data.getvalue())
        return keys

    def test_bucket_to_bucket(self):
        """A fleet of two, one of which is killed; the server restarts; one answer in twenty is 503."""
        count = PHOTOS
        keys = self.tiny(count, "in")
        chance = random.Random(3)
        refused = []

        def rule(*_):
            refused.append(chance.random() < 0.05)
            return faults.s3_error(503, "SlowDown") if refused[-1] else None
        home = {"XDG_STATE_HOME": str(self.folder / "state")}
        redis = self.place.redis()
        out = f"s3://{self.bucket}/out"
        with faults.Faults(server.ports["proxy"], rule) as proxy:
            env = environment(proxy.url, CLOAK_REDIS=redis.url, **home)
            submit = self.place.cloak("submit", f"s3://{self.bucket}/in", out, "--steps", "4", "--json", env=env)
            self.assert_code(submit, 0)
            self.assertEqual(submit.json["total"], count)
            album = submit.json["album"]
            variables = {k: v for k, v in env.items() if k.startswith(("AWS_", "XDG_", "no_proxy"))}
            workers = [self.place.start_stub_worker(redis.url, f"w{i}", 0.02, "--lease", "5", CLOAK_STUB_SEES_ALL="1",
                **variables) for i in range(2)]
            status = lambda: self.place.cloak("status", album, "--json", env=env).json
            fleet.wait_until(lambda: status()["delivered"] > count / 10, "some photos")
            workers[0].process.kill()
            server.kill_proxy()
            time.sleep(0.5)
            server.start_proxy()
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
        want = {f"in/{k}" for k in keys} | {f"out/{k}" for k in keys} | {f"out/{k}.cloak.json" for k in keys}
        self.assertEqual(set(self.keys()), want | {"out.cloak/manifest"})
        self.assertEqual(self.uploads(), [])
        receipt = json.loads(self.body(f"out/{keys[0]}.cloak.json"))
        self.assertEqual((receipt["source"], receipt["destination"]), (f"s3://{self.bucket}/in", out))
        self.from_another_machine(redis, out, album, keys)

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

    def test_a_worker_without_keys_kills_no_photo(self):
        keys = self.tiny(3, "in")
        redis = self.place.redis()
        env = environment(CLOAK_REDIS=redis.url, XDG_STATE_HOME=str(self.folder / "state"))
        submit = self.place.cloak("submit", f"s3://{self.bucket}/in", f"s3://{self.bucket}/out", "--steps", "4", env=env)
        self.assert_code(submit, 0)
        variables = {k: v for k, v in env.items() if k.startswith(("AWS_", "no_proxy"))}
        lacking = {**variables, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        poor = self.place.start_stub_worker(redis.url, "poor", 0, CLOAK_STUB_SEES_ALL="1", **lacking)
        fleet.wait_until(lambda: poor.text().count("photo_failed") >= 3, "failures")
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
        with faults.Faults(server.ports["proxy"], lambda *_: "hang") as proxy:
            variables = {k: v for k, v in environment(proxy.url).items() if k.startswith(("AWS_", "no_proxy"))}
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
