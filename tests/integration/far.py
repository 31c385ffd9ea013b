"""An engine elsewhere whose containers are Sysbox's, as far as files go; a relay plays it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import threading
from collections.abc import Iterator

from pytest_dind.engine import containers
from pytest_dind.engine.engine import Engine

from .slow import relay

_CHUNK = 65536
_COPY = re.compile(rb"(?:GET|PUT|HEAD) (?:/v1\.\d+)?/containers/([^/]+)/archive\?")


class FarEngine:
    """The real engine at another address, which copies no file of a container that runs.

    So it is under Sysbox (nestybox/sysbox#1017). Without a socket of this machine, the plugin takes
    it for one elsewhere, which has none of its directories.

    Attributes:
        url: Its URL.
        refused: The containers whose files it did not copy.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.refused: list[str] = []
        self.server = _Server(("127.0.0.1", 0), _Relay)
        self.server.far = self
        self.url = f"tcp://127.0.0.1:{self.server.server_address[1]}"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    far: FarEngine


class _Relay(socketserver.BaseRequestHandler):
    """One request, which is the last of its connection, so that none goes by unseen."""

    server: _Server

    def handle(self) -> None:
        """Relay it, unless it is for a copy."""
        client: socket.socket = self.request
        head, far = client.recv(_CHUNK), self.server.far
        copy = _COPY.match(head)
        name = copy[1].decode() if copy else ""
        if name and containers.inspect(far.engine.client, name)["State"]["Running"]:
            far.refused.append(name)
            said = f"Could not find the file /run in container {name}"
            body = json.dumps({"message": said}).encode()
            client.sendall(
                b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            return
        relay(client, head, far.engine)


@contextlib.contextmanager
def far_engine(engine: Engine) -> Iterator[FarEngine]:
    """Such an engine."""
    far = FarEngine(engine)
    serving = threading.Thread(target=far.server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield far
    finally:
        far.server.shutdown()
        serving.join()
        far.server.server_close()
