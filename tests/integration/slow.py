"""An engine behind a slow registry, played by a relay before the real one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from conftest import DAEMON_IMAGE
from pytest_dind.engine.engine import Engine

_CHUNK = 65536
_PULLED = b'{"status":"Status: Downloaded"}\r\n'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_PULLED), _PULLED)
)


class SlowEngine:
    """The real engine, but each pull takes long, and gives what is here under another name.

    Attributes:
        url: Its URL.
        image: The image to pull; what it is, the real engine knows as the daemon's image.
        seconds: What a pull takes.
        pulls: How many there were.
    """

    def __init__(self, engine: Engine, room: Path, seconds: float) -> None:
        self.engine = engine
        self.url = f"unix://{room / 'slow'}"
        self.image = f"slow.example/dind:{uuid4().hex[:8]}"
        self.seconds = seconds
        self.pulls = 0
        self.server = _Server(str(room / "slow"), _Relay)
        self.server.slow = self

    def pull(self) -> None:
        """Have the image."""
        threading.Event().wait(self.seconds)
        self.pulls += 1
        self.engine.client.images.get(DAEMON_IMAGE).tag(self.image)

    def lose(self) -> None:
        """No longer have the image."""
        self.engine.client.api.remove_image(self.image)


class _Server(socketserver.ThreadingUnixStreamServer):
    # A relay may still wait for an engine that has nothing more to say.
    daemon_threads = True
    slow: SlowEngine


class _Relay(socketserver.BaseRequestHandler):
    """One request: a pull is answered here, all else by the real engine."""

    server: _Server

    def handle(self) -> None:
        """Relay it."""
        # Each request is the last of its connection, so that none goes by unseen.
        client: socket.socket = self.request
        head = client.recv(_CHUNK)
        slow = self.server.slow
        if head.startswith(b"POST ") and b"/images/create?" in head.partition(b"\r\n")[0]:
            slow.pull()
            client.sendall(_ANSWER)
            return
        relay(client, head, slow.engine)


def relay(client: socket.socket, head: bytes, to: Engine) -> None:
    """Relay a request, of which the first bytes have been read, as the last of its connection."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(to.url.removeprefix("unix://"))
        engine.sendall(head.replace(b"Connection: keep-alive\r\n", b"Connection: close\r\n"))
        back = threading.Thread(target=pump, args=(engine, client), daemon=True)
        back.start()
        pump(client, engine)
        back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes from one side to the other, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def slow_engine(engine: Engine, room: Path, seconds: float) -> Iterator[SlowEngine]:
    """An engine whose pulls take so long; what they brought is gone afterwards."""
    slow = SlowEngine(engine, room, seconds)
    serving = threading.Thread(target=slow.server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield slow
    finally:
        slow.server.shutdown()
        serving.join()
        slow.server.server_close()
        if slow.pulls:
            slow.lose()
