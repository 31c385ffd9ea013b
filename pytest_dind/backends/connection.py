"""Connections between a test process and a daemon's container; the usual one is a directory.

The connections to an engine that shares no directory are in `tls_connection`, and, where no network
leads there either, in `gate_connection`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..engine import containers, http, own_container, reach, tls
from ..errors import DaemonUnhealthy, EngineUnavailable, ImageUnavailable, NoShell, NotShared
from ..lifetime import layout
from ..lifetime.files import Directory, Files
from ..lifetime.layout import Home
from .gate_connection import GateConnection
from .protocol import LOOPBACK, Record
from .tls_connection import Place, TlsConnection, place

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..lifetime.lease import Held

# dockerd makes its socket root's alone, and gives it to its group after that.
_DENIED_SECONDS = 3
_UNSEEN = "its containers don't see this process's directories"


class Connection(Files, Protocol):
    """How a test process and a daemon's container reach each other.

    Attributes:
        name: Its name, for supervise.sh and records.
        supervised: Whether supervise.sh is the container's first process.
        because: Why it isn't the usual one; empty for that.
        host: The daemon's URL; known once the daemon has answered a ping.
        certificates: The directory of the client's certificates; empty without TLS.
        address: The container's own address; empty where that isn't reached from here.
        bind: The address of the engine's machine that ports are published on.
        outer: The host on which published ports are reached.
        network: The outer engine's network that the container is in; empty for the default.
        poll_seconds: The time between two looks at a daemon that starts.
        remedy: The remedies for a daemon that can't be reached.
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
        """The arguments of dockerd by which it is reached."""

    def mounts(self) -> list[Any]:
        """The mounts of the container by which it is reached."""

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """The ports of the container by which it is reached: where each is published."""

    def options(self) -> dict[str, Any]:
        """What else the container needs for it, as docker-py's `create_host_config` takes it."""

    def give(self, files: Mapping[str, bytes]) -> bool:
        """Have files placed in the container, once it runs, before its daemon starts.

        Args:
            files: Their contents, by their paths below the container's root.

        Returns:
            Whether they will be.
        """

    def prepare(self, details: Mapping[str, Any]) -> None:
        """Prepare the connection to a container that has just started.

        Args:
            details: As the engine's inspect has them.
        """

    def ping(self, timeout: float) -> str | None:
        """Ask the daemon for the newest API version it speaks; None while it doesn't serve."""

    def hold(self) -> Held | None:
        """Keep the daemon alive until this process ends; None where the run's lease does."""


class SharedDirectory(Directory):
    """A directory that the container has too, with the daemon's socket, its lease and its files."""

    name = "shared"
    supervised = True
    certificates = network = ""
    bind = LOOPBACK
    # A look at a unix socket costs some microseconds.
    poll_seconds = 0.01
    remedy: Sequence[str] = ()

    def __init__(self, engine: Engine, home: Home) -> None:
        super().__init__(home.path)
        self._engine = engine
        self.host = f"unix://{home.path / layout.SOCKET}"
        self.because = self.address = ""
        self.outer = LOOPBACK
        self._denied_since: float | None = None

    def arguments(self) -> list[str]:
        """A socket in the directory, of a group that a test process that isn't root is in."""
        return [f"--host=unix://{layout.IN_CONTAINER}/{layout.SOCKET}", f"--group={os.getgid()}"]

    def mounts(self) -> list[Any]:
        """The directory."""
        from docker.types import Mount

        return [Mount(layout.IN_CONTAINER, str(self.path), type="bind")]

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """None."""
        return {}

    def options(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def give(self, files: Mapping[str, bytes]) -> bool:
        """Write files into the directory, from which the first process takes them."""
        for name, content in files.items():
            path = self.path / layout.GIVEN / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return True

    def prepare(self, details: Mapping[str, Any]) -> None:
        """Note the container's address, if it is one that is reached from here."""
        apart = reach.apart_from(self._engine, containers.gateway(details))
        if not apart:
            self.address = containers.address(details)
            return
        self.because = f"engine {self._engine.url}: ports through the engine, because {apart}"
        if not reach.is_rootless(self._engine):
            # Rootless Docker opens what it publishes on this machine.
            self.outer = ""

    def ping(self, timeout: float) -> str | None:
        """Ask the daemon for the newest API version it speaks; None while it doesn't serve."""
        answer = http.ping(self.host, timeout=timeout)
        if answer is None:
            self._require_right()
        return answer

    def _require_right(self) -> None:
        """Check that this user may use the socket, once dockerd has had time to give it away."""
        path = self.path / layout.SOCKET
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
    """A shared directory for an image without a shell.

    Nothing in the container reads the lease, or writes a log or an exit code there.
    """

    name = "unsupervised"
    supervised = False
    _WITHOUT = "the image has no shell: the daemon ends with the run, or with the next run's sweep"

    def __init__(self, engine: Engine, home: Home) -> None:
        super().__init__(engine, home)
        self.because = self._WITHOUT
        self._label = home.label

    def give(self, files: Mapping[str, bytes]) -> bool:
        """False: the first process is dockerd itself."""
        return not files

    def prepare(self, details: Mapping[str, Any]) -> None:
        """Note the container's address, if it is one that is reached from here."""
        super().prepare(details)
        if self.because != self._WITHOUT:
            self.because = f"{self.because}; {self._WITHOUT}"

    def read(self, name: str) -> str | None:
        """Read a file, or the engine's log and exit code: it keeps the container."""
        from docker.errors import APIError

        api = self._engine.client.api
        with contextlib.suppress(APIError):
            if name == layout.LOG:
                return str(api.logs(self._label).decode(errors="replace"))
            if name == layout.EXIT:
                state = api.inspect_container(self._label)["State"]
                return None if state["Running"] else str(state["ExitCode"])
        return super().read(name)


def choose(engine: Engine, home: Home) -> Connection:
    """The connection to a daemon that is to be started."""
    if not engine.unshared:
        return SharedDirectory(engine, home)
    if reach.needs_gate(engine):
        return GateConnection(engine, home)
    return TlsConnection(engine, home, place(engine))


def detour(engine: Engine, gateway: str, *, shares: bool | None) -> str:
    """Why ports of daemons that are to be started are reached through the engine.

    Empty where they are reached at the daemons' own addresses, as far as is known without one.

    Args:
        engine: The outer engine.
        gateway: The gateway of its containers in their network; empty where it is not known.
        shares: Whether its containers see this process's directories; None where that is not known.
    """
    is_beside = engine.url.startswith("unix://") and not engine.is_virtual
    if is_beside and own_container.networks(engine):
        return ""
    if engine.unshared or shares is False:
        return reach.apart(engine) or engine.unshared or _UNSEEN
    return reach.apart_from(engine, gateway)


def fallback(
    connection: Connection, error: NotShared | NoShell, engine: Engine, home: Home
) -> Connection:
    """The connection to try after one that did not lead to a daemon.

    Raises:
        DindError: there is none; the text says why the first one failed.
    """
    if connection.name == SharedDirectory.name and isinstance(error, NoShell):
        return Unsupervised(engine, home)
    if connection.name == SharedDirectory.name and (tls.available() or reach.apart(engine)):
        engine.mark_unshared(_UNSEEN)
        return choose(engine, home)
    remedy = [] if isinstance(error, NoShell) else [tls.REMEDY]
    # The public kinds: NotShared and NoShell only say that another connection may lead there.
    kind = ImageUnavailable if isinstance(error, NoShell) else EngineUnavailable
    raise kind(error.what, evidence=error.evidence, remedy=[*error.remedy, *remedy])


def of_record(engine: Engine, record: Record) -> Connection:
    """The connection to a daemon that was started, perhaps by another process."""
    if record.connection == SharedDirectory.name:
        return SharedDirectory(engine, record.home)
    if record.connection == GateConnection.name:
        return GateConnection(engine, record.home)
    if record.connection == Unsupervised.name:
        return Unsupervised(engine, record.home)
    return TlsConnection(engine, record.home, Place(record.outer, ""))
