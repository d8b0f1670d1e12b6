#!/usr/bin/python3
"""Bad input and bad luck: each has a clear error that names the file, none stops the album, and
nothing is left half-written."""
import ctypes
import os
import pathlib
import struct
import subprocess
import sys
import unittest
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import numpy as np
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

# linux/prctl.h, linux/capability.h
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
# Not UTF-8, a line break, both quotes, a percent sign: all that a file name may hold.
STRANGE = b"1 new\nline \"quote\" 'q' 100% \xff\xe9.jpg"
STRANGE_SHOWN = "1 new%0Aline \"quote\" 'q' 100%25 %FF%E9.jpg"


def picture(width=160, height=120):
    """No face in it, so that it costs no attack."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([40 + x * 120 // width, 60 + y * 90 // height,
        120 + 0 * x], axis=2).astype(np.uint8))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG that claims a size, with checksums that are right and hardly any pixels."""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(3 * 100))) + chunk(b"IEND", b""))


def obey_modes():
    """Gives up root's right to pass over file modes, for this process and what it starts.

    Another user would do as well, but may not reach a build below a private home folder.
    """
    if os.getuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


class Album(fleet.Case):
    def setUp(self):
        super().setUp()
        fleet.need("redis-server")
        self.album, self.out = self.folder / "album", self.folder / "out"
        self.album.mkdir()

    def start(self, *options, preexec=None):
        return self.place.start_cloak(
            "run", self.album, self.out, *fleet.RUN_FAST, *options, "--json", preexec=preexec)

    def run_album(self, preexec=None):
        return self.place.cloak(
            "run", self.album, self.out, *fleet.RUN_FAST, "--json", preexec=preexec)

    def assert_says(self, result, name, *texts):
        """One line of the output names the file and says each of the texts."""
        lines = [line for line in result.err.splitlines() if name in line]
        for line in lines:
            if all(text in line for text in texts):
                return
        self.fail(f"no line names {name} and says {texts}:\n{result}")


class BadFiles(Album):
    def test_bad_files_die_with_a_reason_and_stop_nothing(self):
        face = fleet.portraits(1)[0].read_bytes()
        (self.album / "0 good.jpg").write_bytes(face)  # keeps the worker busy for a while
        with open(os.path.join(os.fsencode(self.album), STRANGE), "wb") as file:
            file.write(face)
        picture().save(self.album / "2 good.png")
        (self.album / "empty.jpg").write_bytes(b"")
        (self.album / "text.jpg").write_text("This is no photo at all.\n" * 20)
        (self.album / "truncated.jpg").write_bytes(face[:len(face) // 2])
        (self.album / "huge.png").write_bytes(bomb(60000, 60000))
        (self.album / "folder.jpg").mkdir()
        os.mkfifo(self.album / "pipe.jpg")
        (self.album / "outside.jpg").symlink_to("/etc/hostname")
        picture().save(self.album / "zz vanishes.png")
        manifest = self.folder / "out.cloak/manifest"
        program = self.start()
        fleet.wait_until(lambda: manifest.exists() and "\ne " in manifest.read_text(), "a manifest")
        (self.album / "zz vanishes.png").unlink()
        result = program.wait()
        self.assert_code(result, 4)
        self.assert_balanced(result.json)
        self.assertEqual((result.json["total"], result.json["delivered"], result.json["dead"],
            result.json["skipped"]), (8, 3, 5, 2))
        self.assert_says(result, "empty.jpg", "is empty")
        self.assert_says(result, "text.jpg", "(permanent)")
        self.assert_says(result, "truncated.jpg", "(permanent)")
        self.assert_says(result, "huge.png", "60000", "(permanent)")
        self.assert_says(result, "zz vanishes.png", "No such file", "(permanent)")
        self.assert_says(result, "pipe.jpg", "skipped")
        self.assert_says(result, "outside.jpg", "skipped")
        self.assert_delivered(self.out, ["0 good.jpg", STRANGE, "2 good.png"])
        self.assert_no_leftovers(self.folder)
        # the name arrives whole in the receipt and in the manifest, which stay readable text
        receipt = os.path.join(os.fsencode(self.out), STRANGE + b".cloak.json")
        with open(receipt, encoding="utf-8") as file:
            self.assertIn(STRANGE_SHOWN.replace('"', '\\"'), file.read())
        self.assertIn(STRANGE_SHOWN, manifest.read_text())
        self.check_status_and_audit()
        self.check_second_run()

    def check_status_and_audit(self):
        self.assert_code(self.place.cloak("status", self.out), 4)
        listed = self.place.cloak("dead", self.out)
        self.assert_code(listed, 0)
        dead = [line.split("\t") for line in listed.out.splitlines()]
        self.assertEqual(sorted(d[0] for d in dead),
            ["empty.jpg", "huge.png", "text.jpg", "truncated.jpg", "zz vanishes.png"])
        self.assertEqual({d[1] for d in dead}, {"permanent"})
        self.assertEqual([d for d in dead if d[0] not in d[2]], [], "an error names no file")
        listed = self.place.cloak("dead", self.out, "--json").json
        self.assertEqual([[d["key"], d["class"], d["text"]] for d in listed["dead"]], dead)
        self.assertEqual(listed["total"], len(dead))
        self.assertEqual(self.place.cloak("dead", self.out, "--error", "lost", "--json").json, {"dead": [], "total": 0})
        for word in ("bad luck", "ok"):
            self.assert_code(self.place.cloak("dead", self.out, "--error", word), 2)
        audit = self.place.cloak("audit", self.out, "--json")
        self.assert_code(audit, 0)
        self.assertEqual((audit.json["checked"], audit.json["problems"]), (3, 0))

    def check_second_run(self):
        """Dead photos are tried again; one that was mended is delivered."""
        out = fleet.snapshot(self.out)
        picture(100, 80).save(self.album / "zz vanishes.png")
        result = self.run_album()
        self.assert_code(result, 4)
        self.assert_balanced(result.json)
        self.assertEqual(result.json["dead"], 4)
        self.assert_delivered(self.out, ["0 good.jpg", STRANGE, "2 good.png", "zz vanishes.png"])
        after = fleet.snapshot(self.out)
        self.assertEqual({p: after[p] for p in out}, out)
        audit = self.place.cloak("audit", self.out, "--json")
        self.assert_code(audit, 0)
        self.assertEqual(audit.json["problems"], 0)

    def test_unreadable_file_and_folder(self):
        for name in ("good.png", "secret.png"):
            picture().save(self.album / name)
        os.chmod(self.album / "secret.png", 0)
        (self.album / "locked").mkdir()
        picture().save(self.album / "locked/inside.png")
        os.chmod(self.album / "locked", 0)
        self.addCleanup(os.chmod, self.album / "locked", 0o700)
        result = self.run_album(preexec=obey_modes)
        self.assert_code(result, 4)
        self.assert_balanced(result.json)
        self.assertEqual((result.json["delivered"], result.json["dead"]), (1, 1))
        self.assert_says(result, "secret.png", "Permission denied", "(permanent)")
        self.assert_says(result, "locked", "skipped")
        self.assert_delivered(self.out, ["good.png"])
        os.chmod(self.album / "secret.png", 0o644)
        result = self.run_album(preexec=obey_modes)
        self.assert_code(result, 0)
        self.assert_delivered(self.out, ["good.png", "secret.png"])

    def test_output_that_cannot_be_written(self):
        picture().save(self.album / "good.png")
        self.out.mkdir(mode=0o555)
        os.chmod(self.folder, 0o555)
        self.addCleanup(os.chmod, self.folder, 0o700)
        result = self.run_album(preexec=obey_modes)
        self.assertIn(result.code, (1, 2), str(result))
        self.assertIn(str(self.out), result.err)
        self.assertIn("Permission denied", result.err)
        self.assertEqual(list(self.out.iterdir()), [])


class OutputOfAnotherMachine(Album):
    """A worker that may not write there, or does not see the output, loses no photo."""

    def setUp(self):
        super().setUp()
        picture().save(self.album / "a.png")
        self.redis = self.place.redis()
        self.env = fleet.environment(CLOAK_REDIS=self.redis.url)
        submitted = self.place.cloak("submit", self.album, self.out, *fleet.FAST, env=self.env)
        self.assert_code(submitted, 0)
        self.id = submitted.out.strip()

    def work(self, seconds):
        """Starts a worker under the rights that files' modes give."""
        return self.place.start("worker", [fleet.BIN / "cloak-stub-worker", "--redis", self.redis.url],
            fleet.environment(CLOAK_STUB_SECONDS=seconds, CLOAK_STUB_SEES_ALL="1"), obey_modes)

    def assert_fails_and_recovers(self, says, mend, seconds="0.01", spoil=lambda: None):
        worker = self.work(seconds)
        spoil()
        fleet.wait_until(lambda: "photo_failed" in worker.text(), "a failure")
        self.assertIn(says, worker.text())
        self.assertIn('"error_class":"transient"', worker.text())
        self.assertNotIn("photo_dead", worker.text())
        mend()
        self.assert_code(self.place.cloak("watch", self.id, env=self.env), 0)
        self.assert_delivered(self.out, ["a.png"])

    def test_output_that_this_user_may_not_write(self):
        self.out.chmod(0o555)
        self.assert_fails_and_recovers("Permission denied", lambda: self.out.chmod(0o755))

    def test_output_that_is_not_mounted(self):
        away = self.folder / "away"
        self.out.rename(away)
        self.assert_fails_and_recovers("is it mounted", lambda: away.rename(self.out))

    def test_output_that_goes_away_meanwhile(self):
        away = self.folder / "away"

        def spoil():
            status = lambda: self.place.cloak("status", self.id, "--json", env=self.env).json
            fleet.wait_until(lambda: status()["leased"] == 1, "the photo in work")
            self.out.rename(away)

        def mend():
            self.assertFalse(self.out.exists(), "created below the mount")
            away.rename(self.out)
        self.assert_fails_and_recovers("is it mounted", mend, "2", spoil)


class OutputInside(Album):
    def test_output_inside_the_album_is_left_out(self):
        self.out = self.album / "cloaked"
        picture().save(self.album / "1.png")
        picture(90, 70).save(self.album / "cloaked.png")  # a neighbour with the folder's name in it
        for run in range(2):
            result = self.run_album()
            self.assert_code(result, 0)
            self.assertEqual(result.json["total"], 2, "output was taken for input")
            self.assert_balanced(result.json)
            self.assert_says(result, "cloaked", "output folder inside the album")
            self.assert_delivered(self.out, ["1.png", "cloaked.png"])
        self.assertIn("everything is done already", result.err)


@unittest.skipUnless(os.getuid() == 0, "only root can mount a small file system")
class NoSpace(Album):
    def mount(self, folder, kilobytes):
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder],
            capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            self.skipTest(f"cannot mount a tmpfs: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], timeout=60)

    def fill(self, folder, leave):
        """Fills the file system up to `leave` bytes; returns the file that does."""
        filler = folder / "filler"
        state = os.statvfs(folder)
        filler.write_bytes(bytes(max(state.f_bavail * state.f_frsize - leave, 0)))
        return filler

    def test_no_space_for_a_photo(self):
        # noise does not compress: it does not fit, its small neighbour does
        self.mount(self.out, 256)
        filler = self.fill(self.out, 32 << 10)
        random = np.random.default_rng(1)
        noise = np.asarray(picture(200, 160)) + random.integers(0, 8, (160, 200, 3))
        Image.fromarray(noise.astype(np.uint8)).save(self.album / "1 large.png")
        picture(64, 48).save(self.album / "2 small.png")
        self.assertGreater((self.album / "1 large.png").stat().st_size, 32 << 10)
        result = self.run_album()
        self.assert_code(result, 4)
        self.assert_balanced(result.json)
        self.assertEqual((result.json["delivered"], result.json["dead"]), (1, 1))
        self.assert_says(result, "1 large.png", "No space left", "free some space", "(transient)")
        filler.unlink()
        self.assert_delivered(self.out, ["2 small.png"])
        self.assert_no_leftovers(self.out)
        result = self.run_album()
        self.assertIn(result.code, (0, 3), str(result))
        self.assert_balanced(result.json)
        self.assert_delivered(self.out, ["1 large.png", "2 small.png"])

    def test_no_space_for_the_state(self):
        disk = self.folder / "disk"
        self.mount(disk, 2048)
        self.out = disk / "out"
        for i in range(3):
            picture(160, 120 + i).save(self.album / f"{i}.png")
        filler = self.fill(disk, 0)
        result = self.run_album()
        self.assertIn(result.code, (1, 2), str(result))
        self.assertIn(str(disk), result.err)
        self.assertRegex(result.err, "(?i)no space left")
        filler.unlink()
        # and again in the middle of a run: whatever came of it, nothing is half-done afterwards
        program = self.start()
        fleet.wait_until(lambda: (disk / "out.cloak/worker.log").exists(), "a worker")
        filler = self.fill(disk, 0)
        result = program.wait()
        self.assertIn(result.code, (0, 1, 4), str(result))
        if result.code:
            self.assertIn(str(disk), result.err)
            self.assertRegex(result.err, "(?i)no space left")
        filler.unlink()
        result = self.run_album()
        self.assert_code(result, 0)
        self.assert_balanced(result.json)
        self.assert_delivered(self.out, [f"{i}.png" for i in range(3)])
        self.assert_no_leftovers(disk)


if __name__ == "__main__":
    fleet.main()
