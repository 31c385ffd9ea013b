"""Backends: what each mode does in its own way, and the record of a daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..engine import http
from ..lifetime.layout import Home

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine.exec import Command
    from ..engine.streams import Progress
    from ..lifetime.files import Files
    from ..settings import Settings
    from ..store.seeding import Origin
    from ..store.snapshots import Snapshot


LOOPBACK = "127.0.0.1"
UNSHARED = ("tls", "gate")
"""The connections to daemons that share no directory with the test process."""


class Address(NamedTuple):
    """The host and port on which a port of a container is reached."""

    host: str
    port: int


@dataclass(frozen=True)
class Record:
    """The facts by which a process uses a daemon, also one that another process started.

    Attributes:
        mode: The mode in force.
        home: The directory shared with its container.
        id: Its outer container's id.
        host: Its URL.
        address: Its container's address on the outer engine's network; empty where that isn't
            reached from here.
        published: Ports of its container that the outer engine publishes (`8080/tcp`).
        version: Its engine's version.
        api_version: The newest API version it speaks.
        driver: Its storage driver.
        user_namespace: Whether root in its container is not root on the engine's machine.
        seconds: Seconds from its start to healthy, without pulls of images.
        pulled: Seconds that pulls of its images took; 0 where none was missing.
        connection: The name of its connection.
        certificates: The directory of a client's certificates; empty where it has a unix socket.
        outer: The host on which ports that the outer engine publishes are reached; empty where they
            aren't.
        because: Why it is not reached by a shared directory; empty where it is.
        ip: Its container's address on the outer engine's network, whether reached from here or not.
        gateway: The address at which nested containers reach the test process; empty for none.
    """

    mode: str
    home: Home
    id: str
    host: str
    address: str
    published: tuple[str, ...]
    version: str
    api_version: str
    driver: str
    user_namespace: bool
    seconds: float
    pulled: float = 0
    connection: str = "shared"
    certificates: str = ""
    outer: str = "127.0.0.1"
    because: str = ""
    ip: str = ""
    gateway: str = ""

    @property
    def is_unshared(self) -> bool:
        """Whether its files, the lease among them, are in its container alone."""
        return self.connection in UNSHARED

    def variables(self) -> dict[str, str]:
        """The `DOCKER_*` variables that point a tool at it."""
        return http.variables(self.host, self.certificates)


@dataclass(frozen=True)
class Shaper:
    """The hook `pytest_dind_create_container`, as the test process has it.

    Attributes:
        authors: Names the plugins and files that implement the hook; empty where none does.
        call: Calls it with the daemon's name, the mode, and the arguments of docker-py's
            `create_container`, which it changes in place.
    """

    authors: Callable[[], Sequence[str]]
    call: Callable[[str, str, dict[str, Any]], None]


class Backend(Protocol):
    """Makes the daemons of one mode, and works on them."""

    def start(
        self,
        home: Home,
        settings: Settings,
        progress: Progress,
        shaper: Shaper | None = None,
        origin: Origin | None = None,
    ) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left.

        Args:
            home: The daemon's home.
            settings: Its settings.
            progress: Where a line on what takes long goes.
            shaper: The hook that may change its container, where it has one.
            origin: What it starts from; None for an empty one.
        """

    def freeze(
        self, record: Record, settings: Settings, snapshot: Snapshot, progress: Progress
    ) -> None:
        """Put a snapshot of a daemon into the warm store; it holds still meanwhile.

        Args:
            record: The daemon.
            settings: Its settings.
            snapshot: The snapshot that is made.
            progress: Where a line on what takes long goes.
        """

    def files(self, record: Record) -> Files:
        """A daemon's files: its log, its exit code, and messages to its first process."""

    def hold(self, record: Record) -> None:
        """Keep the daemon alive until `release`, or this process's end, if the lease doesn't."""

    def forward(self, record: Record) -> None:
        """Have its published ports opened on this machine's loopback, if they aren't there."""

    def release(self) -> None:
        """End what `hold` began; idempotent."""

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine, which has the images to load."""

    def container(self, record: Record) -> Container | None:
        """The outer container; None in a mode that has none."""

    def exec(self, record: Record, command: Command) -> subprocess.CompletedProcess[bytes]:
        """Run a command in a container where the docker CLI talks to the daemon."""

    def restart(self, record: Record, timeout: float) -> None:
        """Start the daemon anew, with all that it has, and wait until it serves again."""

    def post_mortem(self, record: Record) -> int | None:
        """The exit code of a daemon that is gone; None where nobody knows it."""

    def stop(self, home: Home) -> None:
        """Remove the daemon of this home with its volumes; one that is gone is fine."""
