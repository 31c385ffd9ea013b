"""Why a port of a nested container can't be reached, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..errors import AddressUnreachable

if TYPE_CHECKING:
    import docker

    from .handle import Daemon

_LAST_LINES = 10


def ended(client: docker.DockerClient, details: Mapping[str, Any]) -> AddressUnreachable:
    """The container does not run."""
    state = details["State"]
    said = _last_lines(client, details)
    return AddressUnreachable(
        f"The nested container {name(details)!r} does not run, so it publishes nothing.",
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


def elsewhere(daemon: Daemon, details: Mapping[str, Any], port: str) -> AddressUnreachable:
    """The daemon is on another machine."""
    record = daemon.record
    published = ", ".join(record.published) or "none"
    return AddressUnreachable(
        f"Port {port}, where the daemon {daemon.name!r} publishes the nested container "
        f"{name(details)!r}, is not reached from here.",
        evidence=f"The daemon's container is on another machine ({record.because}). Ports that "
        f"are published there: {published}.",
        remedy=[
            f"Publish a port with --dind-publish {port}, and the container on that port: "
            f"ports={{...: {port.partition('/')[0]}}}.",
            "Reach it from a nested container, or with Daemon.exec.",
        ],
    )


def unpublished(
    details: Mapping[str, Any],
    wanted: str,
    ports: Mapping[str, Any],
    hosts: Sequence[str],
) -> AddressUnreachable:
    """It is not published, or not to where the test process is; which of the reasons it is.

    Args:
        details: The container's.
        wanted: The port, as `80/tcp`.
        ports: What the container publishes.
        hosts: Where it publishes this port.
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
        f"Port {wanted} of the nested container {name(details)!r} "
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


def silent(
    client: docker.DockerClient,
    details: Mapping[str, Any],
    wanted: str,
    address: Address,
    seconds: float,
) -> AddressUnreachable:
    """Nothing accepts there."""
    return AddressUnreachable(
        f"Nothing accepts connections on port {wanted} of the nested container "
        f"{name(details)!r}, at {address.host}:{address.port}.",
        evidence=f"Tried for {seconds:g} s; the container is "
        f"{details['State']['Status']}.\n{_last_lines(client, details)}",
        remedy=[
            "Look in its log lines: the server may not run, or listen on 127.0.0.1 only.",
            "Give it longer: address(..., wait=60).",
            "Where the daemon's address is out of reach: --dind-publish a range, and "
            f"ports={{'{wanted}': '8000-8010'}}.",
        ],
    )


def name(details: Mapping[str, Any]) -> str:
    """The container's name."""
    return str(details["Name"]).lstrip("/")
