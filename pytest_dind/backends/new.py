"""A daemon in a container that was started just now, until it is handed over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..engine import http
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import readiness
from .connection import Connection

if TYPE_CHECKING:
    import docker

    from ..engine.engine import Engine
    from ..lifetime.files import Files


class StartingDaemon:
    """A daemon in a container that was started just now."""

    def __init__(
        self,
        engine: Engine,
        home: Home,
        way: Connection,
        settings: Settings,
        ticket: seeding.Ticket,
        mode: str,
    ) -> None:
        self._engine = engine
        self._home = home
        self._way = way
        self.files: Files = way
        self._settings = settings
        self._ticket = ticket
        self.subject = f"The daemon {home.name!r} (mode {mode}, image {settings.image})"
        self._api_version: str | None = None

    def wait(self, *, spent: float = 0) -> str:
        """Wait until it serves; gives the newest API version it speaks."""
        self._api_version = readiness.wait_until_ready(
            self.subject,
            self.files,
            self._way.ping,
            poll_seconds=self._way.poll_seconds,
            timeout=self._settings.timeout,
            spent=spent,
            gone=lambda: not inspect(self._engine, self._home),
            # The answer of a daemon that is about to be published doesn't count.
            remedy=self._way.remedy,
            awaited=lambda: not self._ticket.key or bool(seeding.outcome(self.files)),
        )
        return self._api_version

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """A client on it, which need not ask for the version to speak: that takes some 10 ms."""
        client = http.client(self._way.host, self._way.certificates, version=self._api_version)
        try:
            yield client
        finally:
            client.close()

    def publish(self) -> None:
        """Have a golden root made of it, and a new daemon with that root in its place."""
        self._engine.client.api.kill(self._home.label, "SIGUSR2")
        self.wait()


def inspect(engine: Engine, home: Home) -> dict[str, Any]:
    """The details of a home's container; empty when it is gone."""
    from docker.errors import NotFound

    try:
        details: dict[str, Any] = engine.client.api.inspect_container(home.label)
    except NotFound:
        return {}
    return details
