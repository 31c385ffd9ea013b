"""What tests of all kinds lean on: ways to wait and to clean up, and an engine that is none."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

# Tests that run side by side share the processors. A bound here says that something comes about at
# all, and not hangs; how long it takes is measured in benchmarks.
_PATIENCE = 3 if "PYTEST_XDIST_WORKER" in os.environ else 1


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Poll `condition` until it is true, and fail when it is not in `seconds`.

    `seconds` are those of a test that runs alone; beside others it gets three times as many. The
    condition may look at what others remove meanwhile, such as the files of a process in /proc:
    where one vanishes under it, it looks again.
    """
    seconds *= _PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        vanished: OSError | None = None
        try:
            if found := condition():
                return found
        except (FileNotFoundError, ProcessLookupError) as error:
            vanished = error
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what}") from vanished
        # Most conditions ask the engine, which takes longer to answer than a file system.
        time.sleep(0.05)


def remove_tree(path: Path) -> None:
    """Remove a directory that the reaper of a test's run, a process of its own, may still use."""

    def is_gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()

    until(is_gone, 10, f"{path} is removed")


@dataclass(frozen=True)
class Answer:
    """What a fake engine says to a request.

    A body that is an iterator of texts is sent as they come, each in a chunk of its own.
    """

    status: int = 200
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)


Reply = Answer | Callable[[], Answer]

PING = Answer(body="OK", headers={"Api-Version": "1.51"})


class FakeEngine:
    """The HTTP API of an engine on a unix socket, as far as `answers` knows it.

    The keys of `answers` are a method and a path without the API's version: `GET /_ping`.
    """

    def __init__(self, path: Path, answers: Mapping[str, Reply]) -> None:
        self._path = path
        self.host = f"unix://{path}"
        self._server = _Server(str(path), _Handler)
        # A new run looks for what others left: networks and images too.
        nothing = Answer(body=[])
        usual = {"GET /_ping": PING, "GET /networks": nothing, "GET /images/json": nothing}
        self._server.answers = {**usual, **answers}
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> FakeEngine:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink()


class _Server(socketserver.ThreadingUnixStreamServer):
    answers: Mapping[str, Reply]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if path.startswith("/v1."):
            path = path[path.index("/", 1) :]
        # docker-py knows an image that is missing by these words.
        kind = "image" if path.startswith("/images/") else "thing"
        known = self.server.answers.get(
            f"{self.command} {path}", Answer(404, {"message": f"No such {kind}: {path}"})
        )
        answer = known() if callable(known) else known
        if "Date" in answer.headers:
            self.send_response_only(answer.status)
        else:
            self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        chunks = answer.body
        if isinstance(chunks, str):
            chunks = [chunks]
        elif not isinstance(chunks, Iterator):
            chunks = [json.dumps(chunks)]
            self.send_header("Content-Type", "application/json")
        # In chunks, as engines send what docker-py reads as a stream.
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        # Who asked may have gone while the answer is on its way.
        with contextlib.suppress(BrokenPipeError):
            for text in filter(None, chunks):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(text.encode()), text.encode()))
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""
