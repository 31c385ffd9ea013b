"""What a daemon's container is made of: its first process, its arguments, its mounts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import labels, store
from ..settings import Settings
from ..workspace import SOCKET
from . import network
from .protocol import Home

# Where the home is in the container. Not below /tmp: the official image mounts a tmpfs over that.
HOME = "/run/pytest-dind"
_DATA_ROOT = "/var/lib/docker"
_DOCKERD = "dockerd"
_SCRIPTS = ("store.sh", "supervise.sh")
# A bridge of the user's own; dockerd refuses it together with `--bip`.
_OTHER_BRIDGE = {"--bridge", "-b"}


def script(*names: str) -> str:
    """What the container's first process runs: scripts of this package, in this order."""
    return "".join(files(__package__).joinpath(name).read_text() for name in names or _SCRIPTS)


def mounts(home: Home, image: str, ticket: store.Ticket, ours: Mapping[str, str]) -> list[Any]:
    """The home, the data-root, and the warm store where the daemon has a ticket for it."""
    from docker.types import Mount

    made = [
        Mount(HOME, str(home.path), type="bind"),
        # A volume without a name: it goes when the container goes.
        volume(_DATA_ROOT, None, ours),
    ]
    return [*made, volume(store.PATH, store.VOLUME, labels.of_store(image))] if ticket.key else made


def volume(target: str, name: str | None, ours: Mapping[str, str]) -> Any:
    """A mount of a volume, which is made with these labels when it is missing."""
    from docker.types import DriverConfig, Mount

    local = DriverConfig("local")
    return Mount(target, name, type="volume", labels=dict(ours), driver_config=local)


def command(
    home: Home,
    image: Mapping[str, Any],
    settings: Settings,
    ticket: store.Ticket,
    layout: network.Network,
) -> list[str]:
    """The arguments of supervise.sh, with the daemon's command as their last."""
    entrypoint = list(image["Config"].get("Entrypoint") or [])
    if entrypoint and Path(entrypoint[-1]).name == _DOCKERD:
        entrypoint.pop()
    bare = not entrypoint
    given = {argument.partition("=")[0] for argument in settings.arg}
    if given & _OTHER_BRIDGE:
        given.add("--bip")
    return [
        str(int(settings.timeout) + 1),
        "yes" if bare else "no",
        home.label,
        *ticket.arguments(),
        *entrypoint,
        _DOCKERD,
        f"--host=unix://{HOME}/{SOCKET}",
        # Where tools in the container, and nested containers that mount it, look for a daemon.
        "--host=unix:///var/run/docker.sock",
        # The socket's group, so that a test process that is not root may use it.
        f"--group={os.getgid()}",
        *(flag for flag in layout.arguments() if flag.partition("=")[0] not in given),
        *settings.arg,
    ]
