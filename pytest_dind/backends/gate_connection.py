"""The connection to a daemon that neither a directory nor a network leads to.

Its engine's socket is here, but its containers are not: it is in another network namespace, or in a
container itself, as a daemon of this plugin is. The daemon's own unix socket is carried here by a
*gate* (`forwarder.gate`), through commands that the engine runs in the daemon's container. Its
files are in its container, as those of one that is reached over TLS are.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..engine import http
from ..forwarder import gate
from ..forwarder.config import ForwarderConfig
from ..forwarder.endpoint import Endpoint
from ..lifetime import layout
from ..lifetime.layout import Home
from . import endpoints
from .protocol import LOOPBACK
from .tls_connection import Place, TlsConnection

if TYPE_CHECKING:
    from ..engine.engine import Engine

# dockerd writes it at its start, once the image's entrypoint is through.
_PID_FILE = "/var/run/docker.pid"


class GateConnection(TlsConnection):
    """A unix socket here that leads to the one in the container, through the engine."""

    name = "gate"

    def __init__(self, engine: Engine, home: Home) -> None:
        super().__init__(engine, home, Place("", LOOPBACK))
        self.certificates = ""
        self.host = f"unix://{home.path / layout.SOCKET}"
        self._container = ""
        self._begun = False

    def arguments(self) -> list[str]:
        """None: each dockerd of the plugin's has a socket in its container."""
        return []

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """None."""
        return {}

    def give(self, files: Mapping[str, bytes]) -> bool:
        """False, if there are any: no command may unpack them before the daemon serves."""
        return not files

    def prepare(self, details: Mapping[str, Any]) -> None:
        """Note which container it is."""
        self._container = str(details["Id"])

    def ping(self, timeout: float) -> str | None:
        """Ask the daemon for the newest API version it speaks; None while it doesn't serve."""
        if not self._begun:
            # A command that runs in the container before keeps the entrypoint from setting its
            # control groups up (docker-library/docker#495).
            if not self._has(_PID_FILE):
                return None
            self._open()
            self._begun = True
        return http.ping(self.host, timeout=timeout)

    def _open(self) -> None:
        config = ForwarderConfig(
            home=str(self._home.path),
            daemon=Endpoint(self.host),
            address="",
            engine=endpoints.of_engine(self._engine),
            container=self._container,
        )
        gate.start(config)

    def _has(self, path: str) -> bool:
        """Whether a file is in the container; asked without a command in it."""
        api: Any = self._engine.client.api
        url = api._url("/containers/{0}/archive", self._home.label)
        return bool(api.head(url, params={"path": path}).status_code == HTTPStatus.OK)
