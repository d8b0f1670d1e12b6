#!/usr/bin/python3
"""The S3 store behind a web proxy (tinyproxy), and how many connections it takes."""
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import buckets  # noqa: E402
import fleet  # noqa: E402
from buckets import Case, environment, faulty  # noqa: E402

setUpModule, tearDownModule = buckets.start, buckets.stop


class Proxy(Case):
    def setUp(self):
        super().setUp()
        fleet.need("tinyproxy", "openssl")
        self.port = fleet.free_port()
        self.log = self.folder / "proxy.log"
        self.log.touch()
        (self.folder / "proxy.conf").write_text(f"Port {self.port}\nListen 127.0.0.1\nTimeout 60\nLogFile \"{self.log}\"\n"
            "LogLevel Connect\nBasicAuth me secret\n")
        self.program = fleet.Program(self.place.folder, "tinyproxy", ["tinyproxy", "-d", "-c", self.folder / "proxy.conf"])
        self.place.programs.append(self.program)
        fleet.wait_until(self.listens, "tinyproxy")
        self.proxy = f"http://me:secret@127.0.0.1:{self.port}"

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 2).close()
            return True
        except OSError:
            return False

    def asked(self):
        """What the proxy was asked for, a line each."""
        return [line.partition("): ")[2] for line in self.log.read_text().splitlines() if "Request (file" in line]

    def test_plain_requests_go_through_it(self):
        env = environment(http_proxy=self.proxy, no_proxy=None)
        self.assertEqual(self.tool(self.place_url, "put", "a b.jpg", data=b"xyz", env=env)[0], 0)
        self.assertEqual(self.tool(self.place_url, "get", "a b.jpg", env=env)[1], b"xyz")
        self.assertEqual(self.body("album/a b.jpg"), b"xyz")
        asked = self.asked()
        self.assertTrue(asked and all(buckets.server.url in line for line in asked), asked)

    def test_not_where_no_proxy_says(self):
        env = environment(http_proxy=self.proxy, no_proxy="127.0.0.1")
        self.assertEqual(self.tool(self.place_url, "put", "a.jpg", data=b"xyz", env=env)[0], 0)
        self.assertEqual(self.asked(), [])

    def test_encrypted_requests_are_tunnelled(self):
        """The proxy sees a host and a port; the certificate that is checked is the server's."""
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        with faulty(certificate=(certificate, key)) as server:
            env = environment(server.url, https_proxy=self.proxy, no_proxy=None, AWS_CA_BUNDLE=str(certificate))
            self.assertEqual(self.tool(self.place_url, "put", "a.jpg", data=b"xyz", env=env)[0], 0)
            self.assertTrue(server.seen)
            asked = self.asked()
            self.assertTrue(asked and all(line == f"CONNECT 127.0.0.1:{server.address} HTTP/1.1" for line in asked), asked)
            self.assertIn("AWS_CA_BUNDLE", self.refused(self.place_url, "put", "a.jpg", env=dict(env, AWS_CA_BUNDLE="")))

    def test_trouble_names_the_proxy(self):
        closed = fleet.free_port()
        for proxy, says in ((f"http://127.0.0.1:{closed}", f"port {closed}"), (f"http://me:wrong@127.0.0.1:{self.port}", "401; the server, or a proxy before it, wants"),
                (f"http://127.0.0.1:{self.port}", "407; the proxy wants")):
            code, _, err = self.tool(self.place_url, "get", "a.jpg", env=environment(http_proxy=proxy, no_proxy=None))
            self.assertEqual(code, 1)
            self.assertIn(says, err)
            self.assertNotIn("wrong", err)


class Connections(Case):
    def test_one_serves_many_requests(self):
        data = bytes(range(256)) * ((16 << 20) // 256 + 1) # in parts
        with faulty() as server:
            self.assertEqual(self.tool(self.place_url, "put", "big.png", data=data, env=environment(server.url))[0], 0)
            self.assertGreaterEqual(len(server.seen), 5)
            self.assertEqual(server.connections, 1)


if __name__ == "__main__":
    fleet.main()
