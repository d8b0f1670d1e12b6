#!/usr/bin/python3
"""The confined reader of photos: whatever becomes of it costs the photo in hand and no other, and the worker goes on.

The real worker with a model that sleeps; its reader is killed, or replaced (CLOAK_INTAKE) by one that breaks."""
import os
import pathlib
import random
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

PHOTOS = 6

# Hands all on to the real reader, but breaks of files that hold a mark, as a library might.
BREAKS = """#!/usr/bin/python3 -I
import os, signal, socket, struct, sys
inherited = socket.socket(fileno=3)
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
if os.fork() == 0:
    os.dup2(pair[1].fileno(), 3)
    os.execv({real!r}, ["cloak-intake"])
pair[1].close()
inherited.send(pair[0].recv(65536)) # ready
while True:
    message, fds, _, _ = socket.recv_fds(inherited, 65536, 1)
    if not message:
        break
    data = os.pread(fds[0], 1 << 24, 0)
    if {mark!r} in data:
        {what}
    socket.send_fds(pair[0], [message], fds)
    os.close(fds[0])
    message, fds, _, _ = socket.recv_fds(pair[0], 65536, 1)
    socket.send_fds(inherited, [message], fds)
    for fd in fds:
        os.close(fd)
"""


class Intake(fleet.Case):
    def setUp(self):
        super().setUp()
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)
        self.album, self.out = self.folder / "album", self.folder / "out"
        self.album.mkdir()
        draw = random.Random(3)
        for i in range(PHOTOS):
            fleet.stub_photo(self.album / f"{i}.png", draw)
        with open(self.album / "2.png", "ab") as file:
            file.write(b"breaks the reader")
        self.id = self.place.cloak("submit", self.album, self.out, env=self.env).out.strip()

    def work(self, what):
        reader = self.folder / "reader"
        reader.write_text(BREAKS.format(real=str(fleet.BIN / "cloak-intake"), mark=b"breaks the reader", what=what))
        reader.chmod(0o755)
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, CLOAK_INTAKE=str(reader))
        watch = self.place.cloak("watch", self.id, "--json", env=self.env)
        self.assertTrue(worker.alive(), worker.text())
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        return watch, worker.text()

    def check_one_lost(self, what, says):
        watch, log = self.work(what)
        self.assert_code(watch, 4)
        self.assertEqual((watch.json["delivered"], watch.json["dead"]), (PHOTOS - 1, 1))
        dead = self.place.cloak("dead", self.id, env=self.env).out
        self.assertIn("2.png\tpermanent", dead)
        self.assertIn(says, dead)

    def test_a_crash_costs_one_photo(self):
        self.check_one_lost("os.kill(os.getpid(), signal.SIGSEGV)", "signal 11")

    def test_two_descriptors_and_a_child_that_lives_on(self):
        """Nonsense on the wire, from a child that then lets go of the socket and sleeps: it is not waited for."""
        self.check_one_lost("socket.send_fds(inherited, [b'x'], [0, 0]); inherited.close(); import time; time.sleep(1000)",
            "nonsense")

    def test_an_exit_costs_one_photo(self):
        self.check_one_lost("sys.exit(3)", "exit status 3")

    def test_nonsense_costs_one_photo(self):
        """An answer that no photo can have: no pixels, and a size beyond all limits."""
        self.check_one_lost("socket.send_fds(inherited, [struct.pack('Qi768s10i%ds12Q' % (12 * 4 + 4 + 32 + 1 + 4), struct.unpack_from('Q', message)[0], 0, b'', 1 << 30, 1 << 30, 0, 0, 2, 0, 0, 0, 0, 0, b'', "
            "*[1 << 40] * 12)], fds); continue", "no photo can be")

    def test_a_reader_that_is_killed_is_tried_again(self):
        """For want of memory, perhaps: that may pass, and does."""
        watch, log = self.work("open(sys.argv[0] + '.once', 'x') if os.path.exists(sys.argv[0] + '.once') is False else None; "
            "os.path.getsize(sys.argv[0] + '.once') or (open(sys.argv[0] + '.once', 'w').write('x'), "
            "os.kill(os.getpid(), signal.SIGKILL))")
        self.assert_code(watch, 0)
        self.assertEqual(watch.json["delivered"], PHOTOS)
        self.assertIn("intake_died", log)
        self.assertNotIn("photo_failed", log) # at once, by a fresh one

    def test_a_stop_does_not_wait_for_the_reader(self):
        reader = self.folder / "reader"
        reader.write_text("#!/bin/sh\nexec sleep 1000\n")
        reader.chmod(0o755)
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, "--drain-seconds", "1", CLOAK_INTAKE=str(reader))
        readers = lambda: [p for p, words in fleet.children(worker.pid).items() if "1000" in words]
        found = fleet.wait_until(readers, "the reader")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(60).code, 0)
        self.assertFalse(pathlib.Path(f"/proc/{found[0]}").exists())
        status = self.place.cloak("status", self.id, "--json", env=self.env).json
        self.assertEqual((status["waiting"], status["dead"]), (PHOTOS, 0))

    def test_a_photo_that_takes_too_long_to_read(self):
        """A minute of the processor, which here is a quarter of a second, is all that a photo gets; its neighbours have theirs."""
        if fleet.ASAN:
            self.skipTest("under sanitizers a small photo takes as long")
        noise = random.Random(5).randbytes(80000000).translate(bytes(i & 15 for i in range(256)))
        Image.frombytes("L", (10000, 8000), noise).save(self.album / "slow.png", compress_level=1)
        self.place.cloak("submit", self.album, self.out, env=self.env)
        reader = self.folder / "reader"
        reader.write_text(f"#!/bin/sh\nLD_PRELOAD={fleet.BIN}/wrong_hurry.so exec {fleet.BIN}/cloak-intake\n")
        reader.chmod(0o755)
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, CLOAK_INTAKE=str(reader))
        watch = self.place.cloak("watch", self.id, "--json", env=self.env)
        self.assertEqual((watch.json["delivered"], watch.json["dead"]), (PHOTOS, 1))
        self.assertIn("slow.png takes too long to read", self.place.cloak("dead", self.id, env=self.env).out)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)

    def test_what_the_machine_lacks_is_no_photos_fault(self):
        """A reader that does not start, for want of rights or of a library, kills no photo."""
        for number, script in enumerate(("#!/bin/sh\nexit 127\n", f"#!/bin/sh\nulimit -v 20000; exec {fleet.BIN}/cloak-intake\n")):
            if number and fleet.ASAN:
                continue # which takes terabytes of addresses
            reader = self.folder / f"reader-{number}"
            reader.write_text(script)
            reader.chmod(0o755)
            worker = self.place.start_stub_worker(self.redis.url, f"w{number}", 0, CLOAK_INTAKE=str(reader))
            fleet.wait_until(lambda: "does not start" in worker.text(), "the worker to say so")
            worker.signal(signal.SIGTERM)
            self.assertEqual(worker.wait().code, 0)
            self.assertEqual(self.place.cloak("status", self.id, "--json", env=self.env).json["dead"], 0)

    def test_a_tight_limit_of_addresses_is_fine(self):
        if fleet.ASAN:
            self.skipTest("the sanitizer takes terabytes of addresses")
        reader = self.folder / "reader"
        reader.write_text(f"#!/bin/sh\nulimit -v 2000000; exec {fleet.BIN}/cloak-intake\n")
        reader.chmod(0o755)
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, CLOAK_INTAKE=str(reader))
        self.assert_code(self.place.cloak("watch", self.id, env=self.env), 0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)

    def test_a_reader_that_dies_while_it_waits_costs_nothing(self):
        """Nobody is blamed for what happened between two photos."""
        worker = self.place.start_stub_worker(self.redis.url, "w", 0)
        self.assert_code(self.place.cloak("watch", self.id, env=self.env), 0)
        reader = next(p for p, words in fleet.children(worker.pid).items() if words[0].endswith("cloak-intake"))
        os.kill(reader, signal.SIGTERM) # which it does not heed
        os.kill(reader, signal.SIGKILL)
        fleet.stub_photo(self.album / "late.png", random.Random(9))
        self.place.cloak("submit", self.album, self.out, env=self.env)
        self.assert_code(self.place.cloak("watch", self.id, env=self.env), 0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        self.assertNotIn("photo_failed", worker.text())

    def test_the_reader_knows_no_secrets(self):
        worker = self.place.start_stub_worker(self.redis.url, "w", 5, AWS_SECRET_ACCESS_KEY="sesame", CLOAK_HTTP_TOKEN="sesame")
        readers = lambda: [p for p, words in fleet.children(worker.pid).items() if words[0].endswith("cloak-intake")]
        reader = pathlib.Path("/proc", str(fleet.wait_until(readers, "a reader")[0]))
        self.assertNotIn(b"sesame", (reader / "environ").read_bytes())
        fleet.wait_until(lambda: "Seccomp:\t2" in (reader / "status").read_text(), "its confinement")
        for entry in (reader / "fd").iterdir():
            if int(entry.name) > 3:
                self.assertTrue(os.readlink(entry).startswith(("/memfd:cloak", "anon_inode:")), os.readlink(entry))

    def test_there_is_no_reader(self):
        worker = self.place.start_stub_worker(self.redis.url, "w", 0, CLOAK_INTAKE=str(self.folder / "nothing"))
        fleet.wait_until(lambda: "cannot start the reader" in worker.text(), "the worker to say so")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)
        status = self.place.cloak("status", self.id, "--json", env=self.env).json
        self.assertEqual((status["dead"], status["delivered"]), (0, 0))

    def test_the_reader_ends_with_its_worker(self):
        worker = self.place.start_stub_worker(self.redis.url, "w", 5)
        readers = lambda: [p for p, words in fleet.children(worker.pid).items() if words[0].endswith("cloak-intake")]
        found = fleet.wait_until(readers, "a reader")
        worker.process.kill()
        worker.process.wait()
        fleet.wait_until(lambda: not pathlib.Path(f"/proc/{found[0]}").exists() or
            pathlib.Path(f"/proc/{found[0]}/stat").read_text().split()[2] == "Z", "its end")


if __name__ == "__main__":
    fleet.main()
