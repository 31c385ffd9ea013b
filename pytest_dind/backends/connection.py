"""The ways between a test process and a daemon's container; here the usual one, by a directory.

All in which an engine that shares no directory differs is in `remote.py`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..engine import http
from ..engine import tls as certificates
from ..errors import DaemonUnhealthy, EngineUnavailable, ImageUnavailable, NoShell, NotShared
from ..lifetime import layout
from ..lifetime.files import Directory, Files
from ..lifetime.layout import SOCKET, Home
from .protocol import Record

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..lifetime.lease import Held

LOOPBACK = "127.0.0.1"
# dockerd makes its socket for nobody, and gives it to its group then.
_DENIED_SECONDS = 3


class Connection(Files, Protocol):
    """How a test process and a daemon's container reach each other.

    Attributes:
        name: As supervise.sh takes it.
        supervised: Whether that is the container's first process.
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
    supervised: bool
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


class SharedDirectory(Directory):
    """A directory that is mounted in the container: the daemon's socket, its lease, its files."""

    name = "shared"
    supervised = True
    because = certificates = network = ""
    bind = outer = LOOPBACK
    # A look at a unix socket costs some microseconds.
    poll_seconds = 0.01
    remedy: Sequence[str] = ()

    def __init__(self, home: Home) -> None:
        super().__init__(home.path)
        self.host = f"unix://{home.path / SOCKET}"
        self.address = ""
        self._denied_since: float | None = None

    def arguments(self) -> list[str]:
        """A socket in the directory, of a group that a test process that isn't root is in."""
        return [f"--host=unix://{layout.IN_CONTAINER}/{SOCKET}", f"--group={os.getgid()}"]

    def mounts(self) -> list[Any]:
        """The directory."""
        from docker.types import Mount

        return [Mount(layout.IN_CONTAINER, str(self.path), type="bind")]

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """None."""
        return {}

    def opened(self, details: Mapping[str, Any]) -> None:
        """Take note of the container's address."""
        self.address = container_address(details)

    def ping(self, timeout: float) -> str | None:
        """The newest API version the daemon speaks; None while it doesn't serve."""
        answer = http.ping(self.host, timeout=timeout)
        if answer is None:
            self._require_right()
        return answer

    def _require_right(self) -> None:
        """Wait no longer for a daemon whose socket this user may not use, nor ever will."""
        path = self.path / SOCKET
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if not os.access(path, os.W_OK):
                now = time.monotonic()
                self._denied_since = self._denied_since or now
                if now - self._denied_since < _DENIED_SECONDS:
                    return
                raise DaemonUnhealthy(
                    f"The daemon's socket {path} is not this user's to use.",
                    evidence=f"It is of uid {found.st_uid} and gid {found.st_gid}, mode "
                    f"{found.st_mode & 0o777:04o}; this process has uid {os.getuid()} and gids "
                    f"{', '.join(map(str, sorted({os.getgid(), *os.getgroups()})))}.",
                    remedy=[
                        "Leave out a --dind-arg that gives the socket to another group.",
                        "Where the outer engine maps users (userns-remap), run the tests as root.",
                    ],
                )
        self._denied_since = None

    def hold(self) -> None:
        """Nothing: the run's lease is in the directory."""


class Unsupervised(SharedDirectory):
    """The same, without anything that reads the lease, or writes a log or an exit code there."""

    name = "alone"
    supervised = False
    because = "the image has no shell: the daemon ends with the run, or with the next run's sweep"

    def __init__(self, engine: Engine, home: Home) -> None:
        super().__init__(home)
        self._engine = engine
        self._label = home.label

    def read(self, name: str) -> str | None:
        """What the engine knows instead: it keeps the container until that is removed."""
        from docker.errors import APIError

        api = self._engine.client.api
        with contextlib.suppress(APIError):
            if name == layout.LOG:
                return str(api.logs(self._label).decode(errors="replace"))
            if name == layout.EXIT:
                state = api.inspect_container(self._label)["State"]
                return None if state["Running"] else str(state["ExitCode"])
        return super().read(name)


def new(engine: Engine, home: Home) -> Connection:
    """The way to a daemon that is to be started."""
    from .tls_connection import TlsConnection, place

    return TlsConnection(engine, home, place(engine)) if engine.elsewhere else SharedDirectory(home)


def other(way: Connection, error: NotShared | NoShell, engine: Engine, home: Home) -> Connection:
    """The way to try instead of one that turned out not to lead to a daemon.

    Raises:
        DindError: there is none; why the first can't be had.
    """
    if way.name == SharedDirectory.name and isinstance(error, NoShell):
        return Unsupervised(engine, home)
    if way.name == SharedDirectory.name and certificates.available():
        engine.elsewhere = "its containers don't see this process's directories"
        return new(engine, home)
    remedy = [] if isinstance(error, NoShell) else [certificates.REMEDY]
    # What it is for the user; that there may be another way was for here.
    kind = ImageUnavailable if isinstance(error, NoShell) else EngineUnavailable
    raise kind(error.what, evidence=error.evidence, remedy=[*error.remedy, *remedy])


def known(engine: Engine, record: Record) -> Connection:
    """The way to a daemon that was started."""
    if record.way == SharedDirectory.name:
        return SharedDirectory(record.home)
    if record.way == Unsupervised.name:
        return Unsupervised(engine, record.home)
    from .tls_connection import Place, TlsConnection

    return TlsConnection(engine, record.home, Place(record.outer, ""))


def container_address(details: Mapping[str, Any]) -> str:
    """The container's address: per network, since API 1.52 has no other."""
    networks = details["NetworkSettings"]["Networks"].values()
    return next((net["IPAddress"] for net in networks if net.get("IPAddress")), "")
