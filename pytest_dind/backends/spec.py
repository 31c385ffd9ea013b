"""What a daemon's container is made of: its first process, its arguments, its mounts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..lifetime import labels
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import subnets
from .connection import Connection

SUPERUSER = "0"
"""The user in each container of the daemon's image, whatever user that names (docker:dind-rootless
does): mounts, the lease and the daemon's socket are root's. By its id, since an image need not have
a list of users."""

_DATA_ROOT = "/var/lib/docker"
_DOCKERD = "dockerd"
_SCRIPTS = ("store/store.sh", "backends/supervise.sh")
# A bridge of the user's own; dockerd refuses it together with `--bip`.
_OTHER_BRIDGE = {"--bridge", "-b"}


def script(*names: str) -> str:
    """What the container's first process runs: scripts of this package, in this order."""
    return "".join(files("pytest_dind").joinpath(name).read_text() for name in names or _SCRIPTS)


def mounts(image: str, ticket: seeding.Ticket, ours: Mapping[str, str]) -> list[Any]:
    """The data-root, and the warm store where the daemon has a ticket for it."""
    made = [
        # A volume without a name: it goes when the container goes.
        volume(_DATA_ROOT, None, ours),
    ]
    return (
        [*made, volume(seeding.PATH, seeding.VOLUME, labels.of_store(image))]
        if ticket.key
        else made
    )


def volume(target: str, name: str | None, ours: Mapping[str, str]) -> Any:
    """A mount of a volume, which is made with these labels when it is missing."""
    from docker.types import DriverConfig, Mount

    local = DriverConfig("local")
    return Mount(target, name, type="volume", labels=dict(ours), driver_config=local)


def limits(settings: Settings) -> dict[str, Any]:
    """The limits of the container, as docker-py's host config has them."""
    limited: dict[str, Any] = {}
    if settings.memory:
        # No swap in addition: what exceeds the limit is killed, instead of crawling.
        limited |= {"mem_limit": settings.memory, "memswap_limit": settings.memory}
    if settings.cpus:
        limited["nano_cpus"] = int(float(settings.cpus) * 1e9)
    return limited


def process(
    home: Home,
    way: Connection,
    image: Mapping[str, Any],
    settings: Settings,
    ticket: seeding.Ticket,
    layout: subnets.Network,
) -> dict[str, list[str]]:
    """The container's first process, as docker-py's `create_container` takes it."""
    entrypoint = list(image["Config"].get("Entrypoint") or [])
    if entrypoint and Path(entrypoint[-1]).name == _DOCKERD:
        entrypoint.pop()
    daemon = [*entrypoint, _DOCKERD, *_arguments(way, settings, layout)]
    if not way.supervised:
        return {"entrypoint": daemon, "command": []}
    return {
        "entrypoint": ["sh", "-c", script(), "sh"],
        "command": [
            str(int(settings.timeout) + 1),
            "no" if entrypoint else "yes",
            home.label,
            *ticket.arguments(),
            way.name,
            *daemon,
        ],
    }


def _arguments(way: Connection, settings: Settings, layout: subnets.Network) -> list[str]:
    """What dockerd is told."""
    given = {argument.partition("=")[0] for argument in settings.arg}
    if given & _OTHER_BRIDGE:
        given.add("--bip")
    return [
        *way.arguments(),
        # Where tools in the container, and nested containers that mount it, look for a daemon.
        "--host=unix:///var/run/docker.sock",
        *(f"--registry-mirror={url}" for url in settings.registry_mirror),
        *(f"--insecure-registry={registry}" for registry in settings.insecure_registry),
        *(flag for flag in layout.arguments() if flag.partition("=")[0] not in given),
        *settings.arg,
    ]
