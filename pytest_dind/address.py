"""Addresses of nested containers: where a test reaches them, and why it can't."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from .backends.protocol import Address
from .errors import AddressUnreachable

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from .daemon import Daemon

_LOOPBACK = "127.0.0.1"
_PROTOCOLS = ("tcp", "udp", "sctp")
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.02
_CONNECT_SECONDS = 1
# A proxy accepts before it knows whether anybody listens behind it, and closes at once if not.
_CLOSED_WITHIN_SECONDS = 0.1
_LAST_LINES = 10
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
        f"The nested container {_name(details)!r} has no address{which}.",
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
    from docker.errors import NotFound

    name = container if isinstance(container, str) else str(container.id)
    try:
        details: dict[str, Any] = client.api.inspect_container(name)
    except NotFound as error:
        raise AddressUnreachable(
            f"There is no nested container {name!r} in the daemon {daemon.name!r}.",
            evidence=str(error.explanation),
            remedy=[
                "Start the container in this daemon before asking for its address.",
                "One with remove=True is gone once it has ended.",
            ],
        ) from error
    if not details["State"]["Running"]:
        raise _ended(client, details)
    return details


def _ended(client: docker.DockerClient, details: Mapping[str, Any]) -> AddressUnreachable:
    state = details["State"]
    said = _last_lines(client, details)
    return AddressUnreachable(
        f"The nested container {_name(details)!r} does not run, so it publishes nothing.",
        evidence=f"Published ports: none; the container is {state['Status']}, "
        f"exit code {state['ExitCode']}.\n{said}",
        remedy=["Look in its log lines for what ended it.", "Start it: container.start()."],
    )


def _last_lines(client: docker.DockerClient, details: Mapping[str, Any]) -> str:
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        said: bytes = client.api.logs(details["Id"], tail=_LAST_LINES)
        return said.decode(errors="replace")
    return ""


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
    # What is published on the engine's machine is reached from anywhere the engine is.
    for one in open_to_us:
        if f"{one.port}/{protocol}" in record.published:
            return Address(record.outer, one.port)
    if open_to_us and not record.address:
        raise _elsewhere(daemon, details, f"{open_to_us[0].port}/{protocol}")
    own = [record.address] if record.address else []
    if here:
        own += [one.host for one in open_to_us if not one.is_everywhere]
    elif any(one.version == 6 for one in open_to_us):
        own += _ipv6(daemon)
    for host in own:
        for one in open_to_us:
            if one.host == host or (one.is_everywhere and one.version == ip_address(host).version):
                return Address(host, one.port)
    raise _unpublished(details, wanted, ports, bindings)


def _elsewhere(daemon: Daemon, details: Mapping[str, Any], port: str) -> AddressUnreachable:
    record = daemon.record
    published = ", ".join(record.published) or "none"
    return AddressUnreachable(
        f"Port {port}, where the daemon {daemon.name!r} publishes the nested container "
        f"{_name(details)!r}, is not reached from here.",
        evidence=f"The daemon's container is on another machine ({record.because}). Ports that "
        f"are published there: {published}.",
        remedy=[
            f"Publish a port with --dind-publish {port}, and the container on that port: "
            f"ports={{...: {port.partition('/')[0]}}}.",
            "Reach it from a nested container, or with Daemon.exec.",
        ],
    )


def _ipv6(daemon: Daemon) -> Iterator[str]:
    """The daemon's IPv6 addresses; asked for only where a port is published on one."""
    container = daemon.container
    if container is not None:
        for there in container.attrs["NetworkSettings"]["Networks"].values():
            if there.get("GlobalIPv6Address"):
                yield there["GlobalIPv6Address"]


def _unpublished(
    details: Mapping[str, Any],
    wanted: str,
    ports: Mapping[str, Any],
    bindings: Sequence[_Binding],
) -> AddressUnreachable:
    """Which of the reasons it is."""
    published = ", ".join(key for key, value in ports.items() if value) or "none"
    number = wanted.partition("/")[0]
    others = [key for key in ports if ports[key] and key.split("/")[0] == number and key != wanted]
    if bindings and all(one.is_loopback for one in bindings):
        why = "It is published on the daemon's own loopback, where only the daemon is."
    elif bindings:
        where = ", ".join(one.host for one in bindings)
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
                raise _ended(client, details)
        if now >= deadline:
            raise AddressUnreachable(
                f"Nothing accepts connections on port {wanted} of the nested container "
                f"{_name(details)!r}, at {address.host}:{address.port}.",
                evidence=f"Tried for {seconds:g} s; the container is "
                f"{details['State']['Status']}.\n{_last_lines(client, details)}",
                remedy=[
                    "Look in its log lines: the server may not run, or listen on 127.0.0.1 only.",
                    "Give it longer: address(..., wait=60).",
                    "Where the daemon's address is out of reach: --dind-publish a range, and "
                    f"ports={{'{wanted}': '8000-8010'}}.",
                ],
            )
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


def _name(details: Mapping[str, Any]) -> str:
    return str(details["Name"]).lstrip("/")
