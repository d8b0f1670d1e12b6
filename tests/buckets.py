"""Tests against buckets: the server that they share, a client of its own, and calls of the store.

The server is Debian's Swift with its S3 layer, which verifies signatures; botocore, which shares no
line with us, puts and looks. moto, which does not verify, adds what Swift has not (a token service,
buckets in host names). Between them a proxy makes trouble (tests/faults.py).

A file of tests takes `setUpModule, tearDownModule = buckets.start, buckets.stop`."""
import functools
import subprocess
import unittest

import faults
import fleet
import swift

try:
    import botocore.client
    import botocore.config
    import botocore.exceptions
    import botocore.session
except ImportError:
    botocore = None

server, place = None, None


def start():
    global server, place
    if botocore is None:
        raise unittest.SkipTest("python3-botocore is not installed")
    if swift.missing():
        raise unittest.SkipTest(swift.missing())
    place = fleet.Place()
    server = swift.Swift(place.folder)
    server.start()


def stop():
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


def for_workers(env):
    """What a worker's own environment needs of such a one: the keys, and where the server is."""
    return {k: v for k, v in env.items() if k.startswith(("AWS_", "XDG_", "no_proxy"))}


def faulty(rule=None, certificate=None):
    """A proxy before the server that makes trouble by rule; see faults.Faults."""
    return faults.Faults(server.ports["proxy"], rule, certificate)


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
