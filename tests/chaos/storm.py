#!/usr/bin/python3
"""A fleet in a storm: what is killed, stopped, cut off and filled up, and that no photo is lost for it.

    tests/chaos/storm.py [--minutes M] [--workers N] [--kills K] [--photos N] [--seconds S] [--lease S] [--seed S] [--json]

The real dispatcher, the real worker with a model that sleeps (tests/stub_model.c), and two real Redis
servers under three Sentinels. Three tenants hand over album after album while a generator, whose seed is
printed, does this to them: SIGKILL to workers and dispatchers; SIGSTOP to a worker until its lease has run
out, and to a dispatcher for some seconds; SIGKILL to the primary, at times with a replica that was held still
before, so that the end of its log is lost; a primary held still; all connections cut; a full disk; the servers'
clock set forward and back by more than a lease. No worker and no dispatcher knows what time it is: each is up
to a day off. Checked:

* at every sample (half a second) every album's books balance, no lease is older than its bound, and none ends later
  than the longest from now;
* every photo that appears in an output folder has at once the bytes that an undisturbed worker made of it;
* a killed worker's photos are others' to claim within the lease and five seconds, times without a primary, and by which a
  clock was set back, not counted;
* at the end every photo is delivered once, with its receipt, and counted once.

Without arguments it is short, for the test run. The full disk needs the right to mount a tmpfs.
"""
import argparse
import collections
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import fleet  # noqa: E402

KINDS = 48           # different photos; albums are hard links to them
TENANTS = ("anna", "bert", "cleo")
KEY = "cloak:{default}:"


def png(seed):
    """A small picture, dark in the middle in four of five: what the sleeping model takes for a face."""
    draw, size = random.Random(seed), 40
    level = 96 if seed % 5 else 150
    rows = b"".join(b"\0" + bytes(level + draw.randrange(8) for _ in range(3 * size)) for _ in range(size))
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Album:
    """One album, its dispatcher, and what is known of its output."""

    def __init__(self, storm, number, photos):
        self.number, self.tenant = number, TENANTS[number % len(TENANTS)]
        self.source, self.out = storm.disk / f"album-{number}", storm.disk / f"out-{number}"
        self.source.mkdir()
        self.keys = {}
        for i in range(photos):
            kind = storm.random.randrange(KINDS)
            os.link(storm.kinds[kind], self.source / f"{i:05}.png")
            self.keys[f"{i:05}.png"] = kind
        self.seen = {}      # output file: (inode, time of change) when it was checked last
        self.id = None
        self.dispatcher = None
        self.accepted = False  # the dispatcher has ended well
        self.through = False  # all of it was delivered when it was looked at last

    def fed(self):
        """Whether all of it was handed over, as far as the dispatcher knows."""
        if self.dispatcher and not self.dispatcher.alive():
            self.accepted = self.accepted or self.dispatcher.process.returncode == 0
        return self.accepted


class Storm:
    def __init__(self, options):
        self.o = options
        self.random = random.Random(options.seed)
        self.place = fleet.Place()
        self.disk = self.place.folder / "disk"
        self.off = 0.0          # seconds by which the servers' clock is off
        self.shifts = []        # when it was set, and by how many seconds back
        self.disk.mkdir()
        self.can_fill = self.mount()
        self.count = collections.Counter()
        self.wrong = []
        self.workers, self.albums = {}, []
        self.delays = []        # from a worker's death until all that it had held was others' to claim
        self.dark = 0.0         # time without a primary so far
        self.dark_since = None
        self.asked, self.asked_since = None, -math.inf  # the primary that samples ask
        self.overdue = {}       # (job, end of its lease): since when it was seen to have run out
        self.lock = threading.Lock()
        self.names = iter(range(10**6))
        self.photos = 0

    # --- the place ---

    def mount(self):
        """A disk of our own, so that it can be filled."""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "none", self.disk], capture_output=True)
        return done.returncode == 0

    def close(self):
        for program in self.place.programs:
            program.end()
        if self.can_fill:
            subprocess.run(["umount", "-l", self.disk], capture_output=True)
        self.place.close()

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)
        print("  WRONG: " + text, file=sys.stderr, flush=True)

    def make_kinds(self):
        folder = self.disk / "kinds"
        folder.mkdir()
        self.kinds = []
        for i in range(KINDS):
            self.kinds.append(folder / f"{i}.png")
            self.kinds[i].write_bytes(png(i))

    def undisturbed(self):
        """What a worker in peace makes of each kind."""
        server, out = self.place.redis(), self.disk / "calm"
        env = fleet.environment(CLOAK_REDIS=server.url)
        worker = self.place.start_stub_worker(server.url, "calm", 0)
        done = self.place.cloak("submit", self.disk / "kinds", out, *fleet.FAST, env=env)
        assert done.code == 0, str(done)
        fleet.wait_until(lambda: sum(1 for _ in out.glob("*.cloak.json")) == KINDS, "the kinds in peace")
        self.want = {i: fleet.sha256(out / f"{i}.png") for i in range(KINDS)}
        faces = sum(r["outcome"] == "cloaked" for r in fleet.receipts(out).values())
        assert 0 < faces < KINDS, faces
        worker.end()
        server.end()

    def clock(self, name, off):
        """What makes a program see a time of the day that is so many seconds off (tests/clock.c)."""
        file = self.place.folder / f"clock-{name}"
        file.touch()
        with open(file, "r+b") as clock:  # in place: programs look at it all the time
            clock.write(struct.pack("=q", round(off * 1e6)))
        return {"LD_PRELOAD": str(fleet.BIN / "wrong_clock.so"), "CLOAK_TEST_CLOCK": str(file)}

    def some_time(self, name):
        if fleet.ASAN:  # a sanitizer wants to be the first of a program's libraries
            return {}
        return self.clock(name, self.random.uniform(-86400, 86400))

    # --- the fleet ---

    def add_worker(self):
        name = f"w{next(self.names)}"
        self.workers[name] = self.place.start_stub_worker(self.group.url, name, self.o.seconds, "--lease",
            self.o.lease, "--patience", "120", "--log-level", "warn", **self.some_time(name))

    def submit(self, album):
        env = fleet.environment(CLOAK_REDIS=self.group.url, **self.some_time(f"album-{album.number}"))
        album.dispatcher = self.place.start_cloak("submit", album.source, album.out, *fleet.FAST, "--tenant",
            album.tenant, "--backlog", str(4 * self.o.workers + 100), env=env)

    def add_album(self):
        album = Album(self, len(self.albums), self.o.photos)
        self.photos += self.o.photos
        self.submit(album)
        self.albums.append(album)

    def tend(self):
        """Restarts dispatchers that were killed or gave up, and adds an album when one is through."""
        for album in self.albums:
            if not album.fed() and not album.dispatcher.alive():
                self.submit(album)
        active = [a for a in self.albums if not a.through]
        if time.monotonic() < self.until and len(active) < len(TENANTS):
            self.add_album()

    # --- what is done to it ---

    def primary(self):
        return fleet.wait_until(self.group.primary, "a primary", pause=0.2)

    def kill_worker(self):
        name = self.random.choice(sorted(self.workers))
        victim = self.workers.pop(name)
        victim.process.kill()
        victim.process.wait()
        threading.Thread(target=self.follow_death, args=(name,), daemon=True).start()
        self.add_worker()

    def stop_worker(self):
        """A worker that is stopped with photos in hand and goes on when they are others' by its lease."""
        for name in self.random.sample(sorted(self.workers), len(self.workers)):
            worker = self.workers[name]
            worker.signal(signal.SIGSTOP)
            if self.held_by({name}):
                break
            worker.signal(signal.SIGCONT)
        else:
            return False
        timer = threading.Timer(self.o.lease * 1.3, worker.signal, (signal.SIGCONT,))
        timer.daemon = True
        timer.start()

    def kill_dispatcher(self):
        alive = [a for a in self.albums if a.dispatcher.alive()]
        if not alive:
            return False
        self.random.choice(alive).dispatcher.process.kill()

    def stop_dispatcher(self):
        alive = [a.dispatcher for a in self.albums if a.dispatcher.alive()]
        if not alive:
            return False
        dispatcher = self.random.choice(alive)
        dispatcher.signal(signal.SIGSTOP)
        timer = threading.Timer(self.random.uniform(1, 5), dispatcher.signal, (signal.SIGCONT,))
        timer.daemon = True
        timer.start()

    def kill_primary(self, lose=False):
        """The primary dies and the replica takes over; with `lose` it had heard nothing for a moment."""
        if not self.group.ready():
            return False
        old = self.primary()
        replica = self.group.other(old)
        if lose:
            replica.signal(signal.SIGSTOP)
            time.sleep(0.6)
        with self.lock:
            self.dark_since = time.monotonic()
        old.process.kill()
        if lose:
            replica.signal(signal.SIGCONT)
        fleet.wait_until(lambda: self.group.primary() is replica and
            (replica.ask("ROLE") or [""])[0] == "master", "the replica in the primary's place", pause=0.1)
        with self.lock:
            self.dark += time.monotonic() - self.dark_since
            self.dark_since = None
        old.restart()
        for album in self.albums:
            if lose and not album.through and album.fed():
                self.repair(album)

    def repair(self, album):
        env = fleet.environment(CLOAK_REDIS=self.group.url)
        done = self.place.cloak("audit", album.out, "--repair", "--tenant", album.tenant, env=env)
        if "repaired" not in done.err:
            self.count["repairs that have to wait"] += 1
            album.accepted = False  # its dispatcher is started again, which does the same
        elif "repaired: 0 of" not in done.err:
            self.count["repairs that found something"] += 1

    def lose_tail(self):
        return self.kill_primary(lose=True)

    def freeze_primary(self):
        node = self.primary()
        node.signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.2, 0.7))
        node.signal(signal.SIGCONT)

    def cut_connections(self):
        fleet.redis_call(self.primary().port, "CLIENT", "KILL", "TYPE", "normal")

    def fill_disk(self):
        if not self.can_fill:
            return False
        ballast = self.disk / "ballast"
        with open(ballast, "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass
            try:
                file.close()
            except OSError:
                pass
        time.sleep(self.random.uniform(0.5, 2))
        ballast.unlink()

    def shift_clock(self):
        before, self.off = self.off, self.random.uniform(-1.2, 1.2) * self.o.lease
        self.shifts.append((time.monotonic(), max(0, before - self.off)))
        self.clock("servers", self.off)
        now = self.primary().ask("TIME")
        if now and abs(int(now[0]) - time.time() - self.off) > 3:
            self.complain(f"the server's clock is {int(now[0]) - time.time():.1f} s off instead of {self.off:.1f}")

    KILLS = {"kill_worker": 60, "kill_dispatcher": 14, "kill_primary": 4, "lose_tail": 4}
    EVENTS = {**KILLS, "stop_worker": 8, "stop_dispatcher": 4, "freeze_primary": 4, "cut_connections": 4, "fill_disk": 2,
        "shift_clock": 4}

    def rage(self):
        """Events until the time is over and each kind has happened; at least o.kills of them are SIGKILLs."""
        names, weights = zip(*self.EVENTS.items())
        first, possible = list(names), True
        self.random.shuffle(first)
        first.sort(key=lambda name: "dispatcher" in name)  # taken from the end: dispatchers do not live long
        end = self.until + (self.until - time.monotonic())  # twice the time at most
        pause = (self.until - time.monotonic()) / (self.o.kills * sum(weights) / sum(self.KILLS.values()))
        while time.monotonic() < end:
            if time.monotonic() > self.until and self.kills() >= self.o.kills and not first:
                return
            began = time.monotonic()
            name = first.pop() if first and possible else self.random.choices(names, weights)[0]
            possible = getattr(self, name)() is not False
            if possible:
                self.count[name] += 1
            elif name not in self.count and name not in first and (name != "fill_disk" or self.can_fill):
                first.insert(0, name)  # not possible just now: another in between
            self.tend()
            time.sleep(max(0, pause * self.random.uniform(0.5, 1.5) - (time.monotonic() - began)))

    def kills(self):
        return sum(self.count[name] for name in self.KILLS)

    # --- what is checked ---

    def held_by(self, names):
        """The jobs that the queue's books show in these workers' hands; None without a primary."""
        node = self.group.primary()
        leased = node.ask("HGETALL", KEY + "leased") if node else None
        if leased is None:
            return None
        return {job for job, lease in zip(leased[::2], leased[1::2]) if lease.split(".")[0] in names}

    def follow_death(self, name):
        """How long the photos that a dead worker held are nobody's to claim: in its hands by the queue's books, or
        delayed for its loss."""
        began, dark, away = time.monotonic(), self.dark, None
        while time.monotonic() - began < 4 * self.o.lease + 60 and not self.stopping:
            node, held = self.group.primary(), self.held_by({name})
            delayed = node.ask("ZRANGE", KEY + "delayed", 0, -1) if node else None
            if held is not None and delayed is not None:
                lost = {":".join(entry.split(" ")[:2]) for entry in delayed}
                away = held if away is None else away & (held | lost)
                if not away:
                    break
            time.sleep(0.25)
        if away != set() and self.stopping:
            return  # the end of the storm: what is left is checked there
        # a clock that is set back after a worker's last renewal makes its lease longer; it may have been stopped before
        back = sum(by for at, by in self.shifts if at > began - 2 * self.o.lease)
        waited = time.monotonic() - began - (self.dark - dark) - back
        self.delays.append(waited)
        if waited > self.o.lease + 5:
            self.complain(f"photos of the dead worker {name} came back after {waited:.1f} s")

    def sample(self):
        env = fleet.environment(CLOAK_REDIS=self.group.url)
        while not self.stopping:
            ended = [a for a in self.albums if a.through]
            for album in [a for a in self.albums if not a.through] + ended[-1:]:
                album.id = album.id or self.id_of(album)
                if album.id:
                    self.sample_books(album, env)
                self.look(album)
            self.sample_leases()
            time.sleep(0.5)

    def id_of(self, album):
        try:
            with open(f"{album.out}.cloak/manifest") as manifest:
                return json.loads(manifest.readline())["album"]
        except (OSError, ValueError):
            return None

    def sample_books(self, album, env):
        done = subprocess.run([fleet.BIN / "cloak", "status", album.id, "--json"], env=env, capture_output=True,
            text=True, timeout=60)
        if done.returncode in (1, 2):  # no primary just now, or the album is not there yet
            self.count["samples that Redis did not answer"] += 1
            return
        books = json.loads(done.stdout.strip().splitlines()[-1])
        self.count["samples"] += 1
        if not books["books_balanced"] or books["total"] > self.o.photos:
            self.complain(f"the books of album {album.number} do not balance: {done.stdout}")
        album.through = books["delivered"] == self.o.photos and album.fed()

    def since(self, times):
        """Seconds since the latest of these times; infinite without any."""
        return time.monotonic() - max(times, default=-math.inf)

    def sample_leases(self):
        """No lease that has run out stays in the books, as the next claim takes it back, and none is longer than it may be. How
        long one has been there is told by our clock: the servers' is set forward by more than that. For some time after a
        failover, whether we made it or a machine that is too busy to answer, nobody may have claimed yet; and a clock that
        was set back makes longer what nobody renews."""
        node = self.group.primary()
        if node is not self.asked:
            self.asked, self.asked_since, self.overdue = node, time.monotonic(), {}
        if not node or self.dark_since or self.since([self.asked_since]) < 20:
            self.overdue = {}
            return
        last, now = node.ask("ZRANGE", KEY + "leases", -1, -1, "WITHSCORES"), node.ask("TIME")
        ended = now and node.ask("ZRANGEBYSCORE", KEY + "leases", "-inf", int(now[0]) * 1000, "WITHSCORES", "LIMIT", 0, 10000)
        if not now or not last or ended is None or (node.ask("ROLE") or [""])[0] != "master" or self.dark_since:
            return
        seen = time.monotonic()
        self.overdue = {lease: self.overdue.get(lease, seen) for lease in zip(ended[::2], ended[1::2])}
        oldest = min(self.overdue, key=self.overdue.get, default=None)
        waits = seen - self.overdue[oldest] if oldest else 0
        last = float(last[1]) / 1000 - int(now[0]) - int(now[1]) / 1e6
        self.count["samples of leases"] += 1
        self.oldest = max(self.oldest, waits)
        if waits > 10:
            roles = [(n.ask("ROLE") or ["silent"])[0] for n in self.group.nodes]
            self.complain(f"the lease of {oldest[0]} had run out {waits:.0f} s ago; the servers are {roles}, the same primary was "
                f"asked for {self.since([self.asked_since]):.0f} s, the load is {os.getloadavg()[0]:.0f}")
        back = [at for at, by in self.shifts if by > 0]
        if last > self.o.lease + 1 and self.since(back) > 4 * self.o.lease:
            self.complain(f"a lease ends in {last:.0f} s")

    def look(self, album):
        """Checks the bytes of what is new in an output folder."""
        try:
            entries = list(os.scandir(album.out))
        except OSError:
            return
        for entry in entries:
            if not entry.name.endswith(".png"):
                continue
            try:
                info = entry.stat()
                if album.seen.get(entry.name) != (info.st_ino, info.st_ctime_ns):  # its time is its source's
                    self.count["delivered again"] += entry.name in album.seen
                    if fleet.sha256(entry.path) != self.want[album.keys[entry.name]]:
                        self.complain(f"{entry.path} has other bytes")
                    album.seen[entry.name] = (info.st_ino, info.st_ctime_ns)
            except OSError:
                pass  # it is being replaced

    def settle(self):
        """After the storm: everything comes to its end without help but `submit`, `repair` and `retry`."""
        env = fleet.environment(CLOAK_REDIS=self.group.url)
        fleet.wait_until(self.group.ready, "a primary and a replica")
        for album in self.albums:
            until = time.monotonic() + fleet.PATIENCE
            while not self.settled(album, env):
                if time.monotonic() > until:
                    self.complain(f"album {album.number} does not come to its end")
                    break
                time.sleep(0.5)

    def settled(self, album, env):
        if not album.fed():
            if not album.dispatcher.alive():
                self.submit(album)
            return False
        done = self.place.cloak("status", album.id or self.id_of(album), "--json", env=env)
        if done.code == 2 or (done.code in (0, 3, 4) and done.json["total"] < self.o.photos):
            self.repair(album)
            return False
        if done.code not in (0, 3, 4):
            return False
        if done.json["dead"] and done.json["delivered"] + done.json["dead"] == self.o.photos:
            self.count["retried after too many losses or failures"] += done.json["dead"]
            self.place.cloak("retry", album.id, env=env)
        return done.json["delivered"] == self.o.photos

    def verify(self):
        env = fleet.environment(CLOAK_REDIS=self.group.url)
        losses = 0
        for album in self.albums:
            audit = self.place.cloak("audit", album.id, "--json", env=env)
            if audit.code or audit.json["checked"] != self.o.photos:
                self.complain(f"audit of album {album.number}: {audit}")
            books = self.place.cloak("status", album.id, "--json", env=env).json
            faces = sum(kind % 5 != 0 for kind in album.keys.values())
            if (books["delivered"], books["cloaked"], books["no_face"], books["faces_before"], books["faces_after"]) != (
                    self.o.photos, faces, self.o.photos - faces, faces, 0):
                self.complain(f"album {album.number} is counted wrong: {books}")
            for key, kind in album.keys.items():
                if fleet.sha256(album.out / key) != self.want[kind]:
                    self.complain(f"{album.out / key} has other bytes")
            found = {p.name for p in album.out.iterdir()}
            if found != set(album.keys) | {k + ".cloak.json" for k in album.keys}:
                self.complain(f"album {album.number} has other files: {sorted(found ^ set(album.keys))[:5]}")
            losses += sum(r["losses"] for r in fleet.receipts(album.out).values())
        self.verify_lists()
        self.count["losses in receipts"] = losses
        self.count["fenced"] = sum(p.text().count('"photo_fenced"') for p in self.place.programs
            if p.name.startswith("stub-"))

    def verify_lists(self):
        """What the books' counters are about is counted itself: nothing waits anywhere, or is in anybody's hands."""
        node = self.group.primary()
        commands = {"list": "LLEN", "zset": "ZCARD", "hash": "HLEN"}
        left = {"backlog": int(node.ask("GET", KEY + "backlog") or 0)}
        for key in node.ask("KEYS", KEY + "*") or []:
            name = key.removeprefix(KEY)
            if name in ("single", "delayed", "leased", "leases") or name.startswith(("wait:", "aside:")):
                left[name] = int(node.ask(commands[node.ask("TYPE", key)], key))
        if any(left.values()):
            self.complain(f"all is delivered, but not so in the lists: {left}")

    def run(self):
        self.stopping = False
        self.oldest = 0.0
        self.make_kinds()
        self.undisturbed()
        self.group = fleet.Sentinels(self.place, "--appendfsync", "everysec", env=fleet.environment(**self.clock("servers", 0)))
        for _ in range(self.o.workers):
            self.add_worker()
        began = time.monotonic()
        self.until = began + self.o.minutes * 60
        self.tend()
        sampler = threading.Thread(target=self.sample, daemon=True)
        sampler.start()
        self.rage()
        self.settle()
        self.stopping = True
        sampler.join(60)
        self.verify()
        return {"seed": self.o.seed, "minutes": round((time.monotonic() - began) / 60, 1), "workers": self.o.workers,
            "photos": self.photos, "albums": len(self.albums), "wrong": len(self.wrong),
            "kills": self.kills(),
            "back_after_s": round(max(self.delays, default=0), 1), "oldest_lease_over_s": round(self.oldest, 1),
            "dark_s": round(self.dark, 1), **self.count}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=0.3 if fleet.ASAN else 0.75)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--kills", type=int, default=12 if fleet.ASAN else 20)
    parser.add_argument("--photos", type=int, default=400, help="per album")
    parser.add_argument("--seconds", type=float, default=0.4, help="that a photo takes on average")
    parser.add_argument("--lease", type=float, default=6)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CLOAK_SEED") or 7))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main():
    options = parse()
    if not shutil.which("redis-server"):
        print("skipped: redis-server is not installed", file=sys.stderr)
        return 77
    print(f"  seed {options.seed}", file=sys.stderr, flush=True)
    storm = Storm(options)
    try:
        result = storm.run()
    finally:
        storm.close()
    if not storm.can_fill:
        print("  no full disk: this user may not mount a tmpfs", file=sys.stderr)
    print(json.dumps(result, indent=None if options.json else 1))
    return 1 if storm.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
