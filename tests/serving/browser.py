"""A headless Chromium, driven by its own protocol."""

import base64
import itertools
import json
import subprocess
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect


class Browser:
    """One page."""

    def __init__(self, folder, microphone, width=1180, height=900):
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        command += ["--remote-debugging-port=0", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        command += [f"--use-file-for-fake-audio-capture={microphone}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file, until = Path(folder) / "profile" / "DevToolsActivePort", time.monotonic() + 30
        while not (file.exists() and file.read_text()):
            assert time.monotonic() < until, "Chromium does not start"
            time.sleep(0.05)
        port = file.read_text().splitlines()[0]
        [page] = [t for t in httpx.get(f"http://127.0.0.1:{port}/json").json() if t["type"] == "page"]
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        self._numbers, self.requests, self.messages = itertools.count(1), [], []
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **given):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": given}))
        while True:
            event = json.loads(self._socket.recv(timeout=60))
            if event.get("method") == "Network.requestWillBeSent":
                self.requests.append(event["params"]["request"]["url"])
            entry = event.get("params", {}).get("entry", {})
            if event.get("method") == "Runtime.exceptionThrown" or entry.get("level") in ("error", "warning"):
                self.messages.append(json.dumps(event["params"]))
            if event.get("id") == number:
                assert "error" not in event, event
                return event["result"]

    def run(self, program):
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=program, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition, seconds=30):
        until = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < until, f"{condition}: {self.run('document.body.innerText')} {self.messages}"
            time.sleep(0.05)

    def choose(self, selector, file):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def screenshot(self, path, height=None):
        """All of the page, or its upper part."""
        size = self.run("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": height or size[1], "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def close(self):
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
