"""The forwarder where a daemon's address is not reached: through the engine that it is on."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import Daemon, Settings
from pytest_dind.backends.protocol import LOOPBACK
from pytest_dind.lifetime import layout
from pytest_dind.runs.run import Run

from .other import OtherHost

# The other host takes seconds to make: one worker has all that use it.
pytestmark = pytest.mark.xdist_group("other")

_SERVER = ["sh", "-c", "echo far >/index.html; exec httpd -f -p 80 -h /"]


@pytest.fixture(scope="module")
def far(other: OtherHost) -> Iterator[Daemon]:
    """A daemon on the other host, with no port published there."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in other.env.items():
            patched.setenv(name, value)
        settings = Settings(mode="dind", image=DAEMON_IMAGE, host=other.url, load=(NESTED_IMAGE,))
        with contextlib.closing(Run.begin(print)) as run:
            yield run.daemon(settings)


def _get(host: str, port: int) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read()


def test_random_port(far: Daemon) -> None:
    """A port that the daemon picked is reached on this machine's loopback."""
    with contextlib.closing(far.client()) as client:
        container = client.containers.run(
            NESTED_IMAGE, _SERVER, ports={"80/tcp": None}, detach=True
        )
        try:
            address = far.address(container, 80, wait=True)
            assert address.host == LOOPBACK
            assert _get(*address) == b"far\n"
            assert far.environment()["TESTCONTAINERS_HOST_OVERRIDE"] == LOOPBACK
        finally:
            container.remove(force=True)
    assert (far.record.home.path / layout.FORWARDER_LOG).read_text() == ""


def test_port_that_is_taken(far: Daemon) -> None:
    """Where the same port is taken here, `address()` gives another that leads there."""
    with (
        socket.create_server((LOOPBACK, 0)) as taken,
        contextlib.closing(far.client()) as client,
    ):
        port = taken.getsockname()[1]
        container = client.containers.run(
            NESTED_IMAGE, _SERVER, ports={"80/tcp": port}, detach=True
        )
        try:
            address = far.address(container, 80, wait=True)
            assert address.port != port
            assert _get(*address) == b"far\n"
        finally:
            container.remove(force=True)
