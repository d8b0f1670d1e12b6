"""A private OpenStack Swift with its S3 layer, for tests of S3 clients.

Debian's packages swift-proxy, swift-account, swift-container, swift-object and memcached, run as the
current user in a folder of the test's own, on free loopback ports: nothing of /etc/swift or /srv is
used. One device, one replica, no background daemons. The middleware `s3api` and `tempauth` check AWS
signatures (version 4), so a client that signs wrongly is found out.
"""
import atexit
import errno
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

PATIENCE = 120  # seconds that any one wait may take
PYTHON = "/usr/bin/python3"  # Debian's own: Swift's modules are only there
ROLES = ("account", "container", "object", "proxy")

# Runs one of Debian's server scripts. Three things cannot be set in a configuration file: where
# swift.conf is (the servers read /etc/swift/swift.conf whatever swift_dir says), a listening socket
# that another has bound (so no port can be lost between its choice and its use), and no fsync.
LAUNCHER = r'''
import os, sys
role, config, swift_dir, listener = sys.argv[1:]
os.fsync = os.fdatasync = lambda fd: None  # the machine may crash: these data are worth nothing
import socket
from eventlet.greenio import GreenSocket
import swift.common.utils as utils
utils.set_swift_dir(swift_dir)
utils.ThreadSafeSysLogHandler.emit = lambda self, record: None  # not into the machine's syslog
import swift.common.db as db
import swift.common.wsgi as wsgi

connect = db.get_db_connection
def get_db_connection(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.execute("PRAGMA synchronous = OFF").close()
    return connection
db.get_db_connection = get_db_connection

wsgi.get_socket = lambda conf: GreenSocket(socket.socket(fileno=int(listener)))
script = "/usr/bin/swift-%s-server" % role
sys.argv = [script, config, "-v"]
import runpy
runpy.run_path(script, run_name="__main__")
'''

# Four partitions, all of them on the one device.
RINGS = r'''
import array, json, sys
from swift.common.ring.ring import RingData
for path, port in json.loads(sys.argv[1]).items():
    device = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1",
        "weight": 1.0, "meta": "", "replication_ip": "127.0.0.1", "replication_port": port}
    RingData([array.array("H", [0] * 4)], [device], 30).save(path)
'''

# Long timeouts: on a busy machine, an update that is late would otherwise be left to a daemon that
# does not run, and listings would miss an object for ever. workers = 0: no child processes, and no
# change of user, so that `user` is not needed.
COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {swift_dir}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0
log_level = INFO
conn_timeout = 20
node_timeout = 100
"""

STORAGE = """
[pipeline:main]
pipeline = healthcheck {role}-server

[app:{role}-server]
use = egg:swift#{role}
container_update_timeout = 100

[filter:healthcheck]
use = egg:swift#healthcheck
"""

# One replica: an error limit would make the only server unusable for a minute. allow_async_delete:
# it would leave the parts of a deleted object to an expirer that does not run.
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk s3api tempauth
    slo dlo proxy-logging proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_limit = 1000000000
conn_timeout = 20
node_timeout = 100

[filter:s3api]
use = egg:swift#s3api
location = {region}
s3_acl = false
allow_multipart_uploads = true
min_segment_size = 5242880
max_upload_part_num = 10000
max_bucket_listing = 1000

[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin

[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
allow_async_delete = false

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}

[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:dlo]
use = egg:swift#dlo
"""


def missing():
    """None, or a sentence that names what is not installed."""
    packages = [f"swift-{role}" for role in ROLES if not os.path.exists(f"/usr/bin/swift-{role}-server")]
    packages += [] if shutil.which("memcached") else ["memcached"]
    if packages:
        return f"not installed: {', '.join(packages)} (Debian packages)"
    if not os.path.exists(PYTHON):
        return f"not installed: {PYTHON}, which Swift runs with"
    return None


def has_xattrs(folder):
    """Whether files there can hold as much in user attributes as Swift keeps of an object."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            os.setxattr(probe.name, "user.swift.metadata", b"x" * 3000)  # ext4 has room for 4096
        return True
    except OSError:
        return False


def listen(port=0):
    """A listening socket on the loopback; waits for a port that is not free yet."""
    until = time.monotonic() + PATIENCE
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(1024)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.05)


class Swift:
    """A running Swift. Its logs are in `folder`; its data too, where the file system allows."""

    def __init__(self, folder, user="test:tester", secret="testing"):
        if user.count(":") != 1 or "_" in user or not all(user.split(":")):
            raise ValueError(f"a user's name is ACCOUNT:USER without '_', not {user!r}")
        if len((user + secret).split()) != 1 or not secret:
            raise ValueError("a user's name and secret have no white space")
        self.folder = pathlib.Path(folder).resolve()
        if "%" in f"{self.folder}{user}{secret}":
            raise ValueError("Swift's files cannot have a % in folder, user's name or secret")
        self.user, self.access, self.secret, self.region = user, user, secret, "us-east-1"
        self.place = self.folder / "swift"
        self.data = None
        self.ports = dict.fromkeys(ROLES, 0)  # kept over stop and start
        self.programs = {}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports['proxy']}"

    def environment(self):
        """What the AWS tools, and those like them, read from their environment."""
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region, "AWS_ENDPOINT_URL_S3": self.url}

    # --- start and stop

    def start(self):
        """Starts all servers; what was stored before a stop() is there again."""
        if missing():
            raise RuntimeError(missing())
        if self.programs:
            raise RuntimeError("it was started already")
        atexit.register(self.close)
        self.place.mkdir(parents=True, exist_ok=True)
        if self.data is None:
            self.data = self.choose_data()
        (self.data / "d1").mkdir(exist_ok=True)
        (self.place / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n")
        (self.place / "launcher.py").write_text(LAUNCHER)
        listeners = {role: listen(self.ports[role]) for role in ROLES}
        try:
            self.ports = {role: listeners[role].getsockname()[1] for role in ROLES}
            self.write_rings()
            memcached = self.start_memcached()
            for role in ROLES:
                self.configure(role, memcached)
                self.launch(role, listeners[role])
        finally:
            for listener in listeners.values():
                listener.close()
        for role in ROLES:
            self.wait_for(role)

    def stop(self):
        """Ends all its servers and nothing else; the data stay."""
        for process in self.programs.values():
            process.kill()
        for process in self.programs.values():
            process.wait(PATIENCE)
        self.programs = {}

    def close(self):
        """Ends it for good: also removes the data if they are outside the folder."""
        self.stop()
        if self.data and self.folder not in self.data.parents:
            shutil.rmtree(self.data, ignore_errors=True)
            self.data = None
        atexit.unregister(self.close)

    def kill_proxy(self):
        """Kills the server that clients talk to: connections break, and new ones are refused."""
        process = self.programs.pop("proxy")
        process.kill()
        process.wait(PATIENCE)

    def start_proxy(self):
        """Starts it again after kill_proxy(), on its port."""
        if "proxy" in self.programs:
            raise RuntimeError("the proxy runs already")
        with listen(self.ports["proxy"]) as listener:
            self.launch("proxy", listener)
        self.wait_for("proxy")

    # --- how

    def choose_data(self):
        """A folder for the objects, on a file system that can hold Swift's metadata."""
        if has_xattrs(self.place):
            path = self.place / "data"
            path.mkdir(exist_ok=True)
            return path
        others = dict.fromkeys(("/var/tmp", "/dev/shm", tempfile.gettempdir()))
        for other in others:
            if has_xattrs(other):
                return pathlib.Path(tempfile.mkdtemp(prefix="swift-test-", dir=other))
        raise RuntimeError("Swift needs a file system with extended attributes (user.*), and there is "
            f"none in {', '.join([str(self.place), *others])}; set TMPDIR to a folder that has them")

    def write_rings(self):
        paths = {str(self.place / f"{role}.ring.gz"): port for role, port in self.ports.items()
            if role != "proxy"}
        done = subprocess.run([PYTHON, "-I", "-c", RINGS, json.dumps(paths)], capture_output=True,
            text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise AssertionError(f"cannot write Swift's rings: {done.stderr[-1500:]}")

    def configure(self, role, memcached):
        names = dict(port=self.ports[role], swift_dir=self.place, devices=self.data, role=role,
            region=self.region, user=self.user.replace(":", "_"), secret=self.secret,
            memcached=memcached)
        text = COMMON + (PROXY if role == "proxy" else STORAGE)
        path = self.place / f"{role}-server.conf"
        path.touch(mode=0o600)  # it has the secret
        path.write_text(text.format(**names))

    def run(self, name, argv, pass_fds=(), **variables):
        env = {**os.environ, **variables}
        env.pop("NOTIFY_SOCKET", None)  # systemd's, and not meant for these
        with open(self.log(name), "ab") as log:
            self.programs[name] = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, cwd=self.place, env=env, pass_fds=pass_fds)

    def launch(self, role, listener):
        """Starts a server that answers on this socket; the caller closes the socket."""
        self.run(role, [PYTHON, "-I", self.place / "launcher.py", role,
            self.place / f"{role}-server.conf", self.place, listener.fileno()],
            pass_fds=[listener.fileno()])

    def start_memcached(self):
        """Starts memcached on a port that it chooses, and returns that."""
        path = self.place / "memcached.port"
        path.unlink(missing_ok=True)
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self.run("memcached", ["memcached", "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-m", "64", *user],
            MEMCACHED_PORT_FILENAME=str(path))
        until = time.monotonic() + PATIENCE
        while True:
            # "TCP INET: 12345"; it gets its name when it is complete
            if path.exists():
                return int(path.read_text().split()[-1])
            if self.programs["memcached"].poll() is not None or time.monotonic() > until:
                raise self.failure("memcached", "does not start")
            time.sleep(0.01)

    def wait_for(self, role):
        """Waits until a server answers. It listens already: the first question waits with it."""
        until = time.monotonic() + PATIENCE
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[role], timeout=PATIENCE)
            try:
                connection.request("GET", "/healthcheck")
                if connection.getresponse().read() == b"OK":
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            if self.programs[role].poll() is not None:
                raise self.failure(role, f"ended with code {self.programs[role].returncode}")
            if time.monotonic() > until:
                raise self.failure(role, "does not answer")
            time.sleep(0.05)

    def log(self, name):
        return self.folder / f"swift-{name}.log"

    def failure(self, name, what):
        text = self.log(name).read_text(errors="replace")
        return AssertionError(f"Swift's {name} {what}; the end of its log:\n{text[-2000:]}")
