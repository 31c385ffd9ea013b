"""What each mode does in its own way; all else is shared."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..engine import http
from ..lifetime.layout import Home

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from ..engine.images import Progress
    from ..lifetime.files import Files
    from ..settings import Settings


class Address(NamedTuple):
    """Where a port is reached."""

    host: str
    port: int


@dataclass(frozen=True)
class Record:
    """All that a process must know to use a daemon, also one that another process started.

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
        seconds: From its start to healthy; pulls of images have no part in it.
        pulled: Seconds that pulls of the images that it needs took; 0 where none was missing.
        way: The name of the way that leads to it.
        certificates: The directory of a client's certificates; empty where it has a unix socket.
        outer: The host on which ports that the outer engine publishes are reached.
        because: Why it is not reached by a shared directory; empty where it is.
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
    way: str = "shared"
    certificates: str = ""
    outer: str = "127.0.0.1"
    because: str = ""

    def variables(self) -> dict[str, str]:
        """The `DOCKER_*` variables that point a tool at it."""
        return http.variables(self.host, self.certificates)


class Backend(Protocol):
    """One way to make a daemon."""

    def start(self, home: Home, settings: Settings, progress: Progress) -> Record:
        """Start a daemon and wait until it is healthy; `stop` removes what a failed start left."""

    def files(self, record: Record) -> Files:
        """Its files: its log, its exit code, and what it is told."""

    def hold(self, record: Record) -> None:
        """Hold it until `release`, or this process's end, where the run's lease doesn't."""

    def release(self) -> None:
        """Let go of what is held; idempotent."""

    def outer(self) -> docker.DockerClient:
        """A client on the outer engine, which has the images to load."""

    def container(self, record: Record) -> Container | None:
        """The outer container, where there is one."""

    def exec(
        self,
        record: Record,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        workdir: str | None,
        stdin: bytes | None,
        timeout: float | None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command where the daemon's own docker CLI is."""

    def restart(self, record: Record, timeout: float) -> None:
        """Start the daemon anew, with all that it has, and wait until it serves again."""

    def post_mortem(self, record: Record) -> int | None:
        """The exit code of a daemon that is gone, where it can still be known."""

    def stop(self, home: Home) -> None:
        """Remove the daemon of this home with its volumes; one that is gone is fine."""
