"""Addresses of nested containers: where a test reaches them, and why it can't."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..errors import AddressUnreachable
from . import unreachable

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from .handle import Daemon

_LOOPBACK = "127.0.0.1"
_PROTOCOLS = ("tcp", "udp", "sctp")
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.02
_CONNECT_SECONDS = 1
# A proxy accepts before it knows whether anybody listens behind it, and closes at once if not.
_CLOSED_WITHIN_SECONDS = 0.1
_LOOKS_AFTER_SECONDS = 0.25


def find(
    daemon: Daemon,
    client: docker.DockerClient,
    container: Container | str,
    port: int | str,
    protocol: str,
    *,
    wait: bool | float,
) -> Address:
    """Where the test process reaches a published port; `Daemon.address` says how."""
    wanted = _key(port, protocol)
    details = _running(daemon, client, container)
    found = _route(daemon, details, wanted)
    if wait and wanted.endswith("/tcp"):
        seconds = _WAIT_SECONDS if wait is True else float(wait)
        _accepts(client, details, wanted, found, seconds)
    return found


def nested(
    daemon: Daemon, client: docker.DockerClient, container: Container | str, network: str
) -> str:
    """A nested container's own address; `Daemon.nested_address` says how."""
    details = _running(daemon, client, container)
    networks = details["NetworkSettings"]["Networks"]
    if details["HostConfig"]["NetworkMode"] == "host" and not network:
        return daemon.record.address
    for name, there in networks.items():
        found = there.get("IPAddress") or there.get("GlobalIPv6Address")
        if found and network in ("", name):
            return str(found)
    which = f" on the network {network!r}" if network else ""
    raise AddressUnreachable(
        f"The nested container {unreachable.name(details)!r} has no address{which}.",
        evidence=f"Its networks: {', '.join(networks) or 'none'}.",
        remedy=["Name one of its networks.", "Connect it to one: network.connect(container)."],
    )


def _key(port: int | str, protocol: str) -> str:
    """The port as the engine writes it, `80/tcp`."""
    number, _, own = str(port).partition("/")
    protocol = own or protocol
    if not number.isdecimal() or not 0 < int(number) < 65536 or protocol not in _PROTOCOLS:
        raise AddressUnreachable(
            f"{port!r} with protocol {protocol!r} is not a port.",
            evidence=f"A port is 1 to 65535; protocols: {', '.join(_PROTOCOLS)}.",
            remedy=["Give the port inside the container: address(container, 80)."],
        )
    return f"{int(number)}/{protocol}"


def _running(
    daemon: Daemon, client: docker.DockerClient, container: Container | str
) -> Mapping[str, Any]:
    """The details of a container that runs."""
    from docker.errors import NotFound, NullResource

    name = container if isinstance(container, str) else getattr(container, "id", None)
    if not isinstance(name, str):
        raise AddressUnreachable(
            f"{container!r} is not a nested container.",
            evidence=f"Its type is {type(container).__name__}.",
            remedy=["Give the container that was run with detach=True, its name or its id."],
        )
    try:
        details: dict[str, Any] = client.api.inspect_container(name)
    except (NotFound, NullResource) as error:
        raise AddressUnreachable(
            f"There is no nested container {name!r} in the daemon {daemon.name!r}.",
            evidence=str(getattr(error, "explanation", error)),
            remedy=[
                "Start the container in this daemon before asking for its address.",
                "One with remove=True is gone once it has ended.",
            ],
        ) from error
    if not details["State"]["Running"]:
        raise unreachable.ended(client, details)
    return details


@dataclass(frozen=True)
class _Binding:
    """A port of the daemon's container that leads to the nested one."""

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


def _route(daemon: Daemon, details: Mapping[str, Any], wanted: str) -> Address:
    """The way to a port of a running container."""
    ports = details["NetworkSettings"]["Ports"] or {}
    record = daemon.record
    if details["HostConfig"]["NetworkMode"] == "host":
        ports = {wanted: [{"HostIp": "0.0.0.0", "HostPort": wanted.partition("/")[0]}]}
    bindings = _bindings(ports, wanted) if ports.get(wanted) else []
    protocol = wanted.partition("/")[2]
    # Where the daemon is the machine's own engine, so is its loopback.
    here = record.address == _LOOPBACK
    open_to_us = [one for one in bindings if here or not one.is_loopback]
    # What is published on the engine's machine is reached from anywhere the engine is, but for
    # who reaches the daemon's own address: another container may be where `outer` is.
    beside = record.certificates and record.address
    for one in () if beside else open_to_us:
        if f"{one.port}/{protocol}" in record.published:
            return Address(record.outer, one.port)
    if open_to_us and not record.address:
        raise unreachable.elsewhere(daemon, details, f"{open_to_us[0].port}/{protocol}")
    own = [record.address] if record.address else []
    if here:
        own += [one.host for one in open_to_us if not one.is_everywhere]
    elif any(one.version == 6 for one in open_to_us):
        own += _ipv6(daemon)
    for host in own:
        for one in open_to_us:
            if one.host == host or (one.is_everywhere and one.version == ip_address(host).version):
                return Address(host, one.port)
    raise unreachable.unpublished(details, wanted, ports, [one.host for one in bindings])


def _ipv6(daemon: Daemon) -> Iterator[str]:
    """The daemon's IPv6 addresses; asked for only where a port is published on one."""
    container = daemon.container
    if container is not None:
        for there in container.attrs["NetworkSettings"]["Networks"].values():
            if there.get("GlobalIPv6Address"):
                yield there["GlobalIPv6Address"]


def _accepts(
    client: docker.DockerClient,
    details: Mapping[str, Any],
    wanted: str,
    address: Address,
    seconds: float,
) -> None:
    """Wait until something accepts; a container that ends meanwhile ends the wait."""
    from docker.errors import NotFound

    deadline = time.monotonic() + seconds
    next_look = time.monotonic() + _LOOKS_AFTER_SECONDS
    while not _listens(address):
        now = time.monotonic()
        if now >= next_look:
            next_look = now + _LOOKS_AFTER_SECONDS
            try:
                details = client.api.inspect_container(details["Id"])
            except NotFound:
                details = {**details, "State": {"Running": False, "Status": "gone", "ExitCode": ""}}
            if not details["State"]["Running"]:
                raise unreachable.ended(client, details)
        if now >= deadline:
            raise unreachable.silent(client, details, wanted, address, seconds)
        time.sleep(_POLL_SECONDS)


def _listens(address: Address) -> bool:
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            if address.host != _LOOPBACK:
                return True
            connection.settimeout(_CLOSED_WITHIN_SECONDS)
            try:
                return bool(connection.recv(1, socket.MSG_PEEK))
            except TimeoutError:
                return True
    except OSError:
        return False
