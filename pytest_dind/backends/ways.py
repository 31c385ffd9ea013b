"""The ways between a test process and a daemon's container; here the usual one, by a directory.

All in which an engine that shares no directory differs is in `remote.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .. import transport
from ..files import Directory, Files
from ..workspace import SOCKET
from .protocol import Home, Record

if TYPE_CHECKING:
    from ..engine import Engine
    from ..lease import Held

HOME = "/run/pytest-dind"
"""Where the home is in the container. Not below /tmp: the official image has a tmpfs there."""
LOOPBACK = "127.0.0.1"


class Way(Files, Protocol):
    """How a test process and a daemon's container reach each other.

    Attributes:
        name: As supervise.sh takes it.
        because: Why it isn't the usual one; empty for that.
        host: The daemon's URL, known at the latest when it has answered a ping.
        certificates: The directory of the client's certificates; empty without TLS.
        address: The container's own address, where it is reached from here.
        bind: The address of the engine's machine that ports are published on.
        outer: The host on which they are reached.
        network: The outer engine's network that the container is to be in; empty for the default.
        poll_seconds: What may pass between two looks at a daemon that is to start.
        remedy: What can be done about a daemon that can't be reached.
    """

    name: str
    because: str
    host: str
    certificates: str
    address: str
    bind: str
    outer: str
    network: str
    poll_seconds: float
    remedy: Sequence[str]

    def arguments(self) -> list[str]:
        """What dockerd is told."""

    def mounts(self) -> list[Any]:
        """What is mounted in the container for it."""

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """The ports of the container that are published for it, and at which address."""

    def opened(self, details: Mapping[str, Any]) -> None:
        """Go on once the container runs.

        Args:
            details: As the engine's inspect has them.
        """

    def ping(self, timeout: float) -> str | None:
        """The newest API version the daemon speaks; None while it doesn't serve."""

    def hold(self) -> Held | None:
        """Hold the daemon until this process ends, where the run's lease doesn't."""


class Shared(Directory):
    """A directory that is mounted in the container: the daemon's socket, its lease, its files."""

    name = "shared"
    because = certificates = network = ""
    bind = outer = LOOPBACK
    # A look at a unix socket costs some microseconds.
    poll_seconds = 0.01
    remedy: Sequence[str] = ()

    def __init__(self, home: Home) -> None:
        super().__init__(home.path)
        self.host = f"unix://{home.path / SOCKET}"
        self.address = ""

    def arguments(self) -> list[str]:
        """A socket in the directory, of a group that a test process that isn't root is in."""
        return [f"--host=unix://{HOME}/{SOCKET}", f"--group={os.getgid()}"]

    def mounts(self) -> list[Any]:
        """The directory."""
        from docker.types import Mount

        return [Mount(HOME, str(self.path), type="bind")]

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """None."""
        return {}

    def opened(self, details: Mapping[str, Any]) -> None:
        """Take note of the container's address."""
        self.address = container_address(details)

    def ping(self, timeout: float) -> str | None:
        """The newest API version the daemon speaks; None while it doesn't serve."""
        return transport.ping(self.host, timeout=timeout)

    def hold(self) -> None:
        """Nothing: the run's lease is in the directory."""


def new(engine: Engine, home: Home) -> Way:
    """The way to a daemon that is to be started."""
    from .remote import Remote, place

    return Remote(engine, home, place(engine)) if engine.elsewhere else Shared(home)


def known(engine: Engine, record: Record) -> Way:
    """The way to a daemon that was started."""
    if not record.certificates:
        return Shared(record.home)
    from .remote import Place, Remote

    return Remote(engine, record.home, Place(record.outer, ""))


def container_address(details: Mapping[str, Any]) -> str:
    """The container's address: per network, since API 1.52 has no other."""
    networks = details["NetworkSettings"]["Networks"].values()
    return next((net["IPAddress"] for net in networks if net.get("IPAddress")), "")
