#!/usr/bin/python3
"""A worker whose GPU is lost to it ends after a few photos, and the next one delivers them."""
import pathlib
import random
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

try:
    import PIL  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}", file=sys.stderr)
    sys.exit(77)

PHOTOS = 12


class LostDevice(fleet.Case):
    def test_worker_ends_and_another_goes_on(self):
        redis = self.place.redis()
        env = fleet.environment(CLOAK_REDIS=redis.url)
        album = self.folder / "album"
        album.mkdir()
        draw = random.Random(4)
        for i in range(PHOTOS):
            fleet.stub_photo(album / f"{i}.png", draw)
        album_id = self.place.cloak("submit", album, self.folder / "out", env=env).out.strip()
        lost = self.place.start_stub_worker(redis.url, "lost", 0, CLOAK_STUB_DEVICE="cuda:0").wait()
        self.assert_code(lost, 1)
        self.assertIn("cuda:0 fails, and may be well for another process: an illegal memory access", lost.err)
        self.assertEqual(lost.err.count("photo_failed"), 5)
        self.assertNotIn("worker_rest", lost.err)
        worker = self.place.start_stub_worker(redis.url, "well", 0)
        watch = self.place.cloak("watch", album_id, "--json", env=env)
        self.assert_code(watch, 0)
        self.assertEqual((watch.json["delivered"], watch.json["dead"]), (PHOTOS, 0))
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait().code, 0)


if __name__ == "__main__":
    fleet.main()
