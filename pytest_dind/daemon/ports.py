"""Addresses of nested containers: where a test reaches them, and why it can't."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..backends.protocol import LOOPBACK, Address, Backend, Record
from ..backends.registry import isolates
from ..engine import containers
from ..engine.polling import poll
from ..errors import AddressUnreachable
from ..forwarder import launch
from ..lifetime import layout
from ..validation import shown
from .arguments import name_or_id

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_PORT = re.compile(r"[0-9]{1,5}")
_PROTOCOLS = ("tcp", "udp", "sctp")
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.02
_CONNECT_SECONDS = 1
# A proxy accepts before it knows whether anybody listens behind it, and closes at once if not.
_CLOSED_WITHIN_SECONDS = 0.1
# Through a tunnel that takes a command in the daemon's container.
_CLOSED_BEHIND_TUNNEL_SECONDS = 0.5
_LOOKS_AFTER_SECONDS = 0.25
# A forwarder that finds the daemon's address out of reach takes a second for it.
_TOLD_SECONDS = 5
_LAST_LINES = 10


@dataclass(frozen=True)
class Ports:
    """The ports and addresses of a daemon's nested containers.

    Attributes:
        record: The daemon's record.
        backend: The daemon's backend.
        client: A client on the daemon.
    """

    record: Record
    backend: Backend
    client: docker.DockerClient

    def find(
        self, container: Container | str, port: int | str, protocol: str, *, wait: bool | float
    ) -> Address:
        """Find where the test process reaches a published port; `Daemon.address` says how."""
        wanted = key(port, protocol)
        details = self._running(container)
        found = self._route(details, wanted)
        if wait and wanted.endswith("/tcp"):
            seconds = _WAIT_SECONDS if wait is True else float(wait)
            self._wait(details, wanted, found, seconds)
        return found

    def nested(self, container: Container | str, network: str) -> str:
        """Find a nested container's own address; `Daemon.nested_address` says how."""
        details = self._running(container)
        networks = details["NetworkSettings"]["Networks"]
        if details["HostConfig"]["NetworkMode"] == "host" and not network:
            return self.record.address
        for name, there in networks.items():
            found = there.get("IPAddress") or there.get("GlobalIPv6Address")
            if found and network in ("", name):
                return str(found)
        which = f" on the network {network!r}" if network else ""
        raise AddressUnreachable(
            f"The nested container {_name(details)!r} has no address{which}.",
            evidence=f"Its networks: {', '.join(networks) or 'none'}.",
            remedy=["Name one of its networks.", "Connect it to one: network.connect(container)."],
        )

    def _running(self, container: Container | str) -> Mapping[str, Any]:
        """The details of a nested container.

        Raises:
            AddressUnreachable: it is not there, or does not run.
        """
        from docker.errors import NotFound, NullResource

        name = name_or_id(container)
        if name is None:
            raise AddressUnreachable(
                f"{shown(container)} is not a nested container.",
                evidence=f"Its type is {type(container).__name__}.",
                remedy=["Give the container that was run with detach=True, its name or its id."],
            )
        try:
            details: dict[str, Any] = self.client.api.inspect_container(name)
        except (NotFound, NullResource) as error:
            raise AddressUnreachable(
                f"There is no nested container {name!r} in the daemon {self.record.home.name!r}.",
                evidence=str(getattr(error, "explanation", error)),
                remedy=[
                    "Start the container in this daemon before asking for its address.",
                    "One with remove=True is gone once it has ended.",
                ],
            ) from error
        if not details["State"]["Running"]:
            raise self._not_running(details)
        return details

    def _route(self, details: Mapping[str, Any], wanted: str) -> Address:
        """The address by which a port of a running container is reached.

        Raises:
            AddressUnreachable: it is not published, or not to the test process.
        """
        ports = details["NetworkSettings"]["Ports"] or {}
        record = self.record
        if details["HostConfig"]["NetworkMode"] == "host":
            ports = {wanted: [{"HostIp": "0.0.0.0", "HostPort": wanted.partition("/")[0]}]}
        bindings = _bindings(ports, wanted) if ports.get(wanted) else []
        protocol = wanted.partition("/")[2]
        # Where the daemon is the machine's own engine, so is its loopback.
        here = record.address == LOOPBACK
        open_to_us = [one for one in bindings if here or not one.is_loopback]
        # A port that the outer engine publishes is reached from everywhere, but not by a process in
        # a container beside the daemon's, to which `outer` is another machine.
        beside = record.certificates and record.address
        for one in () if beside else open_to_us:
            if record.outer and f"{one.port}/{protocol}" in record.published:
                return Address(record.outer, one.port)
        if open_to_us and not (here or reaches(record)):
            return self._forwarded(details, f"{open_to_us[0].port}/{protocol}")
        own = [record.address] if record.address else []
        if here:
            own += [one.host for one in open_to_us if not one.is_everywhere]
        elif any(one.version == 6 for one in open_to_us):
            own += self._ipv6()
        for host in own:
            for one in open_to_us:
                if one.host == host or (
                    one.is_everywhere and one.version == ip_address(host).version
                ):
                    return Address(host, one.port)
        raise _unpublished(details, wanted, ports, [one.host for one in bindings])

    def _forwarded(self, details: Mapping[str, Any], port: str) -> Address:
        """The address at which the daemon's forwarder has a port, once it has.

        Raises:
            AddressUnreachable: there is no forwarder, or it does not open the port.
        """
        home = self.record.home.path

        def look() -> int | None:
            found = launch.told(home).get("opened", {}).get(port)
            return found or (None if launch.is_alive(home) else 0)

        found = poll(look, seconds=_WAIT_SECONDS, every=_POLL_SECONDS)
        if not found:
            raise self._out_of_reach(details, port)
        return Address(LOOPBACK, found)

    def _ipv6(self) -> Iterator[str]:
        """The daemon's IPv6 addresses; asked for only where a port is published on one."""
        container = self.backend.container(self.record)
        if container is not None:
            for there in container.attrs["NetworkSettings"]["Networks"].values():
                if there.get("GlobalIPv6Address"):
                    yield there["GlobalIPv6Address"]

    def _wait(
        self, details: Mapping[str, Any], wanted: str, address: Address, seconds: float
    ) -> None:
        """Wait until something accepts connections.

        Raises:
            AddressUnreachable: the container ended meanwhile, or nothing accepts.
        """
        now = details
        next_look = time.monotonic() + _LOOKS_AFTER_SECONDS

        def look() -> bool | None:
            nonlocal now, next_look
            if self.accepts(address):
                return True
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOKS_AFTER_SECONDS
                now = containers.inspect(self.client, details["Id"]) or {
                    **details,
                    "State": {"Running": False, "Status": "gone", "ExitCode": ""},
                }
                if not now["State"]["Running"]:
                    raise self._not_running(now)
            return None

        if not poll(look, seconds=seconds, every=_POLL_SECONDS):
            raise self._silent(now, wanted, address, seconds)

    def accepts(self, address: Address) -> bool:
        """Whether something accepts TCP connections at an address that `find` has given."""
        published = self.record.outer and f"{address.port}/tcp" in self.record.published
        engines = not isolates(self.record.mode)
        if not engines and address.host != LOOPBACK:
            return _listens(address, None)
        direct = published or engines
        return _listens(
            address, _CLOSED_WITHIN_SECONDS if direct else _CLOSED_BEHIND_TUNNEL_SECONDS
        )

    def _not_running(self, details: Mapping[str, Any]) -> AddressUnreachable:
        """The error for a container that does not run."""
        state = details["State"]
        said = self._last_lines(details)
        return AddressUnreachable(
            f"The nested container {_name(details)!r} does not run, so it publishes nothing.",
            evidence=f"Published ports: none; the container is {state['Status']}, "
            f"exit code {state['ExitCode']}.\n{said}",
            remedy=["Look in its log lines for what ended it.", "Start it: container.start()."],
        )

    def _last_lines(self, details: Mapping[str, Any]) -> str:
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            said: bytes = self.client.api.logs(details["Id"], tail=_LAST_LINES)
            return said.decode(errors="replace")
        return ""

    def _out_of_reach(self, details: Mapping[str, Any], port: str) -> AddressUnreachable:
        """The error for a port of a daemon on another machine."""
        record = self.record
        what = (
            f"Port {port}, where the daemon {record.home.name!r} publishes the nested container "
            f"{_name(details)!r}, is not reached from here."
        )
        if not isolates(record.mode):
            return AddressUnreachable(
                what,
                evidence=f"The mode is socket, and the engine publishes it: {record.because}.",
                remedy=[
                    "Use a mode with a daemon of its own, whose forwarder opens the port here: "
                    "--dind-mode=auto.",
                    "Reach it from a nested container.",
                ],
            )
        published = ", ".join(record.published) or "none"
        forwarder = "does not run" if launch.is_on(record.home.path) else "is off"
        if launch.is_alive(record.home.path):
            forwarder = "has not opened it in time"
        return AddressUnreachable(
            what,
            evidence=f"The daemon's container is in another network ({record.because}), and the "
            f"forwarder, which would open the port here, {forwarder}. Ports that are published "
            f"there: {published}.",
            remedy=[
                f"Look into {record.home.path / layout.FORWARDER_LOG} for why."
                if launch.is_on(record.home.path)
                else "Let the forwarder open it here: --dind-forward=auto.",
                f"Publish a port with --dind-publish {port}, and the container on that port: "
                f"ports={{...: {port.partition('/')[0]}}}.",
                "Reach it from a nested container, or with Daemon.exec.",
            ],
        )

    def _silent(
        self,
        details: Mapping[str, Any],
        wanted: str,
        address: Address,
        seconds: float,
    ) -> AddressUnreachable:
        """The error for an address where nothing accepts."""
        return AddressUnreachable(
            f"Nothing accepts connections on port {wanted} of the nested container "
            f"{_name(details)!r}, at {address.host}:{address.port}.",
            evidence=f"Tried for {seconds:g} s; the container is "
            f"{details['State']['Status']}.\n{self._last_lines(details)}",
            remedy=[
                "Look in its log lines: the server may not run, or listen on 127.0.0.1 only.",
                "Give it longer: address(..., wait=60).",
                "Where the daemon's address is out of reach: --dind-publish a range, and "
                f"ports={{'{wanted}': '8000-8010'}}.",
            ],
        )


@dataclass(frozen=True)
class _Binding:
    """A port of the daemon's container that is forwarded to the nested one."""

    host: str
    port: int

    @property
    def version(self) -> int:
        return ip_address(self.host).version

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback

    @property
    def is_everywhere(self) -> bool:
        return ip_address(self.host).is_unspecified


def _bindings(ports: Mapping[str, Any], wanted: str) -> Sequence[_Binding]:
    return [
        _Binding(one["HostIp"] or "0.0.0.0", int(one["HostPort"])) for one in ports[wanted] or []
    ]


def key(port: int | str, protocol: str) -> str:
    """The port as the engine writes it, `80/tcp`.

    Raises:
        AddressUnreachable: it is no port.
    """
    number, _, own = (port if isinstance(port, str) else shown(port)).partition("/")
    protocol = own or protocol
    if not _PORT.fullmatch(number) or not 0 < int(number) < 65536 or protocol not in _PROTOCOLS:
        raise AddressUnreachable(
            f"{shown(port)} with protocol {shown(protocol)} is not a port.",
            evidence=f"A port is 1 to 65535; protocols: {', '.join(_PROTOCOLS)}.",
            remedy=["Give the port inside the container: address(container, 80)."],
        )
    return f"{int(number)}/{protocol}"


def reaches(record: Record) -> bool:
    """Whether a daemon's own address is reached from here, as far as its forwarder found out."""
    if not record.address:
        return False
    home = record.home.path

    def look() -> bool | None:
        if told := launch.told(home):
            return bool(told["direct"])
        return None if launch.is_alive(home) else True

    return poll(look, seconds=_TOLD_SECONDS, every=_POLL_SECONDS) is not False


def host(record: Record) -> str:
    """The host on which a daemon's published ports are reached; empty where they aren't."""
    if record.address == LOOPBACK or reaches(record):
        return record.address
    return LOOPBACK if launch.is_on(record.home.path) else ""


def _listens(address: Address, patience: float | None) -> bool:
    """Whether something accepts connections, also behind a proxy.

    Args:
        address: The address.
        patience: The seconds after which a proxy that found nobody would have closed; None where
            there is none.
    """
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            if patience is None:
                return True
            connection.settimeout(patience)
            try:
                return bool(connection.recv(1, socket.MSG_PEEK))
            except TimeoutError:
                return True
    except OSError:
        return False


def _unpublished(
    details: Mapping[str, Any],
    wanted: str,
    ports: Mapping[str, Any],
    hosts: Sequence[str],
) -> AddressUnreachable:
    """The error for a port that is not published to the test process, with the reason.

    Args:
        details: The container's details.
        wanted: The port, as `80/tcp`.
        ports: The ports that the container publishes.
        hosts: The addresses on which it publishes this port.
    """
    published = ", ".join(key for key, value in ports.items() if value) or "none"
    number = wanted.partition("/")[0]
    others = [key for key in ports if ports[key] and key.split("/")[0] == number and key != wanted]
    if hosts and all(ip_address(host).is_loopback for host in hosts):
        why = "It is published on the daemon's own loopback, where only the daemon is."
    elif hosts:
        where = ", ".join(hosts)
        why = f"It is published on {where}, which the daemon's container has not, or not outside."
    elif others:
        why = f"It is published for another protocol: {', '.join(others)}."
    elif details["HostConfig"]["NetworkMode"] == "none":
        why = "It has no network (network_mode none)."
    elif wanted in ports:
        why = "Its image exposes the port, but that alone does not publish it."
    else:
        why = "Nobody published it."
    return AddressUnreachable(
        f"Port {wanted} of the nested container {_name(details)!r} "
        "is not published to the test process.",
        evidence=f"{why}\nPublished ports: {published}; the container is "
        f"{details['State']['Status']}.",
        remedy=[
            f"Start it with ports={{'{wanted}': None}} (docker run -p {wanted}); 127.0.0.1 would "
            "be the daemon's own loopback.",
            "Where the daemon's address is out of reach: --dind-publish 8000-8010, and "
            f"ports={{'{wanted}': '8000-8010'}}.",
            f"From beside it, in the daemon: nested_address(container) and port {number}.",
        ],
    )


def _name(details: Mapping[str, Any]) -> str:
    """The name of a container with these details."""
    return str(details["Name"]).lstrip("/")
