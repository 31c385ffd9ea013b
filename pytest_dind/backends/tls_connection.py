"""The connection to a daemon on an engine that shares no directory with this process.

The daemon serves TLS on one published port, and both sides prove themselves by certificates. Its
files, the lease among them, are in its container alone, where commands read and write them. The
first process tells the exit code on the container's output too: a command that runs while the
daemon starts is in the way of an image that sets up control groups (docker-library/docker#495).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import container_files, containers, http, own_container, reach, tars, tls
from ..engine import exec as exec_module
from ..errors import DaemonUnhealthy
from ..lifetime import layout
from ..lifetime.layout import Home
from ..lifetime.lease import Held
from .protocol import LOOPBACK

if TYPE_CHECKING:
    from ..engine.engine import Engine

PORT = 2376
_EVERYWHERE = "0.0.0.0"
# What Docker and Podman put into their containers.
_IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")

# Holds the FIFO open, says so, and ends with its stdin. Opened for reading too, a FIFO needs no
# reader.
_HOLD = f"exec 3<>{layout.IN_CONTAINER}/{layout.LEASE} && echo held && exec cat >/dev/null"


@dataclass(frozen=True)
class Place:
    """Where an engine is, as this process reaches it.

    Attributes:
        host: The host on which the ports that it publishes are reached.
        bind: The address of its machine that it publishes them on.
        network: The engine's network that this process is in; empty outside of its containers.
    """

    host: str
    bind: str
    network: str = ""


def place(engine: Engine) -> Place:
    """Where an engine is."""
    if engine.url.startswith("unix://"):
        # In a virtual machine, which forwards loopback; or outside of this process's container.
        return Place(LOOPBACK, LOOPBACK, next(iter(own_container.networks(engine)), ""))
    host = engine.address
    local = host == "localhost" or host.startswith("127.")
    return Place(LOOPBACK, LOOPBACK) if local else Place(host, _EVERYWHERE)


def gateway(engine: Engine) -> str | None:
    """The address at which containers of an engine reach this process.

    That is its container's own where it is in one; None for that of the engine's machine, which has
    one in each network; empty where it is on another machine or in another network, or the engine
    in a virtual machine.
    """
    if not engine.url.startswith("unix://") or engine.is_virtual:
        return ""
    contained = any(Path(mark).exists() for mark in _IN_CONTAINER)
    own = own_container.networks(engine) if contained else {}
    if own:
        return next(iter(own.values()))
    return "" if reach.apart(engine) else None


def because(engine: Engine) -> str:
    """Why daemons on this engine are reached in another way than by a directory that both have.

    Empty where they are reached so, as far as is known.
    """
    if not engine.unshared:
        return ""
    if reach.needs_gate(engine):
        return f"engine {engine.url}: through the engine, because {reach.apart(engine)}"
    return f"engine {engine.url}: over TLS, because {engine.unshared}"


class TlsConnection:
    """A port with TLS, and files that commands in the container read and write."""

    name = "tls"
    supervised = True
    # Each look costs the outer engine some milliseconds.
    poll_seconds = 0.05

    def __init__(self, engine: Engine, home: Home, place: Place) -> None:
        self._engine = engine
        self._home = home
        self._candidates: list[tuple[str, int]] = []
        self._own = ""
        self._given: Mapping[str, bytes] = {}
        self.because = because(engine)
        self.host = self.address = ""
        self.certificates = str(home.path / layout.CERTIFICATES)
        self.bind, self.outer, self.network = place.bind, place.host, place.network
        self.remedy: Sequence[str] = ()

    def arguments(self) -> list[str]:
        """A port for clients with a certificate of the daemon's own CA."""
        directory = f"{layout.IN_CONTAINER}/{layout.CERTIFICATES}"
        return [
            f"--host=tcp://0.0.0.0:{PORT}",
            "--tlsverify",
            f"--tlscacert={directory}/{http.CA}",
            f"--tlscert={directory}/{http.CERTIFICATE}",
            f"--tlskey={directory}/{http.KEY}",
        ]

    def mounts(self) -> list[Any]:
        """None."""
        return []

    def bindings(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """The port, unless both containers are in one network."""
        return {} if self.network else {(PORT, "tcp"): (self.bind, None)}

    def options(self) -> dict[str, Any]:
        """A log that can be read, whichever the engine's default is: it has the exit code."""
        from docker.types import LogConfig

        return {"log_config": LogConfig(type=LogConfig.types.JSON)}

    def give(self, files: Mapping[str, bytes]) -> bool:
        """Have files with the certificates, which the daemon waits for."""
        self._given = files
        return True

    def prepare(self, details: Mapping[str, Any]) -> None:
        """Write the certificates into the container; they name the addresses that are dialled.

        Raises:
            DaemonUnhealthy: they can't be written.
        """
        self._own = containers.address(details)
        bindings = (details["NetworkSettings"]["Ports"] or {}).get(f"{PORT}/tcp") or []
        self._candidates = [(self.outer, int(item["HostPort"])) for item in bindings[:1]]
        if self._engine.url.startswith("unix://"):
            self._candidates.append((self._own, PORT))
        places = " or ".join(f"{host}:{port}" for host, port in self._candidates)
        self.remedy = [f"Let this machine reach {places}: a firewall may be in the way."]
        server, client = tls.make([host for host, _ in self._candidates])
        client.write(Path(self.certificates))
        directory = f"{layout.IN_CONTAINER}/{layout.CERTIFICATES}"
        entries = [
            *server.entries(directory.lstrip("/")),
            *(tars.Entry(name, content) for name, content in self._given.items()),
        ]
        mark = f"{directory}/{layout.CERTIFIED}"
        try:
            container_files.unpack(self._engine.client, self._home.label, entries, mark)
        except (tars.Failed, TimeoutError) as error:
            raise DaemonUnhealthy(
                f"The daemon {self._home.name!r} can't be given its certificates.",
                evidence=str(error),
                remedy=[
                    "Use an image that has tar, or busybox, as docker:dind has.",
                    "Look whether the engine's disk has room (docker system df).",
                ],
            ) from error

    def ping(self, timeout: float) -> str | None:
        """Ask the daemon for the newest API version it speaks; None while it doesn't serve."""
        for host, port in self._candidates:
            url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
            answer = http.ping(url, self.certificates, timeout=timeout)
            if answer is not None:
                self.host = url
                self.address = host if host == self._own else ""
                return answer
        return None

    def read(self, name: str) -> str | None:
        """Read a file; None where there is none, or no container that runs any more."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        client, label = self._engine.client, self._home.label
        try:
            if name == layout.EXIT:
                return str(client.api.logs(label, stderr=False, tail=1).decode())
            path = f"{layout.IN_CONTAINER}/{name}"
            return container_files.read(client, label, path).decode(errors="replace")
        except (APIError, RequestException, tars.Failed, TimeoutError):
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file; without a container that runs, do nothing."""
        from docker.errors import APIError

        client, label = self._engine.client, self._home.label
        try:
            path = f"{layout.IN_CONTAINER}/{name}"
            container_files.write(client, label, path, text.encode())
        except APIError:
            # One that is paused still has a use for it.
            if containers.inspect(client, label).get("State", {}).get("Running"):
                raise

    def hold(self) -> Held:
        """Keep the daemon alive by a command in its container, which ends with this process."""
        stream = exec_module.attach(self._engine.client, self._home.label, ["sh", "-c", _HOLD])
        with contextlib.closing(stream):
            stream.expect(b"held\n")
            return Held(os.dup(stream.fileno()))
