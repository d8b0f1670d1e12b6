#!/usr/bin/python3
"""Whose keys sign the requests to a bucket: environment, profiles, and the services that lend them."""
import datetime
import http.server
import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import buckets  # noqa: E402
import faults  # noqa: E402
import fleet  # noqa: E402
from buckets import Case, Moto, client, environment, faulty  # noqa: E402

setUpModule, tearDownModule = buckets.start, buckets.stop


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
        access, secret = Lender.lend or (buckets.server.access, buckets.server.secret)
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
            f"; a comment\n[work]\naws_access_key_id={buckets.server.access}\naws_secret_access_key = {buckets.server.secret} \n")
        config.write_text(f"[default]\nregion = eu-west-1\n[profile  work]\nregion=us-east-1\ns3 =\n"
            f"  max_concurrent_requests = 3\n  addressing_style = path\nservices = here\n"
            f"[services here]\ns3 = \n  endpoint_url = {buckets.server.url}/\n")
        files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_ENDPOINT_URL_S3": None, "AWS_REGION": None}
        self.works(AWS_PROFILE="work", **files)
        err = self.refused(self.place_url, "get", "a.jpg", env=environment(**{**self.NONE, **files,
            "AWS_ENDPOINT_URL_S3": buckets.server.url}))
        self.assertIn("SignatureDoesNotMatch", err)
        credentials.write_text("[default]\n")
        config.write_text("[default]\nsso_session = office\n")
        self.assertIn("export-credentials", self.refused(self.place_url, "get", "a.jpg", word="usage",
            env=environment(**{**self.NONE, **files, "AWS_ENDPOINT_URL_S3": buckets.server.url})))

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
        with faulty(lambda n, *_: "cut" if n == 0 else None) as proxy:
            self.works_at(proxy.url, **agent)
        self.assertEqual(Lender.asked, ["/keys"] * 2)
        Lender.lives, Lender.asked = 3600, []
        gone = faults.s3_error(400, "ExpiredToken")
        with faulty(lambda n, *_: gone if n == 0 else None) as proxy:
            self.works_at(proxy.url, **agent)
        self.assertEqual(Lender.asked, ["/keys"] * 2)
        with faulty(lambda *_: gone) as proxy:
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


if __name__ == "__main__":
    fleet.main()
