"""The container that this process runs in, and what of its files an engine has, and where.

A guard's process imports this, so it imports as little as it can.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Engine

_MOUNTS = Path("/proc/self/mountinfo")
# Docker, Podman and Kubernetes mount one of these in each of their containers. A mark such as
# /.dockerenv proves less: machines are made of images, too.
_OF_CONTAINERS = ("/etc/hosts", "/etc/hostname")
# Places that the engine mounts something on in each container.
_USUAL = ("/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_ID = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?(?:hosts|hostname|resolv\.conf)$")
_UPPER = re.compile(r"(?:^|,)upperdir=[^,]*?([^/,]+/[^/,]+)(?:,|$)")


@dataclass(frozen=True)
class Share:
    """A mount of this process's container.

    Attributes:
        place: Where it is, without symbolic links.
        source: The path that the engine has it under; empty for what the engine has no path for.
        read_only: Whether it can't be written to here.
    """

    place: str
    source: str
    read_only: bool = False

    def path(self, real: str) -> str:
        """The engine's path of one that lies in it."""
        rest = os.path.relpath(real, self.place)
        return self.source if rest == os.curdir else str(Path(self.source, rest))


class SharedFiles:
    """What an engine has of the files of a container that uses it.

    Args:
        shares: The container's mounts. All that lies in none of them is in the container alone.
    """

    def __init__(self, shares: Iterable[Share]) -> None:
        self.shares = tuple(shares)

    def fields(self) -> tuple[tuple[str, str, bool], ...]:
        """The mounts, for another process."""
        return tuple((share.place, share.source, share.read_only) for share in self.shares)

    def around(self, real: str) -> Share | None:
        """The mount that a path without symbolic links lies in, if the engine has it."""
        found = [share for share in self.shares if is_within(real, share.place)]
        deepest = max(found, key=lambda share: len(share.place), default=None)
        return deepest if deepest and deepest.source else None

    def path(self, path: str) -> str:
        """The engine's path of one here; empty for what it does not have."""
        real = os.path.realpath(path)
        share = self.around(real)
        return share.path(real) if share else ""


@dataclass(frozen=True)
class _MountPoint:
    """A line of mountinfo (proc(5)), as far as it matters here."""

    root: str
    place: str
    options: str


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory, or lies in it."""
    return path == directory or Path(directory) in Path(path).parents


def is_contained() -> bool:
    """Whether this process runs in a container, of whatever engine."""
    return _is_contained(_mount_points())


def find(engine: Engine) -> Mapping[str, Any] | None:
    """The details of this process's own container; None where the engine does not know it.

    A process that runs in no container asks nothing.
    """
    points = _mount_points()
    if not _is_contained(points):
        return None
    ids = [found[1] for point in points if (found := _ID.search(point.root))]
    # That may be another one's: containers can share a network, and then the files that have it.
    for name in dict.fromkeys([*ids, socket.gethostname()]):
        details = _inspect(engine, name)
        if details and _is_own(details, points, ids):
            return details
    if _upper(points):
        places = {point.place for point in points}
        for item in _list(engine):
            # The engine may have many, and be far away.
            if not places.issuperset(share.place for share in shared(item).shares):
                continue
            details = _inspect(engine, item["Id"])
            if details and _upper_of(details) and _is_own(details, points, ids):
                return details
    return None


def networks(engine: Engine) -> dict[str, str]:
    """The engine's networks that this process's container is in, and its address in each."""
    return {name: net["IPAddress"] for name, net in _connections(engine).items()}


def gateway(engine: Engine) -> str:
    """The engine's machine, as this process's container reaches it; empty where nothing is between.

    A process that runs in no container asks nothing.
    """
    if not is_contained():
        return ""
    gateways = (str(net.get("Gateway") or "") for net in _connections(engine).values())
    return next(filter(None, gateways), "")


def shared(details: Mapping[str, Any]) -> SharedFiles:
    """What the engine has of the files of a container with these details."""
    host = details.get("HostConfig") or {}
    parts = {
        str(mount.get("Target"))
        for mount in host.get("Mounts") or []
        if (mount.get("VolumeOptions") or {}).get("Subpath")
    }
    shares = []
    for mount in details.get("Mounts") or []:
        place, source = str(mount["Destination"]), str(mount.get("Source") or "")
        # Where in a volume a part of it lies is not told.
        named = mount.get("Type") == "volume" and mount.get("Driver") in ("", "local", None)
        known = mount.get("Type") == "bind" or (named and place not in parts)
        shares.append(_share(place, source if known else "", read_only=not mount.get("RW", True)))
    shares += [_share(place, "") for place in host.get("Tmpfs") or {}]
    return SharedFiles(shares)


def shared_around(path: Path) -> SharedFiles | None:
    """What an engine has that is proved to see a directory under its own path; None for all.

    What else is in other mounts than the directory's is not proved.
    """
    real = os.path.realpath(path)
    around = [point.place for point in _mount_points() if is_within(real, point.place)]
    mount = max(around, key=len, default=os.sep)
    # In one with the root of this container the engine runs itself.
    return None if mount == os.sep else SharedFiles([Share(mount, mount)])


def _share(place: str, source: str, *, read_only: bool = False) -> Share:
    # The engine does not resolve links in the container's image: /var/run as a rule.
    return Share(os.path.realpath(place), source, read_only)


def _mount_points() -> list[_MountPoint]:
    try:
        text = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        # macOS has none, and no containers.
        return []
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, place = map(_unescaped, before.split(" ")[3:5])
        found.append(_MountPoint(root, place, after.rpartition(" ")[2]))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _is_contained(points: Iterable[_MountPoint]) -> bool:
    return any(point.place in _OF_CONTAINERS for point in points)


def _is_own(details: Mapping[str, Any], points: Sequence[_MountPoint], ids: Sequence[str]) -> bool:
    """Whether a container is this process's own, and none that only shares files or a name."""
    here, there = _upper(points), _upper_of(details)
    if here and there:
        # Each container has a directory of its own for what it writes.
        return here == there
    name = str(details["Id"])
    if name not in ids and not name.startswith(socket.gethostname()):
        return False
    own = [share.place for share in shared(details).shares]
    places = {point.place for point in points if point.place != os.sep}
    return places.issuperset(own) and all(
        any(is_within(place, known) for known in (*own, *_USUAL)) for place in places
    )


def _upper(points: Iterable[_MountPoint]) -> str:
    """The end of the path of what this container writes, on an overlay; empty on others."""
    root = [_UPPER.search(point.options) for point in points if point.place == os.sep]
    return root[-1][1] if root and root[-1] else ""


def _upper_of(details: Mapping[str, Any]) -> str:
    """The same of a container of these details; empty where the engine does not tell."""
    data = (details.get("GraphDriver") or {}).get("Data") or {}
    return "/".join(str(data.get("UpperDir") or "").split("/")[-2:])


def _inspect(engine: Engine, name: str) -> dict[str, Any] | None:
    """The details of a container; None where the engine knows none, or does not tell."""
    from docker.errors import APIError

    try:
        details: dict[str, Any] = engine.client.api.inspect_container(name)
    except APIError as error:
        # A proxy before the engine may refuse it.
        if not error.is_client_error():
            raise
        return None
    return details


def _connections(engine: Engine) -> dict[str, Mapping[str, Any]]:
    """The engine's networks that this process's container has an address in, with the details."""
    # That of a container whose network this process's own has, too: so is its host name, which is
    # its id as a rule.
    return _networks(engine.own_container or {}) or _networks(
        _inspect(engine, socket.gethostname()) or {}
    )


def _networks(details: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = (details.get("NetworkSettings") or {}).get("Networks") or {}
    return {name: net for name, net in found.items() if net.get("IPAddress")}


def _list(engine: Engine) -> list[Mapping[str, Any]]:
    """The running containers; none where the engine does not tell."""
    from docker.errors import APIError

    try:
        found: list[Mapping[str, Any]] = engine.client.api.containers()
    except APIError as error:
        if not error.is_client_error():
            raise
        return []
    return found
