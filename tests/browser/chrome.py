"""A browser without a window, driven over a pipe by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..support import until

_SECONDS = 120


class Browser:
    """A browser with one page.

    Args:
        program: Its program.
        profile: A directory of its own.
        options: Further ones of its command line.
    """

    def __init__(self, program: str, profile: Path, options: Sequence[str] = ()) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._session = ""
        self._number = 0
        self._rest = b""
        read, its_write = os.pipe()
        its_read, write = os.pipe()
        self._read, self._write = read, write
        # It reads from 3 and writes to 4, which are to be made of any numbers: `sh` knows those of
        # one digit. In a container it can make no sandbox of its own.
        command = [
            *("bash", "-c", f'exec 3<&{its_read} 4>&{its_write} && exec "$@"', "bash", program),
            *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu"),
            *(f"--user-data-dir={profile}", "--disable-dev-shm-usage", "--no-first-run", *options),
        ]
        self._process = subprocess.Popen(
            command,
            pass_fds=(its_read, its_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_read)
        os.close(its_write)
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """End it."""
        os.close(self._write)
        self._process.kill()
        self._process.wait()
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol on the page."""
        return self._ask(method, parameters)

    def open(self, path: Path) -> float:
        """Open a file; return how many seconds it took until the page had drawn itself."""
        self.messages.clear()
        self.requests.clear()
        began = time.monotonic()
        self.ask("Page.navigate", url=path.as_uri())
        until(lambda: self.run("document.documentElement?.dataset.ready"), 30, "the page is drawn")
        self.settle()
        return time.monotonic() - began

    def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, awaited where it is a promise."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{expression[:200]}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def key(self, key: str, text: str = "") -> None:
        """Press a key and let it go."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed
            )

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.ask("Input.insertText", text=text)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the page, and which of the two colour schemes is preferred."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])
        self.settle()

    def settle(self) -> None:
        """Wait until what has been asked for is drawn."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")

    def screenshot(self, path: Path) -> None:
        """Take a picture of the page."""
        self.settle()
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page."""
        found = self.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _SECONDS
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _send(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._write, content) :]

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]
            more = os.read(self._read, 1 << 20) if ready else b""
            if not more:
                raise AssertionError("The browser ended, or did not answer.")
            self._rest += more
        found, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(found)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.messages.append(str(parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.messages.append(str(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
