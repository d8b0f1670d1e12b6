"""Debian's Chromium, driven through its own protocol (DevTools, over a pipe): no driver, no port."""
import base64
import json
import os
import subprocess
import time

PATIENCE = 120  # seconds that any one wait may take


class Browser:
    """A headless Chromium with one page. Dialogs are confirmed; what the page logs as an error is in `errors`."""

    def __init__(self, folder, width=1100, height=900):
        to_child, self.out = os.pipe()
        self.into, from_child = os.pipe()

        def place(): # Chromium reads commands from 3 and writes to 4
            a, b = os.dup(to_child), os.dup(from_child) # neither is 3 or 4 after this
            os.dup2(a, 3)
            os.dup2(b, 4)
        errors = open(folder / "browser.err", "ab")
        self.process = subprocess.Popen(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={folder / 'browser'}",
            f"--window-size={width},{height}", "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=errors, preexec_fn=place, close_fds=False)
        errors.close()
        os.close(to_child)
        os.close(from_child)
        self.rest, self.count, self.errors = b"", 0, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    session = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)

    def message(self):
        while b"\0" not in self.rest:
            got = os.read(self.into, 1 << 16)
            if not got:
                raise AssertionError("Chromium has ended")
            self.rest += got
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def call(self, method, **params):
        """The result of a command. What comes in between is noted."""
        self.count += 1
        number, message = self.count, {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            got = self.message()
            if got.get("id") == number:
                if "error" in got:
                    raise AssertionError(f"{method}: {got['error']}")
                return got["result"]
            if got.get("method") == "Page.javascriptDialogOpening":
                self.count += 1
                os.write(self.out, json.dumps({"id": self.count, "method": "Page.handleJavaScriptDialog",
                    "params": {"accept": True}, "sessionId": self.session}).encode() + b"\0")
            elif got.get("method") == "Runtime.exceptionThrown":
                self.errors.append(got["params"]["exceptionDetails"])
            elif got.get("method") == "Log.entryAdded" and got["params"]["entry"]["level"] == "error":
                self.errors.append(got["params"]["entry"]["text"])
        raise AssertionError(f"{method}: no answer")

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, script):
        """Waits until the expression is true, and returns what it gave."""
        until = time.monotonic() + PATIENCE
        while True: # what throws is not true yet: a page that is being opened has no body
            value = self.run(f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()")
            if value:
                return value
            if time.monotonic() > until:
                raise AssertionError(f"waited in vain: {script}\n{self.run('document.body?.innerText')}")
            time.sleep(0.1)

    def look(self, width, height, dark):
        """Gives the page another size, in light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def barriers(self, axe):
        """What keeps people from using the page, as axe finds it; `axe` is its JavaScript file."""
        self.run(axe.read_text() + "; true")
        found = self.run("axe.run().then(r => r.violations.map(v => [v.id, v.help, v.nodes.map(n => n.html)]))")
        return [f"{name}: {why} {nodes[:3]}" for name, why, nodes in found]

    def click(self, text):
        """Clicks the visible button of this text."""
        self.wait(f"(() => {{ const b = [...document.querySelectorAll('button')].find(b => b.textContent === {json.dumps(text)}"
            " && b.offsetParent); if (b) b.click(); return !!b; })()")

    def picture(self, path):
        """A screenshot as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
