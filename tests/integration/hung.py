"""An engine that hangs while told to, played by a relay before the real one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

from pytest_dind.engine.engine import Engine

from .slow import relay

_CHUNK = 65536


class HungEngine:
    """The real engine, but it takes requests and answers none while a file is there.

    Attributes:
        url: Its URL.
        mark: The file.
        asked: The first lines of the requests that came while it hung.
    """

    def __init__(self, engine: Engine, room: Path, mark: Path) -> None:
        self.engine = engine
        self.url = f"unix://{room / 'hung'}"
        self.mark = mark
        self.asked: list[bytes] = []
        self.awake = threading.Event()
        self.server = _Server(str(room / "hung"), _Relay)
        self.server.hung = self

    def wake(self) -> None:
        """Hang no more: what was asked meanwhile is done."""
        self.mark.unlink(missing_ok=True)
        self.awake.set()


class _Server(socketserver.ThreadingUnixStreamServer):
    # A relay may still wait for an engine that has nothing more to say.
    daemon_threads = True
    hung: HungEngine


class _Relay(socketserver.BaseRequestHandler):
    """One request, which is the last of its connection, so that none goes by unseen."""

    server: _Server

    def handle(self) -> None:
        """Relay it, once the engine is awake."""
        client: socket.socket = self.request
        hung = self.server.hung
        head = client.recv(_CHUNK)
        if hung.mark.exists():
            hung.asked.append(head.partition(b"\r\n")[0])
            hung.awake.wait()
        relay(client, head, hung.engine)


@contextlib.contextmanager
def hung_engine(engine: Engine, room: Path, mark: Path) -> Iterator[HungEngine]:
    """An engine that hangs while there is the file `mark`."""
    hung = HungEngine(engine, room, mark)
    serving = threading.Thread(target=hung.server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield hung
    finally:
        hung.wake()
        hung.server.shutdown()
        serving.join()
        hung.server.server_close()
