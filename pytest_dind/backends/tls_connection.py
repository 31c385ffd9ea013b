"""The way to a daemon on an engine that shares no directory with this process.

The daemon serves on one published port, with certificates that both sides prove themselves with.
Its files, the lease among them, are in its container alone, and reached by the outer engine's API.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import exec as execution
from ..engine import http
from ..engine import tls as certificates
from ..lifetime.layout import IN_CONTAINER, LEASE, Home
from ..lifetime.lease import Held
from .connection import LOOPBACK, container_address

if TYPE_CHECKING:
    from ..engine.engine import Engine

PORT = 2376
_TLS = "tls"
_READY = "ready"
_EVERYWHERE = "0.0.0.0"

# Holds the FIFO open, says so, and ends with its stdin. Opened for both, it waits for nobody.
_HOLD = f"exec 3<>{IN_CONTAINER}/{LEASE} && echo held && exec cat >/dev/null"


@dataclass(frozen=True)
class Place:
    """Where an engine is, seen from here.

    Attributes:
        host: On which the ports that it publishes are reached.
        bind: The address of its machine that it is to publish them on.
        network: The engine's network that this process is in, being in one of its containers.
    """

    host: str
    bind: str
    network: str = ""


def place(engine: Engine) -> Place:
    """Where an engine is."""
    if engine.url.startswith("unix://"):
        # In a virtual machine, which forwards loopback; or outside of the container that we are in.
        return Place(LOOPBACK, LOOPBACK, _own_network(engine))
    host = engine.address
    local = host == "localhost" or host.startswith("127.")
    return Place(LOOPBACK, LOOPBACK) if local else Place(host, _EVERYWHERE)


def _own_network(engine: Engine) -> str:
    """A network of the container that this process runs in; empty when it is in none."""
    from docker.errors import APIError

    try:
        # A container's host name is its id, unless it was given another.
        details = engine.client.api.inspect_container(socket.gethostname())
    except APIError:
        return ""
    networks = details["NetworkSettings"]["Networks"]
    return next((name for name, net in networks.items() if net.get("IPAddress")), "")


def because(engine: Engine) -> str:
    """Why a daemon on this engine is reached this way; empty where it isn't, as far as is known."""
    if not engine.elsewhere:
        return ""
    return f"engine {engine.url}: over TLS, because {engine.elsewhere}"


class TlsConnection:
    """A port with TLS, and files that the outer engine brings and fetches."""

    name = "remote"
    supervised = True
    # Each look costs the outer engine some milliseconds.
    poll_seconds = 0.05

    def __init__(self, engine: Engine, home: Home, place: Place) -> None:
        self._engine = engine
        self._home = home
        self._candidates: list[tuple[str, int]] = []
        self._own = ""
        self.because = because(engine)
        self.host = self.address = ""
        self.certificates = str(home.path / _TLS)
        self.bind, self.outer, self.network = place.bind, place.host, place.network
        self.remedy: Sequence[str] = ()

    def arguments(self) -> list[str]:
        """A port for who has a certificate of the daemon's own CA."""
        tls = f"{IN_CONTAINER}/{_TLS}"
        return [
            f"--host=tcp://0.0.0.0:{PORT}",
            "--tlsverify",
            f"--tlscacert={tls}/{http.CA}",
            f"--tlscert={tls}/{http.CERTIFICATE}",
            f"--tlskey={tls}/{http.KEY}",
        ]

    def mounts(self) -> list[Any]:
        """None."""
        return []

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """The port, unless both containers are in one network."""
        return {} if self.network else {(PORT, "tcp"): (self.bind, None)}

    def opened(self, details: Mapping[str, Any]) -> None:
        """Bring the certificates: made now, since they name the address that is dialled."""
        self._own = container_address(details)
        bindings = (details["NetworkSettings"]["Ports"] or {}).get(f"{PORT}/tcp") or []
        self._candidates = [(self.outer, int(item["HostPort"])) for item in bindings[:1]]
        if self._engine.url.startswith("unix://"):
            self._candidates.append((self._own, PORT))
        places = " or ".join(f"{host}:{port}" for host, port in self._candidates)
        self.remedy = [f"Let this machine reach {places}: a firewall may be in the way."]
        server, client = certificates.make([host for host, _ in self._candidates])
        client.write(Path(self.certificates))
        home = Path(IN_CONTAINER)
        self._put(str(home.parent), server.archive(f"{home.name}/{_TLS}", _READY))

    def ping(self, timeout: float) -> str | None:
        """The newest API version the daemon speaks; None while it doesn't serve."""
        for host, port in self._candidates:
            url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
            answer = http.ping(url, self.certificates, timeout=timeout)
            if answer is not None:
                self.host = url
                self.address = host if host == self._own else ""
                return answer
        return None

    def read(self, name: str) -> str | None:
        """What a file has; None where there is none, or no container any more."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        try:
            stream, _ = self._engine.client.api.get_archive(
                self._home.label, f"{IN_CONTAINER}/{name}"
            )
            with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
                file = tar.extractfile(tar.getmembers()[0])
                return file.read().decode(errors="replace") if file else None
        except (APIError, RequestException):
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file; without a container there is none to be written."""
        from docker.errors import NotFound

        content = io.BytesIO(text.encode())
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o600, len(content.getvalue())
            tar.addfile(entry, content)
        with contextlib.suppress(NotFound):
            self._put(IN_CONTAINER, target.getvalue())

    def _put(self, path: str, archive: bytes) -> None:
        self._engine.client.api.put_archive(self._home.label, path, archive)

    def hold(self) -> Held:
        """Hold the daemon by a command in its container, which ends with this connection."""
        stream = execution.attach(self._engine.client, self._home.label, ["sh", "-c", _HOLD])
        with contextlib.closing(stream):
            stream.expect(b"held\n")
            return Held(os.dup(stream.fileno()))
