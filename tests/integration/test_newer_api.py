"""An outer engine with a newer API than any that is known, played by a relay before a real one."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dind import __main__ as command
from pytest_dind.engine.engine import Engine

from .projects import Project
from .traces import Traces

_CHUNK = 65536
# As long as the real one, so that bodies are as long as their heads say.
_NEWER = b"1.99"
_TOLD = "API 1.99 is newer than the newest that is known"


class _Server(socketserver.ThreadingUnixStreamServer):
    # A relay may still wait for an engine that has nothing more to say.
    daemon_threads = True
    engine: Engine


class _Relay(socketserver.BaseRequestHandler):
    """One connection: what is said of the API's version is changed, both ways, and nothing else."""

    server: _Server

    def handle(self) -> None:
        """Relay it."""
        client: socket.socket = self.request
        real = self.server.engine.api_version.encode()

        def asked(data: bytes) -> bytes:
            # It speaks all that are older, too.
            return re.sub(rb"(?m)^([A-Z]+ /v)1\.\d\d/", rb"\g<1>%b/" % real, data)

        def answered(data: bytes) -> bytes:
            return re.sub(rb'(Api-Version: |"ApiVersion":")%b' % real, rb"\g<1>%b" % _NEWER, data)

        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.engine.url.removeprefix("unix://"))
            back = threading.Thread(target=_pump, args=(engine, client, answered), daemon=True)
            back.start()
            _pump(client, engine, asked)
            back.join()


def _pump(source: socket.socket, target: socket.socket, changed: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(changed(data))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def newer(engine: Engine, room: Path) -> Iterator[str]:
    """The URL of such an engine."""
    assert engine.client.ping()
    path = room / "newer"
    with _Server(str(path), _Relay) as server:
        server.engine = engine
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            serving.join()


def test_newer_api(project: Project, newer: str, mode: str, traces: Traces) -> None:
    """A run is as ever, and says with -v alone that it does not know the API."""
    project.write(
        """
        import pytest

        @pytest.mark.requires_engine(">=20.10")
        def test_it(dind_client, dind_daemon):
            made = dind_client.volumes.create()
            assert made in dind_client.volumes.list()
            made.remove()
            assert "API" in dind_daemon.exec(["docker", "version"]).stdout
        """
    )
    host = f"--dind-host={newer}"
    told = f"dind: the outer engine at {newer}: {_TOLD}"
    output = project.run(host, "-v")

    assert "1 passed" in output
    assert told in output
    assert ("clients of the guard have 1." in output) == (mode == "socket")
    assert told not in project.run(host)
    traces.assert_nothing_left()


def test_doctor(newer: str, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """The doctor tells of it, and finds all else as without it."""
    code = command.main(["doctor", f"--host={engine.url}"])
    assert _TOLD not in capsys.readouterr().out

    assert command.main(["doctor", f"--host={newer}"]) == code
    assert _TOLD in capsys.readouterr().out
