"""Another machine with an engine on it, played by a container."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind.engine import container_files, http, images
from pytest_dind.engine import tls as certificates
from pytest_dind.engine.engine import Engine

from ..support import until

_OTHER = "tests-remote-host"
_TLS = ["--tlscacert=/tls/ca.pem", "--tlscert=/tls/cert.pem", "--tlskey=/tls/key.pem"]
_BOOT = """
until [ -e /tls/ready ]; do sleep 0.05; done
mount --make-rshared /
exec dockerd --host=tcp://0.0.0.0:2376 --host=unix:///share/s --tlsverify "$@"
"""


class OtherHost:
    """A container that plays another machine with an engine on it, and no directory in common.

    Attributes:
        address: Its address.
        url: The engine's URL.
        certificates: The directory of a client's certificates.
        socket: The engine's unix socket, seen from here.
        pid: Its first process.
    """

    def __init__(self, engine: Engine, room: Path) -> None:
        self.name = f"{_OTHER}-{os.getpid()}"
        self._api = engine.client.api
        self._api.create_container(
            DAEMON_IMAGE,
            name=self.name,
            entrypoint=["sh", "-c", _BOOT, "sh"],
            command=[*_TLS, "--bip=10.213.0.1/20"],
            volumes=["/var/lib/docker"],
            host_config=self._api.create_host_config(
                privileged=True, auto_remove=True, binds=[f"{room}:/share"]
            ),
        )
        self._api.start(self.name)
        details = self._api.inspect_container(self.name)
        networks = details["NetworkSettings"]["Networks"].values()
        self.address = next(net["IPAddress"] for net in networks)
        self.pid = details["State"]["Pid"]
        self.url = f"tcp://{self.address}:2376"
        self.socket = room / "s"
        self.certificates = str(room / "tls")
        server, client = certificates.make([self.address])
        client.write(Path(self.certificates))
        container_files.unpack(engine.client, self.name, server.entries("tls"), "/tls/ready")
        until(lambda: http.ping(self.url, self.certificates), 20, "the other host serves")
        self.client = http.client(self.url, self.certificates)
        images.ImageSource(engine.client, print).load(self.client, [DAEMON_IMAGE, NESTED_IMAGE])

    @property
    def env(self) -> dict[str, str]:
        """What points a tool at it, together with what usually leads tools astray."""
        return {
            **http.variables(self.url, self.certificates),
            "REQUESTS_CA_BUNDLE": "/dev/null",
            "HTTPS_PROXY": "http://127.0.0.1:1",
        }

    def end(self) -> None:
        """End it."""
        with contextlib.suppress(AttributeError):
            self.client.close()
        self._api.remove_container(self.name, force=True, v=True)


@contextlib.contextmanager
def other_host(engine: Engine) -> Iterator[OtherHost]:
    """The other host, with both images; it ends with the block."""
    room = Path(tempfile.mkdtemp(prefix="do", dir="/tmp"))
    try:
        other = OtherHost(engine, room)
        try:
            yield other
        finally:
            other.end()
    finally:
        shutil.rmtree(room)
